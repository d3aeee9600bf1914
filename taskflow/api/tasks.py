"""Reads of tasks: lists, one task, and its attempts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

from quart import Response, request
from werkzeug.datastructures import ETags

from taskflow.api.document.common_parts import (
    ETAG,
    PREFER,
    PREFERENCE_APPLIED,
    X_ACCEL_BUFFERING,
    next_page_link,
)
from taskflow.api.document.examples import ATTEMPT, COMPLETED, TASK_ID
from taskflow.api.listing import (
    StreamError,
    TaskFields,
    as_lines,
    find_page,
    next_link,
    selected,
    stream_of,
)
from taskflow.api.live.snapshot import Snapshot
from taskflow.api.live.waiting import RequestedWait, requested_wait, wait_for_task
from taskflow.api.problems import store_timeout
from taskflow.api.reading.paths import task_id_of
from taskflow.api.reading.request_headers import LINES, wants_lines
from taskflow.api.responses import JSON, as_json
from taskflow.api.route import Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import TaskNotFound
from taskflow.model.task import AttemptRecord, Task
from taskflow.schema.query import (
    PAGE_QUERY,
    SHOW_QUERY,
    STREAM_QUERY,
    PageRequest,
    ShowRequest,
    cursor_of,
)

TASK_ID_IN_PATH: Final = Parameter("id", "The id of the task.", uuid.UUID, TASK_ID)


@Route(
    "GET",
    "/tasks",
    "tasks",
    (
        RouteResponse(
            "A page of tasks; or a stream. If a stream breaks off, its last line is an object "
            "with a problem as its `error`.",
            list[Task],
            [COMPLETED],
            selected_kind=list[TaskFields],
            also=(
                Content(
                    LINES,
                    (Task, TaskFields, StreamError),
                    f'{{"id":"{TASK_ID}","status":"COMPLETED"}}\n',
                ),
            ),
            headers=(
                next_page_link(f"/tasks?limit=20&cursor={cursor_of(TASK_ID)}"),
                X_ACCEL_BUFFERING,
            ),
        ),
    ),
    query=PageRequest,
)
async def list_tasks(services: Services) -> Response:
    """List tasks, the newest first.

    Returns pages; with ``Accept: application/x-ndjson``, a stream of all tasks that match. A task
    must match all filters; without filters all tasks match. The cost of a page does not grow with
    the number of tasks, so a page can have fewer tasks than ``limit``, even none, although others
    follow: ``Link`` is present as long as there is a next page. Only ``tag`` may be repeated, and
    unknown parameters are rejected.
    """
    is_stream = wants_lines(request.headers.getlist("Accept"))
    query = (STREAM_QUERY if is_stream else PAGE_QUERY).read_query(dict(request.args.lists()))
    if is_stream:
        return await as_lines(partial(stream_of, services.store, query))
    found = await find_page(services.store, query)
    return as_json(
        [selected(task, query.fields) for task in found.tasks],
        link=next_link("/tasks", query.limit, found.next_before),
    )


@Route(
    "GET",
    "/tasks/{id}",
    "tasks",
    (
        RouteResponse(
            "The task.",
            Task,
            COMPLETED,
            selected_kind=TaskFields,
            headers=(ETAG, PREFERENCE_APPLIED),
        ),
        RouteResponse(
            "The task has not changed since the version in `If-None-Match`.",
            status=HTTPStatus.NOT_MODIFIED,
            headers=(ETAG, PREFERENCE_APPLIED),
        ),
    ),
    (HTTPStatus.NOT_FOUND,),
    (TASK_ID_IN_PATH,),
    (
        PREFER,
        Parameter("If-None-Match", "The `ETag` of the version you have.", str, '"3a90c45b"'),
    ),
    query=ShowRequest,
)
async def show_task(services: Services, task_id: str) -> Response:
    """Get a task.

    A finished task has its result, or the error. With ``wait``, the response comes as soon as the
    task is finished or, with ``If-None-Match``, has changed, and when the time is over at the
    latest.
    """
    query = SHOW_QUERY.read_query(dict(request.args.lists()))
    wait, known = requested_wait(query), request.if_none_match
    is_news = partial(_is_news, known, query.fields)
    snapshot = await _found(services, task_id_of(task_id), wait, is_news)
    shown = snapshot.shown(query.fields)
    response = Response(shown.body, content_type=JSON)
    response.set_etag(shown.tag)
    return wait.confirm(_unless_known(response, known))


@Route(
    "GET",
    "/tasks/{id}/attempts",
    "tasks",
    (
        RouteResponse(
            "The attempts; none if the task has not been run.", list[AttemptRecord], [ATTEMPT]
        ),
    ),
    (HTTPStatus.NOT_FOUND,),
    (TASK_ID_IN_PATH,),
)
async def list_attempts(services: Services, task_id: str) -> Response:
    """List the attempts of a task.

    In the order in which they were made; a running attempt is the last. A failed attempt has the
    last ``response`` that was received: status, headers and the beginning of the body
    (``TASKFLOW_FAILED_BODY_BYTES``). Callbacks and events do not have it.
    """
    with store_timeout():
        attempts = await services.store.attempts(task_id_of(task_id))
    if attempts is None:
        raise TaskNotFound
    return as_json(attempts)


async def _found(
    services: Services,
    task_id: uuid.UUID,
    wait: RequestedWait,
    is_awaited: Callable[[Snapshot], bool],
) -> Snapshot:
    """Return the task, as soon as it is as awaited or the wait is over.

    Raises:
        TaskNotFound: There is no such task.
        StoreUnavailable: The store does not answer in time.
    """
    seen = None
    if wait.seconds:
        seen = await wait_for_task(services.feed, task_id, wait.seconds, is_awaited)
    if seen is not None and (is_awaited(seen) or not seen.may_be_outdated):
        return seen
    with store_timeout():
        task = await services.store.get(task_id)
    if task is None:
        raise TaskNotFound
    return Snapshot(task)


def _is_news(known: ETags, fields: Sequence[str] | None, seen: Snapshot) -> bool:
    """Return whether the wait is over: the task changed or, without a known version, finished."""
    return not seen.is_known(known, fields) if known else seen.task.status.is_final


def _unless_known(response: Response, known: ETags) -> Response:
    """Return 304 without a body to a client that has this version (RFC 9110, section 15.4.5)."""
    tag, _ = response.get_etag()
    if tag is None or not known.contains_weak(tag):
        return response
    unchanged = Response(b"", status=HTTPStatus.NOT_MODIFIED)
    unchanged.set_etag(tag)
    del unchanged.headers["Content-Type"], unchanged.headers["Content-Length"]
    return unchanged


ROUTES: Final = (list_tasks, show_task, list_attempts)
