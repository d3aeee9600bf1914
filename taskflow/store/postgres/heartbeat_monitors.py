"""Heartbeats of jobs in PostgreSQL."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of, heartbeat_entry
from taskflow.model.errors import HeartbeatNotFound, TooManyHeartbeats
from taskflow.model.heartbeat_monitors import (
    MAX_MONITORS,
    PINGS_KEPT,
    TRANSITIONS_KEPT,
    HeartbeatState,
    MonitorChange,
    MonitorTransition,
    NewPing,
    Outage,
    StoredMonitor,
)
from taskflow.model.heartbeat_states import Step, apply_deadline, apply_definition, apply_ping
from taskflow.store.base.heartbeat_monitors import (
    OUTAGE_SECONDS,
    OUTAGES_KEPT,
    Checked,
    HeartbeatMonitorStore,
    MonitorHistory,
    MonitorPage,
    ObservedMonitor,
)
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.heartbeat_rows import (
    UNREADABLE_MONITOR,
    columns_of,
    columns_of_ping,
    columns_of_transition,
    monitor_of,
    ping_of,
    readable,
    readable_history,
    transition_of,
)
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute, Row
from taskflow.store.postgres.statements import Statements

UNREADABLE_PAUSE_SECONDS: Final = 60.0
"""Time until a heartbeat that a node cannot check is checked again."""


class PostgresHeartbeatMonitors(HeartbeatMonitorStore):
    """Heartbeats beside the tasks of a PostgreSQL store."""

    def __init__(self, statements: Statements, audit: PostgresAudit) -> None:
        self._statements = statements
        self._audit = audit

    async def change(
        self, name: str, change: MonitorChange, *, by: Actor | None = None
    ) -> tuple[ObservedMonitor, bool]:
        def work(connection: Connection) -> tuple[ObservedMonitor, bool]:
            # Again if another client created or deleted it at this moment.
            while (changed := self._apply(connection, name, change, by)) is None:
                pass
            return changed

        return await self._statements.database.run(work)

    async def get(self, name: str) -> ObservedMonitor | None:
        rows = await self._statements.run("heartbeat", name=name)
        for observed in _observed(rows):
            return observed
        if rows:
            raise HeartbeatNotFound(_unreadable(name))
        return None

    async def page(self, *, limit: int, after: str | None = None) -> MonitorPage:
        rows = await self._statements.run("heartbeats_after", after=after or "", limit=limit)
        next_after = rows[limit - 1][0] if len(rows) > limit else None
        return MonitorPage(_observed(rows[:limit]), next_after)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        def work(connection: Connection) -> bool:
            execute = self._statements.on(connection)
            with connection.transaction():
                if not execute("hold_heartbeat", {"name": name}):
                    return False
                _trim(execute, name, pings=_ALL, transitions=_ALL)
                execute("delete_held_heartbeat", {"name": name})
                self._audit.add(connection, entry_of(Action.HEARTBEAT_DELETE, by, name))
                return True

        return await self._statements.database.run(work)

    async def rotate(self, name: str, *, by: Actor | None = None) -> ObservedMonitor | None:
        def work(connection: Connection) -> ObservedMonitor | None:
            execute = self._statements.on(connection)
            with connection.transaction():
                rows = execute("hold_heartbeat", {"name": name})
                if not rows:
                    return None
                ping_id = _new_id(execute)
                monitor = msgspec.structs.replace(_known(name, rows[0]), ping_id=ping_id)
                execute("write_held_heartbeat", columns_of(monitor))
                self._audit.add(connection, entry_of(Action.HEARTBEAT_ROTATE, by, name))
                return ObservedMonitor(monitor, _clock(execute))

        return await self._statements.database.run(work)

    async def ping(self, ping_id: uuid.UUID, ping: NewPing) -> bool:
        def work(connection: Connection) -> bool:
            execute = self._statements.on(connection)
            with connection.transaction():
                rows = execute("hold_heartbeat_of_url", {"ping_id": ping_id})
                if not rows:
                    return False
                _write(execute, _pinged(_known(rows[0][0], rows[0]), ping, _clock(execute)))
                return True

        return await self._statements.database.run(work)

    async def history(self, name: str) -> MonitorHistory | None:
        def work(connection: Connection) -> MonitorHistory | None:
            execute = self._statements.on(connection)
            if not execute("heartbeat", {"name": name}):
                return None
            pings = execute("heartbeat_pings", {"name": name, "limit": PINGS_KEPT})
            transitions = execute(
                "heartbeat_transitions", {"name": name, "limit": TRANSITIONS_KEPT}
            )
            return MonitorHistory(
                readable_history(pings, ping_of), readable_history(transitions, transition_of)
            )

        return await self._statements.database.run(work)

    async def check_due(self, *, limit: int, outage_seconds: float = OUTAGE_SECONDS) -> Checked:
        def work(connection: Connection) -> Checked:
            execute = self._statements.on(connection)
            with connection.transaction():
                rows = execute("hold_heartbeat_watch", {})
                if not rows:  # nothing to check, or another node checks
                    execute("add_heartbeat_watch_if_missing", {})
                    return Checked()
                now = _clock(execute)
                unchecked_seconds = (now - rows[0][0]).total_seconds()
                is_outage = unchecked_seconds >= outage_seconds
                if is_outage:
                    execute("add_heartbeat_outage", {"began": rows[0][0], "ended": now})
                    execute("delete_old_heartbeat_outages", {"kept": OUTAGES_KEPT})
                execute("note_heartbeat_check", {"now": now})
                checked = _check(execute, now, limit)
                if is_outage:
                    return msgspec.structs.replace(checked, outage_seconds=unchecked_seconds)
                return checked

        return await self._statements.database.run(work)

    async def seconds_to_next(self) -> float | None:
        rows = await self._statements.run("next_heartbeat_deadline")
        return rows[0][0] if rows else None

    async def down(self, *, limit: int) -> Sequence[ObservedMonitor]:
        return _observed(await self._statements.run("heartbeats_down", limit=limit))

    async def transitions_since(self, at: dt.datetime, *, limit: int) -> list[MonitorTransition]:
        rows = await self._statements.run("heartbeat_transitions_since", at=at, limit=limit)
        return readable_history(rows, lambda row: MonitorTransition(row[0], transition_of(row[1:])))

    async def count_states(self) -> Mapping[HeartbeatState, int]:
        found: dict[str, int] = dict(await self._statements.run("heartbeat_states"))
        return {state: found.get(state.value, 0) for state in HeartbeatState}

    def _apply(
        self, connection: Connection, name: str, change: MonitorChange, by: Actor | None
    ) -> tuple[ObservedMonitor, bool] | None:
        execute = self._statements.on(connection)
        with connection.transaction():
            rows = execute("hold_heartbeat", {"name": name})
            before = next(iter(readable(rows)[0]), None)
            old = None if before is None else before.definition
            definition, now = change(old), _clock(execute)
            step = apply_definition(definition, before, now, new_ping_id=_new_id(execute))
            if rows and before is None:  # it cannot be read, and is put again
                _trim(execute, name, pings=_ALL, transitions=_ALL)
            if not rows and not _add(execute, step.monitor, now):
                return None
            _write(execute, step)
            self._audit.add(connection, heartbeat_entry(by, old, definition))
            return ObservedMonitor(step.monitor, now), not rows


_ALL: Final = 2**63 - 1


def _add(execute: Execute, monitor: StoredMonitor, now: dt.datetime) -> bool:
    """Add a new heartbeat; false if another client did so at this moment.

    Raises:
        TooManyHeartbeats: There are ``MAX_MONITORS`` others.
    """
    [(count,)] = execute("count_heartbeats", {})
    if count >= MAX_MONITORS:
        raise TooManyHeartbeats
    execute("begin_heartbeat_watch", {"now": now})
    return bool(execute("add_heartbeat_if_new", columns_of(monitor)))


def _check(execute: Execute, now: dt.datetime, limit: int) -> Checked:
    """Write the transitions of due heartbeats; a heartbeat that fails is checked again later."""
    rows = execute("hold_due_heartbeats", {"now": now, "limit": limit})
    if not rows:
        return Checked()
    outages = [Outage(*row) for row in execute("heartbeat_outages", {"limit": OUTAGES_KEPT})]
    monitors, errors = readable(rows)
    transitions = []
    for monitor in monitors:
        name = monitor.definition.name
        try:
            step = apply_deadline(monitor, now, outages)
        except Exception as error:  # noqa: BLE001 - a zone that this node does not know, say
            errors[name] = repr(error)
            continue
        if step is not None and step.transition is not None:
            _write(execute, step)
            transitions.append(MonitorTransition(name, step.transition))
    again_at = now + dt.timedelta(seconds=UNREADABLE_PAUSE_SECONDS)
    for name in errors:
        execute("defer_heartbeat_check", {"name": name, "next_check_at": again_at})
    return Checked(transitions, errors)


def _write(execute: Execute, step: Step) -> None:
    """Write a held heartbeat with the entries of its history, and delete the oldest ones."""
    name = step.monitor.definition.name
    execute("write_held_heartbeat", columns_of(step.monitor))
    if step.ping is not None:
        execute("add_heartbeat_ping", columns_of_ping(name, step.ping))
    if step.transition is not None:
        execute("add_heartbeat_transition", columns_of_transition(name, step.transition))
    _trim(
        execute,
        name,
        pings=None if step.ping is None else step.ping.number - PINGS_KEPT,
        transitions=(
            None if step.transition is None else step.transition.number - TRANSITIONS_KEPT
        ),
    )


def _trim(execute: Execute, name: str, *, pings: int | None, transitions: int | None) -> None:
    """Delete the pings and transitions of a held heartbeat up to these numbers."""
    if pings is not None and pings > 0:
        execute("delete_heartbeat_pings", {"monitor": name, "number": pings})
    if transitions is not None and transitions > 0:
        execute("delete_heartbeat_transitions", {"monitor": name, "number": transitions})


def _observed(rows: Sequence[Row]) -> list[ObservedMonitor]:
    """Return the heartbeats of rows that end with the time; without unreadable ones."""
    at = {row[0]: row[-1] for row in rows}
    monitors, _ = readable(row[:-1] for row in rows)
    return [ObservedMonitor(one, at[one.definition.name]) for one in monitors]


def _known(name: str, row: Row) -> StoredMonitor:
    """Return the heartbeat of a row.

    Raises:
        HeartbeatNotFound: It cannot be read.
    """
    try:
        return monitor_of(row)
    except UNREADABLE_MONITOR as error:
        raise HeartbeatNotFound(_unreadable(name)) from error


def _pinged(monitor: StoredMonitor, ping: NewPing, now: dt.datetime) -> Step:
    """Return the heartbeat after a ping.

    Raises:
        HeartbeatNotFound: Its next time cannot be computed: its cron expression or its zone is not
            valid on this node.
    """
    try:
        return apply_ping(monitor, ping, now)
    except (LookupError, OSError, *UNREADABLE_MONITOR) as error:
        raise HeartbeatNotFound(_unreadable(monitor.definition.name)) from error


def _unreadable(name: str) -> str:
    return f"the row of heartbeat {name} in the database cannot be read; put it again"


def _clock(execute: Execute) -> dt.datetime:
    [(now,)] = execute("heartbeat_clock", {})
    assert isinstance(now, dt.datetime)
    return now


def _new_id(execute: Execute) -> uuid.UUID:
    [(new_id,)] = execute("new_id", {})
    assert isinstance(new_id, uuid.UUID)
    return new_id
