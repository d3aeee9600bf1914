"""Actions on tasks (cancel, retry, delete) in PostgreSQL, by clients or by time."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

from taskflow.model import lifecycle
from taskflow.model.errors import StoreUnavailable
from taskflow.model.lifecycle import Move
from taskflow.model.task import ClaimKey, Task, TaskStatus
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.base.task_actions import EXPIRED, TaskActionStore
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import StorePart


class PostgresTaskActions(StorePart, TaskActionStore):
    """Cancels, retries, expires and deletes tasks."""

    async def cancel(self, task_id: uuid.UUID) -> Task | None:
        task, rows = await self._move("cancel_if_open", task_id, Move.CANCEL)
        self._notify_canceled(rows)
        return task

    async def retry(self, task_id: uuid.UUID) -> Task | None:
        task, rows = await self._move("retry_if_finished", task_id, Move.MANUAL_RETRY)
        self._announcements.announce(rows)
        return task

    async def delete(self, task_id: uuid.UUID) -> bool:
        def work(connection: Connection) -> bool:
            rows = self._statements.execute(connection, "delete_if_finished", {"ids": [task_id]})
            task = None if rows else self._read_one(connection, task_id)
            if task:
                lifecycle.check_deletable(task.status)
                raise StoreUnavailable  # as in _move
            return bool(rows)

        return await self._statements.database.run(work)

    async def cancel_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        canceled: set[uuid.UUID] = set()
        remaining = list(task_ids)
        while remaining:
            bounds = {"budget_bytes": self.copied_budget_bytes}
            rows = await self._statements.run("cancel_if_open", ids=remaining, **bounds)
            self._notify_canceled(rows)
            portion = {row[0] for row in rows}
            canceled |= portion
            # The others were over the budget, or are finished.
            remaining = [task_id for task_id in remaining if portion and task_id not in portion]
        return canceled

    async def retry_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        sender = self._announcements.sender
        rows = await self._statements.run("retry_if_finished", ids=list(task_ids), sender=sender)
        self._announcements.announce(rows)
        return {row[0] for row in rows}

    async def delete_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        rows = await self._statements.run("delete_if_finished", ids=list(task_ids))
        return {row[0] for row in rows}

    async def expire(self, *, limit: int) -> int:
        bounds = {"limit": limit, "budget_bytes": self.copied_budget_bytes}
        return len(await self._statements.run("expire_if_over", error=EXPIRED, **bounds))

    async def seconds_to_expiry(self) -> float | None:
        rows = await self._statements.run("next_expiry")
        return rows[0][0] if rows else None

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        deleted: int
        bounds = {"limit": limit, "budget_bytes": PAGE_BUDGET_BYTES}
        [(deleted,)] = await self._statements.run("delete_if_kept_long_enough", **bounds)
        if age_seconds is not None:
            for status in (status for status in TaskStatus if status.is_final):
                [(count,)] = await self._statements.run(
                    "delete_if_finished_before",
                    status=status.value,
                    age_seconds=age_seconds,
                    **bounds,
                )
                deleted += count
        return deleted

    async def _move(
        self, name: str, task_id: uuid.UUID, move: Move
    ) -> tuple[Task | None, list[Row]]:
        def work(connection: Connection) -> tuple[Task | None, list[Row]]:
            parameters = {
                "ids": [task_id],
                "sender": self._announcements.sender,
                "budget_bytes": self.copied_budget_bytes,
            }
            with connection.transaction():  # the task is read before anyone can move it again
                rows = self._statements.execute(connection, name, parameters)
                task = self._read_one(connection, task_id)
            if task and not rows:
                lifecycle.target_of(task.status, move)
                # It entered the right status a moment ago: like an answer that was too late.
                raise StoreUnavailable
            return task, rows

        return await self._statements.database.run(work)

    def _notify_canceled(self, rows: Sequence[Row]) -> None:
        """Notify the nodes of this process; the notification for all nodes arrives later."""
        for task_id, node_id, token in rows:
            if node_id is not None:
                self._context.cancellations.notify(node_id, ClaimKey(task_id, token))
                self._announcements.work.notify()  # there is room where it ran
