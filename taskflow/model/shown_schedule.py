"""What is shown of a schedule; its times are reckoned in ``schedule.py``.

Apart from it, for clients read this and do without cronsim.
"""

from __future__ import annotations

import enum
import uuid
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.task import Moment, QueueName, TaskStatus

ScheduleName: TypeAlias = QueueName
TimeZone: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_+/-]{0,63}$(?!\n)")]


class Missed(enum.StrEnum):
    """What is done about times that nobody fired when they came."""

    SKIP = "skip"
    """Nothing."""
    ONCE = "once"
    """The last one is fired, for all of them; if a later time is due as well, that does."""
    ALL = "all"
    """Each is fired; of more than a hundred the last hundred."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is shown; the field order is the order of the JSON.

    Attributes:
        name: What it goes by.
        cron: The expression by which it is due, if it is by one.
        every: The seconds between its times, if it is by these.
        start_at: From where ``every`` counts, if that was given.
        timezone: Whose clock ``cron`` goes by.
        task: The template of its tasks, as it was sent.
        missed: What is done about times that were missed.
        conditional: Whether its fetches are conditional on what the last one answered.
        paused: Whether it makes no tasks for now.
        created_at: When it was made.
        updated_at: When it was last handed in.
        next_at: When it is due next; ``None`` if it is paused.
        last_fired_at: When it last made a task.
        last_task_id: That task.
        last_status: Where that stands; ``None`` if it was deleted.
    """

    name: str
    cron: str | None = None
    every: float | None = None
    start_at: Moment | None = None
    timezone: str = "UTC"
    task: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
    missed: Missed = Missed.ONCE
    conditional: bool = False
    paused: bool = False
    created_at: Moment
    updated_at: Moment
    next_at: Moment | None = None
    last_fired_at: Moment | None = None
    last_task_id: uuid.UUID | None = None
    last_status: TaskStatus | None = None
