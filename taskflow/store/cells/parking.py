"""Parked attempts in cells."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

from taskflow.model.task import ClaimKey
from taskflow.store.base.parking import DueAttempt, OpenAttempt, Parking, ParkingStore
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Cell, Cells, merged_ids
from taskflow.store.cells.first_wait import first_of


class CellParking(ParkingStore):
    """Parks attempts, each in the cell of its task."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def park(self, parkings: Sequence[Parking]) -> set[uuid.UUID]:
        async def call(store: TaskStore, ids: list[uuid.UUID]) -> set[uuid.UUID]:
            wanted = set(ids)
            return await store.parking.park([one for one in parkings if one.task_id in wanted])

        ids = [one.task_id for one in parkings]
        return merged_ids(await self._cells.by_ids(ids, call, lambda parked: parked))

    async def find(self, task_id: uuid.UUID) -> OpenAttempt | None:
        return await self._cells.find(task_id, lambda store: store.parking.find(task_id))

    async def extend(self, key: ClaimKey, within_seconds: float) -> dt.datetime | None:
        return await self._cells.find(
            key.task_id, lambda store: store.parking.extend(key, within_seconds)
        )

    async def take_due(self, *, limit: int, take_seconds: float) -> list[DueAttempt]:
        due: list[DueAttempt] = []
        for cell in self._cells:
            if len(due) < limit:
                due += await _take_due(cell, limit - len(due), take_seconds)
        return due

    async def seconds_to_next(self) -> float | None:
        found = await self._cells.each(lambda store: store.parking.seconds_to_next())
        return min((one.result for one in found if one.result is not None), default=None)

    async def end_unrecorded(self, *, limit: int) -> int:
        found = await self._cells.each(lambda store: store.parking.end_unrecorded(limit=limit))
        return sum(one.result for one in found)

    async def wait_for_parked(self) -> None:
        await first_of([cell.store.parking.wait_for_parked for cell in self._cells if cell.store])


async def _take_due(cell: Cell, limit: int, take_seconds: float) -> list[DueAttempt]:
    return await cell.run(
        lambda store: store.parking.take_due(limit=limit, take_seconds=take_seconds)
    )
