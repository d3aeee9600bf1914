"""Actions on tasks in cells."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from taskflow.model.audit import Actor, NewEntry
from taskflow.model.task import Task
from taskflow.store.base.task_actions import TaskActionStore
from taskflow.store.cells.cell import Cells


class CellTaskActions(TaskActionStore):
    """Cancels, retries, expires and deletes tasks, each in its cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def cancel(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return await self._cells.find(task_id, lambda store: store.cancel(task_id, by=by))

    async def retry(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return await self._cells.find(task_id, lambda store: store.retry(task_id, by=by))

    async def skip(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return await self._cells.find(task_id, lambda store: store.skip(task_id, by=by))

    async def delete(self, task_id: uuid.UUID, *, by: Actor | None = None) -> bool:
        return bool(await self._cells.find(task_id, lambda store: store.delete(task_id, by=by)))

    async def cancel_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._cells.change(
            task_ids, lambda store, ids: store.cancel_many(ids, entry=entry)
        )

    async def retry_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._cells.change(
            task_ids, lambda store, ids: store.retry_many(ids, entry=entry)
        )

    async def delete_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._cells.change(
            task_ids, lambda store, ids: store.delete_many(ids, entry=entry)
        )

    async def expire(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.expire(limit=limit))

    async def seconds_to_expiry(self) -> float | None:
        return await self._cells.soonest(lambda store: store.seconds_to_expiry())

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        return await self._cells.total(
            lambda store: store.delete_finished(age_seconds=age_seconds, limit=limit)
        )
