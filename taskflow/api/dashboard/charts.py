"""The coordinates of charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from taskflow.model.monitoring import Minute
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus

WIDTH: Final = 600
HEIGHT: Final = 120
_GAP: Final = 2.0
TIMELINE_WIDTH: Final = 1000
_MIN_SPAN_WIDTH: Final = 4.0
_ORDER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED)


class Bar(NamedTuple):
    """A bar, or a segment of a stacked bar: the status it stands for, and its rectangle."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Chart(NamedTuple):
    """A bar chart with a bar for each minute.

    Attributes:
        bars: The bars.
        top: The value at the upper edge.
        summary: The content in words, for screen readers.
    """

    bars: list[Bar]
    top: float
    summary: str


class Span(NamedTuple):
    """An attempt on a timeline: its status, and its position."""

    kind: str
    x: float
    width: float


def throughput(minutes: Sequence[Minute]) -> Chart:
    """Return the chart of the tasks that finished in each minute, by outcome."""
    totals = {status: sum(minute.finished[status] for minute in minutes) for status in _ORDER}
    top = _round_up(max((sum(minute.finished.values()) for minute in minutes), default=0))
    bars = []
    for index, minute in enumerate(minutes):
        y = float(HEIGHT)
        for status in _ORDER:
            height = minute.finished[status] / top * HEIGHT
            y -= height
            if height:
                bars.append(Bar(status.lower(), *_column(index, len(minutes), y, height)))
    words = ", ".join(f"{number:,} {status.lower()}" for status, number in totals.items())
    return Chart(bars, top, f"Tasks finished per minute in the last hour: {words}")


def failures(minutes: Sequence[Minute]) -> Chart:
    """Return the chart of the failure rate in each minute."""
    shares = [failure_rate([minute]) for minute in minutes]
    bars = [
        Bar("failed", *_column(index, len(minutes), HEIGHT * (1 - share), HEIGHT * share))
        for index, share in enumerate(shares)
        if share
    ]
    rate = failure_rate(minutes)
    words = "no task finished" if rate is None else f"{rate:.1%} in total"
    return Chart(bars, 1.0, f"Failure rate per minute in the last hour: {words}")


def failure_rate(minutes: Sequence[Minute]) -> float | None:
    """Return the share of FAILED among FAILED and COMPLETED tasks; ``None`` if there are none."""
    failed = sum(minute.finished[TaskStatus.FAILED] for minute in minutes)
    completed = sum(minute.finished[TaskStatus.COMPLETED] for minute in minutes)
    return failed / (failed + completed) if failed + completed else None


def timeline(task: Task, attempts: Sequence[AttemptRecord], now: float) -> list[Span]:
    """Return the positions of the attempts on the timeline of a task, from its submission on.

    Args:
        task: The task.
        attempts: Its attempts, in order.
        now: The current time, in seconds since 1970; running attempts extend to it.
    """
    start = task.created_at.timestamp()
    ends = [one.finished_at.timestamp() if one.finished_at else now for one in attempts]
    whole = max(max(ends, default=now) - start, 0.001)
    spans = []
    for attempt, end in zip(attempts, ends, strict=True):
        x = max(0.0, (attempt.started_at.timestamp() - start) / whole * TIMELINE_WIDTH)
        width = max(
            (end - attempt.started_at.timestamp()) / whole * TIMELINE_WIDTH, _MIN_SPAN_WIDTH
        )
        spans.append(
            Span(_kind_of(attempt), round(min(x, TIMELINE_WIDTH - width), 1), round(width, 1))
        )
    return spans


def _kind_of(attempt: AttemptRecord) -> str:
    unfinished = (AttemptStatus.LOST, AttemptStatus.INTERRUPTED)
    return "canceled" if attempt.status in unfinished else attempt.status.lower()


def _column(index: int, columns: int, y: float, height: float) -> tuple[float, float, float, float]:
    width = WIDTH / columns
    return round(index * width, 1), round(y, 1), round(width - _GAP, 1), round(height, 1)


def _round_up(number: int) -> int:
    """Round up to a number with one significant digit."""
    if number <= 1:
        return 1
    unit: int = 10 ** (len(str(number)) - 1)
    return math.ceil(number / unit) * unit
