"""``POST /tasks``: the submission of one task, an array of tasks, or a stream of them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import UNSET
from quart import Response, request

from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.document.common_parts import (
    PREFER,
    PREFERENCE_APPLIED,
    X_ACCEL_BUFFERING,
    location,
)
from taskflow.api.document.examples import (
    CALLBACK_ID,
    CALLBACK_PARENT,
    COMPLETED,
    PENDING,
    TASK_ID,
    URL,
)
from taskflow.api.inline_requests import Incoming
from taskflow.api.live.waiting import requested_wait, wait_until_finished
from taskflow.api.reading.bodies import check_encoding, read_json
from taskflow.api.reading.request_headers import (
    LINE_TYPES,
    LINES,
    IdempotencyKeyText,
    idempotency_key_of,
    preferences_of,
)
from taskflow.api.request_spans import submission_trace
from taskflow.api.responses import UNBUFFERED, as_json
from taskflow.api.route import Callback, Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.submission import AcceptedLine, RejectedLine, StreamSummary, Submissions
from taskflow.model.errors import Unprocessable
from taskflow.model.task import IdempotencyKey, Task
from taskflow.schema.query import WAIT_QUERY, WaitRequest
from taskflow.schema.tasks import TaskRequest, TaskRequests
from taskflow.store.base.submission import AddedOnce

_REQUEST_HEADERS: Final = (
    Parameter(
        "Idempotency-Key",
        "Makes the request safe to repeat: the same request with the same key returns the tasks "
        "of the first one. Any text, for example a new UUID for each new request.",
        IdempotencyKeyText,
        "8e03978e-40d5-43dd-bc93-6894a57f9324",
    ),
    PREFER,
    Parameter(
        "traceparent",
        "W3C Trace Context, propagated to the target.",
        str,
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    Parameter(
        "tracestate",
        "The vendor-specific part of the trace context, propagated with `traceparent`.",
        str,
        "congo=t61rcWkgMzE",
    ),
)
_LOCATION: Final = location(f"/tasks/{TASK_ID}", "The path of the task, if it is a single one.")
_CREATED: Final = RouteResponse(
    "The task as it was stored, or as it is after the wait; an array of tasks for an array.",
    Task | list[Task],
    PENDING,
    HTTPStatus.CREATED,
    headers=(_LOCATION, PREFERENCE_APPLIED),
    links=("showTask", "listAttempts", "showResult"),
)
_REPLAYED: Final = RouteResponse(
    "The task or tasks of an earlier request with the same Idempotency-Key; or tasks that existed "
    "and have the unique or debounce keys of this request (see `existing`). For a stream, the "
    "outcome of each line, and a summary.",
    Task | list[Task],
    COMPLETED,
    also=(
        Content(
            LINES,
            (AcceptedLine, RejectedLine, StreamSummary),
            f'{{"index":0,"id":"{TASK_ID}"}}\n{{"accepted":1,"rejected":0,"error":null}}\n',
        ),
    ),
    headers=(
        Parameter(
            "Idempotent-Replayed",
            "Present if an earlier request had the same Idempotency-Key.",
            Literal["true"],
            "true",
        ),
        _LOCATION,
        PREFERENCE_APPLIED,
        X_ACCEL_BUFFERING,
    ),
)
_CALLBACK: Final = Callback(
    name="finished",
    address="{$request.body#/callback_url}",
    summary="A task finished",
    description="The finished task, signed as the Standard Webhooks specify. Any 2xx confirms "
    "receipt, and 410 stops the callback; after any other response it is retried, up to ten "
    "times. Redirects are not followed.",
    kind=Task,
    example=CALLBACK_PARENT,
    headers=(
        Parameter(
            "webhook-id",
            "The id of the callback; a retry has the same id.",
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
            "`v1,` and HMAC-SHA256 in base64, for each secret, separated by spaces.",
            str,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            is_required=True,
        ),
    ),
    responses={
        "2XX": "It was received.",
        "410": "It is not wanted, and not sent again.",
    },
)


@Route(
    "POST",
    "/tasks",
    "tasks",
    (_CREATED, _REPLAYED),
    (HTTPStatus.CONFLICT, HTTPStatus.GONE),
    headers=_REQUEST_HEADERS,
    query=WaitRequest,
    body=TaskRequest | TaskRequests,
    body_examples={
        "once": {"payload": URL},
        "urgent": {"payload": URL, "max_attempts": 3, "priority": 10},
        "request": {
            "payload": {"url": URL, "method": "PUT", "body": {"answer": 42}},
            "queue": "mail",
            "tags": {"customer": 42},
            "delay_seconds": 60,
            "backoff": [1, 10, 60],
        },
        "many": [{"payload": URL}, {"payload": f"{URL}?page=2"}],
        "chain": [{"name": "first", "payload": URL}, {"after": ["first"], "payload": URL}],
    },
    also_accepts=(
        Content(LINES, (TaskRequest,), f'{{"payload": "{URL}"}}\n{{"payload": "{URL}?page=2"}}\n'),
    ),
    callback=_CALLBACK,
)
async def add_task(services: Services) -> Response:
    """Submit a task, or many.

    The response is sent when the task is stored durably; it waits for the task only if the request
    asks for that. From then on the task runs to completion, even if nodes or the database crash.
    An array is stored completely or not at all; its tasks can refer to each other by name in
    `after`. If a task has a unique or debounce key that another
    task has, that task is returned, with `existing`; the status is 200 if no task was created. The
    tasks of a stream, one per line, are stored as
    they arrive, and the outcome of each line is returned meanwhile.
    """
    if request.mimetype in LINE_TYPES:
        check_encoding()
        return await _add_stream(services.submissions)
    wait = requested_wait(WAIT_QUERY.read_query(dict(request.args.lists())))
    body = await read_json()
    key = _key_of(body, services.settings.idempotency_seconds)
    added = await _add(services.submissions, body, key)
    if _is_array(body):
        return _added(added.tasks, is_replay=added.is_replay)
    [task] = added.tasks
    if wait.seconds:
        finished = await wait_until_finished(services.feed, task, wait.seconds)
        task = msgspec.structs.replace(finished, existing=task.existing)
    path = f"/tasks/{task.id}"
    return wait.confirm(_added(task, is_replay=added.is_replay, path=path))


async def _add(submissions: Submissions, body: bytes, key: IdempotencyKey | None) -> AddedOnce:
    with submission_trace() as trace:
        try:
            if _is_array(body):
                tasks = await submissions.read_array(body, trace.fields)
            else:
                tasks = [await submissions.read(body, trace.fields)]
        except Unprocessable:  # it may have been valid when it came first
            added = None if key is None else await submissions.find_added(key)
            if added is None:
                raise
        else:
            added = await submissions.add(tasks, key)
        trace.added(added.tasks)
    return added


def _is_array(body: bytes) -> bool:
    return body.lstrip().startswith(b"[")


async def _add_stream(submissions: Submissions) -> Response:
    """Return a response that begins while the request is still being received."""
    if "Idempotency-Key" in request.headers:
        raise Unprocessable(
            "Idempotency-Key is not supported for a stream, whose tasks are stored as they "
            "arrive; if a stream breaks off, send the rest"
        )
    is_minimal = preferences_of(request.headers.getlist("Prefer")).get("return") == "minimal"
    body = cast("Incoming", request.body)
    outcomes = submissions.add_stream(body, submission_trace(), is_minimal=is_minimal)
    if not is_minimal:
        return Response(outcomes, content_type=LINES, headers=UNBUFFERED)
    response = Response(await _begun(outcomes), content_type=LINES, headers=UNBUFFERED)
    response.headers["Preference-Applied"] = "return=minimal"
    return response


async def _begun(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the same parts once there is a first one: headers are not sent before."""
    first = await anext(parts)

    async def all_parts() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    return all_parts()


def _key_of(body: bytes, seconds: float) -> IdempotencyKey | None:
    caller: Caller | None = cast("dict[str, Any]", request.scope).get(CALLER)
    return idempotency_key_of(
        request.headers.getlist("Idempotency-Key"),
        caller=caller.name if caller else None,
        body=body,
        seconds=seconds,
    )


def _added(tasks: Task | Sequence[Task], *, is_replay: bool, path: str | None = None) -> Response:
    each = [tasks] if isinstance(tasks, Task) else tasks
    is_new = not is_replay and any(task.existing is UNSET for task in each)
    response = as_json(tasks, status=201 if is_new else 200, location=path)
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


ROUTES: Final = (add_task,)
