"""Actions on tasks (cancel, retry, delete) in PostgreSQL, by clients or by time."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import psycopg

from taskflow.model import lifecycle
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.audit_entries import entry_of
from taskflow.model.errors import KeyIsBusy, NotUnique, StoreUnavailable
from taskflow.model.lifecycle import Move
from taskflow.model.task import ClaimKey, Task, TaskStatus
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.base.task_actions import EXPIRED, TaskActionStore
from taskflow.store.postgres.archive import RETRYABLE, PostgresArchive, delete_archived, restore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import missing_from

# Another transaction takes the unique key of a task at this moment, or has it and is still open.
_KEY_ERRORS: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)
_KEY_WAIT: Final = {"key_wait_ms": 200}
# Acts on tasks in the open transaction; the rows begin with the ids of the changed tasks.
_Action = Callable[[Connection, Sequence[uuid.UUID]], list[Row]]


class PostgresTaskActions(PostgresArchive, TaskActionStore):
    """Cancels, retries, expires and deletes tasks."""

    _audit: PostgresAudit

    async def cancel(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        entry = entry_of(Action.TASK_CANCEL, by, str(task_id))
        bounds = {"budget_bytes": self.copied_budget_bytes, "with_holders": True}
        cancel = partial(self._execute, "cancel_if_open", bounds)
        task, rows = await self._move(cancel, task_id, Move.CANCEL, entry)
        self.announce_canceled(rows)
        return task

    def cancel_open(self, connection: Connection, task_ids: Sequence[uuid.UUID]) -> list[Row]:
        """Cancel tasks in the transaction that is open; fewer if they are over the budget."""
        bounds = {"budget_bytes": self.copied_budget_bytes, "with_holders": False}
        parameters = {"ids": task_ids, **bounds}
        return self._statements.execute(connection, "cancel_if_open", parameters)

    async def retry(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        entry = entry_of(Action.TASK_RETRY, by, str(task_id))
        task, rows = await self._move(self.retry_held, task_id, Move.MANUAL_RETRY, entry)
        self.announce_retried(rows)
        return task

    async def skip(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        entry = entry_of(Action.TASK_SKIP, by, str(task_id))

        def work(connection: Connection) -> Task | None:
            with connection.transaction():
                skip = partial(self._execute, "skip_if_holding", {})
                rows = self._act(connection, skip, [task_id], entry)
                task = self._read_one(connection, task_id)
            if task and not rows:
                lifecycle.check_skippable(task.status, holds_key=task.holds_key)
                raise StoreUnavailable  # as in _move
            return task

        task = await self._statements.database.run(work)
        if task is not None:
            self._announcements.order_steps.notify()
        return task

    async def delete(self, task_id: uuid.UUID, *, by: Actor | None = None) -> bool:
        entry = entry_of(Action.TASK_DELETE, by, str(task_id))

        def work(connection: Connection) -> list[Row]:
            with connection.transaction():
                rows = self._act(connection, self._delete, [task_id], entry)
            task = None if rows else self._read_one(connection, task_id)
            if task:
                lifecycle.check_deletable(task.status)
                raise StoreUnavailable  # as in _move
            return rows

        return bool(self._noted(await self._statements.database.run(work)))

    async def cancel_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        canceled: set[uuid.UUID] = set()
        remaining = list(task_ids)
        while remaining:
            bounds = {"budget_bytes": self.copied_budget_bytes, "with_holders": False}
            cancel = partial(self._execute, "cancel_if_open", bounds)
            rows = await self._act_on(cancel, remaining, entry)
            self.announce_canceled(rows)
            portion = {row[0] for row in rows}
            canceled |= portion
            # The others were over the budget, or are finished.
            remaining = [task_id for task_id in remaining if portion and task_id not in portion]
        return canceled

    async def retry_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        ids = list(task_ids)

        def work(connection: Connection) -> list[Row]:
            try:
                return self._retry(connection, ids, entry)
            except _KEY_ERRORS:  # of one task: the others do not depend on it
                return list(self._retry_apart(connection, ids, entry))

        rows = await self._statements.database.run(work)
        self.announce_retried(rows)
        return {row[0] for row in rows}

    def _retry(
        self, connection: Connection, ids: Sequence[uuid.UUID], entry: NewEntry | None
    ) -> list[Row]:
        with connection.transaction():
            return self._act(connection, self.retry_held, ids, entry)

    def retry_held(self, connection: Connection, task_ids: Sequence[uuid.UUID]) -> list[Row]:
        """Retry tasks in the transaction that is open; archived ones are moved back first.

        First those in the table of tasks: if one is being archived at this moment, the statement
        waits for that, and the task is found in the archive.
        """
        parameters = {"sender": self._announcements.sender, **_KEY_WAIT}
        rows = self._execute("retry_if_finished", parameters, connection, task_ids)
        others = missing_from(rows, task_ids)
        restored = restore(self._statements.on(connection), others, RETRYABLE)
        if restored:
            rows += self._execute("retry_if_finished", parameters, connection, restored)
        return rows

    def _retry_apart(
        self, connection: Connection, ids: Sequence[uuid.UUID], entry: NewEntry | None
    ) -> Iterator[Row]:
        for task_id in ids:
            with contextlib.suppress(*_KEY_ERRORS):
                yield from self._retry(connection, [task_id], entry)

    async def delete_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        rows = await self._act_on(self._delete, list(task_ids), entry)
        return {row[0] for row in self._noted(rows)}

    async def expire(self, *, limit: int) -> int:
        bounds = {"limit": limit, "budget_bytes": self.copied_budget_bytes}
        rows = await self._statements.run("expire_if_over", error=EXPIRED, **bounds)
        return len(self._noted(rows))

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
        return deleted + await self._delete_archived(age_seconds=age_seconds, limit=limit)

    def _delete(self, connection: Connection, task_ids: Sequence[uuid.UUID]) -> list[Row]:
        rows = self._execute("delete_if_finished", {}, connection, task_ids)
        others = missing_from(rows, task_ids)  # in this order, as in retry_held
        return rows + delete_archived(self._statements.on(connection), others)

    def _execute(
        self,
        name: str,
        parameters: Mapping[str, object],
        connection: Connection,
        task_ids: Sequence[uuid.UUID],
    ) -> list[Row]:
        return self._statements.execute(connection, name, {"ids": task_ids, **parameters})

    async def _act_on(
        self, action: _Action, task_ids: Sequence[uuid.UUID], entry: NewEntry | None
    ) -> list[Row]:
        def work(connection: Connection) -> list[Row]:
            with connection.transaction():
                return self._act(connection, action, task_ids, entry)

        return await self._statements.database.run(work)

    def _act(
        self,
        connection: Connection,
        action: _Action,
        task_ids: Sequence[uuid.UUID],
        entry: NewEntry | None,
    ) -> list[Row]:
        """Act on tasks and, if that changed some, record it in the caller's transaction."""
        rows = action(connection, task_ids)
        if rows and entry is not None:
            self._audit.add(connection, entry.counted(len(rows)))
        return rows

    async def _move(
        self, action: _Action, task_id: uuid.UUID, move: Move, entry: NewEntry | None
    ) -> tuple[Task | None, list[Row]]:
        def work(connection: Connection) -> tuple[Task | None, list[Row]]:
            try:
                with connection.transaction():  # the task is read before anyone can move it again
                    rows = self._act(connection, action, [task_id], entry)
                    task = self._read_one(connection, task_id)
            except _KEY_ERRORS:
                self._refuse_taken_key(connection, task_id)  # by a transaction that has ended
                raise KeyIsBusy from None
            if task and not rows:
                lifecycle.target_of(task.status, move, holds_key=task.holds_key)
                self._refuse_taken_key(connection, task_id)
                # It entered the right status a moment ago: like an answer that was too late.
                raise StoreUnavailable
            return task, rows

        return await self._statements.database.run(work)

    def _refuse_taken_key(self, connection: Connection, task_id: uuid.UUID) -> None:
        """Raise ``NotUnique`` if another task has the unique key of this one."""
        for (other,) in self._statements.execute(connection, "task_with_key_of", {"id": task_id}):
            raise NotUnique(other)

    def announce_canceled(self, rows: Sequence[Row]) -> None:
        """Notify the nodes of this process; the notification for all nodes arrives later."""
        for task_id, _, node_id, token in self._noted(list(rows)):
            if node_id is not None:
                self._context.cancellations.notify(node_id, ClaimKey(task_id, token))
                self._announcements.work.notify()  # there is room where it ran

    def announce_retried(self, rows: list[Row]) -> None:
        """Announce retried tasks; those with an order key or parents wait for others again."""
        retried = self._noted(rows)
        self._announcements.announce(
            [(task_id, *point) for task_id, waits, *point in retried if not waits]
        )
