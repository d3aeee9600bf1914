"""Schedules in cells: each is in the cell of its name, and so are its tasks."""

from __future__ import annotations

import datetime as dt
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.schedule import Schedule, ScheduleChange, ScheduleRun, StoredSchedule
from taskflow.model.task import Task
from taskflow.store.base.schedules import (
    FailingSchedule,
    Fired,
    OverdueSchedule,
    SchedulePage,
    ScheduleStore,
)
from taskflow.store.cells.cell import Cells
from taskflow.store.cells.first_wait import first_of
from taskflow.store.cells.names import merged_names
from taskflow.store.cells.submission import check_foreign


class CellSchedules(ScheduleStore):
    """Stores schedules, each in its cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def change(
        self, name: str, change: ScheduleChange, *, by: Actor | None = None
    ) -> tuple[Schedule, bool]:
        cell = self._cells.of_name("schedule", name)
        self._cells.check_map(name)
        found = await cell.run(lambda store: store.schedules.get_stored(name))
        before = None if found is None else found[0].definition
        await check_foreign(self._cells, cell, [change(before).template])
        return await cell.run(lambda store: store.schedules.change(name, change, by=by))

    async def get(self, name: str) -> Schedule | None:
        return await self._cells.of_name("schedule", name).run(
            lambda store: store.schedules.get(name)
        )

    async def get_stored(self, name: str) -> tuple[StoredSchedule, dt.datetime] | None:
        return await self._cells.of_name("schedule", name).run(
            lambda store: store.schedules.get_stored(name)
        )

    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        found = await self._cells.read(lambda store: store.schedules.page(limit=limit, after=after))
        schedules, next_after = merged_names(
            [(one.result.schedules, one.result.next_after) for one in found],
            limit,
            lambda schedule: schedule.name,
        )
        return SchedulePage(schedules, next_after)

    async def runs(self, name: str, *, limit: int) -> list[ScheduleRun]:
        cell = self._cells.of_name("schedule", name)
        return await cell.run(lambda store: store.schedules.runs(name, limit=limit))

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        cell = self._cells.of_name("schedule", name)
        return await cell.run(lambda store: store.schedules.delete(name, by=by))

    async def run_now(self, name: str, *, by: Actor | None = None) -> Task | None:
        cell = self._cells.of_name("schedule", name)
        return await cell.run(lambda store: store.schedules.run_now(name, by=by))

    async def fire_due(self, *, limit: int) -> Fired:
        found = [
            one.result
            for one in await self._cells.each(lambda store: store.schedules.fire_due(limit=limit))
        ]
        return Fired(
            sum(one.schedules for one in found),
            sum(one.tasks for one in found),
            sum(one.skipped for one in found),
            {name: error for one in found for name, error in one.refused.items()},
        )

    async def seconds_to_next(self) -> float | None:
        return await self._cells.soonest(lambda store: store.schedules.seconds_to_next())

    async def wait_for_change(self) -> None:
        await first_of([cell.store.schedules.wait_for_change for cell in self._cells if cell.store])

    async def delete_old_firings(self, *, limit: int) -> int:
        return await self._cells.total(
            lambda store: store.schedules.delete_old_firings(limit=limit)
        )

    async def failing(self, name: str | None, *, limit: int) -> list[FailingSchedule]:
        found = await self._cells.read(lambda store: store.schedules.failing(name, limit=limit))
        every = [schedule for one in found for schedule in one.result]
        return sorted(every, key=lambda schedule: schedule.name)[:limit]

    async def overdue(
        self, name: str | None, *, late_seconds: float, within_seconds: float, limit: int
    ) -> list[OverdueSchedule]:
        found = await self._cells.read(
            lambda store: store.schedules.overdue(
                name, late_seconds=late_seconds, within_seconds=within_seconds, limit=limit
            )
        )
        every = [schedule for one in found for schedule in one.result]
        return sorted(every, key=lambda schedule: schedule.name)[:limit]
