"""When schedules are due, and what is done about times that were missed: plain functions.

Cron expressions are read by cronsim, which has the times at which clocks are changed as Debian's
cron has them (``man 8 cron``, "Daylight Saving Time and other time changes"):

- An expression whose minute and hour both begin with something else than ``*`` names times of day.
  One that is skipped when clocks go forward comes at the first moment after the gap, and one that
  comes twice when they go back comes at the first of the two.
- Any other goes by the clock as it runs: what is skipped does not come, what comes twice does.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec
from cronsim import CronSim, CronSimError

from taskflow.model.conditional_fetch import Validators
from taskflow.model.cron import CronError, complaint, normalized
from taskflow.model.shown_schedule import Missed, Schedule
from taskflow.model.task import NewTask, TaskStatus
from taskflow.model.zones import is_zone, zone

SHORTEST_EVERY_SECONDS: Final = 1
LONGEST_EVERY_SECONDS: Final = 31_622_400  # a year
# So late a time may be fired and count as fired on time: whoever takes over from a node that died
# has nothing to decide.
GRACE_SECONDS: Final = 60
# Of a schedule so many times are fired at once, the last ones.
MOST_AT_ONCE: Final = 100
# So many of its last tasks are looked at for what a conditional one is to be compared with.
MOST_COMPARED: Final = 20

_CRONSIM_FIELDS: Final = ("minute", "hour", "day-of-month", "month", "day-of-week")
_GROWTH: Final = 4
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class TimingError(ValueError):
    """Times that cannot be.

    Args:
        field: Which field says so: ``cron`` or ``timezone``.
        message: What is wrong with it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Timing(msgspec.Struct, frozen=True):
    """When a schedule is due; either ``cron`` or ``every`` is there.

    Attributes:
        cron: An expression of five fields, as it was written.
        every: A distance in seconds.
        start_at: One of the times of ``every``, and the first one; when it was made if not given.
        timezone: Whose clock ``cron`` goes by: a name of the IANA's.
    """

    cron: str | None = None
    every: float | None = None
    start_at: dt.datetime | None = None
    timezone: str = "UTC"


class ScheduleDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is handed in, and as stores keep it.

    Attributes:
        name: What it goes by.
        timing: When it is due.
        task: The template as it was sent, to the byte.
        template: The same as it was understood.
        missed: What is done about times that were missed.
        conditional: Whether its fetches are conditional on what the last one answered.
        paused: Whether it makes no tasks for now.
    """

    name: str
    timing: Timing
    task: msgspec.Raw
    template: NewTask
    missed: Missed = Missed.ONCE
    conditional: bool = False
    paused: bool = False


ScheduleChange: TypeAlias = Callable[[ScheduleDefinition | None], ScheduleDefinition]
"""Returns the new definition of a schedule, given its definition now, if it exists."""


class KeptSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is kept, with how it stands.

    Attributes:
        definition: What it is.
        anchor_at: From where ``every`` counts.
        next_at: The first time that is not dealt with yet; ``None`` if it is paused, or if there
            is none.
        created_at: When it was made.
        updated_at: When it was last handed in.
        last_fired_at: When a task was last made by it.
        last_task_id: That task.
        compared: If it is conditional, its last tasks, the newest first.
    """

    definition: ScheduleDefinition
    anchor_at: dt.datetime
    next_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    last_fired_at: dt.datetime | None = None
    last_task_id: uuid.UUID | None = None
    compared: tuple[uuid.UUID, ...] = ()

    def with_task(self, task_id: uuid.UUID, at: dt.datetime) -> KeptSchedule:
        """The same once it has made a task."""
        compared = (task_id, *self.compared)[:MOST_COMPARED]
        return msgspec.structs.replace(
            self,
            last_fired_at=at,
            last_task_id=task_id,
            compared=compared if self.definition.conditional else (),
        )

    def as_shown(self, last_status: TaskStatus | None) -> Schedule:
        """What is shown of it."""
        definition = self.definition
        return Schedule(
            name=definition.name,
            **msgspec.structs.asdict(definition.timing),
            task=definition.task,
            missed=definition.missed,
            conditional=definition.conditional,
            paused=definition.paused,
            created_at=self.created_at,
            updated_at=self.updated_at,
            next_at=self.next_at,
            last_fired_at=self.last_fired_at,
            last_task_id=self.last_task_id,
            last_status=last_status,
        )


class Due(msgspec.Struct, frozen=True):
    """What is to be done about a schedule that is due.

    Attributes:
        times: Those for which a task is to be made, in order.
        next_at: The first time after these and those that are passed over.
    """

    times: tuple[dt.datetime, ...]
    next_at: dt.datetime | None


def check(timing: Timing, now: dt.datetime) -> None:
    """See that there are such times.

    Raises:
        TimingError: There are none.
    """
    if not is_zone(timing.timezone):
        raise TimingError(
            "timezone",
            "timezone must be a name of the IANA time zone database, such as Europe/Berlin or UTC",
        )
    if timing.cron is None:
        return
    try:
        is_ever = next_time(timing, anchor_at=now, after=now) is not None
    except CronError as error:
        raise TimingError("cron", str(error)) from None
    except CronSimError as error:
        place = _CRONSIM_FIELDS.index(str(error).removeprefix("Bad "))
        raise TimingError("cron", complaint(timing.cron, place)) from None
    if not is_ever:
        raise TimingError("cron", "cron names a day that never comes")


