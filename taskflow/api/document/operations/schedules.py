"""Schedules, which hand in tasks by the clock."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, Literal

import msgspec

from taskflow.api.document.examples import PENDING, SCHEDULE, TASK_ID, URL
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import MERGE_PATCH, Answer, Parameter
from taskflow.api.reading.schedule import SchedulePatch, ScheduleRequest, SchedulesRequest
from taskflow.model.schedule import Schedule, ScheduleName
from taskflow.model.task import Task

_NAME_IN_PATH: Final = Parameter("name", "What the schedule goes by.", ScheduleName, SCHEDULE.name)

SCHEDULES: Final = (
    Operation(
        method="put",
        path="/schedules/{name}",
        name="putSchedule",
        group="schedules",
        summary="Make or replace a schedule",
        description="All of it is replaced but for `paused`, which stays as it is if it is not "
        "given; `PATCH` changes some of it. A schedule that is sent again with the same times "
        "keeps them, also those it has not dealt with yet.",
        path_parameters=(_NAME_IN_PATH,),
        fields=(Parameter("If-None-Match", "`*` does not replace one.", Literal["*"], "*"),),
        body=ScheduleRequest,
        body_examples={
            "cron": {
                "cron": SCHEDULE.cron,
                "timezone": SCHEDULE.timezone,
                "task": {"payload": URL},
            },
            "every": {"every": 300, "missed": "skip", "task": {"payload": URL, "queue": "mail"}},
            "conditional": {"every": 60, "conditional": True, "task": {"payload": URL}},
        },
        answer=Answer(description="The schedule.", kind=Schedule, example=SCHEDULE),
        others=(
            Answer(
                status=HTTPStatus.CREATED,
                description="The schedule, which is new.",
                kind=Schedule,
                example=SCHEDULE,
                fields=(Parameter("Location", "Where it is.", str, f"/schedules/{SCHEDULE.name}"),),
            ),
        ),
        problems=(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="patch",
        path="/schedules/{name}",
        name="patchSchedule",
        group="schedules",
        summary="Change some of a schedule",
        description="A JSON merge patch (RFC 7396): a field that is not given stays as it is, null "
        "removes it. Of concurrent changes of different fields none is lost.",
        path_parameters=(_NAME_IN_PATH,),
        body=SchedulePatch,
        body_type=MERGE_PATCH,
        body_examples={
            "other times": {"cron": "0 7 * * *"},
            "from cron to every": {"cron": None, "every": 300},
            "the task": {"task": {"queue": "mail"}},
            "paused": {"paused": True},
        },
        answer=Answer(description="The schedule.", kind=Schedule, example=SCHEDULE),
        problems=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
    Operation(
        method="get",
        path="/schedules",
        name="listSchedules",
        group="schedules",
        summary="List schedules by name",
        description="By pages; `Link` says whether there is a next one.",
        query=SchedulesRequest,
        query_examples={"limit": 20, "cursor": SCHEDULE.name},
        answer=Answer(
            description="A page.",
            kind=list[Schedule],
            example=[SCHEDULE],
            fields=(
                Parameter(
                    "Link",
                    "Leads to the next page, if there is one.",
                    str,
                    f'</schedules?limit=20&cursor={SCHEDULE.name}>; rel="next"',
                ),
            ),
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="get",
        path="/schedules/{name}",
        name="showSchedule",
        group="schedules",
        summary="How a schedule stands",
        description="What it is, when it is due next, and what it did last.",
        path_parameters=(_NAME_IN_PATH,),
        answer=Answer(description="The schedule.", kind=Schedule, example=SCHEDULE),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="delete",
        path="/schedules/{name}",
        name="deleteSchedule",
        group="schedules",
        summary="Delete a schedule",
        description="The tasks that it made stay.",
        path_parameters=(_NAME_IN_PATH,),
        answer=Answer(status=HTTPStatus.NO_CONTENT, description="It is gone."),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="post",
        path="/schedules/{name}/run",
        name="runSchedule",
        group="schedules",
        summary="Make a task of a schedule now",
        description="Paused or not; its times stay as they are. A body is passed over.",
        path_parameters=(_NAME_IN_PATH,),
        answer=Answer(
            status=HTTPStatus.CREATED,
            description="The task.",
            kind=Task,
            example=msgspec.structs.replace(PENDING, schedule=SCHEDULE.name),
            fields=(Parameter("Location", "Where the task is.", str, f"/tasks/{TASK_ID}"),),
        ),
        problems=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    ),
)
