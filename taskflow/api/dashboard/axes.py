"""The axes of charts: which values and times have a gridline and a label. Pure functions."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Final, NamedTuple

from taskflow.model.display import duration

_MAX_INTERVALS: Final = 5
_MANTISSAS: Final = (1, 2, 5, 10)
_MIN_SHARE: Final = 0.05
_DURATION_STEPS_SECONDS: Final = (
    *(30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200),
    *(86_400, 172_800, 432_000, 864_000),
)
_FIRST_LONG_STEP_SECONDS: Final = 20
_DAY_SECONDS: Final = 86_400
# Distance of the labels of a time axis: the first one of which at most eight fit.
_TIME_STEPS_SECONDS: Final = (600, 1800, 3600, 10_800, 14_400, 21_600, _DAY_SECONDS)
_MAX_TIME_LABELS: Final = 8


class Tick(NamedTuple):
    """A gridline: its place as a share of the length of the axis, and its label."""

    place: float
    label: str


class ValueAxis(NamedTuple):
    """An axis of values that begins at zero.

    Attributes:
        top: The value at its end.
        ticks: The gridlines, the first of which is zero.
    """

    top: float
    ticks: tuple[Tick, ...]

    def share(self, value: float) -> float:
        """Return the place of a value, as a share of the length of the axis; 1 beyond its end."""
        return max(0.0, min(1.0, value / self.top))


class TimeAxis(NamedTuple):
    """An axis of buckets of time.

    Attributes:
        start: The start of the first bucket.
        bucket_seconds: The duration of a bucket.
        size: The number of buckets.
    """

    start: dt.datetime
    bucket_seconds: float
    size: int

    def start_of(self, index: int) -> dt.datetime:
        """Return the start of a bucket; of the one after the last, the end of the axis."""
        return self.start + dt.timedelta(seconds=index * self.bucket_seconds)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """The gridlines: round times in UTC."""
        whole_seconds = max(1.0, self.size * self.bucket_seconds)
        fitting = (one for one in _TIME_STEPS_SECONDS if whole_seconds / one <= _MAX_TIME_LABELS)
        step = next(fitting, _DAY_SECONDS * math.ceil(whole_seconds / _DAY_SECONDS / 8))
        start = self.start.timestamp()
        first = math.ceil(start / step)
        last = math.floor((start + whole_seconds) / step)
        return tuple(
            Tick(
                round((number * step - start) / whole_seconds, 4), _time_label(number * step, step)
            )
            for number in range(first, last + 1)
        )


def count_axis(highest: float) -> ValueAxis:
    """Return an axis for whole numbers."""
    return _axis(highest, max(1.0, _nice_step(highest)), lambda value: f"{value:,.0f}")


def share_axis(highest: float) -> ValueAxis:
    """Return an axis for shares of one. A small highest share does not fill the chart."""
    bounded = min(1.0, max(_MIN_SHARE, highest))
    step = _nice_step(bounded)
    decimals = 0 if step >= 0.01 else 1  # noqa: PLR2004 - a percent
    return _axis(bounded, step, lambda value: f"{value:.{decimals}%}")


def duration_axis(highest_seconds: float) -> ValueAxis:
    """Return an axis for durations in seconds: its steps are round in their units."""
    highest_seconds = highest_seconds or 1.0
    step = _nice_step(highest_seconds)
    if step >= _FIRST_LONG_STEP_SECONDS:
        fits = (one for one in _DURATION_STEPS_SECONDS if highest_seconds / one <= _MAX_INTERVALS)
        step = next(fits, step)
    return _axis(highest_seconds, step, lambda value: duration(value) if value else "0")


def _nice_step(highest: float) -> float:
    """Return the least distance of 1, 2 or 5 times a power of ten with few intervals."""
    least = highest / _MAX_INTERVALS
    if least <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * one for one in _MANTISSAS if unit * one >= least * (1 - 1e-9))


def _axis(highest: float, step: float, label: Callable[[float], str]) -> ValueAxis:
    intervals = max(1, math.ceil(highest / step - 1e-9))
    values = [number * step for number in range(intervals + 1)]
    return ValueAxis(
        values[-1], tuple(Tick(round(value / values[-1], 4), label(value)) for value in values)
    )


def _time_label(seconds: float, step: float) -> str:
    at = dt.datetime.fromtimestamp(seconds, dt.UTC)
    if step >= _DAY_SECONDS or (at.hour, at.minute) == (0, 0):
        return f"{at.day} {at:%b}"
    return f"{at:%H:%M}"
