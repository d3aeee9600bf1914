"""Heartbeats, the dead man's switch: jobs elsewhere ping, and a ping that is missed is noticed.

In the code, they are called heartbeat monitors: the heartbeats of nodes renew leases. This module
has their types; ``heartbeat_states.py`` decides when one is late or down.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.schedule import Timing
from taskflow.model.sealed_document import is_sealed
from taskflow.model.task import Moment, QueueName

MonitorName: TypeAlias = QueueName

MIN_EVERY_SECONDS: Final = 10
MAX_EVERY_SECONDS: Final = 31_622_400  # 366 days
MIN_GRACE_SECONDS: Final = 1
MAX_GRACE_SECONDS: Final = 31_622_400
DEFAULT_GRACE_SECONDS: Final = 300.0
MAX_RUN_SECONDS: Final = 31_622_400
MAX_DESCRIPTION_CHARS: Final = 500
MAX_MONITORS: Final = 10_000
MAX_EXIT_CODE: Final = 255

MAX_NOTE_BYTES: Final = 10_000
"""Maximum size of the body of a ping that is kept; the rest is dropped."""

PINGS_KEPT: Final = 100
"""Number of pings that are kept for each heartbeat, the newest ones."""

TRANSITIONS_KEPT: Final = 100
"""Number of transitions that are kept for each heartbeat, the newest ones."""


class HeartbeatState(enum.StrEnum):
    """The state of a heartbeat."""

    NEW = "new"
    """No ping was received yet."""
    UP = "up"
    """The last ping was received in time, and the next one is not due yet."""
    STARTED = "started"
    """The job has reported its start, and is running."""
    LATE = "late"
    """The next ping is due, and the grace time is not over."""
    DOWN = "down"
    """A ping was missed, the job reported a failure, or it ran for too long."""
    PAUSED = "paused"
    """Pings are recorded, and a missed one is not noticed."""


class Signal(enum.StrEnum):
    """What a ping reports."""

    SUCCESS = "success"
    """The job has succeeded."""
    START = "start"
    """The job starts."""
    FAIL = "fail"
    """The job has failed."""


class Reason(enum.StrEnum):
    """Why the state of a heartbeat changed."""

    CREATED = "created"
    """It was created."""
    PINGED = "pinged"
    """A ping reported success."""
    FAILED = "failed"
    """A ping reported a failure."""
    MISSED = "missed"
    """No ping was received before the end of the grace time."""
    RAN_TOO_LONG = "ran_too_long"
    """The job started, and did not report its end in time."""
    OUTAGE = "outage"
    """A ping was due while no node was running, and may be lost; the next one is waited for."""
    PAUSED = "paused"
    """It was paused."""
    RESUMED = "resumed"
    """It was resumed."""


class MonitorDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat as a client defines it.

    Attributes:
        name: Its name.
        timing: When pings are expected: by ``cron``, or ``every_seconds`` after the last one.
        grace_seconds: How late a ping may be.
        max_run_seconds: Maximum time from a start to its end; ``grace_seconds`` if ``None``.
        description: Text for people.
        paused: True if missed pings are not noticed.
    """

    name: str
    timing: Timing
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    max_run_seconds: float | None = None
    description: str = ""
    paused: bool = False


MonitorChange: TypeAlias = Callable[[MonitorDefinition | None], MonitorDefinition]
"""Returns the new definition of a heartbeat, given the current one if it exists."""


