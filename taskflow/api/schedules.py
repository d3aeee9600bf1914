"""The routes under ``/schedules``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlencode

import msgspec
from quart import Response, request

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.document.common_parts import location, next_page_link
from taskflow.api.document.examples import NEXT_RUNS, PENDING, SCHEDULE, TASK_ID, URL
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body, read_json
from taskflow.api.reading.paths import new_schedule_name_of, schedule_name_of
from taskflow.api.reading.schedule import Reading, must_be_new, patch_of, replacement_of
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import MERGE_PATCH, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import ScheduleNotFound
from taskflow.model.schedule import NextRuns, Schedule, ScheduleName
from taskflow.model.task import Task
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.query import (
    NEXT_RUNS_QUERY,
    SCHEDULES_QUERY,
    NextRunsRequest,
    SchedulesRequest,
)
from taskflow.schema.schedules import SchedulePatch, ScheduleRequest

T = TypeVar("T")

_SCHEDULE: Final = RouteResponse("The schedule.", Schedule, SCHEDULE)
_ONE_SCHEDULE: Final[dict[str, Any]] = {
    "group": "schedules",
    "path_parameters": (
        Parameter("name", "The name of the schedule.", ScheduleName, SCHEDULE.name),
    ),
}


@Route(
    "PUT",
    "/schedules/{name}",
    responses=(
        _SCHEDULE,
        RouteResponse(
            "The schedule, which is new.",
            Schedule,
            SCHEDULE,
            HTTPStatus.CREATED,
            headers=(location(f"/schedules/{SCHEDULE.name}", "The path of the schedule."),),
        ),
    ),
    problems=(HTTPStatus.PRECONDITION_FAILED,),
    headers=(Parameter("If-None-Match", "`*` rejects an existing name.", Literal["*"], "*"),),
    body=ScheduleRequest,
    body_examples={
        "cron": {"cron": SCHEDULE.cron, "timezone": SCHEDULE.timezone, "task": {"payload": URL}},
        "every_seconds": {
            "every_seconds": 300,
            "missed": "skip",
            "overlap": "skip",
            "task": {"payload": URL, "queue": "mail"},
        },
        "conditional": {"every_seconds": 60, "conditional": True, "task": {"payload": URL}},
    },
    **_ONE_SCHEDULE,
)
async def put_schedule(services: Services, name: str) -> Response:
    """Create or replace a schedule.

    Replaces everything except ``paused``, which stays as it is if it is absent; ``PATCH`` changes
    single fields. A schedule can be sent as it was shown: a masked value (``***``) stays as it is
    if its URL keeps the scheme, host and port. If the times are the same as before, the next run
    stays the same, and runs that are due already are not lost.
    """
    reading = await _reading(new_schedule_name_of(name), services)
    is_to_be_new = must_be_new(request.headers.getlist("If-None-Match"))
    change = replacement_of(await read_json(), reading, must_be_new=is_to_be_new)
    with store_timeout():
        kept, is_new = await services.store.schedules.change(name, change, by=actor_of_request())
    if not is_new:
        return as_json(kept)
    return as_json(kept, status=HTTPStatus.CREATED, location=f"/schedules/{name}")


@Route(
    "PATCH",
    "/schedules/{name}",
    responses=(_SCHEDULE,),
    problems=(HTTPStatus.NOT_FOUND,),
    body=SchedulePatch,
    body_type=MERGE_PATCH,
    body_examples={
        "other times": {"cron": "0 7 * * *"},
        "from cron to every": {"cron": None, "every_seconds": 300},
        "the task": {"task": {"queue": "mail"}},
        "paused": {"paused": True},
    },
    **_ONE_SCHEDULE,
)
async def patch_schedule(services: Services, name: str) -> Response:
    """Change some fields of a schedule."""
    reading = await _reading(schedule_name_of(name), services)
    change = patch_of(await read_json(), reading)
    with store_timeout():
        changed, _ = await services.store.schedules.change(name, change, by=actor_of_request())
    return as_json(changed)


@Route(
    "GET",
    "/schedules",
    "schedules",
    (
        RouteResponse(
            "A page of schedules.",
            list[Schedule],
            [SCHEDULE],
            headers=(next_page_link(f"/schedules?limit=20&cursor={SCHEDULE.name}"),),
        ),
    ),
    query=SchedulesRequest,
)
async def list_schedules(services: Services) -> Response:
    """List schedules by name.

    Returns pages. ``Link`` is present if there is a next page.
    """
    query = SCHEDULES_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        found = await services.store.schedules.page(limit=query.limit, after=query.cursor)
    following = found.next_after
    link = None if following is None else _link(query, following)
    return as_json(found.schedules, link=link)


@Route(
    "GET",
    "/schedules/{name}",
    responses=(_SCHEDULE,),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE_SCHEDULE,
)
async def show_schedule(services: Services, name: str) -> Response:
    """Get a schedule.

    With its definition, its next run, and the outcome of its last run.
    """
    with store_timeout():
        return as_json(_found(await services.store.schedules.get(schedule_name_of(name))))


@Route(
    "GET",
    "/schedules/{name}/next",
    responses=(RouteResponse("The next runs.", NextRuns, NEXT_RUNS),),
    problems=(HTTPStatus.NOT_FOUND,),
    query=NextRunsRequest,
    **_ONE_SCHEDULE,
)
async def show_next_runs(services: Services, name: str) -> Response:
    """Get the next runs of a schedule.

    As this node computes them, with its time zone database. For a paused schedule, they are the
    runs after a resume now. A run that is due but has not started yet comes first.
    """
    query = NEXT_RUNS_QUERY.read_query(dict(request.args.lists()))
    schedules = services.store.schedules
    with store_timeout():
        return as_json(_found(await schedules.next_runs(schedule_name_of(name), count=query.count)))


@Route(
    "DELETE",
    "/schedules/{name}",
    responses=(RouteResponse("The schedule was deleted.", status=HTTPStatus.NO_CONTENT),),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE_SCHEDULE,
)
async def delete_schedule(services: Services, name: str) -> Response:
    """Delete a schedule.

    The tasks that it created stay.
    """
    with store_timeout():
        _found(
            await services.store.schedules.delete(schedule_name_of(name), by=actor_of_request())
            or None
        )
    return no_content()


@Route(
    "POST",
    "/schedules/{name}/run",
    responses=(
        RouteResponse(
            "The task.",
            Task,
            msgspec.structs.replace(PENDING, schedule=SCHEDULE.name),
            HTTPStatus.CREATED,
            headers=(location(f"/tasks/{TASK_ID}", "The path of the task."),),
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    **_ONE_SCHEDULE,
)
async def run_schedule(services: Services, name: str) -> Response:
    """Create a task of a schedule now.

    Works for paused schedules, too. The next run stays the same. `overlap` applies: while an
    earlier task is PENDING or RUNNING, `skip` rejects the request, and `cancel_previous` cancels
    that task.
    """
    await read_body()
    with store_timeout():
        await services.submissions.backlog.admit(1)
        task = _found(
            await services.store.schedules.run_now(schedule_name_of(name), by=actor_of_request())
        )
    return as_json(task, status=HTTPStatus.CREATED, location=f"/tasks/{task.id}")


async def _reading(name: str, services: Services) -> Reading:
    return schedule_reading(name, services, await services.submissions.credentials.read())


def schedule_reading(name: str, services: Services, credentials: KnownCredentials) -> Reading:
    """Return what a schedule is read with."""
    settings = services.settings
    return Reading(
        name,
        settings.max_attempts,
        settings.has_webhook_secrets,
        bool(settings.public_url),
        services.masking,
        credentials,
    )


def _found(one: T | None) -> T:
    if one is None:
        raise ScheduleNotFound
    return one


def _link(query: SchedulesRequest, after: str) -> str:
    parameters = urlencode({"limit": query.limit, "cursor": after})
    return f'</schedules?{parameters}>; rel="next"'


ROUTES: Final = (
    *(put_schedule, patch_schedule, list_schedules),
    *(show_schedule, show_next_runs, delete_schedule, run_schedule),
)
