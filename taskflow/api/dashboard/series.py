"""The charts of a page: series of roll-ups as plots, over a span that the query names."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import trio

from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard import plots
from taskflow.api.dashboard.axes import TimeAxis
from taskflow.api.dashboard.plots import Link, Plot
from taskflow.model.rollups import Percentiles, Series, Span, series_of
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore

SPANS: Final[Mapping[Span, str]] = {
    Span.HOUR: "1 hour",
    Span.DAY: "24 hours",
    Span.WEEK: "7 days",
    Span.MONTH: "30 days",
    Span.QUARTER: "90 days",
}
READ_SECONDS: Final = 10.0
_PER_BUCKET: Final[Mapping[int, str]] = {
    60: "per minute",
    900: "per 15 minutes",
    3600: "per hour",
    14_400: "per 4 hours",
    86_400: "per day",
}


class Charts(NamedTuple):
    """The charts of a page.

    Attributes:
        throughput: Finished tasks by status.
        failures: The failure rate.
        run: Percentiles of the run time.
        wait: Percentiles of the wait time.
        backlog: The number of due tasks.
        unit: The duration of a bucket in words.
        finished: Finished tasks in the whole span, by status.
        failure_rate: The failure rate in the whole span; ``None`` without tasks.
        run_times: The percentiles of the run time of the whole span; ``None`` without tasks.
        wait_times: The percentiles of the wait time of the whole span; ``None`` without tasks.
        has_tasks: Whether any task finished or was due.
    """

    throughput: Plot
    failures: Plot
    run: Plot
    wait: Plot
    backlog: Plot
    unit: str
    finished: Mapping[TaskStatus, int]
    failure_rate: float | None
    run_times: Percentiles | None
    wait_times: Percentiles | None
    has_tasks: bool


def span_of(query: Mapping[str, str]) -> Span:
    """Return the span that a query names; an hour for anything else."""
    try:
        return Span(query.get("span", ""))
    except ValueError:
        return Span.HOUR


class PageCharts:
    """The charts of a page: of all tasks, of a queue, or of a host.

    A page that updates itself reads them again at most every ``READ_SECONDS``.

    Args:
        store: The store as the caller may see it.
        span: The span.
        queue: Only tasks of this queue.
        host: Only tasks for this host.
    """

    def __init__(
        self, store: TaskStore, span: Span, *, queue: str | None = None, host: str | None = None
    ) -> None:
        self._store: Final = store
        self.span: Final = span
        self._queue: Final = queue
        self._host: Final = host
        self._read_at = -math.inf
        self._charts: Charts | None = None

    async def get(self) -> Charts:
        """Return the charts, read from the roll-ups unless they are recent."""
        now = trio.current_time()
        if self._charts is None or now - self._read_at >= READ_SECONDS:
            recorded = await self._store.rollups.read(self.span, queue=self._queue, host=self._host)
            link = tasks_link(queue=self._queue, host=self._host)
            self._charts = charts_for(series_of(recorded, self.span), link)
            self._read_at = now
        return self._charts


def charts_for(series: Series, link: Link) -> Charts:
    """Return the charts of a series."""
    points = series.points
    times = TimeAxis(points[0].at, series.bucket_seconds, len(points))
    finished = [point.finished for point in points]
    total = {
        status: sum(one.get(status, 0) for one in finished)
        for status in TaskStatus
        if status.is_final
    }
    return Charts(
        throughput=plots.throughput(times, finished, link),
        failures=plots.failure_rates(times, finished, link),
        run=_times_plot("Run time", times, [point.run for point in points], link),
        wait=_times_plot("Wait time", times, [point.wait for point in points], link),
        backlog=plots.backlog(times, [point.backlog for point in points], lambda *_: None),
        unit=_PER_BUCKET.get(series.bucket_seconds, f"per {series.bucket_seconds} s"),
        finished=total,
        failure_rate=plots.failure_rate(total),
        run_times=series.run,
        wait_times=series.wait,
        has_tasks=any(total.values()) or any(point.backlog for point in points),
    )


def tasks_link(*, queue: str | None = None, host: str | None = None) -> Link:
    """Return a function for the URL of the tasks that finished between two times.

    Tasks are filtered by the name of their host, without its port.
    """
    given: dict[str, Any] = {} if queue is None else {"queue": queue}
    if host is not None:
        given["host"] = name_of_host(host)

    def link(start: dt.datetime, end: dt.datetime) -> str:
        times = {"finished_after": _moment(start), "finished_before": _moment(end)}
        return f"{PATH}/tasks?{urlencode({**given, **times})}"

    return link


def name_of_host(host: str) -> str:
    """Return the name of a host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _times_plot(name: str, times: TimeAxis, values: list[Percentiles | None], link: Link) -> Plot:
    by_name = [
        None if one is None else {"p50": one.p50, "p95": one.p95, "p99": one.p99} for one in values
    ]
    return plots.durations(times, by_name, link, name=name)


def _moment(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
