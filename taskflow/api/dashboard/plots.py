"""Charts of buckets of time: from values to coordinates. Pure functions.

Coordinates are in a box of ``WIDTH`` by ``HEIGHT``, which the browser stretches. Each bucket is a
link with a text that reads its values, for the pointer, the keyboard and screen readers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from taskflow.api.dashboard.axes import (
    Tick,
    TimeAxis,
    ValueAxis,
    count_axis,
    duration_axis,
    share_axis,
)
from taskflow.model.display import duration
from taskflow.model.task import TaskStatus

WIDTH: Final = 1000
HEIGHT: Final = 200
MIN_RATE_TASKS: Final = 10
"""Number of finished tasks below which a failure rate is only marked: one task is no trend."""

_GAP_SHARE: Final = 0.15
_MAX_GAP: Final = 3.0
_MARK_HEIGHT: Final = 5.0
_STACK: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED)
_DAY_SECONDS: Final = 86_400
_EPSILON: Final = 1e-9

Link = Callable[[dt.datetime, dt.datetime], str | None]
"""Returns the URL of the tasks that finished between two times; ``None`` for no link."""


class Bar(NamedTuple):
    """A bar, or a segment of a stacked bar: what it stands for, and its rectangle."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Line(NamedTuple):
    """A line: what it stands for, its path, and the path of buckets without neighbors, as dots.

    Buckets without a value are gaps.
    """

    kind: str
    path: str
    dots: str


class Value(NamedTuple):
    """A value of a bucket in words: what it stands for, and its text."""

    kind: str
    text: str


class Column(NamedTuple):
    """A bucket: its rectangle, its time and values in words, and the URL of its tasks."""

    x: float
    width: float
    time: str
    values: tuple[Value, ...]
    href: str | None

    @property
    def words(self) -> str:
        """The time and all values, on one line."""
        values = ", ".join(f"{one.text} {one.kind}" for one in self.values)
        return f"{self.time}: {values or 'no tasks'}"


class Plot(NamedTuple):
    """A chart.

    Attributes:
        kinds: What its bars or lines stand for, in the order of the legend.
        value_ticks: The horizontal gridlines, from the lowest.
        time_ticks: The vertical gridlines.
        bars: The bars.
        lines: The lines.
        columns: The buckets.
        summary: The content in words, for screen readers.
    """

    kinds: tuple[str, ...]
    value_ticks: tuple[Tick, ...]
    time_ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    summary: str

    @property
    def is_empty(self) -> bool:
        """True if no bucket has a value other than zero."""
        return not self.bars and not self.lines


def throughput(times: TimeAxis, finished: Sequence[Mapping[TaskStatus, int]], link: Link) -> Plot:
    """Return the chart of the number of tasks that finished in each bucket, stacked by status."""
    axis = count_axis(max((sum(one.values()) for one in finished), default=0))
    bars: list[Bar] = []
    for index, counts in enumerate(finished):
        bars += _stacked(times, axis, index, counts)
    totals = [(status, sum(one.get(status, 0) for one in finished)) for status in _STACK]
    words = ", ".join(f"{number:,} {status.lower()}" for status, number in totals)
    return Plot(
        kinds=tuple(status.lower() for status in _STACK),
        value_ticks=axis.ticks,
        time_ticks=times.ticks,
        bars=tuple(bars),
        lines=(),
        columns=_columns(times, [_counted(one) for one in finished], link),
        summary=f"Finished tasks {_span(times)}: {words}",
    )


def failure_rates(
    times: TimeAxis, finished: Sequence[Mapping[TaskStatus, int]], link: Link
) -> Plot:
    """Return the chart of the share of FAILED tasks among FAILED and COMPLETED ones.

    A bucket of fewer than ``MIN_RATE_TASKS`` tasks, of which some failed, has a mark only.
    """
    rates = [_rate_of(one) for one in finished]
    known = [rate.share for rate in rates if rate.tasks >= MIN_RATE_TASKS]
    axis = share_axis(max(known, default=0.0))
    bars = [bar for index, rate in enumerate(rates) if (bar := _rate_bar(times, axis, index, rate))]
    total = _rate_of({status: sum(one.get(status, 0) for one in finished) for status in TaskStatus})
    return Plot(
        kinds=("failed",),
        value_ticks=axis.ticks,
        time_ticks=times.ticks,
        bars=tuple(bars),
        lines=(),
        columns=_columns(times, [rate.values for rate in rates], link),
        summary=f"Failure rate {_span(times)}: {total.words}",
    )


def durations(
    times: TimeAxis, values: Sequence[Mapping[str, float] | None], link: Link, *, name: str
) -> Plot:
    """Return the chart of percentiles of a duration: a line for each.

    Args:
        times: The buckets.
        values: The percentiles of each bucket, by name, in seconds; ``None`` without tasks.
        link: Returns the URL of a bucket.
        name: What the duration is, such as "Run time".
    """
    kinds = tuple(next((one for one in values if one), {}))
    axis = duration_axis(max((max(one.values()) for one in values if one), default=0.0))
    columns = [
        tuple(Value(kind, duration(one[kind])) for kind in kinds) if one else () for one in values
    ]
    last = next((one for one in reversed(values) if one), None)
    words = ", ".join(f"{kind} {duration(last[kind])}" for kind in kinds) if last else "no tasks"
    return _line_plot(
        times,
        axis,
        {kind: [one[kind] if one else None for one in values] for kind in kinds},
        _columns(times, columns, link),
        f"{name} {_span(times)}, latest: {words}",
    )


