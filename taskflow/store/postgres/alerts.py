"""Alerts in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from taskflow.model.alert_messages import Notice, Notify, notice_of
from taskflow.model.alert_states import Observation, evaluated
from taskflow.model.alerts import (
    KEPT_NOTIFICATIONS,
    MAX_ALERTS,
    NEW_STATE,
    AlertChange,
    AlertDefinition,
    AlertNotification,
    AlertState,
    NoticeKind,
    StoredAlert,
    alert_after,
)
from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import alert_entry, entry_of, silence_entry
from taskflow.model.errors import TooManyAlerts
from taskflow.model.task import NewTask, Task
from taskflow.store.base.alerts import AlertStore, DueAlerts, Evaluated
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import UNREADABLE, Row, named
from taskflow.store.postgres.statements import Statements

_DEFINITION: Final = msgspec.json.Decoder(AlertDefinition)
_STATE: Final = msgspec.json.Decoder(AlertState)


class AlertTasks(Protocol):
    """The verbs for tasks that notify."""

    def insert(self, connection: Connection, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks in the transaction of the caller."""

    def announce_added(self, tasks: Sequence[Task]) -> None:
        """Announce them, once they are committed."""


class PostgresAlerts(AlertStore):
    """Alerts beside the tasks of a PostgreSQL store.

    Args:
        statements: The statements.
        tasks: The tasks.
        audit: The audit log.
    """

    def __init__(self, statements: Statements, tasks: AlertTasks, audit: PostgresAudit) -> None:
        self._statements = statements
        self._tasks = tasks
        self._audit = audit

    async def put(
        self, name: str, change: AlertChange, *, by: Actor | None = None
    ) -> tuple[StoredAlert, bool]:
        def work(connection: Connection) -> tuple[StoredAlert, bool]:
            put = None
            while put is None:  # again if another client created it at this moment
                with connection.transaction():
                    put = self._put(connection, name, change, by)
            return put

        return await self._statements.database.run(work)

    async def get(self, name: str) -> StoredAlert | None:
        rows = await self._statements.run("alert", name=name)
        return alert_of(rows[0]) if rows else None

    async def all(self) -> Sequence[StoredAlert]:
        return _readable(await self._statements.run("alerts"))

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        def work(connection: Connection) -> bool:
            with connection.transaction():
                is_deleted = bool(self._statements.on(connection)("delete_alert", {"name": name}))
                if is_deleted:
                    self._audit.add(connection, entry_of(Action.ALERT_DELETE, by, name))
            return is_deleted

        return await self._statements.database.run(work)

    async def silence(
        self, name: str, seconds: float | None, *, by: Actor | None = None
    ) -> StoredAlert | None:
        def work(connection: Connection) -> StoredAlert | None:
            with connection.transaction():
                execute = self._statements.on(connection)
                rows = execute("silence_alert", {"name": name, "seconds": seconds})
                alert = alert_of(rows[0]) if rows else None
                if alert is not None:
                    entry = silence_entry(by, name, alert.silenced_until)
                    self._audit.add(connection, entry)
            return alert

        return await self._statements.database.run(work)

    async def notifications(self, name: str) -> Sequence[AlertNotification] | None:
        rows = await self._statements.run(
            "alert_notifications", name=name, limit=KEPT_NOTIFICATIONS
        )
        if not rows and await self.get(name) is None:
            return None
        return [_notification_of(row) for row in rows if named(NoticeKind, row[2])]

    async def take_due(self, *, every_seconds: float) -> DueAlerts:
        def work(connection: Connection) -> DueAlerts:
            with connection.transaction():
                execute = self._statements.on(connection)
                rows = execute("take_alerts_if_due", {"seconds": every_seconds})
                [(now,)] = execute("clock", {})
            return DueAlerts(_readable(rows), now)

        return await self._statements.database.run(work)

    async def evaluate(
        self, taken: StoredAlert, observation: Observation, notify: Notify
    ) -> Evaluated | None:
        def work(connection: Connection) -> tuple[Evaluated | None, list[Task]]:
            with connection.transaction():
                return self._evaluate(connection, taken, observation, notify)

        done, tasks = await self._statements.database.run(work)
        self._tasks.announce_added(tasks)
        return done

    async def test(
        self, name: str, notify: Notify, *, by: Actor | None = None
    ) -> AlertNotification | None:
        def work(connection: Connection) -> tuple[AlertNotification, list[Task]] | None:
            with connection.transaction():
                execute = self._statements.on(connection)
                rows = execute("hold_alert", {"name": name})
                alert = alert_of(rows[0]) if rows else None
                if alert is None:
                    return None
                [(now,)] = execute("clock", {})
                notice = Notice(kind=NoticeKind.TEST, alert=alert, at=now)
                self._audit.add(connection, entry_of(Action.ALERT_TEST, by, name))
                return self._notify(connection, notice, notify)

        done = await self._statements.database.run(work)
        if done is None:
            return None
        notification, tasks = done
        self._tasks.announce_added(tasks)
        return notification

    def _put(
        self, connection: Connection, name: str, change: AlertChange, by: Actor | None
    ) -> tuple[StoredAlert, bool] | None:
        execute = self._statements.on(connection)
        rows = execute("hold_alert", {"name": name})
        before = alert_of(rows[0]) if rows else None
        [(count, now)] = execute("count_alerts", {})
        after = alert_after(change(before), before, now)
        if not rows and count >= MAX_ALERTS:
            raise TooManyAlerts
        columns = {
            "name": name,
            "definition": msgspec.json.encode(after.definition).decode(),
            "state": msgspec.json.encode(after.state).decode(),
            "is_paused": after.definition.paused,
        }
        if rows:
            written = execute("replace_alert", {**columns, "seconds": 0.0})
        else:
            written = execute("add_alert_if_new", columns)
        if not written:
            return None
        put = alert_of(written[0])
        assert put is not None
        self._audit.add(connection, alert_entry(by, before, put))
        return put, not rows

    def _evaluate(
        self, connection: Connection, taken: StoredAlert, observation: Observation, notify: Notify
    ) -> tuple[Evaluated | None, list[Task]]:
        execute, name = self._statements.on(connection), taken.definition.name
        rows = execute("hold_alert_if_revision", {"name": name, "revision": taken.revision})
        alert = alert_of(rows[0]) if rows else None
        if alert is None:
            return None, []
        [(now,)] = execute("clock", {})
        state, kind = evaluated(alert, observation, now)
        execute("put_alert_state", {"name": name, "state": msgspec.json.encode(state).decode()})
        if kind is None:
            return Evaluated(state), []
        notice = notice_of(kind, alert, state, observation.lines, now)
        notification, tasks = self._notify(connection, notice, notify)
        return Evaluated(state, kind, notification.tasks), tasks

    def _notify(
        self, connection: Connection, notice: Notice, notify: Notify
    ) -> tuple[AlertNotification, list[Task]]:
        new_tasks = notify(notice)
        tasks = self._tasks.insert(connection, new_tasks) if new_tasks else []
        parameters = {
            "alert": notice.alert.definition.name,
            "at": notice.at,
            "kind": notice.kind.value,
            "title": notice.title,
            "task_ids": [task.id for task in tasks],
            "kept": KEPT_NOTIFICATIONS,
        }
        [row] = self._statements.on(connection)("add_alert_notification", parameters)
        return _notification_of(row), tasks


def alert_of(row: Row) -> StoredAlert | None:
    """Return the alert of a row; ``None`` if no version of TaskFlow wrote its definition."""
    _, definition, state, silenced_until, created_at, updated_at, revision = row
    try:
        return StoredAlert(
            definition=_DEFINITION.decode(definition),
            state=_state_of(state),
            silenced_until=silenced_until,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
    except UNREADABLE:
        return None


def _state_of(text: str) -> AlertState:
    try:
        return _STATE.decode(text)
    except UNREADABLE:
        return NEW_STATE


def _readable(rows: Sequence[Row]) -> list[StoredAlert]:
    return [alert for alert in map(alert_of, rows) if alert is not None]


def _notification_of(row: Row) -> AlertNotification:
    notification_id, at, kind, title, task_ids = row
    return AlertNotification(
        id=notification_id, at=at, kind=NoticeKind(kind), title=title, tasks=tuple(task_ids)
    )