def placed(
    definition: ScheduleDefinition, before: KeptSchedule | None, now: dt.datetime
) -> KeptSchedule:
    """A schedule as it is to be kept from now on.

    One that is handed in again keeps its times, as far as they are the same: what it has not dealt
    with yet stays to be dealt with, and ``every`` counts on from where it did. What comes to pass
    while it is paused is not made up for.
    """
    timing = definition.timing
    keeps_times = before is not None and before.definition.timing == timing
    anchor_at = before.anchor_at if before and keeps_times else timing.start_at or now
    if definition.paused:
        next_at = None
    elif before and keeps_times and not before.definition.paused:
        next_at = before.next_at
    else:
        next_at = next_time(timing, anchor_at=anchor_at, after=now)
    is_comparable = before is not None and _is_same_fetch(before.definition, definition)
    return KeptSchedule(
        definition=definition,
        anchor_at=anchor_at,
        next_at=next_at,
        created_at=before.created_at if before else now,
        updated_at=now,
        last_fired_at=before.last_fired_at if before else None,
        last_task_id=before.last_task_id if before else None,
        compared=before.compared if before and is_comparable else (),
    )


def _is_same_fetch(one: ScheduleDefinition, other: ScheduleDefinition) -> bool:
    return other.conditional and bytes(one.template.payload) == bytes(other.template.payload)


def due(schedule: KeptSchedule, now: dt.datetime, *, most: int = MOST_AT_ONCE) -> Due:
    """What is to be done about a schedule, now.

    Args:
        schedule: Which.
        now: By the store's clock.
        most: How many times to fire at most. What is left is due at once again.
    """
    timing, anchor_at = schedule.definition.timing, schedule.anchor_at
    if schedule.next_at is None or schedule.next_at > now:
        return Due((), schedule.next_at)
    following = next_time(timing, anchor_at=anchor_at, after=schedule.next_at)
    if following is None or following > now:
        last, next_at = [schedule.next_at], following
    else:
        last = last_times(
            timing, anchor_at=anchor_at, since=schedule.next_at, until=now, limit=MOST_AT_ONCE
        )
        next_at = next_time(timing, anchor_at=anchor_at, after=now)
    wanted = _wanted(last, schedule.definition.missed, now)
    if len(wanted) > most:
        return Due(tuple(wanted[:most]), wanted[most])
    return Due(tuple(wanted), next_at)


def _wanted(times: list[dt.datetime], missed: Missed, now: dt.datetime) -> list[dt.datetime]:
    if missed is Missed.ALL:
        return times
    in_time = [at for at in times if (now - at).total_seconds() <= GRACE_SECONDS]
    if missed is Missed.ONCE and not in_time:
        return times[-1:]
    return in_time


def next_time(timing: Timing, *, anchor_at: dt.datetime, after: dt.datetime) -> dt.datetime | None:
    """The first time after a moment, in UTC; ``None`` if there is none within 50 years."""
    if timing.every is not None:
        return _of_every(
            timing.every, anchor_at, max(0, _steps(timing.every, anchor_at, after) + 1)
        )
    return _next_of_cron(timing, after)


def last_times(
    timing: Timing,
    *,
    anchor_at: dt.datetime,
    since: dt.datetime,
    until: dt.datetime,
    limit: int,
) -> list[dt.datetime]:
    """The last times between two moments, both included, in order; at most so many."""
    if timing.every is not None:
        last = _steps(timing.every, anchor_at, until)
        numbers = range(max(0, last - limit + 1), last + 1)
        times = (_of_every(timing.every, anchor_at, number) for number in numbers)
        return [at for at in times if since <= at]
    return _last_of_cron(timing, since - _MICROSECOND, until, limit)


def _last_of_cron(
    timing: Timing, after: dt.datetime, until: dt.datetime, limit: int
) -> list[dt.datetime]:
    """The last times after a moment and up to another one.

    They are looked for forwards, in windows that grow: backwards cronsim passes over more of them
    where clocks are put by half an hour.
    """
    window = dt.timedelta(minutes=limit)
    while True:
        start = max(after, until - window)
        found = deque(itertools.takewhile(lambda at: at <= until, _of_cron(timing, start)), limit)
        if len(found) == limit or start == after:
            return list(found)
        window *= _GROWTH


# Of many schedules that are due in the same moment, many have the same expression.
@functools.lru_cache(maxsize=4096)
def _next_of_cron(timing: Timing, after: dt.datetime) -> dt.datetime | None:
    return next(_of_cron(timing, after), None)


def _of_cron(timing: Timing, after: dt.datetime) -> Iterator[dt.datetime]:
    """The times of an expression after a moment, in UTC, each once."""
    assert timing.cron is not None
    last = after
    for at in CronSim(normalized(timing.cron), after.astimezone(zone(timing.timezone))):
        # Where clocks were put back, some that are ahead by the clock are past; and all that are
        # skipped where they go forward come together.
        if (moment := at.astimezone(dt.UTC)) > last:
            yield moment
            last = moment


def _steps(every: float, anchor_at: dt.datetime, moment: dt.datetime) -> int:
    """How many whole distances are between two moments; less than none before the first."""
    return (moment - anchor_at) // _MICROSECOND // round(every * 1e6)


def _of_every(every: float, anchor_at: dt.datetime, number: int) -> dt.datetime:
    return anchor_at + dt.timedelta(microseconds=round(every * 1e6) * number)


def new_task(
    definition: ScheduleDefinition, at: dt.datetime | None, validators: Validators | None
) -> NewTask:
    """A task of a schedule.

    Args:
        definition: The schedule.
        at: The time that it is for; ``None`` if somebody wants it now.
        validators: What makes its fetch conditional.
    """
    options = msgspec.structs.replace(
        definition.template.options,
        schedule=definition.name,
        scheduled_at=at,
        if_none_match=validators and validators.etag,
        if_modified_since=validators and validators.last_modified,
    )
    return msgspec.structs.replace(definition.template, options=options)
