"""Schedules: how one is defined, stored and shown. ``schedule_times.py`` computes when it is due.

This module does not need cronsim, so clients can import it.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.conditional_fetch import Validators
from taskflow.model.task import Moment, NewTask, QueueName, TaskStatus

MIN_EVERY_SECONDS: Final = 1
MAX_EVERY_SECONDS: Final = 31_622_400  # 366 days
MAX_COMPARED_TASKS: Final = 20
"""Maximum number of recent tasks among which a conditional schedule looks for the last response."""

DEFAULT_NEXT_RUNS: Final = 5
MAX_NEXT_RUNS: Final = 100
"""Number of next times that one request returns, by default and at most."""

KEPT_RUNS: Final = 100
"""Number of runs that are kept in the history of a schedule, at least."""

ScheduleName: TypeAlias = QueueName
TimeZone: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_+/-]{0,63}$(?!\n)")]


class Missed(enum.StrEnum):
    """What happens to times that passed while no node was running."""

    SKIP = "skip"
    """Nothing."""
    ONCE = "once"
    """One task is created for the last missed time, unless a later time is due as well."""
    ALL = "all"
    """One task is created for each missed time, at most for the last 100."""


class Overlap(enum.StrEnum):
    """What happens at a time while an earlier task of the schedule is PENDING or RUNNING."""

    ALLOW = "allow"
    """Another task is created."""
    SKIP = "skip"
    """The time is skipped."""
    CANCEL_PREVIOUS = "cancel_previous"
    """The earlier task is canceled, and another one is created."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as the API shows it; the field order is the order of the JSON.

    Attributes:
        name: The name of the schedule.
        cron: The cron expression, if the schedule has one.
        every_seconds: The interval, if the schedule has one.
        start_at: The first time of ``every_seconds``, if one was given.
        timezone: The time zone of ``cron``.
        task: The template of its tasks, as it was submitted.
        missed: What happens to times that were missed.
        overlap: What happens at a time while an earlier task is PENDING or RUNNING.
        conditional: True if its fetches are conditional on the last response.
        paused: True if it creates no tasks until it is resumed.
        created_at: When it was created.
        updated_at: When it was last replaced or changed.
        next_run_at: When it is due next; ``None`` if it is paused.
        last_run_at: When it last created a task.
        last_task_id: The id of that task.
        last_task_status: The status of that task; ``None`` if the task was deleted.
        skipped_count: Number of times that were skipped because of ``overlap``.
        last_skipped_at: When a time was last skipped because of ``overlap``.
    """

    name: str
    cron: str | None = None
    every_seconds: float | None = None
    start_at: Moment | None = None
    timezone: str = "UTC"
    task: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
    missed: Missed = Missed.ONCE
    overlap: Overlap = Overlap.ALLOW
    conditional: bool = False
    paused: bool = False
    created_at: Moment
    updated_at: Moment
    next_run_at: Moment | None = None
    last_run_at: Moment | None = None
    last_task_id: uuid.UUID | None = None
    last_task_status: TaskStatus | None = None
    skipped_count: int = 0
    last_skipped_at: Moment | None = None


class RunKind(enum.StrEnum):
    """What became of a time of a schedule."""

    SCHEDULED = "scheduled"
    """It created a task."""
    MANUAL = "manual"
    """A client ran the schedule, which created a task."""
    SKIPPED = "skipped"
    """It was skipped, because an earlier task was PENDING or RUNNING (``overlap``)."""
    MISSED = "missed"
    """No node started it within a minute, and ``missed`` creates no task for it."""


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a schedule, or a time at which it did not run.

    Attributes:
        at: The scheduled time; of a manual run, when that was; of missed times, the last one.
        kind: What became of it.
        count: The number of times that it stands for, of missed times; otherwise 1.
        task_id: The task, if one was created.
        status: The status of the task; ``None`` without one, or if it was deleted.
        started_at: When its last attempt started.
        finished_at: When it finished.
        attempt: Number of its attempts that count.
        error: Why its last attempt failed.
    """

    at: Moment
    kind: RunKind
    count: int = 1
    task_id: uuid.UUID | None = None
    status: TaskStatus | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    attempt: int = 0
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long its last attempt took; ``None`` while it has none that finished."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())

    @property
    def late_seconds(self) -> float | None:
        """How long after the scheduled time its first attempt started; ``None`` if unknown."""
        if self.started_at is None or self.attempt > 1 or self.kind is not RunKind.SCHEDULED:
            return None
        return max(0.0, (self.started_at - self.at).total_seconds())


class NextRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The next times of a schedule.

    Attributes:
        name: The name of the schedule.
        paused: True if it is paused: then these are its next times if it is resumed now.
        times: The times in order. A time that is due but has not fired yet comes first.
    """

    name: str
    paused: bool
    times: list[Moment]


class Timing(msgspec.Struct, frozen=True):
    """When a schedule is due: either by ``cron`` or by ``every``.

    Attributes:
        cron: A cron expression of five fields, as it was submitted.
        every_seconds: The interval.
        start_at: The first time of ``every_seconds``; the time of creation if ``None``.
        timezone: The IANA name of the time zone of ``cron``.
    """

    cron: str | None = None
    every_seconds: float | None = msgspec.field(default=None, name="every")  # as it is stored
    start_at: dt.datetime | None = None
    timezone: str = "UTC"


class ScheduleDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as a client defines it.

    Attributes:
        name: The name of the schedule.
        timing: When it is due.
        task: The template of its tasks, byte for byte as it was submitted.
        template: The parsed template.
        missed: What happens to times that were missed.
        overlap: What happens at a time while an earlier task is PENDING or RUNNING.
        conditional: True if its fetches are conditional on the last response.
        paused: True if it creates no tasks until it is resumed.
    """

    name: str
    timing: Timing
    task: msgspec.Raw
    template: NewTask
    missed: Missed = Missed.ONCE
    overlap: Overlap = Overlap.ALLOW
    conditional: bool = False
    paused: bool = False

    @property
    def limits_overlap(self) -> bool:
        """True if its earlier tasks matter when it is due."""
        return self.overlap is not Overlap.ALLOW

    @property
    def credential(self) -> str | None:
        """The name of the credential of its tasks, if they have one."""
        return self.template.options.credential

    def make_task(self, at: dt.datetime | None, validators: Validators | None) -> NewTask:
        """Return a new task of this schedule.

        Args:
            at: The scheduled time; ``None`` if a client runs the schedule now.
            validators: The validators that make its fetch conditional.
        """
        options = msgspec.structs.replace(
            self.template.options,
            schedule=self.name,
            scheduled_at=at,
            if_none_match=validators and validators.etag,
            if_modified_since=validators and validators.last_modified,
        )
        return msgspec.structs.replace(self.template, options=options)


def overlap_message(name: str) -> str:
    """Return the error message for a schedule that cannot be run now."""
    return f"a task of the schedule {name} is PENDING or RUNNING; wait for it, or cancel it first"


ScheduleChange: TypeAlias = Callable[[ScheduleDefinition | None], ScheduleDefinition]
"""Returns the new definition of a schedule, given the current one if the schedule exists."""


class StoredSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as a store keeps it: its definition and its state.

    Attributes:
        definition: The definition.
        anchor_at: The time from which ``every_seconds`` is counted.
        next_run_at: The first time that was not processed yet; ``None`` if the schedule is paused
            or has no further time.
        created_at: When it was created.
        updated_at: When it was last replaced or changed.
        last_run_at: When it last created a task.
        last_task_id: The id of that task.
        compared: The ids of its last tasks, newest first, if it is conditional.
        skipped_count: Number of times that were skipped because of ``overlap``.
        last_skipped_at: When a time was last skipped because of ``overlap``.
    """

    definition: ScheduleDefinition
    anchor_at: dt.datetime
    next_run_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    last_run_at: dt.datetime | None = None
    last_task_id: uuid.UUID | None = None
    compared: tuple[uuid.UUID, ...] = ()
    skipped_count: int = 0
    last_skipped_at: dt.datetime | None = None

    def with_task(self, task_id: uuid.UUID, at: dt.datetime) -> StoredSchedule:
        """Return the schedule with the state after it created a task."""
        compared = (task_id, *self.compared)[:MAX_COMPARED_TASKS]
        return msgspec.structs.replace(
            self,
            last_run_at=at,
            last_task_id=task_id,
            compared=compared if self.definition.conditional else (),
        )

    def with_skips(self, count: int, at: dt.datetime) -> StoredSchedule:
        """Return the schedule with the state after it skipped some of its times."""
        skipped_count = self.skipped_count + count
        return msgspec.structs.replace(self, skipped_count=skipped_count, last_skipped_at=at)

    def as_shown(self, last_task_status: TaskStatus | None) -> Schedule:
        """Return the schedule as the API shows it."""
        definition = self.definition
        return Schedule(
            name=definition.name,
            **msgspec.structs.asdict(definition.timing),
            task=definition.task,
            missed=definition.missed,
            overlap=definition.overlap,
            conditional=definition.conditional,
            paused=definition.paused,
            created_at=self.created_at,
            updated_at=self.updated_at,
            next_run_at=self.next_run_at,
            last_run_at=self.last_run_at,
            last_task_id=self.last_task_id,
            last_task_status=last_task_status,
            skipped_count=self.skipped_count,
            last_skipped_at=self.last_skipped_at,
        )
