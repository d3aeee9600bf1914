"""Roll-ups: histograms, percentiles and series."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections import Counter

import pytest

from taskflow.model.rollups import (
    BUCKET_GROWTH,
    LAST_BUCKET,
    RESOLUTIONS,
    RecordedSeries,
    Rollup,
    Span,
    begin_of,
    bucket_of,
    first_of,
    merged,
    percentiles_of,
    seconds_of,
    series_of,
    times_of,
)
from taskflow.model.task import TaskStatus

NOW = dt.datetime(2026, 11, 24, 6, 57, 50, 332789, tzinfo=dt.UTC)
RANDOM = random.Random(4711)


@pytest.mark.parametrize("seconds", [0.0011, 0.002, 0.5, 1, 59.9, 3600, 1e6])
def test_a_bucket_is_within_ten_percent_of_its_times(seconds):
    for _ in range(200):
        near = seconds * RANDOM.uniform(0.91, 1.5)
        assert abs(seconds_of(bucket_of(near)) / near - 1) <= 0.1 or near < 0.00101


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0, 0), (-5, 0), (math.nan, 0), (0.001, 0), (0.00101, 1), (1e30, LAST_BUCKET)],
)
def test_bounds_of_buckets(seconds, bucket):
    assert bucket_of(seconds) == bucket


def test_percentiles_of_many_times():
    """They differ by at most 10 % from the exact ones."""
    times = sorted(RANDOM.lognormvariate(-2, 1.5) + 0.002 for _ in range(5000))
    found = percentiles_of(Counter(bucket_of(one) for one in times))
    for share, percentile in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        assert percentile == pytest.approx(times[math.ceil(share * len(times)) - 1], rel=0.101)


def test_no_percentiles_without_times():
    assert percentiles_of(Counter()) is None


@pytest.mark.parametrize("span", Span)
def test_a_series_has_every_point(span):
    resolution = RESOLUTIONS[span]
    found = series_of(RecordedSeries(NOW, {}), span)
    assert len(found.points) == resolution.points
    assert found.points[0].at == first_of(span, NOW)
    assert (
        found.points[-1].at
        <= NOW
        < found.points[-1].at + dt.timedelta(seconds=found.bucket_seconds)
    )
    assert found.bucket_seconds % resolution.period_seconds == 0
    assert {point.backlog for point in found.points} == {None}
    assert found.wait is None


def rollup(run_seconds: float, backlog: int | None = None) -> Rollup:
    one = Rollup(backlog=backlog)
    one.note(TaskStatus.COMPLETED, 0.01, run_seconds)
    return one


def test_percentiles_of_a_span_are_of_all_its_points():
    at = begin_of(NOW, 60)
    points = {at: rollup(1), at - dt.timedelta(minutes=5): rollup(100)}
    found = series_of(RecordedSeries(NOW, points), Span.HOUR)
    assert found.points[-1].run.p99 == pytest.approx(1, rel=BUCKET_GROWTH - 1)
    assert found.run.p50 == pytest.approx(1, rel=0.1)
    assert found.run.p99 == pytest.approx(100, rel=0.1)
    assert sum(point.finished[TaskStatus.COMPLETED] for point in found.points) == 2


def test_backlogs_of_one_queue_and_of_several():
    """Of several samples the maximum counts; the samples of several stores are added."""
    one = rollup(1, backlog=3)
    one.add(rollup(1, backlog=7))
    one.add(rollup(1))
    assert (one.backlog, one.finished[TaskStatus.COMPLETED]) == (7, 3)
    at = begin_of(NOW, 60)
    parts = [RecordedSeries(NOW, {at: rollup(1, backlog=backlog)}) for backlog in (2, 3)]
    assert merged(parts).rollups[at].backlog == 5


@pytest.mark.parametrize(
    ("status", "started_at", "times"),
    [
        (TaskStatus.COMPLETED, NOW + dt.timedelta(seconds=2), (2, 0.5)),
        (TaskStatus.FAILED, NOW, (0, 0.5)),
        (TaskStatus.FAILED, NOW - dt.timedelta(seconds=1), (None, None)),
        (TaskStatus.FAILED, None, (None, None)),
        (TaskStatus.CANCELED, NOW + dt.timedelta(seconds=2), (None, None)),
    ],
)
def test_times_of_a_finished_task(status, started_at, times):
    """Only attempts that ended in a response or an error have times."""
    found = times_of(status, run_at=NOW, started_at=started_at, elapsed_seconds=0.5)
    assert found == times
