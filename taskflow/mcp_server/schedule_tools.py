"""Tools for schedules: list, get, run and put."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from taskflow.client.asynchronous.client import Client
from taskflow.client.options import Submission
from taskflow.client.task import Schedule
from taskflow.mcp_server.outputs import (
    MAX_PAYLOAD_CHARACTERS,
    TaskDetails,
    details_of,
    fields_of,
    fitting,
    json_value,
)
from taskflow.mcp_server.tool import READS, SENDS, Hints, tool
from taskflow.model.schedule import ScheduleName
from taskflow.schema.schedules import ScheduleRequest

MAX_LISTED: Final = 100
SHOWN_RUNS: Final = 5

Name = Annotated[ScheduleName, Meta(description="The name of the schedule.", examples=["nightly"])]


class OneSchedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule."""

    name: Name


class NoArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No arguments."""


class ScheduleSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A schedule in a list."""

    name: str
    cron: str | None = None
    every_seconds: float | None = None
    timezone: str = "UTC"
    paused: bool = False
    next_run_at: dt.datetime | None = None
    last_run_at: dt.datetime | None = None
    last_task_status: str | None = None


class Schedules(msgspec.Struct, frozen=True, kw_only=True):
    """Schedules by name."""

    schedules: list[ScheduleSummary]
    has_more: Annotated[bool, Meta(description="Whether schedules are left out: too many.")]


class ScheduleDetails(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A schedule, and its next times."""

    schedule: Annotated[
        dict[str, Any],
        Meta(
            description="The schedule as the API shows it.",
            extra_json_schema={
                "required": ["name", "task"],
                "properties": {"name": {"type": "string"}},
            },
        ),
    ]
    next_runs: list[dt.datetime] = []
    notes: tuple[str, ...] = ()


_TEMPLATE: Final = Meta(
    description="The template of its tasks: the arguments of submit_task, without `run_at`, "
    "`expires_at` and `unique`.",
    examples=[{"payload": "https://example.com/", "queue": "reports"}],
    extra={"expected": "an object with a payload"},
    extra_json_schema={"required": ["payload"]},
)
# The service validates the template.
PutSchedule: Final = msgspec.defstruct(
    "PutSchedule",
    [
        ("name", Name),
        ("task", Annotated[dict[str, msgspec.Raw], _TEMPLATE]),
        *(
            (field.name, field.type, field.default)
            for field in msgspec.structs.fields(ScheduleRequest)
            if not field.required
        ),
    ],
    namespace={"__doc__": "A schedule."},
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)


@tool(NoArguments, Schedules, READS)
async def list_schedules(client: Client, given: NoArguments) -> Schedules:
    """List schedules by name, with their next and their last run."""
    del given
    found: list[ScheduleSummary] = []
    has_more = False
    async with client.schedules.iter(page=MAX_LISTED) as schedules:
        async for one in schedules:
            if len(found) == MAX_LISTED:
                has_more = True
                break
            found.append(_summary_of(one))
    listed = fitting(found)
    return Schedules(schedules=list(listed), has_more=has_more or len(listed) < len(found))


@tool(OneSchedule, ScheduleDetails, READS)
async def get_schedule(client: Client, given: OneSchedule) -> ScheduleDetails:
    """Get a schedule with the template of its tasks and its next times."""
    schedule = await client.schedules.get(given.name)
    coming = await client.schedules.next(given.name, count=SHOWN_RUNS)
    return _details_of(schedule, coming.times)


@tool(OneSchedule, TaskDetails, SENDS)
async def run_schedule(client: Client, given: OneSchedule) -> TaskDetails:
    """Create a task of a schedule now. Its times stay as they are."""
    return details_of(await client.schedules.run(given.name))


@tool(
    PutSchedule,
    ScheduleDetails,
    Hints(is_destructive=True, is_idempotent=True, is_open_world=True),
)
async def put_schedule(client: Client, given: Any) -> ScheduleDetails:
    """Create a schedule, or replace the one of this name as a whole: get it first.

    Either cron or every_seconds is required.
    """
    fields = msgspec.structs.asdict(given)
    task = Submission.from_json(msgspec.json.encode(fields.pop("task")))
    fields["conditional"] = bool(fields["conditional"])
    return _details_of(await client.schedules.put(fields.pop("name"), task, **fields))


def _summary_of(schedule: Schedule) -> ScheduleSummary:
    names = ScheduleSummary.__struct_fields__
    return ScheduleSummary(**{name: getattr(schedule, name) for name in names})


def _details_of(schedule: Schedule, next_runs: list[dt.datetime] | None = None) -> ScheduleDetails:
    shown = fields_of(schedule, without=("task",))
    shown["task"], cut = json_value(schedule.task_bytes, MAX_PAYLOAD_CHARACTERS)
    notes = (f"task is cut: {cut}",) if cut else ()
    return ScheduleDetails(schedule=shown, next_runs=next_runs or [], notes=notes)


SCHEDULE_TOOLS: Final = (list_schedules, get_schedule, run_schedule, put_schedule)