def backlog(times: TimeAxis, values: Sequence[int | None], link: Link) -> Plot:
    """Return the chart of the number of due tasks."""
    known = [one for one in values if one is not None]
    columns = [() if one is None else (Value("due", f"{one:,}"),) for one in values]
    words = f"{known[-1]:,} now, {max(known):,} at most" if known else "unknown"
    return _line_plot(
        times,
        count_axis(max(known, default=0)),
        {"due": values},
        _columns(times, columns, link),
        f"Pending tasks {_span(times)}: {words}",
    )


def failure_rate(finished: Mapping[TaskStatus, int]) -> float | None:
    """Return the share of FAILED among FAILED and COMPLETED tasks; ``None`` without any."""
    rate = _rate_of(finished)
    return rate.share if rate.tasks else None


class _Rate(NamedTuple):
    """The failure rate of some tasks: how many failed, of how many."""

    failed: int
    tasks: int

    @property
    def share(self) -> float:
        return self.failed / self.tasks if self.tasks else 0.0

    @property
    def words(self) -> str:
        if not self.tasks:
            return "no task finished"
        return f"{self.share:.1%} ({self.failed:,} of {self.tasks:,})"

    @property
    def values(self) -> tuple[Value, ...]:
        return (Value("failed", self.words),) if self.tasks else ()


def _rate_of(finished: Mapping[TaskStatus, int]) -> _Rate:
    failed = finished.get(TaskStatus.FAILED, 0)
    return _Rate(failed, failed + finished.get(TaskStatus.COMPLETED, 0))


def _rate_bar(times: TimeAxis, axis: ValueAxis, index: int, rate: _Rate) -> Bar | None:
    if not rate.failed:
        return None
    if rate.tasks < MIN_RATE_TASKS:
        return _bar("few", times, index, HEIGHT - _MARK_HEIGHT, _MARK_HEIGHT)
    height = axis.share(rate.share) * HEIGHT
    return _bar("failed", times, index, HEIGHT - height, height)


def _stacked(
    times: TimeAxis, axis: ValueAxis, index: int, counts: Mapping[TaskStatus, int]
) -> list[Bar]:
    bars, y = [], float(HEIGHT)
    for status in _STACK:
        height = counts.get(status, 0) / axis.top * HEIGHT
        y -= height
        if height:
            bars.append(_bar(status.lower(), times, index, y, height))
    return bars


def _counted(counts: Mapping[TaskStatus, int]) -> tuple[Value, ...]:
    return tuple(
        Value(status.lower(), f"{counts[status]:,}") for status in _STACK if counts.get(status)
    )


def _line_plot(
    times: TimeAxis,
    axis: ValueAxis,
    values: Mapping[str, Sequence[float | None]],
    columns: tuple[Column, ...],
    summary: str,
) -> Plot:
    lines = [_line_of(kind, times, axis, some) for kind, some in values.items()]
    return Plot(
        kinds=tuple(values),
        value_ticks=axis.ticks,
        time_ticks=times.ticks,
        bars=(),
        lines=tuple(line for line in lines if line.path or line.dots),
        columns=columns,
        summary=summary,
    )


def _line_of(kind: str, times: TimeAxis, axis: ValueAxis, values: Sequence[float | None]) -> Line:
    """Return the line through the middle of each bucket that has a value."""
    width = WIDTH / times.size
    stretches: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            stretches.append([])
        else:
            y = HEIGHT * (1 - axis.share(value))
            stretches[-1].append(f"{(index + 0.5) * width:.1f} {y:.1f}")
    return Line(
        kind,
        path="".join("M" + "L".join(places) for places in stretches if len(places) > 1),
        # Lines of no length, of which the round ends are seen.
        dots="".join(f"M{places[0]}h0" for places in stretches if len(places) == 1),
    )


def _columns(
    times: TimeAxis, values: Sequence[tuple[Value, ...]], link: Link
) -> tuple[Column, ...]:
    width = WIDTH / max(1, times.size)
    return tuple(
        Column(
            x=round(index * width, 2),
            width=round(width, 2),
            time=_time_of(times, index),
            values=some,
            href=link(times.start_of(index), times.start_of(index + 1)) if some else None,
        )
        for index, some in enumerate(values)
    )


def _bar(kind: str, times: TimeAxis, index: int, y: float, height: float) -> Bar:
    width = WIDTH / times.size
    gap = min(_MAX_GAP, width * _GAP_SHARE)
    x = index * width + gap / 2
    return Bar(kind, round(x, 2), round(y, 2), round(width - gap, 2), round(height, 2))


def _time_of(times: TimeAxis, index: int) -> str:
    start, end = times.start_of(index), times.start_of(index + 1)
    day = f"{start:%a} {start.day} {start:%b} "
    if times.size * times.bucket_seconds < _DAY_SECONDS - _EPSILON:
        day = ""
    return f"{day}{start:%H:%M} to {end:%H:%M}"


def _span(times: TimeAxis) -> str:
    return f"in the last {duration(times.size * times.bucket_seconds, units=1)}"
