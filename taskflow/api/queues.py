"""The routes under ``/queues``: how queues stand, and what is asked of them."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response

from taskflow.api.bulk_actions import Verb, move_many
from taskflow.api.problems import store_in_time
from taskflow.api.reading.many import Many
from taskflow.api.reading.queue_settings import patch_of, queue_name_of, replacement_of
from taskflow.api.request_bodies import read_body, read_json
from taskflow.api.responses import as_json
from taskflow.model.errors import QueueNotFound
from taskflow.model.filter import TaskFilter
from taskflow.model.queue_limits import NO_SETTINGS, QueueChange, QueueSettings
from taskflow.model.queues import Queue, QueueStatistics, queue_of
from taskflow.model.task import TaskStatus
from taskflow.store.base.tasks import TaskStore

MOST_QUEUES: Final = 1000


def queue_routes(store: TaskStore) -> Blueprint:
    """The routes, on this store. Where they ask for no body, one that is sent is passed over."""
    routes = Blueprint("queues", __name__)

    @routes.get("/queues")
    async def list_all() -> Response:
        with store_in_time():
            settings = await store.queues.first(MOST_QUEUES)
            counted = await store.count(limit=MOST_QUEUES)
        standing = {one.queue: one for one in counted.queues}
        names = sorted(settings.keys() | standing.keys())[:MOST_QUEUES]
        return as_json([_shown(name, settings.get(name), standing.get(name)) for name in names])

    @routes.get("/queues/<string:name>")
    async def show(name: str) -> Response:
        return as_json(await _found(store, queue_name_of(name)))

    @routes.put("/queues/<string:name>")
    async def put(name: str) -> Response:
        return await _changed(store, queue_name_of(name), replacement_of(await read_json()))

    @routes.patch("/queues/<string:name>")
    async def patch(name: str) -> Response:
        return await _changed(store, queue_name_of(name), patch_of(await read_json()))

    @routes.post("/queues/<string:name>/pause")
    async def pause(name: str) -> Response:
        return await _with_pause(store, name, is_paused=True)

    @routes.post("/queues/<string:name>/resume")
    async def resume(name: str) -> Response:
        return await _with_pause(store, name, is_paused=False)

    @routes.post("/queues/<string:name>/purge")
    async def purge(name: str) -> Response:
        await read_body()
        waiting = Verb((TaskStatus.PENDING,), store.cancel_many)
        wanted = TaskFilter(queue=queue_name_of(name))
        return as_json(await move_many(store, waiting, Many(wanted, is_dry_run=False)))

    return routes


async def _changed(store: TaskStore, name: str, change: QueueChange) -> Response:
    with store_in_time():
        changed = await store.queues.change(name, change)
    shown = await _found(store, name, is_after_write=True)
    return as_json(shown, status=201 if changed.is_new else 200)


async def _with_pause(store: TaskStore, name: str, *, is_paused: bool) -> Response:
    await read_body()
    name = queue_name_of(name)
    with store_in_time():
        await store.queues.set_paused(name, is_paused=is_paused)
    return as_json(await _found(store, name, is_after_write=True))


async def _found(store: TaskStore, name: str, *, is_after_write: bool = False) -> Queue:
    """The queue.

    Raises:
        QueueNotFound: It has no tasks and no settings.
    """
    with store_in_time():
        settings = await store.queues.get(name)
        counted = await store.count(limit=1, queue=name, is_after_write=is_after_write)
    [standing] = counted.queues
    if settings is None and not any(standing.counts.values()):
        raise QueueNotFound
    return _shown(name, settings, standing)


def _shown(name: str, settings: QueueSettings | None, standing: QueueStatistics | None) -> Queue:
    settings = settings or NO_SETTINGS
    standing = standing or queue_of(name, (), None)
    return Queue(
        name=name,
        paused=settings.paused,
        max_concurrency=settings.max_concurrency,
        rate=settings.rate,
        per_host=settings.per_host,
        counts=standing.counts,
        oldest_waiting_seconds=standing.oldest_waiting_seconds,
        ended=standing.ended,
    )
