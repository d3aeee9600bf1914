"""The state machine of heartbeats: pure functions of a heartbeat, an event and the time.

The stored states are ``NEW``, ``UP`` and ``DOWN``. ``LATE``, ``STARTED`` and ``PAUSED`` follow from
the time, a start without an end, and the definition:

    event                   NEW       UP        DOWN
    success                 UP        UP        UP
    start                   NEW       UP        DOWN     (shown as STARTED, unless DOWN)
    failure                 DOWN      DOWN      DOWN
    deadline                DOWN      DOWN      -        (NEW has one only after a start)
    deadline after outage   NEW       UP        -
    pause, resume           NEW       UP        DOWN     (pings meanwhile move it, silently)

The deadline is ``grace_seconds`` after the time at which a ping is expected. While the job runs, it
is ``max_run_seconds`` (or ``grace_seconds``) after the start, and starts that follow each other do
not defer it for ever: the end must come at most this time after the latest moment for a start.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from taskflow.model.heartbeat_monitors import (
    Heartbeat,
    HeartbeatState,
    MonitorDefinition,
    NewPing,
    Outage,
    Reason,
    Signal,
    StoredMonitor,
    StoredPing,
    Transition,
)
from taskflow.model.schedule_times import next_time

EARLY_SECONDS: Final = 5.0
"""A ping that comes at most this much before a time of ``cron`` counts for that time: the clock of
the job may be ahead."""


class Step(msgspec.Struct, frozen=True):
    """The result of an event.

    Attributes:
        monitor: The heartbeat after it.
        transition: The change of its state, if it changed.
        ping: The entry of the history, if the event was a ping.
    """

    monitor: StoredMonitor
    transition: Transition | None = None
    ping: StoredPing | None = None


def apply_definition(
    definition: MonitorDefinition,
    before: StoredMonitor | None,
    now: dt.datetime,
    *,
    new_ping_id: uuid.UUID,
) -> Step:
    """Return the heartbeat to store for a new or changed definition.

    If the timing changes, or the heartbeat is resumed, the next ping is expected as if the last one
    had been received now: what was missed meanwhile is not reported.
    """
    if before is None:
        monitor = StoredMonitor(
            definition=definition,
            ping_id=new_ping_id,
            state_since=now,
            created_at=now,
            updated_at=now,
        )
        reason = Reason.PAUSED if definition.paused else Reason.CREATED
        return _moved(monitor, monitor.state, reason, now)
    old = before.definition
    monitor = msgspec.structs.replace(before, definition=definition, updated_at=now)
    is_resumed = old.paused and not definition.paused
    if is_resumed or old.timing != definition.timing:
        monitor = _waiting_again(monitor, now)
    if is_resumed:
        return _moved(monitor, monitor.state, Reason.RESUMED, now)
    if definition.paused and not old.paused:
        return _moved(monitor, monitor.state, Reason.PAUSED, now)
    return Step(monitor)


def apply_ping(before: StoredMonitor, ping: NewPing, now: dt.datetime) -> Step:
    """Return the heartbeat after a ping, with the entry of the history."""
    started_at, duration_seconds = before.started_at, None
    if ping.signal is not Signal.START and started_at is not None:
        duration_seconds = max(0.0, (now - started_at).total_seconds())
    monitor = msgspec.structs.replace(
        before,
        started_at=now if ping.signal is Signal.START else None,
        last_ping_at=now,
        last_signal=ping.signal,
        last_exit_code=ping.exit_code,
        last_duration_seconds=(
            before.last_duration_seconds if duration_seconds is None else duration_seconds
        ),
        ping_count=before.ping_count + 1,
    )
    entry = StoredPing(
        number=monitor.ping_count, at=now, ping=ping, duration_seconds=duration_seconds
    )
    state, expected_at = before.state, before.expected_at
    match ping.signal:
        case Signal.START:
            expected_at = expected_at or now  # the end of a first run is expected from now on
        case Signal.SUCCESS:
            state, expected_at = HeartbeatState.UP, _expected_after(before, now)
        case Signal.FAIL:
            state = HeartbeatState.DOWN
    monitor = msgspec.structs.replace(monitor, expected_at=expected_at, state=state)
    if state is before.state or monitor.definition.paused:
        return Step(monitor, None, entry)
    reason = Reason.PINGED if state is HeartbeatState.UP else Reason.FAILED
    step = _moved(monitor, state, reason, now)
    return msgspec.structs.replace(step, ping=entry)


def apply_deadline(
    before: StoredMonitor, now: dt.datetime, outages: Sequence[Outage] = ()
) -> Step | None:
    """Return the heartbeat after its deadline; ``None`` if it has none, or not yet.

    Args:
        before: The heartbeat.
        now: The current time by the store's clock.
        outages: The recent outages, in any order. If there was one since the ping was due or the
            job started, the ping may be lost: the next one is waited for.
    """
    deadline = deadline_of(before)
    if deadline is None or now < deadline:
        return None
    waiting_since = before.started_at or before.expected_at or deadline
    lost = [one.until for one in outages if one.since < deadline and one.until > waiting_since]
    if lost:
        return _moved(_waiting_again(before, max(lost)), before.state, Reason.OUTAGE, now)
    reason = Reason.MISSED if before.started_at is None else Reason.RAN_TOO_LONG
    monitor = msgspec.structs.replace(before, started_at=None)
    return _moved(monitor, HeartbeatState.DOWN, reason, now)


def deadline_of(monitor: StoredMonitor) -> dt.datetime | None:
    """Return when a heartbeat is down, unless a ping is received; ``None`` if it is not watched."""
    if monitor.definition.paused or monitor.state is HeartbeatState.DOWN:
        return None
    grace = dt.timedelta(seconds=monitor.definition.grace_seconds)
    expected_at, started_at = monitor.expected_at, monitor.started_at
    if started_at is None:
        return None if expected_at is None else expected_at + grace
    max_run_seconds = monitor.definition.max_run_seconds
    max_run = grace if max_run_seconds is None else dt.timedelta(seconds=max_run_seconds)
    deadline = started_at + max_run
    if expected_at is None:
        return deadline
    latest_end = expected_at + grace
    return min(deadline, latest_end if max_run_seconds is None else latest_end + max_run)


def state_at(monitor: StoredMonitor, now: dt.datetime) -> HeartbeatState:
    """Return the state of a heartbeat.

    It is ``DOWN`` when a node has noticed that, which takes seconds after the deadline.
    """
    if monitor.definition.paused:
        return HeartbeatState.PAUSED
    if monitor.state is HeartbeatState.DOWN:
        return HeartbeatState.DOWN
    if monitor.started_at is not None:
        return HeartbeatState.STARTED
    if monitor.expected_at is not None and now >= monitor.expected_at:
        return HeartbeatState.LATE
    return monitor.state


def shown(monitor: StoredMonitor, now: dt.datetime, ping_url: str | None = None) -> Heartbeat:
    """Return a heartbeat as the API shows it."""
    definition = monitor.definition
    return Heartbeat(
        name=definition.name,
        state=state_at(monitor, now),
        state_since=monitor.state_since,
        description=definition.description,
        every_seconds=definition.timing.every_seconds,
        cron=definition.timing.cron,
        timezone=definition.timing.timezone,
        grace_seconds=definition.grace_seconds,
        max_run_seconds=definition.max_run_seconds,
        paused=definition.paused,
        ping_url=ping_url,
        next_expected_at=None if definition.paused else monitor.expected_at,
        down_at=deadline_of(monitor),
        started_at=monitor.started_at,
        last_ping_at=monitor.last_ping_at,
        last_signal=monitor.last_signal,
        last_exit_code=monitor.last_exit_code,
        last_duration_seconds=monitor.last_duration_seconds,
        ping_count=monitor.ping_count,
        created_at=monitor.created_at,
        updated_at=monitor.updated_at,
    )


def _waiting_again(monitor: StoredMonitor, since: dt.datetime) -> StoredMonitor:
    """Return a heartbeat that waits for the ping after ``since``, whatever was due before."""
    expected_at = None
    if monitor.state is not HeartbeatState.NEW:
        expected_at = _next_time(monitor.definition, since)
    return msgspec.structs.replace(monitor, expected_at=expected_at, started_at=None)


def _expected_after(before: StoredMonitor, now: dt.datetime) -> dt.datetime | None:
    """Return when the next ping is expected after one that reports success now."""
    definition, expected_at = before.definition, before.expected_at
    if definition.timing.cron is not None and expected_at is not None:
        early = min(EARLY_SECONDS, definition.grace_seconds)
        if 0 < (expected_at - now).total_seconds() <= early:
            return _next_time(definition, expected_at)
    return _next_time(definition, now)


def _next_time(definition: MonitorDefinition, after: dt.datetime) -> dt.datetime | None:
    return next_time(definition.timing, anchor_at=after, after=after)


def _moved(monitor: StoredMonitor, state: HeartbeatState, reason: Reason, now: dt.datetime) -> Step:
    """Return the step to a stored state, with its transition."""
    moved = msgspec.structs.replace(
        monitor, state=state, state_since=now, transition_count=monitor.transition_count + 1
    )
    is_paused = monitor.definition.paused
    return Step(
        moved,
        Transition(
            number=moved.transition_count,
            at=now,
            state=HeartbeatState.PAUSED if is_paused else state,
            reason=reason,
        ),
    )
