"""The declaration of a schedule, and the names that its fields had up to version 0.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.schedule import (
    MAX_EVERY_SECONDS,
    MIN_EVERY_SECONDS,
    Missed,
    Overlap,
    Schedule,
    TimeZone,
)
from taskflow.model.task import Moment
from taskflow.schema.merge_patch import patch_type
from taskflow.schema.tasks import TaskTemplate

Cron: TypeAlias = Annotated[
    str,
    Meta(
        max_length=256,
        extra_json_schema={"format": "cron"},
        extra={"expected": "text with five fields, such as 30 6 * * MON-FRI"},
    ),
]
Every: TypeAlias = Annotated[
    float,
    Meta(ge=MIN_EVERY_SECONDS, le=MAX_EVERY_SECONDS, extra={"unit": "seconds"}),
]
ZoneName: TypeAlias = Annotated[
    TimeZone,
    Meta(
        extra_json_schema={"format": "iana-time-zone"},
        extra={"expected": "the name of a time zone, such as Europe/Berlin"},
    ),
]
_TASK: Final = {"delay": "delay_seconds", "retention": "retention_seconds"}
_PAYLOAD: Final = {"timeout": "timeout_seconds"}
_BACKOFF: Final = {"initial": "initial_seconds", "max": "max_seconds"}
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ScheduleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A schedule; either ``cron`` or ``every_seconds`` is required.

    Fields that only TaskFlow sets are ignored, so that a schedule can be sent again as it was
    shown.
    """

    task: Annotated[
        TaskTemplate,
        Meta(
            description="The template of its tasks: a task as `POST /tasks` accepts it, without "
            "`run_at` and `expires_at`, which are fixed times, and without `unique`, `debounce` "
            "and `group`.",
            examples=[{"payload": "https://example.com/"}],
        ),
    ]
    cron: Annotated[
        Cron | None,
        Meta(
            description="A cron expression: minute, hour, day of the month, month, day of the "
            "week. Besides numbers, names, lists, ranges and steps it accepts `L`, the last day "
            "of the month, `LW`, its last working day, `5L`, its last Friday, and `1#2`, its "
            "second Monday. A range of days or months may pass the end of the week or year "
            "(`FRI-MON`, `NOV-FEB`), and `?` stands for any day.",
            examples=["30 6 * * MON-FRI"],
        ),
    ] = None
    every_seconds: Annotated[
        Every | None,
        Meta(description="Interval between two runs.", examples=[300]),
    ] = None
    start_at: Annotated[
        Moment | None,
        Meta(
            description="The first run of `every_seconds`, from which the others are counted. "
            "Default: one interval after the schedule was created.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ] = None
    timezone: Annotated[
        ZoneName | None,
        Meta(description="Time zone of `cron`. Default: `UTC`.", examples=["Europe/Berlin"]),
    ] = None
    missed: Annotated[
        Missed | None,
        Meta(
            description="What happens to runs that no node started within a minute. Default: "
            "`once`.",
            examples=["skip"],
        ),
    ] = None
    overlap: Annotated[
        Overlap | None,
        Meta(
            description="What happens at a time while an earlier task of the schedule is PENDING "
            "or RUNNING: `allow` creates another task, `skip` creates none, and "
            "`cancel_previous` cancels the earlier task and creates another one. Default: "
            "`allow`.",
            examples=["skip"],
        ),
    ] = None
    conditional: Annotated[
        bool | None,
        Meta(
            description="Whether to fetch only what has changed since the last COMPLETED task: "
            "if nothing has, the task is COMPLETED with `not_modified`. For GET and HEAD.",
            examples=[True],
        ),
    ] = None
    paused: Annotated[
        bool | None,
        Meta(
            description="Whether the schedule is paused and creates no tasks. If it is not given, "
            "it stays as it is; a new schedule is not paused.",
            examples=[True],
        ),
    ] = None


SchedulePatch: Final = patch_type(
    ScheduleRequest,
    task=Annotated[
        dict[str, Any],
        Meta(
            description="A merge patch of the template of its tasks.",
            examples=[{"queue": "mail"}],
        ),
    ],
)
ONLY_SHOWN: Final = frozenset(Schedule.__struct_fields__) - set(ScheduleRequest.__struct_fields__)
"""Fields that only TaskFlow sets; they are ignored in a ``ScheduleRequest``."""


def with_current_names(task: msgspec.Raw) -> msgspec.Raw:
    """Return a stored task with the names that its fields have now; values stay as they are."""
    fields = _renamed(task, _TASK)
    if not isinstance(fields, dict):
        return task
    for name, names in (("payload", _PAYLOAD), ("backoff", _BACKOFF)):
        if name in fields:
            fields[name] = msgspec.Raw(msgspec.json.encode(_renamed(fields[name], names)))
    return msgspec.Raw(msgspec.json.encode(fields))


def _renamed(value: msgspec.Raw, names: Mapping[str, str]) -> dict[str, msgspec.Raw] | msgspec.Raw:
    if not bytes(value).lstrip().startswith(b"{"):
        return value
    return {names.get(name, name): field for name, field in _FIELDS.decode(value).items()}
