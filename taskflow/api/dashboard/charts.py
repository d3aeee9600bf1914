"""Numbers as shapes: the coordinates of small charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from taskflow.model.monitoring import Minute
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus

WIDTH: Final = 600
HEIGHT: Final = 120
_GAP: Final = 2.0
LINE: Final = 1000
_THINNEST: Final = 4.0
_ORDER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED)


class Part(NamedTuple):
    """A part of a bar: what it stands for, and where it is."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Chart(NamedTuple):
    """A chart of a row of minutes.

    Attributes:
        parts: Its shapes.
        top: What its upper edge stands for.
        summary: What it shows, in words.
    """

    parts: list[Part]
    top: float
    summary: str


class Span(NamedTuple):
    """An attempt on a line of time: what became of it, and where it is."""

    kind: str
    x: float
    width: float


def throughput(minutes: Sequence[Minute]) -> Chart:
    """How many tasks ended in each minute, by how they ended."""
    totals = {status: sum(minute.ended[status] for minute in minutes) for status in _ORDER}
    top = _round_up(max((sum(minute.ended.values()) for minute in minutes), default=0))
    parts = []
    for place, minute in enumerate(minutes):
        y = float(HEIGHT)
        for status in _ORDER:
            height = minute.ended[status] / top * HEIGHT
            y -= height
            if height:
                parts.append(Part(status.lower(), *_column(place, len(minutes), y, height)))
    told = ", ".join(f"{number:,} {status.lower()}" for status, number in totals.items())
    return Chart(parts, top, f"Tasks that ended in the last hour, by the minute: {told}")


def failures(minutes: Sequence[Minute]) -> Chart:
    """Which share of the tasks that ended in each minute failed."""
    shares = [failure_rate([minute]) for minute in minutes]
    parts = [
        Part("failed", *_column(place, len(minutes), HEIGHT * (1 - share), HEIGHT * share))
        for place, share in enumerate(shares)
        if share
    ]
    rate = failure_rate(minutes)
    told = "nothing ended" if rate is None else f"{rate:.1%} of all"
    return Chart(parts, 1.0, f"Tasks that failed in the last hour, by the minute: {told}")


def failure_rate(minutes: Sequence[Minute]) -> float | None:
    """Which share failed of those that were run to an end; ``None`` if none were."""
    failed = sum(minute.ended[TaskStatus.FAILED] for minute in minutes)
    completed = sum(minute.ended[TaskStatus.COMPLETED] for minute in minutes)
    return failed / (failed + completed) if failed + completed else None


def timeline(task: Task, attempts: Sequence[AttemptRecord], now: float) -> list[Span]:
    """Where the attempts at a task lie between the time it was handed in and its end.

    Args:
        task: Whose they are.
        attempts: In order.
        now: In seconds since 1970.
    """
    start = task.created_at.timestamp()
    ends = [one.finished_at.timestamp() if one.finished_at else now for one in attempts]
    whole = max(max(ends, default=now) - start, 0.001)
    spans = []
    for attempt, end in zip(attempts, ends, strict=True):
        x = max(0.0, (attempt.started_at.timestamp() - start) / whole * LINE)
        width = max((end - attempt.started_at.timestamp()) / whole * LINE, _THINNEST)
        spans.append(Span(_kind_of(attempt), round(min(x, LINE - width), 1), round(width, 1)))
    return spans


def _kind_of(attempt: AttemptRecord) -> str:
    lost = (AttemptStatus.LOST, AttemptStatus.INTERRUPTED)
    return "canceled" if attempt.status in lost else attempt.status.lower()


def _column(place: int, columns: int, y: float, height: float) -> tuple[float, float, float, float]:
    width = WIDTH / columns
    return round(place * width, 1), round(y, 1), round(width - _GAP, 1), round(height, 1)


def _round_up(number: int) -> int:
    """The next number that has one digit and noughts."""
    if number <= 1:
        return 1
    unit: int = 10 ** (len(str(number)) - 1)
    return math.ceil(number / unit) * unit
