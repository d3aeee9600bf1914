"""The routes by which people move a task: cancel, retry, delete."""

from __future__ import annotations

from quart import Blueprint, Response

from taskflow.api.problems import store_in_time
from taskflow.api.reading.task_query import task_id_of
from taskflow.api.request_bodies import read_body
from taskflow.api.responses import as_json, no_content
from taskflow.model.errors import TaskNotFound
from taskflow.model.task import Task
from taskflow.store.base.tasks import TaskStore


def by_hand_routes(store: TaskStore) -> Blueprint:
    """The routes, on this store. They ask for no body; one that is sent is passed over."""
    routes = Blueprint("by_hand", __name__)

    @routes.post("/tasks/<task_id>/cancel")
    async def cancel(task_id: str) -> Response:
        await read_body()
        with store_in_time():
            return _shown(await store.cancel(task_id_of(task_id)))

    @routes.post("/tasks/<task_id>/retry")
    async def retry(task_id: str) -> Response:
        await read_body()
        with store_in_time():
            return _shown(await store.retry(task_id_of(task_id)))

    @routes.delete("/tasks/<task_id>")
    async def delete(task_id: str) -> Response:
        with store_in_time():
            if not await store.delete(task_id_of(task_id)):
                raise TaskNotFound
        return no_content()

    return routes


def _shown(task: Task | None) -> Response:
    if task is None:
        raise TaskNotFound
    return as_json(task)
