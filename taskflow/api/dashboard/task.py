"""One task: what it was to do, how that went, and what can be done about it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from quart import Blueprint, Response, request

from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard import charts, formatting
from taskflow.api.dashboard.live_region import by_events
from taskflow.api.dashboard.pages import page, see, viewer
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_in_time
from taskflow.api.reading.paths import task_id_of
from taskflow.api.request_bodies import read_body
from taskflow.api.results import attachment_of
from taskflow.model.errors import IllegalMove, TaskNotFound
from taskflow.model.event import EventFilter
from taskflow.model.outcome import KeptResponse
from taskflow.model.task import AttemptRecord, Task, TaskStatus
from taskflow.store.base.tasks import TaskStore

MAX_RESPONSES: Final = 5

_TASK: Final = f"{PATH}/tasks/<task_id>"


class _Result(msgspec.Struct, frozen=True):
    """What is shown of a stored ``Response``."""

    result: msgspec.Raw
    status: str
    headers: dict[str, str]
    content_type: str | None
    encoding: Literal["json", "text", "base64"]
    url: str
    elapsed_ms: float
    size: int


class _Body(msgspec.Struct, frozen=True):
    """A body as it is shown: as much of it as there is room for."""

    text: str
    is_cut: bool


_RESULT: Final = msgspec.json.Decoder(_Result)


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """The page, its stream, and what can be done there."""

    @routes.get(_TASK)
    async def show(task_id: str) -> Response:
        return await page("task.html", **await _look(store, task_id_of(task_id), _own_url()))

    @routes.get(f"{_TASK}/live")
    async def show_live(task_id: str) -> Response:
        who, wanted, url = viewer(), task_id_of(task_id), _own_url()

        async def look() -> dict[str, Any]:
            try:
                return {**await _look(store, wanted, url), "viewer": who}
            except TaskNotFound:  # deleted since
                return {"task": None, "is_final": True, "viewer": who}

        return by_events(feed, EventFilter(task_id=wanted), "task_region.html", look)

    @routes.get(f"{_TASK}/result")
    async def result(task_id: str) -> Response:
        return attachment_of(await _found(store, task_id_of(task_id)))

    @routes.post(f"{_TASK}/cancel")
    async def cancel(task_id: str) -> Response:
        return await _moved(task_id, store.cancel)

    @routes.post(f"{_TASK}/retry")
    async def retry(task_id: str) -> Response:
        return await _moved(task_id, store.retry)

    @routes.post(f"{_TASK}/delete")
    async def delete(task_id: str) -> Response:
        await read_body()
        with store_in_time():
            await store.delete(task_id_of(task_id))
        return see(f"{PATH}/tasks")


async def _moved(task_id: str, move: Callable[[uuid.UUID], Awaitable[Task | None]]) -> Response:
    await read_body()
    try:
        with store_in_time():
            task = await move(task_id_of(task_id))
    except IllegalMove:
        return see(f"{PATH}/tasks/{task_id_of(task_id)}")  # it is seen there how it stands by now
    if task is None:
        raise TaskNotFound
    return see(f"{PATH}/tasks/{task.id}")


async def _found(store: TaskStore, task_id: uuid.UUID) -> Task:
    with store_in_time():
        task = await store.get(task_id)
    if task is None:
        raise TaskNotFound
    return task


async def _look(store: TaskStore, task_id: uuid.UUID, url: str) -> dict[str, Any]:
    task = await _found(store, task_id)
    with store_in_time():
        attempts = await store.attempts(task_id) or []
    payload = formatting.payload_of(task)
    result = None if task.result is None else _result_of(task.result)
    sent = payload.get("body")
    return {
        "task": task,
        "payload": payload,
        "sent": None if sent is None else _shown(formatting.pretty(bytes(sent))),
        "attempts": list(
            zip(
                attempts,
                charts.timeline(task, attempts, time.time()),
                _bodies_of_failures(attempts),
                strict=True,
            )
        ),
        "result": result,
        "body": _body_of(result) if result else None,
        "curl_of_task": _for_a_shell(formatting.curl_of_task(task, url)),
        "curl_of_request": _for_a_shell(formatting.curl_of_request(task)),
        "may_cancel": not task.status.is_final,
        "may_retry": task.status in (TaskStatus.FAILED, TaskStatus.CANCELED),
        "is_final": task.status.is_final,
    }


def _result_of(document: msgspec.Raw) -> _Result | None:
    try:
        return _RESULT.decode(document)
    except ValueError:  # no version of TaskFlow kept it like that
        return None


def _body_of(result: _Result) -> _Body:
    document = bytes(result.result)
    if result.encoding == "json":
        return _shown(formatting.pretty(document))
    text = msgspec.json.decode(document)
    return _shown(text if isinstance(text, str) else "")


def _bodies_of_failures(attempts: Sequence[AttemptRecord]) -> list[_Body | None]:
    """What was answered to attempts that failed, of the last ones: a page has to stay small."""
    responses = [attempt.response or None for attempt in attempts]
    bodies = [response and _body_of_failure(response) for response in responses[-MAX_RESPONSES:]]
    return [None] * (len(attempts) - len(bodies)) + bodies


def _body_of_failure(response: KeptResponse) -> _Body:
    if response.encoding == "json":
        return _shown(formatting.pretty(bytes(response.body)))
    return _shown("" if response.encoding == "base64" else response.text)


def _shown(text: str) -> _Body:
    shown, is_cut = formatting.beginning(text)
    return _Body(formatting.visible(shown), is_cut)


def _for_a_shell(command: str) -> str | None:
    """The command, unless it is longer than any is typed: Linux takes no word of 128 KiB."""
    return command if len(command) <= formatting.MOST_SHOWN_BYTES else None


def _own_url() -> str:
    return f"{request.scheme}://{request.host}"
