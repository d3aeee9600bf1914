"""How many tasks of a store in memory stand how, kept move by move."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable

from taskflow.model.queues import BUCKET_SECONDS, KEPT_SECONDS, WINDOWS_SECONDS, Line, shares
from taskflow.model.task import Task, TaskStatus

_Kind = tuple[str, TaskStatus]


class Tally:
    """Counts by queue and status, and endings by the minute. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._counts: Counter[_Kind] = Counter()
        self._endings: dict[int, Counter[_Kind]] = {}  # the oldest minute first

    def entered(self, queue: str, status: TaskStatus, now: float) -> None:
        """A task of the queue stands so now."""
        self._counts[queue, status] += 1
        if status.is_final:
            minute = int(now // BUCKET_SECONDS)
            self._endings.setdefault(minute, Counter())[queue, status] += 1
            while next(iter(self._endings)) * BUCKET_SECONDS < now - KEPT_SECONDS:
                del self._endings[next(iter(self._endings))]

    def added(self, tasks: Iterable[Task]) -> None:
        """There are new tasks, none of which is at its end."""
        self._counts.update((task.queue, task.status) for task in tasks)

    def left(self, queue: str, status: TaskStatus) -> None:
        """A task of the queue stands so no more."""
        self._counts[queue, status] -= 1
        if not self._counts[queue, status]:
            del self._counts[queue, status]

    def lines(self, now: float) -> dict[str, list[Line]]:
        """What there is to tell, by queue."""
        entered: dict[_Kind, list[float]] = defaultdict(lambda: [0.0] * len(WINDOWS_SECONDS))
        for minute, endings in self._endings.items():
            of_bucket = shares(now - minute * BUCKET_SECONDS)
            if not any(of_bucket):
                continue
            for kind, count in endings.items():
                for place, share in enumerate(of_bucket):
                    entered[kind][place] += share * count
        lines: dict[str, list[Line]] = defaultdict(list)
        for queue, status in sorted(self._counts.keys() | entered.keys()):
            kind = (queue, status)
            line = Line(status, self._counts[kind], tuple(entered[kind]))
            if not line.is_blank:
                lines[queue].append(line)
        return dict(lines)

    def by_minute(self, queue: str | None) -> dict[tuple[dt.datetime, TaskStatus], int]:
        """How many came to which end in which minute, in a queue or in all."""
        counts: Counter[tuple[dt.datetime, TaskStatus]] = Counter()
        for minute, endings in self._endings.items():
            at = dt.datetime.fromtimestamp(minute * BUCKET_SECONDS, dt.UTC)
            for (name, status), count in endings.items():
                if queue in (None, name):
                    counts[at, status] += count
        return counts


def summed(lines: Iterable[Line]) -> list[Line]:
    """Lines of several queues as those of one."""
    counts: Counter[TaskStatus] = Counter()
    entered: dict[TaskStatus, list[float]] = defaultdict(lambda: [0.0] * len(WINDOWS_SECONDS))
    for line in lines:
        counts[line.status] += line.count
        for place, number in enumerate(line.entered):
            entered[line.status][place] += number
    return [Line(status, counts[status], tuple(entered[status])) for status in counts]
