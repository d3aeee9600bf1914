"""Parked attempts in cells."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

from taskflow.model.task import ClaimKey
from taskflow.store.base.parking import DueAttempt, OpenAttempt, Parking, ParkingStore
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.first_wait import first_of


class CellParking(ParkingStore):
    """Parks attempts, each in the cell of its task."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def park(self, parkings: Sequence[Parking]) -> set[uuid.UUID]:
        return await self._cells.write(parkings, lambda store, part: store.parking.park(part))

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
        return await self._cells.soonest(lambda store: store.parking.seconds_to_next())

    async def end_unrecorded(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.parking.end_unrecorded(limit=limit))

    async def wait_for_parked(self) -> None:
        await first_of([cell.store.parking.wait_for_parked for cell in self._cells if cell.store])


async def _take_due(cell: Cell, limit: int, take_seconds: float) -> list[DueAttempt]:
    return await cell.run(
        lambda store: store.parking.take_due(limit=limit, take_seconds=take_seconds)
    )
