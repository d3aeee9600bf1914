"""Counts of tasks in memory, by queue and status."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable

from taskflow.model.queues import (
    BUCKET_SECONDS,
    KEPT_SECONDS,
    WINDOWS_SECONDS,
    Line,
    shares,
)
from taskflow.model.task import TaskStatus

Kind = tuple[str, TaskStatus]
"""A queue and a status."""


class FinishedCounts:
    """Numbers of finished tasks by minute. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, Kind]] = Counter()

    def record(self, queue: str, status: TaskStatus, now: float) -> None:
        """Count a task that finished now."""
        self._counts[int(now // BUCKET_SECONDS), (queue, status)] += 1

    def delete_old(self, now: float) -> None:
        """Delete the counts of minutes long past."""
        oldest = (now - KEPT_SECONDS) / BUCKET_SECONDS
        for key in [key for key in self._counts if key[0] < oldest]:
            del self._counts[key]

    def by_window(self, now: float) -> dict[Kind, list[float]]:
        """Return how many tasks finished in the last minute, five minutes and hour."""
        counts: dict[Kind, list[float]] = defaultdict(lambda: [0.0] * len(WINDOWS_SECONDS))
        for (minute, kind), count in self._counts.items():
            for index, share in enumerate(shares(now - minute * BUCKET_SECONDS)):
                counts[kind][index] += share * count
        return counts

    def by_minute(self, queue: str | None) -> dict[tuple[dt.datetime, TaskStatus], int]:
        """Return how many tasks of a queue, or of all, finished in each minute."""
        counts: Counter[tuple[dt.datetime, TaskStatus]] = Counter()
        for (minute, (name, status)), count in self._counts.items():
            if queue in (None, name):
                at = dt.datetime.fromtimestamp(minute * BUCKET_SECONDS, dt.UTC)
                counts[at, status] += count
        return counts


def lines_of(counts: Counter[Kind], finished: dict[Kind, list[float]]) -> dict[str, list[Line]]:
    """Return the statistics of each queue that has tasks, or had one that finished recently."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for queue, status in sorted(counts.keys() | finished.keys()):
        entered = finished.get((queue, status), [0.0] * len(WINDOWS_SECONDS))
        line = Line(status, counts[queue, status], tuple(entered))
        if not line.is_blank:
            lines[queue].append(line)
    return lines


def sum_of(lines: Iterable[Line]) -> list[Line]:
    """Return the sums of the lines of several queues."""
    counts: Counter[TaskStatus] = Counter()
    entered: dict[TaskStatus, list[float]] = defaultdict(lambda: [0.0] * len(WINDOWS_SECONDS))
    for line in lines:
        counts[line.status] += line.count
        for index, number in enumerate(line.entered):
            entered[line.status][index] += number
    return [Line(status, counts[status], tuple(entered[status])) for status in counts]
