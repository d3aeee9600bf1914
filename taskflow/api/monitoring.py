"""``/nodes``, ``/hosts`` and ``/stats/history``: what those look at who keep TaskFlow running."""

from __future__ import annotations

from typing import Final

import msgspec
from quart import Blueprint, Response, request

from taskflow.api.problems import store_in_time
from taskflow.api.responses import as_json
from taskflow.api.stats import statistics_request_of
from taskflow.model.monitoring import Minute
from taskflow.store.base.tasks import TaskStore

MOST_NODES: Final = 1000
MOST_HOSTS: Final = 100


class History(msgspec.Struct, frozen=True):
    """What ended in each minute of the last hour.

    Attributes:
        minutes: All sixty of them by the clock, the oldest first; the last is under way.
    """

    minutes: list[Minute]


def monitoring_routes(store: TaskStore) -> Blueprint:
    """The routes, on this store."""
    routes = Blueprint("monitoring", __name__)

    @routes.get("/nodes")
    async def nodes() -> Response:
        with store_in_time():
            return as_json(await store.monitoring.nodes(MOST_NODES))

    @routes.get("/hosts")
    async def hosts() -> Response:
        with store_in_time():
            return as_json(await store.monitoring.hosts(MOST_HOSTS))

    @routes.get("/stats/history")
    async def history() -> Response:
        asked = statistics_request_of(dict(request.args.lists()))
        with store_in_time():
            return as_json(History(await store.monitoring.history(asked.queue)))

    return routes
