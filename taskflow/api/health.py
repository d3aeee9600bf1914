"""Whether the service lives and is ready, for those who watch over it."""

from __future__ import annotations

from collections.abc import Callable

from quart import Blueprint, Response

from taskflow.api.problems import store_in_time
from taskflow.model.errors import NotRunning
from taskflow.model.problem_types import WORKERS_NOT_RUNNING
from taskflow.store.base.tasks import TaskStore


def health_routes(store: TaskStore, is_running: Callable[[], bool]) -> Blueprint:
    """``/livez``: the process answers. ``/readyz``: it takes tasks and runs them."""
    routes = Blueprint("health", __name__)

    @routes.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", content_type="text/plain; charset=utf-8")

    @routes.get("/readyz")
    async def readyz() -> Response:
        # The store first: without it workers cannot run either, and that is the reason to tell.
        with store_in_time():
            await store.check()
        if not is_running():
            raise NotRunning(WORKERS_NOT_RUNNING.example_detail)
        return Response("ok\n", content_type="text/plain; charset=utf-8")

    return routes
