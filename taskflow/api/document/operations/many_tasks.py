"""Lists of tasks, and moves of many of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from taskflow.api.bulk_actions import ManyMoved
from taskflow.api.document.examples import COMPLETED, TASK_ID
from taskflow.api.document.operations.headers import X_ACCEL_BUFFERING
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parts import Answer, Content, Parameter
from taskflow.api.document.operations.task_fields import TaskFields
from taskflow.api.listing import Broken
from taskflow.api.reading.accept import LINES
from taskflow.api.reading.many import ManyRequest
from taskflow.api.reading.task_query import PageRequest, cursor_of
from taskflow.model.outcome import ErrorType
from taskflow.model.task import DEFAULT_QUEUE, Task, TaskStatus

_MANY: Final = (
    (
        "cancel",
        "Call many tasks off",
        "Of all tasks that match, those that are PENDING or RUNNING.",
    ),
    (
        "retry",
        "Run many tasks again",
        "Of all tasks that match, those that are FAILED or CANCELED, from the start.",
    ),
    (
        "delete",
        "Delete many tasks",
        "Of all tasks that match, those that are at their end, with their attempts.",
    ),
)

MANY_TASKS: Final = (
    Operation(
        method="get",
        path="/tasks",
        name="listTasks",
        group="tasks",
        summary="List tasks, the newest first",
        description="By pages, or with `Accept: application/x-ndjson` all that match, one after "
        "the other as they are read. A task has to match all that is given; without a filter all "
        "tasks do. A page costs no more however many tasks there are, so it may have fewer tasks "
        "than the limit, even none, and still lead to a next one: `Link` says whether there is "
        "one. Each parameter but `tag` may be given once; unknown ones are refused.",
        query=PageRequest,
        query_examples={
            "limit": 20,
            "status": [TaskStatus.FAILED, TaskStatus.CANCELED],
            "queue": DEFAULT_QUEUE,
            "tag": ["color:red"],
            "host": "example.com",
            "error_type": ErrorType.TIMEOUT,
            "created_after": COMPLETED.created_at,
            "created_before": COMPLETED.created_at,
            "finished_after": COMPLETED.created_at,
            "finished_before": COMPLETED.created_at,
            "url": "/invoices/",
            "fields": ["id", "status"],
            "cursor": cursor_of(TASK_ID),
        },
        query_repeated=("tag",),
        answer=Answer(
            description="A page; or a stream, whose last line is an object with a problem as its "
            "`error` if it breaks off.",
            kind=list[Task],
            picked_kind=list[TaskFields],
            example=[COMPLETED],
            also=(
                Content(
                    LINES,
                    (Task, TaskFields, Broken),
                    f'{{"id":"{TASK_ID}","status":"COMPLETED"}}\n',
                ),
            ),
            fields=(
                Parameter(
                    "Link",
                    "Leads to the next page, if there is one.",
                    str,
                    f'</tasks?limit=20&cursor={cursor_of(TASK_ID)}>; rel="next"',
                ),
                X_ACCEL_BUFFERING,
            ),
        ),
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    *(
        Operation(
            method="post",
            path=f"/tasks/{verb}",
            name=f"{verb}Tasks",
            group="tasks",
            summary=summary,
            description=f"{description} Those that come to another state meanwhile are passed "
            "over, as are tasks that are handed in meanwhile. After 10 seconds it answers how far "
            "it came: the same request again goes on. With `dry_run` they are only counted.",
            body=ManyRequest,
            body_examples={
                "some": {"queue": DEFAULT_QUEUE, "host": "example.com", "dry_run": True},
                "all": {"all": True},
            },
            answer=Answer(
                description="How many it were.",
                kind=ManyMoved,
                example=ManyMoved(1250, is_complete=True, dry_run=False),
            ),
            problems=(
                HTTPStatus.REQUEST_TIMEOUT,
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                HTTPStatus.UNPROCESSABLE_ENTITY,
                HTTPStatus.TOO_MANY_REQUESTS,
                HTTPStatus.SERVICE_UNAVAILABLE,
            ),
        )
        for verb, summary, description in _MANY
    ),
)
