"""The coordinates of the timeline of a task; ``plots`` has the charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from taskflow.model.task import AttemptRecord, AttemptStatus, Task

TIMELINE_WIDTH: Final = 1000
_MIN_SPAN_WIDTH: Final = 4.0


class Span(NamedTuple):
    """An attempt on a timeline: its status, and its position."""

    kind: str
    x: float
    width: float


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
