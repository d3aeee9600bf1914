"""Roll-ups: finished tasks, their wait and run times, and the backlog, by minute and by hour.

Times are kept as histograms with fixed logarithmic buckets. So roll-ups of periods, queues and
stores can be added, and a percentile has a relative error of at most 10 %.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from taskflow.model.task import Moment
from taskflow.model.task_status import TaskStatus

MINUTE_SECONDS: Final = 60
HOUR_SECONDS: Final = 3600
KEPT_SECONDS: Final[Mapping[int, int]] = {MINUTE_SECONDS: 25 * 3600, HOUR_SECONDS: 91 * 86_400}
"""How long roll-ups are kept, by the length of their period."""

MAX_QUEUES: Final = 200
"""Maximum number of queues with roll-ups of their own in a period; the total counts all queues."""

MAX_HOSTS: Final = 100
"""Maximum number of hosts with roll-ups of their own in a period; the total counts all hosts."""

BUCKET_GROWTH: Final = 1.2
SMALLEST_BUCKET_SECONDS: Final = 0.001
LAST_BUCKET: Final = 127
"""Its times are about 10**7 seconds, or longer."""

FINAL_STATUSES: Final = tuple(status for status in TaskStatus if status.is_final)

Histogram: TypeAlias = Counter[int]
"""Numbers of tasks by the bucket of their time; empty buckets are absent."""

_LOG_OF_GROWTH: Final = math.log(BUCKET_GROWTH)
_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)


class Span(enum.StrEnum):
    """The time that a series covers, up to now."""

    HOUR = "1h"
    """60 points of a minute."""
    DAY = "24h"
    """96 points of 15 minutes."""
    WEEK = "7d"
    """168 points of an hour."""
    MONTH = "30d"
    """180 points of 4 hours."""
    QUARTER = "90d"
    """90 points of a day, in UTC."""


class Resolution(NamedTuple):
    """How a series is built: of which roll-ups, the length of a point, and the number of points."""

    period_seconds: int
    bucket_seconds: int
    points: int


RESOLUTIONS: Final[Mapping[Span, Resolution]] = {
    Span.HOUR: Resolution(MINUTE_SECONDS, 60, 60),
    Span.DAY: Resolution(MINUTE_SECONDS, 900, 96),
    Span.WEEK: Resolution(HOUR_SECONDS, 3600, 168),
    Span.MONTH: Resolution(HOUR_SECONDS, 4 * 3600, 180),
    Span.QUARTER: Resolution(HOUR_SECONDS, 86_400, 90),
}


class Rollup(msgspec.Struct):
    """The tasks that finished within a period.

    Attributes:
        finished: Number of tasks by final status.
        wait: How long they were due before their last attempt started.
        run: How long their last attempt took.
        backlog: The maximum number of due tasks at any sample; ``None`` without a sample.
    """

    finished: Counter[TaskStatus] = msgspec.field(default_factory=Counter)
    wait: Histogram = msgspec.field(default_factory=Counter)
    run: Histogram = msgspec.field(default_factory=Counter)
    backlog: int | None = None

    def note(
        self, status: TaskStatus, wait_seconds: float | None, run_seconds: float | None
    ) -> None:
        """Count a finished task, with its times if they are known."""
        self.finished[status] += 1
        for histogram, seconds in ((self.wait, wait_seconds), (self.run, run_seconds)):
            if seconds is not None:
                histogram[bucket_of(seconds)] += 1

    def sample(self, backlog: int) -> None:
        """Note the number of due tasks."""
        self.backlog = backlog if self.backlog is None else max(self.backlog, backlog)

    def add(self, other: Rollup) -> None:
        """Add a later or earlier roll-up of the same tasks; the greater backlog remains."""
        self._add_tasks(other)
        if other.backlog is not None:
            self.sample(other.backlog)

    def add_beside(self, other: Rollup) -> None:
        """Add a roll-up of other tasks in the same period; the backlogs are added."""
        self._add_tasks(other)
        if other.backlog is not None:
            self.backlog = (self.backlog or 0) + other.backlog

    def _add_tasks(self, other: Rollup) -> None:
        self.finished.update(other.finished)
        self.wait.update(other.wait)
        self.run.update(other.run)


class RecordedSeries(NamedTuple):
    """What a store has recorded for a series: the time by its clock, and roll-ups by their begin.

    The length of these roll-ups is ``bucket_seconds`` of the span. Points without a roll-up are
    absent.
    """

    now: dt.datetime
    rollups: Mapping[dt.datetime, Rollup]


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles of durations in seconds, with a relative error of at most 10 %.

    Attributes:
        p50: The median.
        p95: The time that 95 % of the tasks do not exceed.
        p99: The time that 99 % of the tasks do not exceed.
    """

    p50: float
    p95: float
    p99: float


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A period of a series.

    Attributes:
        at: When it begins.
        finished: Number of finished tasks by final status.
        wait: How long the COMPLETED and FAILED ones were due before their last attempt started;
            ``null`` without any.
        run: How long their last attempt took; ``null`` without any.
        backlog: The maximum number of tasks that were due and not started, of one sample a minute;
            ``null`` without a sample.
    """

    at: Moment
    finished: Mapping[TaskStatus, int]
    wait: Percentiles | None
    run: Percentiles | None
    backlog: int | None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Finished tasks, their times and the backlog over a span.

    Attributes:
        bucket_seconds: The length of each point in seconds.
        points: The points without gaps, the oldest first. The last one contains the present.
        wait: The percentiles of the wait times of the whole span; ``null`` without any.
        run: The percentiles of the run times of the whole span; ``null`` without any.
    """

    bucket_seconds: int
    points: list[SeriesPoint]
    wait: Percentiles | None
    run: Percentiles | None


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration; SQL computes the same (``fold_changes``)."""
    if not seconds > SMALLEST_BUCKET_SECONDS:
        return 0
    number = math.ceil(math.log(seconds / SMALLEST_BUCKET_SECONDS) / _LOG_OF_GROWTH)
    return min(number, LAST_BUCKET)


def seconds_of(bucket: int) -> float:
    """Return the duration that stands for a bucket: the geometric mean of its bounds."""
    if bucket <= 0:
        return SMALLEST_BUCKET_SECONDS
    exponent = min(bucket, LAST_BUCKET) - 0.5
    return float(f"{SMALLEST_BUCKET_SECONDS * BUCKET_GROWTH**exponent:.4g}")


def percentiles_of(histogram: Histogram) -> Percentiles | None:
    """Return the percentiles of a histogram; ``None`` if it is empty."""
    total = sum(histogram.values())
    if total <= 0:
        return None
    return Percentiles(*(_percentile(histogram, total * share) for share in (0.5, 0.95, 0.99)))


def _percentile(histogram: Histogram, rank: float) -> float:
    counted = 0
    for bucket in sorted(histogram):
        counted += histogram[bucket]
        if counted >= rank:
            break
    return seconds_of(bucket)


def begin_of(moment: dt.datetime, period_seconds: int) -> dt.datetime:
    """Return when the period that contains a moment began; periods are counted from 1970 in UTC."""
    number = (moment - _EPOCH) // dt.timedelta(seconds=period_seconds)
    return _EPOCH + dt.timedelta(seconds=number * period_seconds)


def first_of(span: Span, now: dt.datetime) -> dt.datetime:
    """Return when the first point of a series begins."""
    resolution = RESOLUTIONS[span]
    step = dt.timedelta(seconds=resolution.bucket_seconds)
    return begin_of(now, resolution.bucket_seconds) - (resolution.points - 1) * step


def series_of(recorded: RecordedSeries, span: Span) -> Series:
    """Return the series of what was recorded, with a point for each period."""
    resolution = RESOLUTIONS[span]
    step = dt.timedelta(seconds=resolution.bucket_seconds)
    first = first_of(span, recorded.now)
    points = [
        (at, recorded.rollups.get(at) or Rollup())
        for at in (first + index * step for index in range(resolution.points))
    ]
    return Series(
        bucket_seconds=resolution.bucket_seconds,
        points=[_point_of(at, rollup) for at, rollup in points],
        wait=percentiles_of(_sum(rollup.wait for _, rollup in points)),
        run=percentiles_of(_sum(rollup.run for _, rollup in points)),
    )


def _point_of(at: dt.datetime, rollup: Rollup) -> SeriesPoint:
    return SeriesPoint(
        at=at,
        finished={status: rollup.finished[status] for status in FINAL_STATUSES},
        wait=percentiles_of(rollup.wait),
        run=percentiles_of(rollup.run),
        backlog=rollup.backlog,
    )


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    total: Histogram = Counter()
    for one in histograms:
        total.update(one)
    return total


def merged(parts: Iterable[RecordedSeries]) -> RecordedSeries:
    """Return the recordings of several stores as one, by the clock of the first one."""
    parts = list(parts)
    rollups: dict[dt.datetime, Rollup] = {}
    for part in parts:
        for at, rollup in part.rollups.items():
            rollups.setdefault(at, Rollup()).add_beside(rollup)
    return RecordedSeries(parts[0].now, rollups)


def times_of(
    status: TaskStatus,
    *,
    run_at: dt.datetime | None,
    started_at: dt.datetime | None,
    elapsed_seconds: float | None,
) -> tuple[float | None, float | None]:
    """Return the wait and the run time of a finished task; ``None`` where there is none.

    A task that failed without another attempt, because it expired or a parent failed, started
    before it was due again, or never.
    """
    if status not in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        return None, None
    if run_at is None or started_at is None or started_at < run_at:
        return None, None
    return (started_at - run_at).total_seconds(), elapsed_seconds
