"""Heartbeats of jobs in cells: each is in the cell of its name."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.heartbeat_monitors import (
    HeartbeatState,
    MonitorChange,
    MonitorTransition,
    NewPing,
)
from taskflow.store.base.heartbeat_monitors import (
    OUTAGE_SECONDS,
    Checked,
    HeartbeatMonitorStore,
    MonitorHistory,
    MonitorPage,
    ObservedMonitor,
)
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.names import merged_names


class CellHeartbeatMonitors(HeartbeatMonitorStore):
    """Stores heartbeats, each in its cell; the id of its ping URL names the cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def change(
        self, name: str, change: MonitorChange, *, by: Actor | None = None
    ) -> tuple[ObservedMonitor, bool]:
        self._cells.check_map(name)
        cell = self._cell_of(name)
        return await cell.run(lambda store: store.heartbeat_monitors.change(name, change, by=by))

    async def get(self, name: str) -> ObservedMonitor | None:
        cell = self._cell_of(name)
        return await cell.run(lambda store: store.heartbeat_monitors.get(name))

    async def page(self, *, limit: int, after: str | None = None) -> MonitorPage:
        found = await self._cells.read(
            lambda store: store.heartbeat_monitors.page(limit=limit, after=after)
        )
        monitors, next_after = merged_names(
            [(one.result.monitors, one.result.next_after) for one in found], limit, _name_of
        )
        return MonitorPage(monitors, next_after)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        cell = self._cell_of(name)
        return await cell.run(lambda store: store.heartbeat_monitors.delete(name, by=by))

    async def rotate(self, name: str, *, by: Actor | None = None) -> ObservedMonitor | None:
        cell = self._cell_of(name)
        return await cell.run(lambda store: store.heartbeat_monitors.rotate(name, by=by))

    async def ping(self, ping_id: uuid.UUID, ping: NewPing) -> bool:
        return bool(
            await self._cells.find(
                ping_id, lambda store: store.heartbeat_monitors.ping(ping_id, ping)
            )
        )

    async def history(self, name: str) -> MonitorHistory | None:
        cell = self._cell_of(name)
        return await cell.run(lambda store: store.heartbeat_monitors.history(name))

    async def check_due(self, *, limit: int, outage_seconds: float = OUTAGE_SECONDS) -> Checked:
        found = [
            one.result
            for one in await self._cells.each(
                lambda store: store.heartbeat_monitors.check_due(
                    limit=limit, outage_seconds=outage_seconds
                )
            )
        ]
        outages = (one.outage_seconds for one in found)
        return Checked(
            [transition for one in found for transition in one.transitions],
            {name: error for one in found for name, error in one.errors.items()},
            max((one for one in outages if one is not None), default=None),
        )

    async def seconds_to_next(self) -> float | None:
        return await self._cells.soonest(lambda store: store.heartbeat_monitors.seconds_to_next())

    async def down(self, *, limit: int) -> Sequence[ObservedMonitor]:
        found = await self._cells.read(lambda store: store.heartbeat_monitors.down(limit=limit))
        return sorted((monitor for one in found for monitor in one.result), key=_name_of)[:limit]

    async def transitions_since(self, at: dt.datetime, *, limit: int) -> list[MonitorTransition]:
        found = await self._cells.read(
            lambda store: store.heartbeat_monitors.transitions_since(at, limit=limit)
        )
        transitions = [transition for one in found for transition in one.result]
        transitions.sort(key=lambda one: (one.transition.at, one.name, one.transition.number))
        return transitions[:limit]

    async def count_states(self) -> Mapping[HeartbeatState, int]:
        found = await self._cells.read(lambda store: store.heartbeat_monitors.count_states())
        return {state: sum(one.result[state] for one in found) for state in HeartbeatState}

    def _cell_of(self, name: str) -> Cell:
        return self._cells.of_name("heartbeat", name)


def _name_of(observed: ObservedMonitor) -> str:
    return observed.monitor.definition.name
