"""What is done with one task, by its id."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from taskflow.api.document.examples import ATTEMPT, CANCELED, COMPLETED, PENDING, TASK_ID
from taskflow.api.document.operations.headers import ETAG, PREFERENCE_APPLIED
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parameters import ID_IN_PATH, PREFER
from taskflow.api.document.operations.parts import Answer, Parameter
from taskflow.api.document.operations.task_fields import TaskFields
from taskflow.api.reading.task_query import ShowRequest
from taskflow.model.task import AttemptRecord, Task

# What a POST that asks for no body may be answered with.
_BY_HAND: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

SHOW_TASK: Final = Operation(
    method="get",
    path="/tasks/{id}",
    name="showTask",
    group="tasks",
    summary="How a task stands",
    description="With its result, or why it failed, once it is at its end. With a wait: once "
    "it is at its end, or once it stands otherwise than who asks knows by `If-None-Match`, and "
    "after so many seconds in any case.",
    path_parameters=(ID_IN_PATH,),
    fields=(
        PREFER,
        Parameter("If-None-Match", "The `ETag` of what is known already.", str, '"3a90c45b"'),
    ),
    query=ShowRequest,
    query_examples={"fields": ["id", "status"], "wait": 10},
    answer=Answer(
        description="The task.",
        kind=Task,
        picked_kind=TaskFields,
        example=COMPLETED,
        fields=(ETAG, PREFERENCE_APPLIED),
    ),
    others=(
        Answer(
            status=HTTPStatus.NOT_MODIFIED,
            description="It stands as it is known already.",
            fields=(ETAG, PREFERENCE_APPLIED),
        ),
    ),
    problems=(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)

ONE_TASK: Final = (
    Operation(
        method="get",
        path="/tasks/{id}/attempts",
        name="listAttempts",
        group="tasks",
        summary="How each attempt at a task went",
        description="In the order in which they were made; a running one is the last. A failed "
        "one has the last `response` that came: status, headers and the beginning of the body "
        "(`TASKFLOW_FAILED_BODY_BYTES`). Callbacks and events do not have it.",
        path_parameters=(ID_IN_PATH,),
        answer=Answer(
            description="The attempts; none for a task that has not been run.",
            kind=list[AttemptRecord],
            example=[ATTEMPT],
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="post",
        path="/tasks/{id}/cancel",
        name="cancelTask",
        group="tasks",
        summary="Call a task off",
        description="One that is running is cut off, on whichever node, and never runs by itself "
        "again. A body is passed over.",
        path_parameters=(ID_IN_PATH,),
        answer=Answer(description="The task, CANCELED.", kind=Task, example=CANCELED),
        problems=_BY_HAND,
    ),
    Operation(
        method="post",
        path="/tasks/{id}/retry",
        name="retryTask",
        group="tasks",
        summary="Run a FAILED or CANCELED task again",
        description="From the start, with all its attempts before it; those that were made stay "
        "listed. A body is passed over.",
        path_parameters=(ID_IN_PATH,),
        answer=Answer(description="The task, PENDING.", kind=Task, example=PENDING),
        problems=_BY_HAND,
    ),
    Operation(
        method="delete",
        path="/tasks/{id}",
        name="deleteTask",
        group="tasks",
        summary="Delete a task that is at its end",
        description="With its attempts. One that is not at its end has to be canceled first.",
        path_parameters=(ID_IN_PATH,),
        answer=Answer(status=HTTPStatus.NO_CONTENT, description="It is gone."),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
    Operation(
        method="get",
        path="/tasks/{id}/result",
        name="showResult",
        group="tasks",
        summary="What the target answered, as it answered it",
        description="The body of a COMPLETED task: JSON to the byte, text in UTF-8, anything else "
        "as the bytes that came. Its media type is the target's own if it can be trusted to be "
        "one. It is to be saved, not shown: browsers run nothing in it.",
        path_parameters=(ID_IN_PATH,),
        answer=Answer(
            description="The body.",
            kind=Any,
            example={"answer": 42},
            media_type="*/*",
            fields=(
                Parameter(
                    "Content-Disposition",
                    "A name to save it by.",
                    str,
                    f'attachment; filename="{TASK_ID}.json"',
                    is_required=True,
                ),
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    ),
)
