"""Axes and coordinates of charts."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
import trio

from taskflow.api.dashboard import axes, plots
from taskflow.api.dashboard.axes import TimeAxis
from taskflow.api.dashboard.series import (
    READ_SECONDS,
    PageCharts,
    charts_for,
    name_of_host,
    span_of,
    tasks_link,
)
from taskflow.model.rollups import (
    RESOLUTIONS,
    Percentiles,
    RecordedSeries,
    Rollup,
    Span,
    first_of,
    series_of,
)
from taskflow.model.task import TaskStatus
from taskflow.store.memory.store import MemoryStore

COMPLETED, FAILED, CANCELED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED
START = dt.datetime(2026, 11, 27, 11, 20, tzinfo=dt.UTC)


def no_link(*_: dt.datetime) -> str | None:
    return None


def minutes(count: int) -> TimeAxis:
    return TimeAxis(START, 60, count)


def labels(axis) -> list[str]:
    return [tick.label for tick in axis.ticks]


class TestValueAxes:
    @pytest.mark.parametrize(
        ("highest", "shown"),
        [
            (0, ["0", "1"]),
            (1, ["0", "1"]),
            (4, ["0", "1", "2", "3", "4"]),
            (46, ["0", "10", "20", "30", "40", "50"]),
            (300, ["0", "100", "200", "300"]),
            (12_345, ["0", "5,000", "10,000", "15,000"]),
        ],
    )
    def test_counts(self, highest, shown):
        """Whole, round numbers."""
        assert labels(axes.count_axis(highest)) == shown

    @pytest.mark.parametrize(
        ("highest", "shown"),
        [
            (0.0, ["0%", "1%", "2%", "3%", "4%", "5%"]),
            (0.002, ["0%", "1%", "2%", "3%", "4%", "5%"]),
            (0.13, ["0%", "5%", "10%", "15%"]),
            (1.0, ["0%", "20%", "40%", "60%", "80%", "100%"]),
        ],
    )
    def test_shares(self, highest, shown):
        """A small share does not fill the chart."""
        assert labels(axes.share_axis(highest)) == shown

    @pytest.mark.parametrize(
        ("highest", "shown"),
        [
            (0.0, ["0", "200 ms", "400 ms", "600 ms", "800 ms", "1 s"]),
            (0.035, ["0", "10 ms", "20 ms", "30 ms", "40 ms"]),
            (2.5, ["0", "500 ms", "1 s", "1.5 s", "2 s", "2.5 s"]),
            (50, ["0", "10 s", "20 s", "30 s", "40 s", "50 s"]),
            (100, ["0", "30 s", "1 min", "1 min 30 s", "2 min"]),
            (5 * 3600, ["0", "1 h", "2 h", "3 h", "4 h", "5 h"]),
            (30 * 86_400, ["0", "10 d", "20 d", "30 d"]),
        ],
    )
    def test_durations(self, highest, shown):
        """Round in their units."""
        assert labels(axes.duration_axis(highest)) == shown

    @pytest.mark.parametrize("make", [axes.count_axis, axes.share_axis, axes.duration_axis])
    @pytest.mark.parametrize("exponent", range(-6, 9))
    @pytest.mark.parametrize("mantissa", [1, 1.5, 2, 3.7, 5, 9.99])
    def test_any_value_is_on_the_axis(self, make, exponent, mantissa):
        """There are two to seven gridlines, the first at zero and the last at the end."""
        highest = mantissa * 10**exponent
        axis = make(min(highest, 1.0) if make is axes.share_axis else highest)
        places = [tick.place for tick in axis.ticks]
        assert places[0] == 0
        assert places[-1] == 1
        assert 2 <= len(places) <= 7
        assert all(a < b for a, b in itertools.pairwise(places))
        assert axis.top >= min(highest, axis.top)
        assert axis.share(highest) <= 1


class TestTimeAxis:
    @pytest.mark.parametrize("span", Span)
    def test_labels_are_round_times(self, span):
        """At most nine, in order, and within the axis."""
        resolution = RESOLUTIONS[span]
        axis = TimeAxis(first_of(span, START), resolution.bucket_seconds, resolution.points)
        places = [tick.place for tick in axis.ticks]
        assert 4 <= len(places) <= 9
        assert all(0 <= a < b <= 1 for a, b in itertools.pairwise(places))

    def test_an_hour(self):
        assert labels(minutes(60)) == [
            *("11:20", "11:30", "11:40", "11:50", "12:00", "12:10", "12:20"),
        ]

    def test_days(self):
        """Midnight has the day."""
        day = TimeAxis(dt.datetime(2026, 11, 26, 12, 15, tzinfo=dt.UTC), 900, 96)
        assert labels(day) == [
            *("15:00", "18:00", "21:00", "27 Nov", "03:00", "06:00", "09:00", "12:00"),
        ]
        week = TimeAxis(dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC), 3600, 168)
        assert labels(week)[0] == "21 Nov"
        assert len(labels(week)) == 7


class TestThroughput:
    def test_bars_are_stacked(self):
        """In the order of the legend, from the base line up."""
        chart = plots.throughput(minutes(2), [{COMPLETED: 30, FAILED: 10}, {}], no_link)
        below, above = chart.bars
        assert (below.kind, below.y, below.height) == ("completed", 50.0, 150.0)
        assert (above.kind, above.y, above.height) == ("failed", 0.0, 50.0)
        assert below.x == above.x >= 0
        assert below.x + below.width <= plots.WIDTH / 2
        assert chart.summary == (
            "Finished tasks in the last 2 min: 30 completed, 10 failed, 0 canceled"
        )

    def test_each_bucket_is_read_in_words(self):
        """With its time and its tasks; without tasks it has no link."""
        chart = plots.throughput(
            minutes(2), [{COMPLETED: 1200, CANCELED: 1}, {}], lambda start, end: f"/{start:%M}"
        )
        first, second = chart.columns
        assert first.words == "11:20 to 11:21: 1,200 completed, 1 canceled"
        assert first.href == "/20"
        assert (second.words, second.href) == ("11:21 to 11:22: no tasks", None)
        assert (first.x, second.x, second.width) == (0, 500, 500)

    def test_nothing(self):
        chart = plots.throughput(minutes(60), [{}] * 60, no_link)
        assert chart.is_empty
        assert len(chart.columns) == 60


class TestFailureRates:
    def test_a_rate_is_of_completed_and_failed_tasks(self):
        chart = plots.failure_rates(
            minutes(2), [{COMPLETED: 30, FAILED: 10, CANCELED: 99}, {CANCELED: 5}], no_link
        )
        [bar] = chart.bars
        assert (bar.kind, bar.height) == ("failed", pytest.approx(plots.HEIGHT * 0.25 / 0.25))
        assert chart.columns[0].words.endswith("25.0% (10 of 40) failed")
        assert chart.columns[1].values == ()
        assert chart.summary == "Failure rate in the last 2 min: 25.0% (10 of 40)"

    def test_one_failed_task_is_no_wall(self):
        """A bucket of few tasks has a mark, does not scale the axis, and says how many it has."""
        chart = plots.failure_rates(
            minutes(3), [{FAILED: 1}, {COMPLETED: 95, FAILED: 5}, {COMPLETED: 2}], no_link
        )
        mark, bar = chart.bars
        assert (mark.kind, mark.height < plots.HEIGHT / 20) == ("few", True)
        assert (bar.kind, bar.height) == ("failed", plots.HEIGHT)  # 5 % is the end of the axis
        assert chart.columns[0].words.endswith("100.0% (1 of 1) failed")

    def test_the_rate_of_a_span(self):
        assert plots.failure_rate({COMPLETED: 3, FAILED: 1, CANCELED: 9}) == 0.25
        assert plots.failure_rate({CANCELED: 9}) is None


class TestLines:
    def test_a_line_through_the_middles(self):
        chart = plots.backlog(minutes(4), [0, 10, 5, 10], no_link)
        [line] = chart.lines
        assert line.path == "M125.0 200.0L375.0 0.0L625.0 100.0L875.0 0.0"
        assert chart.columns[1].words == "11:21 to 11:22: 10 due"
        assert chart.summary == "Pending tasks in the last 4 min: 10 now, 10 at most"

    def test_gaps(self):
        """A bucket without a value interrupts the line; one without neighbors is a dot."""
        chart = plots.backlog(minutes(4), [10, 10, None, 10], no_link)
        [line] = chart.lines
        assert line.path == "M125.0 0.0L375.0 0.0"
        assert line.dots == "M875.0 0.0h0"
        assert chart.columns[2].values == ()

    def test_percentiles(self):
        one = {"p50": 0.1, "p95": 0.2, "p99": 0.4}
        chart = plots.durations(minutes(3), [None, one, one], no_link, name="Run time")
        assert [line.kind for line in chart.lines] == ["p50", "p95", "p99"]
        assert chart.columns[1].words.endswith("100 ms p50, 200 ms p95, 400 ms p99")
        assert chart.summary == (
            "Run time in the last 3 min, latest: p50 100 ms, p95 200 ms, p99 400 ms"
        )

    def test_nothing(self):
        chart = plots.durations(minutes(3), [None] * 3, no_link, name="Run time")
        assert chart.is_empty
        assert plots.backlog(minutes(3), [None] * 3, no_link).is_empty


class TestSeries:
    def test_links_lead_to_the_tasks_of_a_bucket(self):
        """Of the queue or the host, without its port."""
        link = tasks_link(queue="mail")
        assert link(START, START + dt.timedelta(minutes=1)) == (
            "/ui/tasks?queue=mail&finished_after=2026-11-27T11%3A20%3A00Z"
            "&finished_before=2026-11-27T11%3A21%3A00Z"
        )
        assert "host=a.example&" in str(tasks_link(host="a.example:8080")(START, START))

    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("a.example", "a.example"),
            ("a.example:81", "a.example"),
            ("[::1]:81", "[::1]"),
            ("[::1]", "[::1]"),
        ],
    )
    def test_names_of_hosts(self, host, name):
        assert name_of_host(host) == name

    @pytest.mark.parametrize("span", Span)
    def test_charts_of_a_series(self, span):
        """Each point is a bucket, and the whole span is summed up."""
        rollup = Rollup()
        rollup.note(FAILED, 0.5, 0.25)
        rollup.sample(7)
        recorded = RecordedSeries(START, {first_of(span, START): rollup})
        charts = charts_for(series_of(recorded, span), no_link)
        assert charts.finished == {COMPLETED: 0, FAILED: 1, CANCELED: 0}
        assert charts.failure_rate == 1
        assert isinstance(charts.run_times, Percentiles)
        assert charts.unit.startswith("per ")
        assert len(charts.throughput.columns) == RESOLUTIONS[span].points
        assert charts.has_tasks
        assert charts.backlog.columns[0].values[0].text == "7"

    def test_samples_of_no_due_task_are_no_tasks(self):
        """An unknown queue has them, too."""
        rollup = Rollup()
        rollup.sample(0)
        recorded = RecordedSeries(START, {first_of(Span.HOUR, START): rollup})
        assert not charts_for(series_of(recorded, Span.HOUR), no_link).has_tasks

    async def test_a_page_that_updates_itself_reads_seldom(self, autojump_clock):
        """Again after some seconds."""
        store = MemoryStore()
        charts = PageCharts(store, Span.HOUR)
        first = await charts.get()
        assert await charts.get() is first
        await trio.sleep(READ_SECONDS)
        assert await charts.get() is not first

    def test_an_unknown_span_is_an_hour(self):
        assert span_of({"span": "24h"}) is Span.DAY
        assert span_of({"span": "2h"}) is Span.HOUR
        assert span_of({}) is Span.HOUR
