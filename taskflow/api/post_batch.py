"""``POST /tasks/batch``: the submission of an array of tasks, or of a stream of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from quart import Response, request

from taskflow.api.document.common_parts import PREFERENCE_APPLIED, X_ACCEL_BUFFERING
from taskflow.api.document.examples import COMPLETED, PENDING, TASK_ID, URL
from taskflow.api.post_tasks import (
    IDEMPOTENCY_KEY,
    IDEMPOTENT_REPLAYED,
    TRACE_HEADERS,
    add_from,
    add_stream,
    added_response,
)
from taskflow.api.reading.bodies import read_json
from taskflow.api.reading.request_headers import LINE_TYPES, LINES
from taskflow.api.route import Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.submission import AcceptedLine, RejectedLine, StreamSummary
from taskflow.model.task import Task
from taskflow.schema.tasks import TaskRequest, TaskRequests

_KEY: Final = msgspec.structs.replace(
    IDEMPOTENCY_KEY,
    description="Makes an array safe to repeat: the same array with the same key returns the tasks "
    "of the first request. Any text, for example a new UUID for each new request.",
    example="d2f0a1c4-0a55-4c0e-9a4b-1f5b4a2f6a1e",
)
_PREFER: Final = Parameter(
    "Prefer",
    "For a stream, `return=minimal` reports only rejected lines, at the end (RFC 7240).",
    str,
    "return=minimal",
)
_CREATED: Final = RouteResponse(
    "The tasks as they were stored, in the order of the request.",
    list[Task],
    [PENDING],
    HTTPStatus.CREATED,
)
_REPLAYED: Final = RouteResponse(
    "The tasks of an earlier request with the same Idempotency-Key; or tasks that existed and have "
    "the unique or debounce keys of this request (see `existing`). For a stream, the outcome of "
    "each line, and a summary.",
    list[Task],
    [COMPLETED],
    also=(
        Content(
            LINES,
            (AcceptedLine, RejectedLine, StreamSummary),
            f'{{"index":0,"id":"{TASK_ID}"}}\n{{"accepted":1,"rejected":0,"error":null}}\n',
        ),
    ),
    headers=(IDEMPOTENT_REPLAYED, PREFERENCE_APPLIED, X_ACCEL_BUFFERING),
)


@Route(
    "POST",
    "/tasks/batch",
    "tasks",
    (_CREATED, _REPLAYED),
    (HTTPStatus.CONFLICT, HTTPStatus.GONE),
    headers=(_KEY, _PREFER, *TRACE_HEADERS),
    body=TaskRequests,
    body_examples={
        "many": [{"payload": URL}, {"payload": f"{URL}?page=2"}],
        "chain": [{"name": "first", "payload": URL}, {"after": ["first"], "payload": URL}],
    },
    streams=(
        Content(LINES, (TaskRequest,), f'{{"payload": "{URL}"}}\n{{"payload": "{URL}?page=2"}}\n'),
    ),
)
async def add_tasks(services: Services) -> Response:
    """Submit many tasks.

    An array is stored completely or not at all, before the response is sent; its tasks can refer to
    each other by name in ``after``. If a task has a unique or debounce key that another task has,
    that task is returned in its place, with ``existing``; the status is 200 if no task was created.
    The tasks of a stream, one per line, are stored as they arrive, and the outcome of each line is
    returned meanwhile; a stream has no ``Idempotency-Key``.
    """
    if request.mimetype in LINE_TYPES:
        return await add_stream(services.submissions)
    added = await add_from(services, await read_json(), is_array=True)
    return added_response(added.tasks, is_replay=added.is_replay)


ROUTES: Final = (add_tasks,)
