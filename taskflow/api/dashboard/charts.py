"""The coordinates of charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from taskflow.model.monitoring import Minute
from taskflow.model.task import TaskStatus

WIDTH: Final = 600
HEIGHT: Final = 120
_GAP: Final = 2.0
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


def _column(index: int, columns: int, y: float, height: float) -> tuple[float, float, float, float]:
    width = WIDTH / columns
    return round(index * width, 1), round(y, 1), round(width - _GAP, 1), round(height, 1)


def _round_up(number: int) -> int:
    """Round up to a number with one significant digit."""
    if number <= 1:
        return 1
    unit: int = 10 ** (len(str(number)) - 1)
    return math.ceil(number / unit) * unit
