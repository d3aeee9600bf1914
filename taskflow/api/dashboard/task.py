"""The page of a task: its request, attempts and response, and actions on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, feed_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard import formatting, preview, shown_bodies
from taskflow.api.dashboard.live_region import followed
from taskflow.api.dashboard.pages import page, redirect_to, viewer
from taskflow.api.dashboard.timeline import timeline
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import task_id_of
from taskflow.api.results import attachment_of
from taskflow.model import lifecycle
from taskflow.model.audit import Actor
from taskflow.model.errors import IllegalMove, TaskNotFound, TooManySearches
from taskflow.model.event import EventFilter
from taskflow.model.filter import TaskFilter
from taskflow.model.lifecycle import Move
from taskflow.model.task import Task, TaskStatus
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.base.store import TaskStore

MAX_CHILDREN: Final = 10
MAX_BYTES_PER_CHARACTER: Final = 12
"""Maximum length of a character in JSON: a pair of escapes."""

_TASK: Final = f"{PATH}/tasks/<task_id>"


class _Act(Protocol):
    def __call__(self, task_id: uuid.UUID, *, by: Actor) -> Awaitable[Task | None]: ...


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the page, its stream, its preview and its actions."""
    preview.add_routes(routes, store)

    @routes.get(_TASK)
    async def show(task_id: str) -> Response:
        mine = store_of_request(store)
        return await page("task.html", **await _load(mine, task_id_of(task_id), _own_url()))

    @routes.get(f"{_TASK}/live")
    async def show_live(task_id: str) -> Response:
        user, wanted, url = viewer(), task_id_of(task_id), _own_url()
        mine = store_of_request(store)

        async def load() -> dict[str, Any]:
            try:
                return {**await _load(mine, wanted, url), "viewer": user}
            except TaskNotFound:  # deleted meanwhile
                return {"task": None, "is_final": True, "viewer": user}

        return followed(
            feed_of_request(feed), EventFilter(task_id=wanted), "task_region.html", load
        )

    @routes.get(f"{_TASK}/result")
    async def result(task_id: str) -> Response:
        return attachment_of(await _found(store_of_request(store), task_id_of(task_id)))

    @routes.post(f"{_TASK}/cancel")
    async def cancel(task_id: str) -> Response:
        return await _acted(task_id, store_of_request(store).cancel)

    @routes.post(f"{_TASK}/retry")
    async def retry(task_id: str) -> Response:
        return await _acted(task_id, store_of_request(store).retry)

    @routes.post(f"{_TASK}/skip")
    async def skip(task_id: str) -> Response:
        return await _acted(task_id, store_of_request(store).skip)

    @routes.post(f"{_TASK}/delete")
    async def delete(task_id: str) -> Response:
        await read_body()
        with store_timeout():
            await store_of_request(store).delete(task_id_of(task_id), by=actor_of_request())
        return redirect_to(f"{PATH}/tasks")


async def _acted(task_id: str, act: _Act) -> Response:
    await read_body()
    try:
        with store_timeout():
            task = await act(task_id_of(task_id), by=actor_of_request())
    except IllegalMove:
        return redirect_to(
            f"{PATH}/tasks/{task_id_of(task_id)}"
        )  # the page shows its current status
    if task is None:
        raise TaskNotFound
    return redirect_to(f"{PATH}/tasks/{task.id}")


async def _found(store: TaskStore, task_id: uuid.UUID) -> Task:
    with store_timeout():
        task = await store.get(task_id)
    if task is None:
        raise TaskNotFound
    return task


async def _load(store: TaskStore, task_id: uuid.UUID, url: str) -> dict[str, Any]:
    task = await _found(store, task_id)
    with store_timeout():
        attempts = await store.attempts(task_id) or []
    children = await _children_of(store, task_id)
    payload = formatting.payload_of(task)
    result = None if task.result is None else shown_bodies.result_of(task.result)
    sent = payload.get("body")
    return {
        "task": task,
        "children": children,
        "payload": payload,
        "sent": None if sent is None else shown_bodies.request_body(bytes(sent)),
        "timeline": timeline(task, attempts, time.time()),
        "attempts": list(zip(attempts, shown_bodies.failed_bodies(attempts), strict=True)),
        "result": result,
        "body": shown_bodies.result_body(result) if result else None,
        "curl_of_task": _if_usable(task, lambda: formatting.curl_of_task(task, url)),
        "curl_of_request": _if_usable(task, lambda: formatting.curl_of_request(task)),
        "may_cancel": lifecycle.allows(task.status, Move.CANCEL, holds_key=task.holds_key),
        "may_skip": task.holds_key,
        "may_retry": task.status in (TaskStatus.FAILED, TaskStatus.CANCELED),
        "is_final": task.status.is_final,
    }


async def _children_of(store: TaskStore, task_id: uuid.UUID) -> list[Task]:
    """Return the last children of a task, one more than are shown; none while searches are busy."""
    wanted = TaskFilter(parent=task_id)
    try:
        with store_timeout():
            found = await store.page(limit=MAX_CHILDREN + 1, filter=wanted, without=LARGE_FIELDS)
    except TooManySearches:
        return []
    return found.tasks


def _if_usable(task: Task, make: Callable[[], str]) -> str | None:
    """Return a command, unless it is too long: Linux limits an argument to 128 KiB."""
    if len(bytes(task.payload)) > MAX_BYTES_PER_CHARACTER * formatting.MAX_SHOWN_CHARACTERS:
        return None
    command = make()
    return command if len(command) <= formatting.MAX_SHOWN_CHARACTERS else None


def _own_url() -> str:
    return f"{request.scheme}://{request.host}"
