"""The archives of all cells."""

from __future__ import annotations

from taskflow.store.base.archive import ArchiveStep, ArchiveStore
from taskflow.store.cells.cell import Cells


class CellArchive(ArchiveStore):
    """Moves finished tasks to the archive of their cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def archive(self, *, age_seconds: float, limit: int) -> ArchiveStep:
        steps = [
            one.result
            for one in await self._cells.each(
                lambda store: store.archive(age_seconds=age_seconds, limit=limit)
            )
        ]
        return ArchiveStep(
            sum(one.moved for one in steps),
            has_more=any(one.has_more for one in steps),
            obstacle="; ".join(dict.fromkeys(one.obstacle for one in steps if one.obstacle)),
        )
