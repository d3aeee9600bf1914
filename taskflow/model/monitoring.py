"""What those who keep TaskFlow running look at: nodes, hosts, and what ended when."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from taskflow.model.queue_limits import Hold, HoldReason, HostHold
from taskflow.model.task import Moment, TaskStatus

HISTORY_MINUTES: Final = 60
"""How far back endings are told by the minute, the one that is under way included."""

LISTED_TASKS: Final = 5
"""How many of the tasks that a node runs are listed."""

SAMPLED_TASKS: Final = 1000
"""Of how many tasks, the newest that were fetched, it is told how hosts do."""

_MINUTE: Final = dt.timedelta(minutes=1)


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that a node has in hand.

    Attributes:
        id: The task's.
        host: Where it goes, with the port unless that is the scheme's own; empty for nowhere.
        seconds: For how long the node has had it.
    """

    id: uuid.UUID
    host: str
    seconds: float


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node: a process that runs tasks.

    Attributes:
        id: Made anew whenever it begins.
        name: Its host and process, as attempts name it.
        version: The version of TaskFlow that it runs; ``None`` of one that is too old to say so.
        workers: How many tasks it runs at once; ``None`` likewise.
        tz_version: The version of the time zone database that it uses for schedules, such as
            ``2026f``; ``None`` if it is not known.
        started_at: When it began.
        renewed_at: Its last heartbeat.
        expires_at: Until when its lease is good.
        alive: Whether it is; tasks of one that is not are run by others.
        running: How many tasks it has in hand.
        longest_running_seconds: For how long it has had the first of them; ``None`` without any.
        longest_running: Those that it has had for the longest, five at most.
    """

    id: uuid.UUID
    name: str
    version: str | None
    workers: int | None
    tz_version: str | None = None
    started_at: Moment
    renewed_at: Moment
    expires_at: Moment
    alive: bool
    running: int
    longest_running_seconds: float | None
    longest_running: list[RunningTask]


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a host does, by the newest tasks that were fetched from it, and what runs there.

    Attributes:
        host: With its port, unless that is the scheme's own.
        fetched: How many of the newest tasks went there.
        failed: How many of those failed.
        median_ms: How long their fetches took in the middle, in milliseconds; ``None`` without any.
        slowest_ms: How long the slowest took, in milliseconds.
        running: How many tasks are on their way there now.
        longest_running_seconds: For how long the first of them has been; ``None`` without any.
        held: Why and until when no task for it starts, or ``None``.
    """

    host: str
    fetched: int = 0
    failed: int = 0
    median_ms: float | None = None
    slowest_ms: float | None = None
    running: int = 0
    longest_running_seconds: float | None = None
    held: Hold | None = None


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks came to which end within a minute by the clock.

    Attributes:
        at: When it began.
        ended: How many, for each end.
    """

    at: Moment
    ended: Mapping[TaskStatus, int]


class FetchedTask(msgspec.Struct, frozen=True):
    """A task that was fetched: where, how it ended, and how long it took in milliseconds."""

    host: str
    has_failed: bool
    elapsed_ms: float


class RunningTasks(msgspec.Struct, frozen=True):
    """What is on its way to a host: how many tasks, and for how long the first, in seconds."""

    count: int
    longest_seconds: float


def minutes_of(
    counts: Mapping[tuple[dt.datetime, TaskStatus], int], now: dt.datetime
) -> list[Minute]:
    """Every minute up to the one that is under way, the oldest first; where nothing ended, too."""
    last = now.replace(second=0, microsecond=0)
    return [
        Minute(
            at=(at := last - ago * _MINUTE),
            ended={s: counts.get((at, s), 0) for s in TaskStatus if s.is_final},
        )
        for ago in reversed(range(HISTORY_MINUTES))
    ]


def hosts_of(
    fetched: Iterable[FetchedTask],
    running: Mapping[str, RunningTasks],
    held: Mapping[str, HostHold],
    *,
    limit: int,
) -> list[HostRecord]:
    """The hosts that need a look first: those held back, then the slowest.

    Args:
        fetched: The newest tasks that were fetched.
        running: What is on its way, by host.
        held: Who is held back.
        limit: How many hosts at most.
    """
    by_host: dict[str, list[FetchedTask]] = {}
    for one in fetched:
        by_host.setdefault(one.host, []).append(one)
    records = [
        _host_of(host, by_host.get(host, ()), running.get(host), held.get(host))
        for host in by_host.keys() | running.keys() | held.keys()
        if host
    ]
    return sorted(records, key=_urgency)[:limit]


def _host_of(
    host: str, fetched: Sequence[FetchedTask], running: RunningTasks | None, held: HostHold | None
) -> HostRecord:
    elapsed = [one.elapsed_ms for one in fetched]
    return HostRecord(
        host=host,
        fetched=len(fetched),
        failed=sum(one.has_failed for one in fetched),
        median_ms=round(median(elapsed), 3) if elapsed else None,
        slowest_ms=round(max(elapsed), 3) if elapsed else None,
        running=running.count if running else 0,
        longest_running_seconds=round(running.longest_seconds, 3) if running else None,
        held=Hold(HoldReason.HOST_FAILING, held.why, held.until) if held else None,
    )


def _urgency(record: HostRecord) -> tuple[bool, float, str]:
    longest_ms = max(record.median_ms or 0.0, (record.longest_running_seconds or 0.0) * 1000)
    return record.held is None, -longest_ms, record.host
