"""The first page: how all of it stands."""

from __future__ import annotations

from typing import Any, Final

from quart import Blueprint, Response

from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard import charts
from taskflow.api.dashboard.live_region import by_the_clock
from taskflow.api.dashboard.pages import page, see, viewer
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_in_time
from taskflow.api.reading.paths import queue_name_of, schedule_name_of
from taskflow.api.request_bodies import read_body
from taskflow.model.errors import ScheduleNotFound
from taskflow.model.queue_limits import NO_SETTINGS
from taskflow.model.queues import queue_of
from taskflow.model.task import TaskStatus
from taskflow.store.base.tasks import TaskStore

MOST_QUEUES: Final = 100
MOST_NODES: Final = 100
MOST_HOSTS: Final = 10
MOST_SCHEDULES: Final = 50


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """The page, its stream, and what can be done there."""

    @routes.get(PATH)
    async def overview() -> Response:
        return await page("overview.html", **await _look(store))

    @routes.get(f"{PATH}/live")
    async def overview_live() -> Response:
        who = viewer()

        async def look() -> dict[str, Any]:
            return {**await _look(store), "viewer": who}

        return by_the_clock(feed, "overview_region.html", look)

    @routes.post(f"{PATH}/queues/<string:name>/pause")
    async def pause(name: str) -> Response:
        return await _set_paused(store, name, is_paused=True)

    @routes.post(f"{PATH}/queues/<string:name>/resume")
    async def resume(name: str) -> Response:
        return await _set_paused(store, name, is_paused=False)

    @routes.post(f"{PATH}/schedules/<string:name>/run")
    async def run_schedule(name: str) -> Response:
        await read_body()
        with store_in_time():
            task = await store.schedules.run_now(schedule_name_of(name))
        if task is None:
            raise ScheduleNotFound
        return see(f"{PATH}/tasks/{task.id}")


async def _set_paused(store: TaskStore, name: str, *, is_paused: bool) -> Response:
    await read_body()
    with store_in_time():
        await store.queues.set_paused(queue_name_of(name), is_paused=is_paused)
    return see(f"{PATH}#queues")


async def _look(store: TaskStore) -> dict[str, Any]:
    with store_in_time():
        counted = await store.count(limit=MOST_QUEUES)
        settings = await store.queues.first(MOST_QUEUES + 1)
        minutes = await store.monitoring.history()
        nodes = await store.monitoring.nodes(MOST_NODES)
        hosts = await store.monitoring.hosts(MOST_HOSTS)
        schedules = await store.schedules.page(limit=MOST_SCHEDULES)
    standing = {one.queue: one for one in counted.queues}
    names = sorted(settings.keys() | standing.keys())
    ended = {
        status: sum(minute.ended[status] for minute in minutes)
        for status in TaskStatus
        if status.is_final
    }
    return {
        "total": counted.total,
        "ended": ended,
        "failure_rate": charts.failure_rate(minutes),
        "minutes": minutes,
        "throughput": charts.throughput(minutes),
        "failures": charts.failures(minutes),
        "queues": [
            (standing.get(name) or queue_of(name, (), None), settings.get(name, NO_SETTINGS))
            for name in names[:MOST_QUEUES]
        ],
        "are_queues_all": counted.is_complete and len(names) <= MOST_QUEUES,
        "nodes": nodes,
        "hosts": hosts,
        "schedules": schedules.schedules,
        "are_schedules_all": schedules.next_after is None,
    }
