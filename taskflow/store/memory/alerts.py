"""Alerts in memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence

import msgspec
import trio

from taskflow.model.alert_messages import Notice, Notify, notice_of
from taskflow.model.alert_states import Observation, evaluated
from taskflow.model.alerts import (
    KEPT_NOTIFICATIONS,
    MAX_ALERTS,
    AlertChange,
    AlertNotification,
    NoticeKind,
    StoredAlert,
    alert_after,
)
from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import alert_entry, entry_of, silence_entry
from taskflow.model.errors import TooManyAlerts
from taskflow.model.task import NewTask, Task
from taskflow.store.base.alerts import AlertStore, DueAlerts, Evaluated
from taskflow.store.memory.audit import MemoryAudit


class AlertTasks(msgspec.Struct, frozen=True):
    """The tasks beside the alerts.

    Attributes:
        new_id: Returns an id that is greater than all before.
        add: Stores new tasks.
    """

    new_id: Callable[[], uuid.UUID]
    add: Callable[[Sequence[NewTask]], list[Task]]


class MemoryAlerts(AlertStore):
    """Alerts beside the tasks of a store in memory.

    Args:
        tasks: The tasks.
        now: The store's clock.
        audit: The audit log.
    """

    def __init__(
        self, tasks: AlertTasks, *, now: Callable[[], dt.datetime], audit: MemoryAudit
    ) -> None:
        self._tasks = tasks
        self._now = now
        self._audit = audit
        self._alerts: dict[str, StoredAlert] = {}
        self._taken_at: dict[str, dt.datetime] = {}
        self._notifications: dict[str, list[AlertNotification]] = {}

    async def put(
        self, name: str, change: AlertChange, *, by: Actor | None = None
    ) -> tuple[StoredAlert, bool]:
        await trio.lowlevel.checkpoint()
        before = self._alerts.get(name)
        after = alert_after(change(before), before, self._now())
        if before is None and len(self._alerts) >= MAX_ALERTS:
            raise TooManyAlerts
        self._alerts[name] = after
        self._taken_at.pop(name, None)
        self._audit.add(alert_entry(by, before, after))
        return after, before is None

    async def get(self, name: str) -> StoredAlert | None:
        await trio.lowlevel.checkpoint()
        return self._alerts.get(name)

    async def all(self) -> Sequence[StoredAlert]:
        await trio.lowlevel.checkpoint()
        return [alert for _, alert in sorted(self._alerts.items())]

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if self._alerts.pop(name, None) is None:
            return False
        self._taken_at.pop(name, None)
        self._notifications.pop(name, None)
        self._audit.add(entry_of(Action.ALERT_DELETE, by, name))
        return True

    async def silence(
        self, name: str, seconds: float | None, *, by: Actor | None = None
    ) -> StoredAlert | None:
        await trio.lowlevel.checkpoint()
        if (alert := self._alerts.get(name)) is None:
            return None
        until = None if seconds is None else self._now() + dt.timedelta(seconds=seconds)
        self._alerts[name] = alert = msgspec.structs.replace(alert, silenced_until=until)
        self._audit.add(silence_entry(by, name, until))
        return alert

    async def notifications(self, name: str) -> Sequence[AlertNotification] | None:
        await trio.lowlevel.checkpoint()
        if name not in self._alerts:
            return None
        return list(reversed(self._notifications.get(name, [])))

    async def take_due(self, *, every_seconds: float) -> DueAlerts:
        await trio.lowlevel.checkpoint()
        now, every = self._now(), dt.timedelta(seconds=every_seconds)
        due = [
            name
            for name, alert in sorted(self._alerts.items())
            if not alert.definition.paused
            and (name not in self._taken_at or self._taken_at[name] + every <= now)
        ]
        for name in due:
            alert = self._alerts[name]
            self._alerts[name] = msgspec.structs.replace(alert, revision=alert.revision + 1)
            self._taken_at[name] = now
        return DueAlerts([self._alerts[name] for name in due], now)

    async def evaluate(
        self, taken: StoredAlert, observation: Observation, notify: Notify
    ) -> Evaluated | None:
        await trio.lowlevel.checkpoint()
        name, now = taken.definition.name, self._now()
        alert = self._alerts.get(name)
        if alert is None or alert.revision != taken.revision:
            return None
        state, kind = evaluated(alert, observation, now)
        tasks: tuple[uuid.UUID, ...] = ()
        if kind is not None:
            notice = notice_of(kind, alert, state, observation.lines, now)
            tasks = self._notify(notice, notify).tasks
        self._alerts[name] = msgspec.structs.replace(alert, state=state)
        return Evaluated(state, kind, tasks)

    async def test(
        self, name: str, notify: Notify, *, by: Actor | None = None
    ) -> AlertNotification | None:
        await trio.lowlevel.checkpoint()
        if (alert := self._alerts.get(name)) is None:
            return None
        notice = Notice(kind=NoticeKind.TEST, alert=alert, at=self._now())
        notification = self._notify(notice, notify)
        self._audit.add(entry_of(Action.ALERT_TEST, by, name))
        return notification

    def _notify(self, notice: Notice, notify: Notify) -> AlertNotification:
        added = self._tasks.add(notify(notice))
        notification = AlertNotification(
            id=self._tasks.new_id(),
            at=notice.at,
            kind=notice.kind,
            title=notice.title,
            tasks=tuple(task.id for task in added),
        )
        kept = self._notifications.setdefault(notice.alert.definition.name, [])
        kept.append(notification)
        del kept[:-KEPT_NOTIFICATIONS]
        return notification
