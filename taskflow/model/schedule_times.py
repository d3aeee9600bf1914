"""Computes when schedules are due, and which missed times are made up for. Pure functions."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from taskflow.model.cron import CronError, occurrences
from taskflow.model.schedule import Missed, Overlap, ScheduleDefinition, StoredSchedule, Timing
from taskflow.model.zones import is_zone, zone

GRACE_SECONDS: Final = 60
"""A time that is fired at most this late counts as on time: a node that takes over from a dead one
needs no catch-up rule."""

MAX_TIMES_PER_STEP: Final = 100
"""Maximum number of times of one schedule that are fired in one step; older ones are skipped."""

_WINDOW_GROWTH: Final = 4
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class TimingError(ValueError):
    """A timing that is invalid or never due.

    Args:
        field: The field that is invalid: ``cron`` or ``timezone``.
        message: What is wrong with it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Due(msgspec.Struct, frozen=True):
    """What to do with a schedule now.

    Attributes:
        times: The times for which a task must be created, in order.
        next_run_at: The first time that is left for a later step.
        missed: The times for which none is created, because no node was in time; the last
            ``MAX_TIMES_PER_STEP`` at most.
    """

    times: tuple[dt.datetime, ...]
    next_run_at: dt.datetime | None
    missed: tuple[dt.datetime, ...] = ()


def check_timing(timing: Timing, now: dt.datetime) -> None:
    """Validate a timing.

    Raises:
        TimingError: It is invalid or never due.
    """
    if not is_zone(timing.timezone):
        raise TimingError(
            "timezone",
            "timezone must be a name from the IANA time zone database, such as Europe/Berlin or "
            "UTC",
        )
    if timing.cron is None:
        return
    try:
        is_ever_due = next_time(timing, anchor_at=now, after=now) is not None
    except CronError as error:
        raise TimingError("cron", str(error)) from None
    if not is_ever_due:
        raise TimingError("cron", "cron names a day that never comes")


def apply_definition(
    definition: ScheduleDefinition, before: StoredSchedule | None, now: dt.datetime
) -> StoredSchedule:
    """Return the schedule to store for a new or changed definition.

    If the timing stays the same, times that were not processed yet stay due, and ``every`` keeps
    its anchor. Times that pass while the schedule is paused are not made up for.

    Args:
        definition: The new definition.
        before: The stored schedule, if it exists.
        now: The current time by the store's clock.
    """
    timing = definition.timing
    is_same_timing = before is not None and before.definition.timing == timing
    anchor_at = before.anchor_at if before and is_same_timing else timing.start_at or now
    if definition.paused:
        next_run_at = None
    elif before and is_same_timing and not before.definition.paused:
        next_run_at = before.next_run_at
    else:
        next_run_at = next_time(timing, anchor_at=anchor_at, after=now)
    is_comparable = before is not None and _is_same_fetch(before.definition, definition)
    return StoredSchedule(
        definition=definition,
        anchor_at=anchor_at,
        next_run_at=next_run_at,
        created_at=before.created_at if before else now,
        updated_at=now,
        last_run_at=before.last_run_at if before else None,
        last_task_id=before.last_task_id if before else None,
        compared=before.compared if before and is_comparable else (),
        skipped_count=before.skipped_count if before else 0,
        last_skipped_at=before.last_skipped_at if before else None,
    )


def _is_same_fetch(one: ScheduleDefinition, other: ScheduleDefinition) -> bool:
    return other.conditional and bytes(one.template.payload) == bytes(other.template.payload)


def compute_due(
    schedule: StoredSchedule, now: dt.datetime, *, limit: int = MAX_TIMES_PER_STEP
) -> Due:
    """Return the times of a schedule that must be fired now.

    Args:
        schedule: The schedule.
        now: The current time by the store's clock.
        limit: Maximum number of times to fire; the rest stays due.
    """
    timing, anchor_at = schedule.definition.timing, schedule.anchor_at
    if schedule.next_run_at is None or schedule.next_run_at > now:
        return Due((), schedule.next_run_at)
    following = next_time(timing, anchor_at=anchor_at, after=schedule.next_run_at)
    if following is None or following > now:
        passed, next_run_at = [schedule.next_run_at], following
    else:
        passed = last_times(
            timing,
            anchor_at=anchor_at,
            since=schedule.next_run_at,
            until=now,
            limit=MAX_TIMES_PER_STEP,
        )
        next_run_at = next_time(timing, anchor_at=anchor_at, after=now)
    times = _times_to_fire(passed, schedule.definition.missed, now)
    missed = tuple(at for at in passed if at not in times)
    if len(times) > limit:
        return Due(tuple(times[:limit]), times[limit], missed)
    return Due(tuple(times), next_run_at, missed)


