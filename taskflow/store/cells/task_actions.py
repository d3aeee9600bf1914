"""Actions on tasks in cells."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from taskflow.model.audit import Actor, NewEntry
from taskflow.model.task import Task
from taskflow.store.base.task_actions import TaskActionStore
from taskflow.store.cells.cell import Cells, merged_ids


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
        parts = await self._cells.by_ids(
            task_ids, lambda store, ids: store.cancel_many(ids, entry=entry), lambda ids: ids
        )
        return merged_ids(parts)

    async def retry_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        parts = await self._cells.by_ids(
            task_ids, lambda store, ids: store.retry_many(ids, entry=entry), lambda ids: ids
        )
        return merged_ids(parts)

    async def delete_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        parts = await self._cells.by_ids(
            task_ids, lambda store, ids: store.delete_many(ids, entry=entry), lambda ids: ids
        )
        return merged_ids(parts)

    async def expire(self, *, limit: int) -> int:
        found = await self._cells.each(lambda store: store.expire(limit=limit))
        return sum(one.result for one in found)

    async def seconds_to_expiry(self) -> float | None:
        found = await self._cells.each(lambda store: store.seconds_to_expiry())
        return min((one.result for one in found if one.result is not None), default=None)

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        found = await self._cells.each(
            lambda store: store.delete_finished(age_seconds=age_seconds, limit=limit)
        )
        return sum(one.result for one in found)
