"""Roll-ups of the tasks of all cells."""

from __future__ import annotations

from typing import Final

from taskflow.model.queue_scope import QueueScope
from taskflow.model.rollups import RecordedSeries, Span, merged
from taskflow.store.base.rollups import RollupStore
from taskflow.store.cells.cell import Cells


class CellRollups(RollupStore):
    """Adds up the roll-ups of all cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def read(
        self,
        span: Span,
        *,
        queue: str | None = None,
        host: str | None = None,
        scope: QueueScope | None = None,
    ) -> RecordedSeries:
        found = await self._cells.read(
            lambda store: store.rollups.read(span, queue=queue, host=host, scope=scope)
        )
        return merged(one.result for one in found)

    async def sample_backlog(self) -> bool:
        found = await self._cells.each(lambda store: store.rollups.sample_backlog())
        return any(one.result for one in found)

    async def delete_old(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.rollups.delete_old(limit=limit))
