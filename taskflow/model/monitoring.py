"""Monitoring data: nodes, hosts, and finished tasks per minute."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from taskflow.model.queue_limits import Hold, HoldReason, HostHold
from taskflow.model.task import Moment, TaskStatus

HISTORY_MINUTES: Final = 60
"""Number of minutes in the history of finished tasks, including the current one."""

LISTED_TASKS: Final = 5
"""Maximum number of running tasks listed per node."""

MAX_LISTED_TASKS: Final = 200
"""Maximum number of running tasks listed on the page of a node."""

SAMPLED_TASKS: Final = 1000
"""Number of recently fetched tasks from which the statistics of hosts are computed."""

MAX_WAITING_QUEUES: Final = 200
"""Maximum number of queues in which the pending tasks of a host are counted."""

MAX_WAITING_COUNTED: Final = 1000
"""Maximum number of pending tasks of a host that are counted in a queue."""

_MINUTE: Final = dt.timedelta(minutes=1)


class ReplicationMode(enum.StrEnum):
    """How PostgreSQL replicates the commits of TaskFlow."""

    SYNCHRONOUS = "synchronous"
    """A task is acknowledged once a standby has it."""
    ASYNCHRONOUS = "asynchronous"
    """No commit waits for the standbys: a failover may lose the latest tasks."""
    NONE = "none"
    """No standby is connected, as far as PostgreSQL knows; a provider may replicate its disk."""


class DatabaseState(msgspec.Struct, frozen=True, kw_only=True):
    """State of the database in use, without names of servers.

    Attributes:
        host: Which host of ``DATABASE_URL`` is in use: 1 is the first one.
        hosts: The number of hosts in ``DATABASE_URL``.
        replication: Whether a standby has each task before it is acknowledged.
    """

    host: int
    hosts: int
    replication: ReplicationMode


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that a node is running.

    Attributes:
        id: The id of the task.
        host: The host of its URL, with the port unless it is the default; empty without a URL.
        running_seconds: Time since the node claimed it.
    """

    id: uuid.UUID
    host: str
    running_seconds: float


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node: a process that runs tasks.

    Attributes:
        id: The id of the node; a new one at each start.
        name: The host and process, as shown in attempts.
        version: The version of TaskFlow; ``None`` for versions that do not report it.
        workers: Number of workers; ``None`` for versions that do not report it.
        tz_version: The version of the time zone database for schedules, such as ``2026f``;
            ``None`` if unknown.
        started_at: When the node started.
        renewed_at: The last heartbeat.
        expires_at: When its lease ends.
        alive: True if its lease has not ended; otherwise its tasks are rescued.
        running: Number of tasks that it has claimed.
        longest_running_seconds: Age of the oldest claim in seconds; ``None`` without claims.
        longest_running: The oldest claims, at most five.
        settings: Some of its settings, none of them secret, so that nodes can be compared; ``None``
            for versions that do not report them.
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
    settings: Mapping[str, str] | None = None


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of a host: recently fetched tasks and running tasks.

    Attributes:
        host: The host, with its port unless it is the default.
        fetched: Number of recently fetched tasks.
        failed: How many of them failed.
        median_seconds: Median duration of their fetches in seconds; ``None`` without any.
        slowest_seconds: Maximum duration of their fetches in seconds.
        running: Number of running tasks.
        longest_running_seconds: Age of the oldest of them in seconds; ``None`` without any.
        held: Why and until when no task for the host starts, or ``None``.
        open_since: When its circuit breaker opened; ``None`` if it is closed, or if that is
            unknown.
    """

    host: str
    fetched: int = 0
    failed: int = 0
    median_seconds: float | None = None
    slowest_seconds: float | None = None
    running: int = 0
    longest_running_seconds: float | None = None
    held: Hold | None = None
    open_since: Moment | None = None


class HostWaiting(msgspec.Struct, frozen=True):
    """The pending tasks of a host in a queue.

    Attributes:
        queue: The queue.
        count: Their number, up to ``MAX_WAITING_COUNTED``.
        oldest_run_at: When the first one of them is due, or was.
    """

    queue: str
    count: int
    oldest_run_at: Moment | None = None

    @property
    def is_complete(self) -> bool:
        """True if all of them are counted."""
        return self.count < MAX_WAITING_COUNTED


class HostDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one host.

    Attributes:
        record: Its statistics among the most recently fetched tasks, and its circuit breaker.
        errors: Number of failed tasks among these, by error type.
        waiting: Its pending tasks by queue, of the first ``MAX_WAITING_QUEUES`` queues by name.
    """

    record: HostRecord
    errors: Mapping[str, int]
    waiting: list[HostWaiting]


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """Number of tasks that finished within one minute.

    Attributes:
        at: The start of the minute.
        finished: Number of tasks by final status.
    """

    at: Moment
    finished: Mapping[TaskStatus, int]


