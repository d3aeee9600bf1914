"""Queues as the API shows them: limits, tasks by status, age of the backlog, finished tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from taskflow.model.queue_limits import HostLimits, QueueSettings, Rate
from taskflow.model.task import TaskStatus

BUCKET_SECONDS: Final = 60
"""Endings are kept by the minute, by the clock."""

WINDOWS_SECONDS: Final = (60, 300, 3600)
"""What endings are told of, in the order of the fields of ``Ended``."""

KEPT_SECONDS: Final = 7200


class Ended(msgspec.Struct, frozen=True):
    """How many tasks came to an end, up to now.

    Of the minute by the clock in which a time begins, the share counts that lies within it.

    Attributes:
        last_minute: In the last 60 seconds.
        last_5_minutes: In the last 300 seconds.
        last_hour: In the last 3,600 seconds.
    """

    last_minute: int = 0
    last_5_minutes: int = 0
    last_hour: int = 0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue: what is asked of it, and how it stands.

    Attributes:
        name: Its name.
        paused: Whether nothing of it is started.
        max_concurrency: How many of its tasks may run at once, on all nodes together.
        rate: How many of its tasks may be started.
        per_host: The same for its tasks of each host.
        counts: How many of its tasks have each status.
        oldest_waiting_seconds: For how long its oldest PENDING task has been due; ``None`` if none
            is.
        ended: How many of its tasks came to which end.
    """

    name: str
    paused: bool
    max_concurrency: int | None
    rate: Rate | None
    per_host: HostLimits | None
    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    ended: Mapping[TaskStatus, Ended]


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue stands.

    Attributes:
        queue: Its name.
        counts: How many of its tasks have each status.
        oldest_waiting_seconds: For how long its oldest PENDING task has been due; ``None`` if none
            is.
        ended: How many of its tasks came to which end.
    """

    queue: str
    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    ended: Mapping[TaskStatus, Ended]


class TotalStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How all queues stand together, those included that are not listed.

    Attributes:
        counts: How many tasks have each status.
        oldest_waiting_seconds: For how long the oldest PENDING task has been due; ``None`` if none
            is.
        ended: How many tasks came to which end.
    """

    counts: Mapping[TaskStatus, int]
    oldest_waiting_seconds: float | None
    ended: Mapping[TaskStatus, Ended]


class TaskStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How tasks stand, by queue and in all.

    Attributes:
        queues: By name; those that have tasks, or had one that ended within the hour.
        total: All of them together.
        is_complete: Whether no more queues were asked for than are listed.
    """

    queues: list[QueueStatistics]
    total: TotalStatistics
    is_complete: bool


class Line(msgspec.Struct, frozen=True):
    """How many tasks stand so, and how many came to stand so within each of the windows."""

    status: TaskStatus
    count: int
    entered: tuple[float, ...]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to tell."""
        return not self.count and not any(self.entered)


def shares(bucket_age_seconds: float) -> tuple[float, ...]:
    """Which part of a bucket lies within each window, by how long ago the bucket began."""
    return tuple(
        max(0.0, min(1.0, (window + BUCKET_SECONDS - bucket_age_seconds) / BUCKET_SECONDS))
        for window in WINDOWS_SECONDS
    )


def queue_of(name: str, lines: Iterable[Line], oldest_seconds: float | None) -> QueueStatistics:
    """A queue's statistics; what there is no line of is zero."""
    counts, ended = _told(lines)
    return QueueStatistics(
        queue=name, counts=counts, oldest_waiting_seconds=_rounded(oldest_seconds), ended=ended
    )


def total_of(lines: Iterable[Line], oldest_seconds: float | None) -> TotalStatistics:
    """The statistics of all queues; what there is no line of is zero."""
    counts, ended = _told(lines)
    return TotalStatistics(
        counts=counts, oldest_waiting_seconds=_rounded(oldest_seconds), ended=ended
    )


def _told(lines: Iterable[Line]) -> tuple[dict[TaskStatus, int], dict[TaskStatus, Ended]]:
    counts = dict.fromkeys(TaskStatus, 0)
    ended = {status: Ended() for status in TaskStatus if status.is_final}
    for line in lines:
        counts[line.status] = line.count
        if line.status.is_final:
            ended[line.status] = Ended(*map(round, line.entered))
    return counts, ended


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