class StoredMonitor(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat as a store keeps it.

    Attributes:
        definition: Its definition.
        ping_id: Identifies its ping URL; a rotation replaces it.
        state: ``NEW``, ``UP`` or ``DOWN``; the other states follow from it and from the time.
        state_since: When the stored state or ``paused`` last changed.
        expected_at: When the next ping is due; ``None`` before the first one.
        started_at: When the job that is running started.
        last_ping_at: When the last ping was received.
        last_signal: What it reported.
        last_exit_code: The exit code that it reported, if it was one.
        last_duration_seconds: Time from the last start that has an end to its end.
        ping_count: Number of pings so far.
        transition_count: Number of transitions so far.
        created_at: When it was created.
        updated_at: When its definition was last replaced or changed.
    """

    definition: MonitorDefinition
    ping_id: uuid.UUID
    state: HeartbeatState = HeartbeatState.NEW
    state_since: dt.datetime
    expected_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    last_ping_at: dt.datetime | None = None
    last_signal: Signal | None = None
    last_exit_code: int | None = None
    last_duration_seconds: float | None = None
    ping_count: int = 0
    transition_count: int = 0
    created_at: dt.datetime
    updated_at: dt.datetime


class NewPing(msgspec.Struct, frozen=True):
    """A ping that was received.

    Attributes:
        signal: What it reports.
        exit_code: The exit code that it reports, if it is one.
        note: The start of its body, of at most ``MAX_NOTE_BYTES``; possibly encrypted.
        address: The address of the client.
    """

    signal: Signal = Signal.SUCCESS
    exit_code: int | None = None
    note: bytes | None = None
    address: str | None = None


def note_of(body: bytes) -> bytes | None:
    """Return what is kept of the body of a ping: its start, unless it is empty.

    A body that looks like encrypted data gets a space in front, and so is not taken for it.
    """
    note = b" " + body if is_sealed(body) else body
    return note[:MAX_NOTE_BYTES] or None


class StoredPing(msgspec.Struct, frozen=True, kw_only=True):
    """A ping of the history, as a store keeps it.

    Attributes:
        number: Its number, from 1.
        at: When it was received.
        ping: What was received.
        duration_seconds: Time since the start that it ends, if it ends one.
    """

    number: int
    at: dt.datetime
    ping: NewPing
    duration_seconds: float | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the state of a heartbeat.

    Attributes:
        number: Its number, from 1.
        at: When the state changed.
        state: The state: `new`, `up`, `down` or `paused`.
        reason: Why it changed.
    """

    number: int
    at: Moment
    state: HeartbeatState
    reason: Reason


class MonitorTransition(msgspec.Struct, frozen=True):
    """A transition, and the name of its heartbeat."""

    name: str
    transition: Transition


class Outage(msgspec.Struct, frozen=True):
    """A time during which no node was running, so that pings may be lost."""

    since: dt.datetime
    until: dt.datetime


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat as the API shows it; the field order is the order of the JSON.

    Attributes:
        name: The name of the heartbeat.
        state: Its state.
        state_since: When it was last created, up, down, paused or resumed. The states `late` and
            `started` do not change it.
        description: Text for people.
        every_seconds: The interval from one ping to the next, if the heartbeat has one.
        cron: The cron expression, if the heartbeat has one.
        timezone: The time zone of `cron`.
        grace_seconds: How late a ping may be.
        max_run_seconds: Maximum time from a start to its end; `grace_seconds` if it is `null`.
        paused: True if missed pings are not noticed.
        ping_url: The URL that the job requests. It needs no key, and can only ping. It is shown to
            keys that may change heartbeats; otherwise it is `null`.
        next_expected_at: When the next ping is due; `null` before the first one, and while the
            heartbeat is paused.
        down_at: When the heartbeat will be down, unless a ping is received.
        started_at: When the job that is running started.
        last_ping_at: When the last ping was received.
        last_signal: What it reported.
        last_exit_code: The exit code that it reported, if it was one.
        last_duration_seconds: How long the last job ran that reported its start and its end.
        ping_count: Number of pings so far.
        created_at: When it was created.
        updated_at: When it was last replaced or changed.
    """

    name: str
    state: HeartbeatState
    state_since: Moment
    description: str = ""
    every_seconds: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    max_run_seconds: float | None = None
    paused: bool = False
    ping_url: str | None = None
    next_expected_at: Moment | None = None
    down_at: Moment | None = None
    started_at: Moment | None = None
    last_ping_at: Moment | None = None
    last_signal: Signal | None = None
    last_exit_code: int | None = None
    last_duration_seconds: float | None = None
    ping_count: int = 0
    created_at: Moment
    updated_at: Moment


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """A ping as the API shows it.

    Attributes:
        number: Its number, from 1.
        at: When it was received.
        signal: What it reported.
        exit_code: The exit code that it reported, if it was one.
        duration_seconds: Time since the start that it ends, if it ends one.
        address: The address of the client, which may be a proxy.
        note: The start of its body as text, of at most 10,000 bytes; `null` without a body, or if
            it is encrypted with a key that this node does not have.
    """

    number: int
    at: Moment
    signal: Signal
    exit_code: int | None = None
    duration_seconds: float | None = None
    address: str | None = None
    note: Annotated[str, Meta(max_length=MAX_NOTE_BYTES)] | None = None


class HeartbeatHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The history of a heartbeat.

    Attributes:
        name: The name of the heartbeat.
        pings: The last 100 pings, newest first.
        transitions: The last 100 changes of the state, newest first.
    """

    name: str
    pings: list[Ping]
    transitions: list[Transition]