class FetchedTask(msgspec.Struct, frozen=True):
    """A fetched task: its host, whether it failed and why, and the duration in seconds."""

    host: str
    has_failed: bool
    elapsed_seconds: float
    error_type: str | None = None


class RunningTasks(msgspec.Struct, frozen=True):
    """The running tasks of a host: their number, and the age of the oldest in seconds."""

    count: int
    longest_seconds: float


def minutes_of(
    counts: Mapping[tuple[dt.datetime, TaskStatus], int], now: dt.datetime
) -> list[Minute]:
    """Return each minute of the history, oldest first, including minutes without finished tasks."""
    last = now.replace(second=0, microsecond=0)
    return [
        Minute(
            at=(at := last - ago * _MINUTE),
            finished={s: counts.get((at, s), 0) for s in TaskStatus if s.is_final},
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
    """Return the statistics of hosts: first those with an open circuit breaker, then the slowest.

    Args:
        fetched: The recently fetched tasks.
        running: The running tasks by host.
        held: The hosts whose circuit breaker is open.
        limit: Maximum number of hosts.
    """
    by_host: dict[str, list[FetchedTask]] = {}
    for one in fetched:
        by_host.setdefault(one.host, []).append(one)
    records = [
        _host_of(host, by_host.get(host, ()), running.get(host), held.get(host))
        for host in by_host.keys() | running.keys() | held.keys()
        if host
    ]
    return hosts_in_order(records)[:limit]


def host_detail_of(
    host: str,
    fetched: Iterable[FetchedTask],
    running: Mapping[str, RunningTasks],
    held: HostHold | None,
    waiting: list[HostWaiting],
) -> HostDetail:
    """Return what is known about one host.

    Args:
        host: The host, with its port unless it is the default.
        fetched: The recently fetched tasks of all hosts.
        running: The running tasks by host.
        held: Its circuit breaker, if that is open.
        waiting: Its pending tasks.
    """
    own = [one for one in fetched if one.host == host]
    errors = Counter(one.error_type or "unknown" for one in own if one.has_failed)
    return HostDetail(
        record=_host_of(host, own, running.get(host), held),
        errors=dict(errors.most_common()),
        waiting=waiting,
    )


def hosts_in_order(records: Iterable[HostRecord]) -> list[HostRecord]:
    """Return hosts: first those with an open circuit breaker, then the slowest."""
    return sorted(records, key=_urgency)


def _host_of(
    host: str, fetched: Sequence[FetchedTask], running: RunningTasks | None, held: HostHold | None
) -> HostRecord:
    elapsed = [one.elapsed_seconds for one in fetched]
    return HostRecord(
        host=host,
        fetched=len(fetched),
        failed=sum(one.has_failed for one in fetched),
        median_seconds=round(median(elapsed), 6) if elapsed else None,
        slowest_seconds=round(max(elapsed), 6) if elapsed else None,
        running=running.count if running else 0,
        longest_running_seconds=round(running.longest_seconds, 3) if running else None,
        held=Hold(HoldReason.HOST_FAILING, held.why, held.until) if held else None,
        open_since=held.since if held else None,
    )


def _urgency(record: HostRecord) -> tuple[bool, float, str]:
    longest_seconds = max(record.median_seconds or 0.0, record.longest_running_seconds or 0.0)
    return record.held is None, -longest_seconds, record.host
