"""How tasks are handed in."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Final, Literal

from taskflow.api.document.examples import CALLBACK_ID, COMPLETED, PENDING, TASK_ID, TOLD, URL
from taskflow.api.document.operations.headers import PREFERENCE_APPLIED, X_ACCEL_BUFFERING
from taskflow.api.document.operations.operation import Operation
from taskflow.api.document.operations.parameters import PREFER
from taskflow.api.document.operations.parts import Answer, Callback, Content, Parameter
from taskflow.api.reading.accept import LINES
from taskflow.api.reading.new_task import TaskRequest, TaskRequests
from taskflow.api.reading.post_headers import IdempotencyKeyText
from taskflow.api.reading.prefer import WaitRequest
from taskflow.api.submission import Added, Refused, Summary
from taskflow.model.task import Task

IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "Makes it safe to send the same request again: it is answered with what the first one made. "
    "Any text, such as a new UUID for each new request.",
    IdempotencyKeyText,
    "8e03978e-40d5-43dd-bc93-6894a57f9324",
)
TRACEPARENT: Final = Parameter(
    "traceparent",
    "W3C Trace Context, handed on to the target.",
    str,
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)

TRACESTATE: Final = Parameter(
    "tracestate",
    "The same of those who made the trace; handed on with `traceparent`.",
    str,
    "congo=t61rcWkgMzE",
)
_LOCATION: Final = Parameter(
    "Location", "Where the task is, if it is one.", str, f"/tasks/{TASK_ID}"
)

NEW_TASKS: Final = (
    Operation(
        method="post",
        path="/tasks",
        name="addTask",
        group="tasks",
        summary="Hand in a task, or many",
        description="Answers when the task is on disk, and never waits for a worker unless it is "
        "asked to. From then on the task comes to its end, whatever is killed. An array of tasks "
        "is kept as a whole or not at all. A stream of them, one to a line, is kept as it comes, "
        "and answered line by line meanwhile.",
        fields=(IDEMPOTENCY_KEY, PREFER, TRACEPARENT, TRACESTATE),
        query=WaitRequest,
        query_examples={"wait": 10},
        body=TaskRequest | TaskRequests,
        body_examples={
            "once": {"payload": URL},
            "urgent": {"payload": URL, "max_attempts": 3, "priority": 10},
            "request": {
                "payload": {"url": URL, "method": "PUT", "body": {"answer": 42}},
                "queue": "mail",
                "tags": {"customer": 42},
                "delay": 60,
                "backoff": [1, 10, 60],
            },
            "many": [{"payload": URL}, {"payload": f"{URL}?page=2"}],
        },
        also_takes=(
            Content(
                LINES, (TaskRequest,), f'{{"payload": "{URL}"}}\n{{"payload": "{URL}?page=2"}}\n'
            ),
        ),
        answer=Answer(
            status=HTTPStatus.CREATED,
            description="The task as it was stored, or at its end if that was waited for; an array "
            "of tasks for an array.",
            kind=Task | list[Task],
            example=PENDING,
            fields=(
                _LOCATION,
                PREFERENCE_APPLIED,
            ),
            links=("showTask", "listAttempts", "showResult"),
        ),
        others=(
            Answer(
                description="The same request came before with the same Idempotency-Key: the task "
                "or tasks that it made. Or a stream: what became of each line, and a summary.",
                kind=Task | list[Task],
                example=COMPLETED,
                also=(
                    Content(
                        LINES,
                        (Added, Refused, Summary),
                        f'{{"index":0,"id":"{TASK_ID}"}}\n{{"added":1,"refused":0,"error":null}}\n',
                    ),
                ),
                fields=(
                    Parameter(
                        "Idempotent-Replayed",
                        "That nothing was made.",
                        Literal["true"],
                        "true",
                    ),
                    _LOCATION,
                    PREFERENCE_APPLIED,
                    X_ACCEL_BUFFERING,
                ),
            ),
        ),
        problems=(
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.GONE,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        callback=Callback(
            name="ended",
            address="{$request.body#/callback_url}",
            description="The task at its end, signed as the Standard Webhooks say. Any 2xx will "
            "do, 410 is final, and after any other answer it is sent again, up to ten times. "
            "Redirects are not followed.",
            kind=Task,
            example=TOLD,
            fields=(
                Parameter(
                    "webhook-id",
                    "The id of the callback, the same whenever it is sent again.",
                    uuid.UUID,
                    CALLBACK_ID,
                    is_required=True,
                ),
                Parameter(
                    "webhook-timestamp",
                    "When it was sent, in seconds since 1970.",
                    int,
                    1_795_503_470,
                    is_required=True,
                ),
                Parameter(
                    "webhook-signature",
                    "`v1,` and HMAC-SHA256 in base64, for each secret, with spaces between them.",
                    str,
                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                    is_required=True,
                ),
            ),
        ),
    ),
)
