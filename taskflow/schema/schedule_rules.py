"""Rules of schedules beyond the types of their fields: when they are due, and what they run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from taskflow.model.schedule import Timing
from taskflow.model.schedule_times import TimingError, check_timing
from taskflow.model.task import NewTask
from taskflow.schema.graph_tasks import refuse_links
from taskflow.schema.reader import Fields
from taskflow.schema.tasks import KEYS, SINGLE_MOMENTS
from taskflow.schema.validation_errors import ValidationErrors, token

TRIGGERS: Final = ("cron", "every_seconds")
"""The fields that say when a schedule is due; it has exactly one of them."""


def triggers_of(fields: Fields) -> list[str]:
    """Return which of the fields that say when a schedule is due are given and not null."""
    return [name for name in TRIGGERS if bytes(fields.get(name, b"null")) != b"null"]


def timing_of(
    fields: Fields,
    given: Mapping[str, Any],
    errors: ValidationErrors,
    *,
    under: str = "",
    is_partial: bool = False,
) -> Timing:
    """Return when the schedule is due; adds what is wrong with that.

    Args:
        fields: The fields as they were sent.
        given: The valid ones.
        errors: Receives the errors.
        under: The JSON pointer of the schedule.
        is_partial: Whether fields that are not given may be stored already.
    """
    triggers = triggers_of(fields)
    if not triggers and not is_partial:
        errors.add(under, "either cron or every_seconds must be given: when should it run?")
    if len(triggers) > 1:
        errors.add(f"{under}/every_seconds", "every_seconds must not be given together with cron")
    if given.get("start_at") is not None and "cron" in triggers:
        errors.add(f"{under}/start_at", "start_at needs every_seconds; cron has its own times")
    timing = Timing(
        cron=given.get("cron"),
        every_seconds=given.get("every_seconds"),
        start_at=given.get("start_at"),
        timezone=given.get("timezone") or Timing().timezone,
    )
    now = dt.datetime.now(dt.UTC)
    for one in (Timing(every_seconds=1.0, timezone=timing.timezone), Timing(cron=timing.cron)):
        try:
            check_timing(one, now)
        except TimingError as error:
            errors.add(under + token(error.field), str(error))
    return timing


def check_template(template: NewTask, errors: ValidationErrors) -> None:
    """Add an error for each field of a task that a schedule cannot have."""
    for name in SINGLE_MOMENTS:
        if getattr(template, name) is not None:
            errors.add(
                f"/task/{name}",
                f"task.{name} is a fixed time, which a template cannot have; leave it out",
            )
    if template.group is not None:
        errors.add("/task/group", "task.group is for POST /tasks: schedules have no group")
    refuse_links(template, "/task", errors)
    for name in KEYS:
        if getattr(template.options, name) is not None:
            errors.add(
                f"/task/{name}",
                f"task.{name} is for POST /tasks: the tasks of a schedule have no key",
            )
