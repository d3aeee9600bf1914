"""The routes under ``/tasks`` that hand in and look up."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlencode

import msgspec
from quart import Blueprint, Response, request
from werkzeug.datastructures import ETags

from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.inline_requests import Incoming
from taskflow.api.listing import find_page, picked, stream_of
from taskflow.api.live.feed import Feed
from taskflow.api.live.waiting import Patience, awaited, ended, is_known, tag_of
from taskflow.api.problems import store_in_time
from taskflow.api.reading.accept import LINE_TYPES, LINES, wants_lines
from taskflow.api.reading.post_headers import idempotency_key_of
from taskflow.api.reading.prefer import WaitRequest, preferences_of
from taskflow.api.reading.task_query import (
    PageRequest,
    ShowRequest,
    cursor_of,
    fields_of,
    page_request_of,
    task_id_of,
)
from taskflow.api.request_bodies import check_encoding, read_json
from taskflow.api.request_spans import adding
from taskflow.api.responses import AS_IT_COMES, as_json
from taskflow.api.submission import Intake
from taskflow.metrics import Metrics
from taskflow.model.errors import TaskNotFound, Unprocessable
from taskflow.model.task import IdempotencyKey, Task
from taskflow.settings import Settings
from taskflow.store.base.listing import Page
from taskflow.store.base.submission import AddedOnce
from taskflow.store.base.tasks import TaskStore

_ENCODER: Final = msgspec.json.Encoder()


def task_routes(store: TaskStore, settings: Settings, feed: Feed, metrics: Metrics) -> Blueprint:
    """The routes, on this store and its feed."""
    routes = Blueprint("tasks", __name__)
    intake = Intake(store, settings, metrics)

    @routes.post("/tasks")
    async def add() -> Response:
        if request.mimetype in LINE_TYPES:
            check_encoding()
            return await _add_stream(intake)
        patience = _patience()
        body = await read_json()
        key = _key_of(body, settings.idempotency_seconds)
        added = await _keep(intake, body, key)
        if _is_array(body):
            return _handed_in(added.tasks, is_replay=added.is_replay)
        [task] = added.tasks
        if patience.seconds:
            task = await ended(feed, task, patience.seconds)
        response = _handed_in(task, is_replay=added.is_replay, location=f"/tasks/{task.id}")
        return _with_preference(response, patience)

    @routes.get("/tasks")
    async def page() -> Response:
        is_stream = wants_lines(request.headers.getlist("Accept"))
        asked = page_request_of(dict(request.args.lists()), is_stream=is_stream)
        if is_stream:
            return await stream_of(store, asked, has_body=request.method != "HEAD")
        found = await find_page(store, asked)
        return as_json(
            [picked(task, asked.fields) for task in found.tasks], link=_next_link(asked, found)
        )

    @routes.get("/tasks/<task_id>")
    async def show(task_id: str) -> Response:
        patience, known = _patience(ShowRequest), request.if_none_match
        fields = fields_of(request.args.getlist("fields"))
        shown = partial(_shown, fields)
        task = await _found(
            store, feed, task_id_of(task_id), patience, partial(_is_news, known, shown)
        )
        response = Response(shown(task), content_type="application/json")
        response.set_etag(tag_of(shown(task)))
        return _with_preference(_unless_known(response, known), patience)

    @routes.get("/tasks/<task_id>/attempts")
    async def attempts(task_id: str) -> Response:
        with store_in_time():
            made = await store.attempts(task_id_of(task_id))
        if made is None:
            raise TaskNotFound
        return as_json(made)

    return routes


async def _keep(intake: Intake, body: bytes, key: IdempotencyKey | None) -> AddedOnce:
    with adding() as trace:
        if _is_array(body):
            tasks = await intake.read_array(body, trace.fields)
        else:
            tasks = [intake.read(body, trace.fields)]
        added = await intake.add(tasks, key)
        trace.added(added.tasks)
    return added


def _is_array(body: bytes) -> bool:
    return body.lstrip().startswith(b"[")


async def _found(
    store: TaskStore,
    feed: Feed,
    task_id: uuid.UUID,
    patience: Patience,
    is_awaited: Callable[[Task], bool],
) -> Task:
    """The task, once it is as awaited or the patience has come to an end.

    Raises:
        TaskNotFound: There is none.
        StoreUnavailable: The store does not answer in time.
    """
    task = None
    if patience.seconds:
        task = await awaited(feed, task_id, patience.seconds, is_awaited)
    if task is None:
        with store_in_time():
            task = await store.get(task_id)
    if task is None:
        raise TaskNotFound
    return task


def _patience(known: type[WaitRequest] = WaitRequest) -> Patience:
    return Patience(request.headers.getlist("Prefer"), dict(request.args.lists()), known)


def _shown(fields: Sequence[str] | None, task: Task) -> bytes:
    return _ENCODER.encode(picked(task, fields))


def _is_news(known: ETags, shown: Callable[[Task], bytes], task: Task) -> bool:
    """Whether a task is what somebody waits for: another version, or else its end."""
    return not is_known(known, shown(task)) if known else task.status.is_final


def _unless_known(response: Response, known: ETags) -> Response:
    """304 without a body for who has it already (RFC 9110, section 15.4.5)."""
    tag, _ = response.get_etag()
    if tag is None or not known.contains_weak(tag):
        return response
    unchanged = Response(b"", status=HTTPStatus.NOT_MODIFIED)
    unchanged.set_etag(tag)
    del unchanged.headers["Content-Type"], unchanged.headers["Content-Length"]
    return unchanged


def _with_preference(response: Response, patience: Patience) -> Response:
    if patience.applied is not None:
        response.headers["Preference-Applied"] = patience.applied
    return response


async def _add_stream(intake: Intake) -> Response:
    """Begin to answer while the request is still coming."""
    if "Idempotency-Key" in request.headers:
        raise Unprocessable(
            "Idempotency-Key is for a task or an array of them: a stream is kept as it comes, so "
            "send the rest of one that broke off"
        )
    is_minimal = preferences_of(request.headers.getlist("Prefer")).get("return") == "minimal"
    body = cast("Incoming", request.body)
    told = intake.add_stream(body, adding(), is_minimal=is_minimal)
    if not is_minimal:
        return Response(told, content_type=LINES, headers=AS_IT_COMES)
    response = Response(await _begun(told), content_type=LINES, headers=AS_IT_COMES)
    response.headers["Preference-Applied"] = "return=minimal"
    return response


async def _begun(told: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same, once there is something to tell: the answer's head does not go out before."""
    first = await anext(told)

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for more in told:
            yield more

    return all_of_it()


def _key_of(body: bytes, seconds: float) -> IdempotencyKey | None:
    caller: Caller | None = cast("dict[str, Any]", request.scope).get(CALLER)
    return idempotency_key_of(
        request.headers.getlist("Idempotency-Key"),
        caller=caller.name if caller else None,
        body=body,
        seconds=seconds,
    )


def _handed_in(
    tasks: Task | Sequence[Task], *, is_replay: bool, location: str | None = None
) -> Response:
    response = as_json(tasks, status=200 if is_replay else 201, location=location)
    if is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _next_link(asked: PageRequest, found: Page) -> str | None:
    if found.next_before is None:
        return None
    query = [("limit", str(asked.limit)), ("cursor", cursor_of(found.next_before))]
    query += [
        (name, text)
        for name, texts in request.args.lists()
        for text in texts
        if name not in ("limit", "cursor")
    ]
    return f'</tasks?{urlencode(query)}>; rel="next"'
