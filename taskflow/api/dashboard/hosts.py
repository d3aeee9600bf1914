"""The pages of hosts: the list, and a host with its circuit breaker, errors and times."""

from __future__ import annotations

from typing import Any, Final

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import require_all_queues
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.failure_pages import sparkline_of
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, viewer
from taskflow.api.dashboard.series import PageCharts, name_of_host, span_of
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.model.grouped_failures import FailureFilter
from taskflow.model.monitoring import SAMPLED_TASKS
from taskflow.store.base.store import TaskStore

HOSTS_PAGE: Final = f"{PATH}/hosts"
MAX_HOSTS: Final = 100
MAX_CAUSES: Final = 5


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the pages and their streams; hosts serve all queues, so a key needs all of them."""

    @routes.get(HOSTS_PAGE)
    async def hosts() -> Response:
        require_all_queues()
        return await page("hosts.html", **await _list_of(store))

    @routes.get(f"{PATH}/live/hosts")
    async def hosts_live() -> Response:
        require_all_queues()
        user = viewer()

        async def load() -> dict[str, Any]:
            return {**await _list_of(store), "viewer": user}

        return refreshed(feed, "hosts_region.html", load)

    @routes.get(f"{HOSTS_PAGE}/<string:host>")
    async def host(host: str) -> Response:
        require_all_queues()
        return await page("host.html", **await _state_of(store, host, _charts_of(store, host)))

    @routes.get(f"{HOSTS_PAGE}/<string:host>/live")
    async def host_live(host: str) -> Response:
        require_all_queues()
        user, charts = viewer(), _charts_of(store, host)

        async def load() -> dict[str, Any]:
            return {**await _state_of(store, host, charts), "viewer": user}

        return refreshed(feed, "host_region.html", load)


async def _list_of(store: TaskStore) -> dict[str, Any]:
    with store_timeout():
        found = await store.monitoring.hosts(MAX_HOSTS)
    return {"hosts": found, "sampled": SAMPLED_TASKS}


def _charts_of(store: TaskStore, host: str) -> PageCharts:
    return PageCharts(store, span_of(request.args), host=host)


async def _state_of(store: TaskStore, host: str, charts: PageCharts) -> dict[str, Any]:
    with store_timeout():
        detail = await store.monitoring.host(host)
        plots = await charts.get()
        failures = await store.failures.first(MAX_CAUSES, FailureFilter(host=host))
    return {
        "host": host,
        "name": name_of_host(host),
        "detail": detail,
        "record": detail.record,
        "plots": plots,
        "failures": [(one, sparkline_of(one)) for one in failures],
        "span": charts.span,
        "sampled": SAMPLED_TASKS,
    }
