"""``POST /tasks``: the submission of one task; or of many, as ``POST /tasks/batch`` does."""

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
from taskflow.api.route import Callback, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.submission import Submissions
from taskflow.model.errors import Unprocessable
from taskflow.model.task import IdempotencyKey, Task
from taskflow.schema.query import WAIT_QUERY, WaitRequest
from taskflow.schema.tasks import TaskRequest
from taskflow.store.base.submission import AddedOnce

IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "Makes the request safe to repeat: the same request with the same key returns the task "
    "of the first one. Any text, for example a new UUID for each new request.",
    IdempotencyKeyText,
    "8e03978e-40d5-43dd-bc93-6894a57f9324",
)
TRACE_HEADERS: Final = (
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
IDEMPOTENT_REPLAYED: Final = Parameter(
    "Idempotent-Replayed",
    "Present if an earlier request had the same Idempotency-Key.",
    Literal["true"],
    "true",
)
_LOCATION: Final = location(f"/tasks/{TASK_ID}", "The path of the task.")
_CREATED: Final = RouteResponse(
    "The task as it was stored, or as it is after the wait.",
    Task,
    PENDING,
    HTTPStatus.CREATED,
    headers=(_LOCATION, PREFERENCE_APPLIED),
    links=("showTask", "listAttempts", "showResult"),
)
_REPLAYED: Final = RouteResponse(
    "The task of an earlier request with the same Idempotency-Key; or a task that existed and has "
    "the unique or debounce key of this request (see `existing`).",
    Task,
    COMPLETED,
    headers=(IDEMPOTENT_REPLAYED, _LOCATION, PREFERENCE_APPLIED),
    links=("showTask", "listAttempts", "showResult"),
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
    headers=(IDEMPOTENCY_KEY, PREFER, *TRACE_HEADERS),
    query=WaitRequest,
    body=TaskRequest,
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
    },
    callback=_CALLBACK,
)
async def add_task(services: Services) -> Response:
    """Submit a task.

    The response is sent when the task is stored durably; it waits for the task only if the request
    asks for that. From then on the task runs to completion, even if nodes or the database crash.
    If the task has a unique or debounce key that another task has, that task is returned, with
    ``existing`` and the status 200.

    For older clients, an array or a stream of tasks is accepted, too, with the responses of
    ``POST /tasks/batch``. That is deprecated: send it to ``POST /tasks/batch``.
    """
    if request.mimetype in LINE_TYPES:
        return await add_stream(services.submissions)
    wait = requested_wait(WAIT_QUERY.read_query(dict(request.args.lists())))
    body = await read_json()
    is_array = body.lstrip().startswith(b"[")
    added = await add_from(services, body, is_array=is_array)
    if is_array:
        return added_response(added.tasks, is_replay=added.is_replay)
    [task] = added.tasks
    if wait.seconds:
        finished = await wait_until_finished(services.feed, task, wait.seconds)
        task = msgspec.structs.replace(finished, existing=task.existing)
    path = f"/tasks/{task.id}"
    return wait.confirm(added_response(task, is_replay=added.is_replay, path=path))


async def add_from(services: Services, body: bytes, *, is_array: bool) -> AddedOnce:
    """Store the task or the tasks of a body, once per ``Idempotency-Key``.

    Raises:
        RequestError: The body or the key is invalid.
        TooManyRequests: The backlog limit is reached.
        StoreUnavailable: The store does not answer in time.
    """
    submissions = services.submissions
    key = _key_of(body, services.settings.idempotency_seconds)
    with submission_trace() as trace:
        try:
            if is_array:
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


async def add_stream(submissions: Submissions) -> Response:
    """Store the tasks of a stream; the response begins while the request is being received.

    Raises:
        RequestError: It is compressed, or it has an ``Idempotency-Key``.
    """
    check_encoding()
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


def added_response(
    tasks: Task | Sequence[Task], *, is_replay: bool, path: str | None = None
) -> Response:
    """Return the response with tasks: 201 if one of them is new, otherwise 200."""
    each = [tasks] if isinstance(tasks, Task) else tasks
    is_new = not is_replay and any(task.existing is UNSET for task in each)
    response = as_json(tasks, status=201 if is_new else 200, location=path)
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


ROUTES: Final = (add_task,)