def _times_to_fire(times: list[dt.datetime], missed: Missed, now: dt.datetime) -> list[dt.datetime]:
    if missed is Missed.ALL:
        return times
    on_time = [at for at in times if (now - at).total_seconds() <= GRACE_SECONDS]
    if missed is Missed.ONCE and not on_time:
        return times[-1:]
    return on_time


def times_to_run(
    times: Sequence[dt.datetime], overlap: Overlap, *, has_open_task: bool
) -> Sequence[dt.datetime]:
    """Return which of the times that must be fired create a task; the others are skipped.

    Args:
        times: The times, in order.
        overlap: What happens while an earlier task is open.
        has_open_task: True if an earlier task of the schedule is PENDING or RUNNING.
    """
    if overlap is Overlap.SKIP:
        return () if has_open_task else times[:1]
    if overlap is Overlap.CANCEL_PREVIOUS:  # each would cancel the one before
        return times[-1:]
    return times


def next_time(timing: Timing, *, anchor_at: dt.datetime, after: dt.datetime) -> dt.datetime | None:
    """Return the first time after ``after``, in UTC; ``None`` if there is none within 50 years."""
    if timing.every_seconds is not None:
        number = max(0, _intervals_between(timing.every_seconds, anchor_at, after) + 1)
        return _time_of_interval(timing.every_seconds, anchor_at, number)
    return _next_cron_time(timing, after)


def upcoming_times(schedule: StoredSchedule, now: dt.datetime) -> Iterator[dt.datetime]:
    """Yield the next times of a schedule; if it is paused, those after a resume now."""
    timing, anchor_at, at = schedule.definition.timing, schedule.anchor_at, schedule.next_run_at
    with contextlib.suppress(OverflowError):  # times after the year 9999
        if schedule.definition.paused:
            at = next_time(timing, anchor_at=anchor_at, after=now)
        while at is not None:
            yield at
            at = next_time(timing, anchor_at=anchor_at, after=max(at, now))


def last_times(
    timing: Timing,
    *,
    anchor_at: dt.datetime,
    since: dt.datetime,
    until: dt.datetime,
    limit: int,
) -> list[dt.datetime]:
    """Return the last ``limit`` times from ``since`` to ``until`` (both inclusive), in order."""
    if timing.every_seconds is not None:
        last = _intervals_between(timing.every_seconds, anchor_at, until)
        numbers = range(max(0, last - limit + 1), last + 1)
        times = (_time_of_interval(timing.every_seconds, anchor_at, number) for number in numbers)
        return [at for at in times if since <= at]
    return _last_cron_times(timing, since - _MICROSECOND, until, limit)


def _last_cron_times(
    timing: Timing, after: dt.datetime, until: dt.datetime, limit: int
) -> list[dt.datetime]:
    """Return the last times after ``after`` and up to ``until``.

    Searches forward in growing windows: backward, cronsim skips more times where the clock
    changes by half an hour.
    """
    assert timing.cron is not None
    window = dt.timedelta(minutes=limit)
    while True:
        start = max(after, until - window)
        times = occurrences(timing.cron, zone(timing.timezone), start)
        found = deque(itertools.takewhile(lambda at: at <= until, times), limit)
        if len(found) == limit or start == after:
            return list(found)
        window *= _WINDOW_GROWTH


# Many schedules that are due at the same time share an expression.
@functools.lru_cache(maxsize=4096)
def _next_cron_time(timing: Timing, after: dt.datetime) -> dt.datetime | None:
    assert timing.cron is not None
    return next(occurrences(timing.cron, zone(timing.timezone), after), None)


def _intervals_between(every: float, anchor_at: dt.datetime, moment: dt.datetime) -> int:
    """Return the number of whole intervals from the anchor to a moment; negative before it."""
    return (moment - anchor_at) // _MICROSECOND // round(every * 1e6)


def _time_of_interval(every: float, anchor_at: dt.datetime, number: int) -> dt.datetime:
    return anchor_at + dt.timedelta(microseconds=round(every * 1e6) * number)
