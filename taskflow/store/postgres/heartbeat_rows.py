"""Rows of heartbeats as values of the model, and back."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from taskflow.model.heartbeat_monitors import (
    HeartbeatState,
    MonitorDefinition,
    NewPing,
    Reason,
    Signal,
    StoredMonitor,
    StoredPing,
    Transition,
)
from taskflow.model.heartbeat_states import deadline_of
from taskflow.model.schedule import Timing
from taskflow.store.postgres.rows import Row

Kind = TypeVar("Kind")

_COLUMNS: Final = (
    *("name", "ping_id", "description", "every_seconds", "cron", "timezone", "grace_seconds"),
    *("max_run_seconds", "paused", "state", "state_since", "expected_at", "started_at"),
    *("last_ping_at", "last_signal", "last_exit_code", "last_duration_seconds", "ping_count"),
    *("transition_count", "created_at", "updated_at"),
)
_OF_TIMING: Final = ("every_seconds", "cron", "timezone")
_OF_DEFINITION: Final = ("name", "description", "grace_seconds", "max_run_seconds", "paused")


UNREADABLE_MONITOR: Final = (ValueError, TypeError, OverflowError)
"""Errors of rows that no version has written, or that a later one has."""


def monitor_of(row: Row) -> StoredMonitor:
    """Return the heartbeat of a row of ``heartbeat_columns``.

    Raises:
        ValueError: It cannot be read; or another of ``UNREADABLE_MONITOR``.
    """
    fields = dict(zip(_COLUMNS, row, strict=True))
    timing = Timing(**{name: fields.pop(name) for name in _OF_TIMING})
    definition = MonitorDefinition(
        timing=timing, **{name: fields.pop(name) for name in _OF_DEFINITION}
    )
    signal = fields.pop("last_signal")
    monitor = StoredMonitor(
        definition=definition,
        state=HeartbeatState(fields.pop("state")),
        last_signal=None if signal is None else Signal(signal),
        **fields,
    )
    _check_finite(
        timing.every_seconds,
        definition.grace_seconds,
        definition.max_run_seconds,
        monitor.last_duration_seconds,
    )
    deadline_of(monitor)  # may be beyond the last year
    return monitor


def _check_finite(*numbers: float | None) -> None:
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise ValueError("a number is not finite")


def columns_of(monitor: StoredMonitor) -> dict[str, object]:
    """Return the parameters of the statements that write a heartbeat."""
    fields = msgspec.structs.asdict(monitor)
    definition = msgspec.structs.asdict(fields.pop("definition"))
    timing = definition.pop("timing")
    fields |= {**definition, **{name: getattr(timing, name) for name in _OF_TIMING}}
    fields["state"] = monitor.state.value
    fields["last_signal"] = monitor.last_signal and monitor.last_signal.value
    return {**fields, "next_check_at": deadline_of(monitor)}


def ping_of(row: Row) -> StoredPing:
    """Return the ping of a row of ``heartbeat_pings``.

    Raises:
        ValueError: It cannot be read.
    """
    number, at, signal, exit_code, duration_seconds, address, note = row
    _check_finite(duration_seconds)
    ping = NewPing(Signal(signal), exit_code, None if note is None else bytes(note), address)
    return StoredPing(number=number, at=at, ping=ping, duration_seconds=duration_seconds)


def columns_of_ping(monitor: str, ping: StoredPing) -> dict[str, object]:
    """Return the parameters of ``add_heartbeat_ping``."""
    fields = msgspec.structs.asdict(ping.ping)
    fields["signal"] = ping.ping.signal.value
    return {
        **fields,
        "id": uuid.uuid4(),
        "monitor": monitor,
        "number": ping.number,
        "at": ping.at,
        "duration_seconds": ping.duration_seconds,
    }


def transition_of(row: Row) -> Transition:
    """Return the transition of a row of ``heartbeat_transitions``."""
    number, at, state, reason = row
    return Transition(number=number, at=at, state=HeartbeatState(state), reason=Reason(reason))


def columns_of_transition(monitor: str, transition: Transition) -> dict[str, object]:
    """Return the parameters of ``add_heartbeat_transition``."""
    return {
        "monitor": monitor,
        "number": transition.number,
        "at": transition.at,
        "state": transition.state.value,
        "reason": transition.reason.value,
    }


def readable_history(rows: Iterable[Row], read: Callable[[Row], Kind]) -> list[Kind]:
    """Return the entries of a history that can be read."""
    found: list[Kind] = []
    for row in rows:
        with contextlib.suppress(*UNREADABLE_MONITOR):
            found.append(read(row))
    return found


def readable(rows: Iterable[Row]) -> tuple[list[StoredMonitor], dict[str, str]]:
    """Return the heartbeats that can be read, and errors by name of the others."""
    monitors: list[StoredMonitor] = []
    errors: dict[str, str] = {}
    for row in rows:
        try:
            monitors.append(monitor_of(row))
        except UNREADABLE_MONITOR as error:
            errors[row[0]] = f"its row in the database cannot be read: {error}"
    return monitors, errors
