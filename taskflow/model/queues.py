"""Queues as the API shows them: limits, tasks by status, age of the backlog, finished tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from taskflow.model.queue_limits import HostLimits, QueueSettings, Rate
from taskflow.model.task import TaskStatus
from taskflow.model.task_states import StateCount, StateCounts, TaskState

BUCKET_SECONDS: Final = 60
"""Finished tasks are counted per minute of the clock."""

WINDOWS_SECONDS: Final = (60, 300, 3600)
"""The time windows of ``RecentCounts``, in the order of its fields."""

KEPT_SECONDS: Final = 7200


class RecentCounts(msgspec.Struct, frozen=True):
    """Number of tasks that finished recently.

    The minute in which a window begins counts in proportion to its part inside the window.

    Attributes:
        last_minute: In the last 60 seconds.
        last_5_minutes: In the last 300 seconds.
        last_hour: In the last 3,600 seconds.
    """

    last_minute: int = 0
    last_5_minutes: int = 0
    last_hour: int = 0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: its settings and its statistics.

    Attributes:
        name: The name of the queue.
        paused: True if none of its tasks start.
        max_concurrency: Maximum number of its running tasks, across all nodes.
        rate: The rate limit of the queue.
        per_host: Limits for its tasks of each host.
        sign: Whether requests of its tasks are signed; ``None`` for the setting.
        credential: The name of the credential of their requests, if there is one.
        egress_proxy: The URL of the proxy that its tasks use, its credentials masked, or ``direct``
            for none; ``None`` for the setting.
        counts: Number of its tasks by status.
        oldest_waiting_seconds: How long its oldest due task has been due, in seconds; ``None``
            without due tasks.
        finished: Number of its tasks that finished recently, by final status.
        states: Number of its open tasks (PENDING or RUNNING) by state. Unlike ``counts``, it
            depends on the time: a scheduled task becomes due without a change.
    """

    name: str
    paused: bool
    max_concurrency: int | None
    rate: Rate | None
    per_host: HostLimits | None
    sign: bool | None
    credential: str | None
    egress_proxy: str | None
    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    finished: Mapping[TaskStatus, RecentCounts]
    states: Mapping[TaskState, StateCount] = {}


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of a queue.

    Attributes:
        queue: The name of the queue.
        counts: Number of its tasks by status.
        oldest_waiting_seconds: How long its oldest due task has been due, in seconds; ``None``
            without due tasks.
        finished: Number of its tasks that finished recently, by final status.
        states: Number of its open tasks (PENDING or RUNNING) by state. Unlike ``counts``, it
            depends on the time: a scheduled task becomes due without a change.
    """

    queue: str
    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    finished: Mapping[TaskStatus, RecentCounts]
    states: Mapping[TaskState, StateCount] = {}


class TotalStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of all queues together, including unlisted ones.

    Attributes:
        counts: Number of tasks by status.
        oldest_waiting_seconds: How long the oldest due task has been due, in seconds; ``None``
            without due tasks.
        finished: Number of tasks that finished recently, by final status.
        states: Number of open tasks (PENDING or RUNNING) by state. Unlike ``counts``, it
            depends on the time: a scheduled task becomes due without a change.
    """

    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    finished: Mapping[TaskStatus, RecentCounts]
    states: Mapping[TaskState, StateCount] = {}


class TaskStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of tasks, by queue and in total.

    Attributes:
        queues: Queues that have tasks or finished one within the last hour, by name.
        total: The statistics of all queues together.
        complete: True if all requested queues are listed.
    """

    queues: list[QueueStatistics]
    total: TotalStatistics
    complete: bool


def with_states(statistics: TaskStatistics, counts: StateCounts) -> TaskStatistics:
    """Return the statistics with the number of tasks in each state."""
    return replace(
        statistics,
        queues=[replace(one, states=counts.of(one.queue)) for one in statistics.queues],
        total=replace(statistics.total, states=counts.total),
    )


class Line(msgspec.Struct, frozen=True):
    """A status: the number of tasks, and how many got the status within each window."""

    status: TaskStatus
    count: int
    entered: tuple[float, ...]

    @property
    def is_blank(self) -> bool:
        """True if all numbers are zero."""
        return not self.count and not any(self.entered)


def shares(bucket_age_seconds: float) -> tuple[float, ...]:
    """Return the part of a bucket inside each window, by the age of the bucket."""
    return tuple(
        max(0.0, min(1.0, (window + BUCKET_SECONDS - bucket_age_seconds) / BUCKET_SECONDS))
        for window in WINDOWS_SECONDS
    )


def queue_of(name: str, lines: Iterable[Line], oldest_seconds: float | None) -> QueueStatistics:
    """Return the statistics of a queue; statuses without a line are zero."""
    counts, finished = _counts_of(lines)
    return QueueStatistics(
        queue=name,
        counts=counts,
        oldest_waiting_seconds=_rounded(oldest_seconds),
        finished=finished,
    )


def total_of(lines: Iterable[Line], oldest_seconds: float | None) -> TotalStatistics:
    """Return the statistics of all queues; statuses without a line are zero."""
    counts, finished = _counts_of(lines)
    return TotalStatistics(
        counts=counts, oldest_waiting_seconds=_rounded(oldest_seconds), finished=finished
    )


def _counts_of(
    lines: Iterable[Line],
) -> tuple[dict[TaskStatus, int], dict[TaskStatus, RecentCounts]]:
    counts = dict.fromkeys(TaskStatus, 0)
    finished = {status: RecentCounts() for status in TaskStatus if status.is_final}
    for line in lines:
        counts[line.status] = line.count
        if line.status.is_final:
            finished[line.status] = RecentCounts(*map(round, line.entered))
    return counts, finished


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def limits_text(queue: Queue | QueueSettings) -> str:
    """Return the limits of a queue, each with its unit and scope; "" if it has none."""
    parts = list(_parts(queue))
    if queue.per_host is not None:
        parts += [f"{part} per host" for part in _parts(queue.per_host)]
    return ", ".join(parts)


def _parts(limits: Queue | QueueSettings | HostLimits) -> Iterator[str]:
    if limits.max_concurrency is not None:
        yield f"{limits.max_concurrency} at once"
    if limits.rate is not None:
        yield _rate_text(limits.rate)


def _rate_text(rate: Rate) -> str:
    text = f"{rate.per_second:.6g}/s"
    return text if rate.burst == 1 else f"{text} (burst {rate.burst})"
