"""Periodic jobs in PostgreSQL: expiry, retention and count folding."""

from __future__ import annotations

from taskflow.model.queues import KEPT_SECONDS
from taskflow.model.task import TaskStatus
from taskflow.store.base.housekeeping import EXPIRED, HousekeepingStore
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.postgres.parts import StorePart
from taskflow.store.postgres.pool import Connection


class PostgresHousekeeping(StorePart, HousekeepingStore):
    """Expires and deletes tasks, and folds counts."""

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

    async def delete_expired_keys(self, *, limit: int) -> int:
        return len(await self._statements.run("delete_expired_keys", limit=limit))

    async def fold_counts(self, *, limit: int) -> int:
        def work(connection: Connection) -> int:
            parameters = {"limit": limit, "kept_seconds": KEPT_SECONDS}
            execute = self._statements.on(connection)
            [(folded, queues, statuses)] = execute("fold_changes", parameters)
            empty = {"queues": queues, "statuses": statuses, "kept_seconds": KEPT_SECONDS}
            execute("delete_empty_counts", empty)
            return int(folded)

        return await self._statements.database.run(work)
