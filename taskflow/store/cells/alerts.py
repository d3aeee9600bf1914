"""Alerts in cells: the first cell has all of them, and the tasks that notify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taskflow.model.alert_messages import Notify
from taskflow.model.alert_states import Observation
from taskflow.model.alerts import AlertChange, AlertNotification, StoredAlert
from taskflow.model.audit import Actor
from taskflow.store.base.alerts import AlertStore, DueAlerts, Evaluated
from taskflow.store.cells.cell import Cells


class CellAlerts(AlertStore):
    """Stores alerts in the first cell; what they watch is read from all cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def put(
        self, name: str, change: AlertChange, *, by: Actor | None = None
    ) -> tuple[StoredAlert, bool]:
        return await self._cells.first.run(lambda store: store.alerts.put(name, change, by=by))

    async def get(self, name: str) -> StoredAlert | None:
        return await self._cells.first.run(lambda store: store.alerts.get(name))

    async def all(self) -> Sequence[StoredAlert]:
        return await self._cells.first.run(lambda store: store.alerts.all())

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        return await self._cells.first.run(lambda store: store.alerts.delete(name, by=by))

    async def silence(
        self, name: str, seconds: float | None, *, by: Actor | None = None
    ) -> StoredAlert | None:
        return await self._cells.first.run(lambda store: store.alerts.silence(name, seconds, by=by))

    async def notifications(self, name: str) -> Sequence[AlertNotification] | None:
        return await self._cells.first.run(lambda store: store.alerts.notifications(name))

    async def take_due(self, *, every_seconds: float) -> DueAlerts:
        return await self._cells.first.run(
            lambda store: store.alerts.take_due(every_seconds=every_seconds)
        )

    async def evaluate(
        self, taken: StoredAlert, observation: Observation, notify: Notify
    ) -> Evaluated | None:
        return await self._cells.first.run(
            lambda store: store.alerts.evaluate(taken, observation, notify)
        )

    async def test(
        self, name: str, notify: Notify, *, by: Actor | None = None
    ) -> AlertNotification | None:
        return await self._cells.first.run(lambda store: store.alerts.test(name, notify, by=by))
