"""The overview: totals, charts, queues, nodes, hosts and schedules."""

from __future__ import annotations

from typing import Any, Final

from quart import Blueprint, Response

from taskflow.api.access.request_caller import actor_of_request, scope_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard import charts
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, redirect_to, viewer
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import queue_name_of
from taskflow.model.queue_limits import NO_SETTINGS
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import queue_of
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore

MAX_QUEUES: Final = 100
MAX_NODES: Final = 100
MAX_HOSTS: Final = 10
MAX_SCHEDULES: Final = 50


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the page, its stream and its actions."""

    @routes.get(PATH)
    async def overview() -> Response:
        context = await _context(store_of_request(store), scope_of_request())
        return await page("overview.html", **context)

    @routes.get(f"{PATH}/live")
    async def overview_live() -> Response:
        user, mine, scope = viewer(), store_of_request(store), scope_of_request()

        async def load() -> dict[str, Any]:
            return {**await _context(mine, scope), "viewer": user}

        return refreshed(feed, "overview_region.html", load)

    @routes.post(f"{PATH}/queues/<string:name>/pause")
    async def pause(name: str) -> Response:
        return await _set_paused(store, name, is_paused=True)

    @routes.post(f"{PATH}/queues/<string:name>/resume")
    async def resume(name: str) -> Response:
        return await _set_paused(store, name, is_paused=False)


async def _set_paused(store: TaskStore, name: str, *, is_paused: bool) -> Response:
    await read_body()
    with store_timeout():
        await store_of_request(store).queues.set_paused(
            queue_name_of(name), is_paused=is_paused, by=actor_of_request()
        )
    return redirect_to(f"{PATH}#queues")


async def _context(store: TaskStore, scope: QueueScope | None) -> dict[str, Any]:
    """Return the context of the page; nodes and hosts serve all queues, so a scope hides them."""
    # One after the other: in parallel, every open page would take six connections of the pool.
    with store_timeout():
        counted = await store.count(limit=MAX_QUEUES)
        settings = await store.queues.first(MAX_QUEUES + 1)
        minutes = await store.monitoring.history()
        nodes = [] if scope else await store.monitoring.nodes(MAX_NODES)
        hosts = [] if scope else await store.monitoring.hosts(MAX_HOSTS)
        schedules = await store.schedules.page(limit=MAX_SCHEDULES)
    statistics = {one.queue: one for one in counted.queues}
    names = sorted(settings.keys() | statistics.keys())
    finished = {
        status: sum(minute.finished[status] for minute in minutes)
        for status in TaskStatus
        if status.is_final
    }
    return {
        "total": counted.total,
        "finished": finished,
        "failure_rate": charts.failure_rate(minutes),
        "minutes": minutes,
        "throughput": charts.throughput(minutes),
        "failures": charts.failures(minutes),
        "queues": [
            (statistics.get(name) or queue_of(name, (), None), settings.get(name, NO_SETTINGS))
            for name in names[:MAX_QUEUES]
        ],
        "has_all_queues": counted.complete and len(names) <= MAX_QUEUES,
        "has_whole_view": scope is None,
        "nodes": nodes,
        "hosts": hosts,
        "schedules": schedules.schedules,
        "has_all_schedules": schedules.next_after is None,
    }
