"""The overview: totals, charts, and the first queues, nodes, hosts and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import scope_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, viewer
from taskflow.api.dashboard.plots import failure_rate
from taskflow.api.dashboard.queues import ListedQueue, queues_of
from taskflow.api.dashboard.series import PageCharts, span_of
from taskflow.api.dashboard.task_tabs import MAX_COUNTED_IN_TABS
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import TaskStatus
from taskflow.model.task_states import TaskState, number_in, number_text
from taskflow.store.base.store import TaskStore

MAX_QUEUES: Final = 10
MAX_NODES: Final = 10
MAX_HOSTS: Final = 5
MAX_SCHEDULES: Final = 10


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the page and its stream."""

    @routes.get(PATH)
    async def overview() -> Response:
        mine = store_of_request(store)
        charts = PageCharts(mine, span_of(request.args))
        context = await _context(mine, scope_of_request(), charts)
        return await page("overview.html", **context)

    @routes.get(f"{PATH}/live")
    async def overview_live() -> Response:
        user, mine, scope = viewer(), store_of_request(store), scope_of_request()
        charts = PageCharts(mine, span_of(request.args))

        async def load() -> dict[str, Any]:
            return {**await _context(mine, scope, charts), "viewer": user}

        return refreshed(feed, "overview_region.html", load)


async def _context(
    store: TaskStore, scope: QueueScope | None, charts: PageCharts
) -> dict[str, Any]:
    """Return the context of the page; nodes and hosts serve all queues, so a scope hides them."""
    # One after the other: in parallel, every open page would take six connections of the pool.
    listed = await queues_of(store)
    with store_timeout():
        minutes = await store.monitoring.history()
        states = await store.monitoring.states(limit=MAX_COUNTED_IN_TABS)
        plots = await charts.get()
        nodes = [] if scope else await store.monitoring.nodes(MAX_NODES)
        hosts = [] if scope else await store.monitoring.hosts(MAX_HOSTS)
        schedules = await store.schedules.page(limit=MAX_SCHEDULES)
    finished = {
        status: sum(minute.finished[status] for minute in minutes)
        for status in TaskStatus
        if status.is_final
    }
    return {
        **listed,
        "queues": busiest(listed["queues"])[:MAX_QUEUES],
        "queue_count": len(listed["queues"]),
        "due": number_text(number_in(states.total, TaskState.DUE, TaskState.HELD)),
        "held": number_text(states.total[TaskState.HELD]),
        "finished": finished,
        "failure_rate": failure_rate(finished),
        "plots": plots,
        "span": charts.span,
        "has_whole_view": scope is None,
        "nodes": nodes,
        "hosts": hosts,
        "schedules": schedules.schedules,
        "has_all_schedules": schedules.next_after is None,
    }


def busiest(queues: Sequence[ListedQueue]) -> list[ListedQueue]:
    """Return queues, the paused and the busiest ones first."""

    def urgency(one: ListedQueue) -> tuple[bool, int, int, str]:
        statistics, settings = one
        hour = sum(counts.last_hour for counts in statistics.finished.values())
        unfinished = sum(
            count for status, count in statistics.counts.items() if not status.is_final
        )
        return not settings.paused, -unfinished, -hour, statistics.queue

    return sorted(queues, key=urgency)
