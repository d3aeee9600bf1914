"""The routes under ``/tasks``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import urlencode

import msgspec
from quart import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from taskflow.api.backlog import Backlog
from taskflow.api.edge import CALLER
from taskflow.api.problems import store_in_time
from taskflow.api.reading.head import idempotency_key_of, trace_of
from taskflow.api.reading.new_task import new_task_of
from taskflow.api.reading.page import PageRequest, cursor_of, page_request_of, task_id_of
from taskflow.model.errors import (
    BodyTooLarge,
    IdempotencyKeyReused,
    TaskGone,
    TaskNotFound,
    UnsupportedEncoding,
)
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.settings import Settings
from taskflow.store.base import AddedOnce, Page, TaskStore

_ENCODER: Final = msgspec.json.Encoder()


def task_routes(store: TaskStore, settings: Settings) -> Blueprint:
    """The routes, on this store."""
    routes = Blueprint("tasks", __name__)
    backlog = Backlog(store, settings.max_pending)

    @routes.post("/tasks")
    async def add() -> Response:
        body = await _body()
        head = request.headers
        trace = trace_of(head.get("traceparent", ""), head.get("tracestate", ""))
        new_task = new_task_of(body, max_attempts=settings.max_attempts, trace=trace)
        key = idempotency_key_of(
            head.getlist("Idempotency-Key"),
            caller=cast("dict[str, Any]", request.scope).get(CALLER),
            body=body,
            seconds=settings.idempotency_seconds,
        )
        with store_in_time():
            await backlog.admit()
            added = await _added(store, [new_task], key)
        return _handed_in(added.tasks[0], is_replay=added.is_replay)

    @routes.get("/tasks")
    async def page() -> Response:
        asked = page_request_of(dict(request.args.lists()))
        with store_in_time():
            found = await store.page(limit=asked.limit, before=asked.before, status=asked.status)
        return _json(found.tasks, link=_next_link(asked, found))

    @routes.get("/tasks/<task_id>")
    async def show(task_id: str) -> Response:
        with store_in_time():
            task = await store.get(task_id_of(task_id))
        if task is None:
            raise TaskNotFound
        return _json(task)

    @routes.get("/tasks/<task_id>/attempts")
    async def attempts(task_id: str) -> Response:
        with store_in_time():
            made = await store.attempts(task_id_of(task_id))
        if made is None:
            raise TaskNotFound
        return _json(made)

    return routes


async def _added(
    store: TaskStore, tasks: Sequence[NewTask], key: IdempotencyKey | None
) -> AddedOnce:
    """Keep the tasks, or find those that the same request made before.

    Raises:
        IdempotencyKeyReused: The key was for another request.
        TaskGone: Some of these tasks were deleted since.
    """
    if key is None:
        return AddedOnce(await store.add(tasks))
    added = await store.add_once(tasks, key)
    if not added.is_same:
        raise IdempotencyKeyReused
    if len(added.tasks) < len(tasks):
        raise TaskGone
    return added


def _handed_in(task: Task, *, is_replay: bool) -> Response:
    response = _json(task, status=200 if is_replay else 201, location=f"/tasks/{task.id}")
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


async def _body() -> bytes:
    encodings = ",".join(request.headers.getlist("Content-Encoding")).lower().split(",")
    if any(encoding.strip() not in ("", "identity") for encoding in encodings):
        raise UnsupportedEncoding
    try:
        body = await request.get_data(cache=False, as_text=False)
    except RequestEntityTooLarge:
        raise BodyTooLarge(
            f"the body is larger than the {request.max_content_length} bytes that are taken here"
        ) from None
    assert isinstance(body, bytes)
    return body


def _next_link(asked: PageRequest, found: Page) -> str | None:
    if found.next_before is None:
        return None
    query = {"limit": asked.limit, "cursor": cursor_of(found.next_before)}
    if asked.status is not None:
        query["status"] = asked.status
    return f'</tasks?{urlencode(query)}>; rel="next"'


def _json(document: object, *, status: int = 200, **headers: str | None) -> Response:
    response = Response(_ENCODER.encode(document), status=status, content_type="application/json")
    for name, value in headers.items():
        if value is not None:
            response.headers[name.title()] = value
    return response
