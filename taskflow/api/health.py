"""``/livez`` and ``/readyz``: the health of the service, for load balancers and supervisors."""

from __future__ import annotations

from typing import Final, Literal

from quart import Response

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.problems import store_timeout
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import NotRunning
from taskflow.model.problem_types import WORKERS_NOT_RUNNING

_OK: Final = "ok\n"


@Route(
    "GET",
    "/livez",
    "health",
    (RouteResponse("It is alive.", Literal["ok\n"], _OK, media_type="text/plain"),),
    access=AccessPolicy.OPEN,
    is_traced=False,
)
async def is_alive(_: Services) -> Response:
    """Check that the process is alive.

    Returns 200 whenever the process can answer at all.
    """
    return _ok()


@Route(
    "GET",
    "/readyz",
    "health",
    (RouteResponse("It is ready.", Literal["ok\n"], _OK, media_type="text/plain"),),
    access=AccessPolicy.OPEN,
    is_traced=False,
)
async def is_ready(services: Services) -> Response:
    """Check that the service accepts tasks and runs them.

    Queries the database, and checks that the workers are running.
    """
    # The store first: without it workers cannot run either, so it is the reason to report.
    with store_timeout():
        await services.store.check()
    if not services.is_running():
        raise NotRunning(WORKERS_NOT_RUNNING.example_detail)
    return _ok()


def _ok() -> Response:
    return Response(_OK, content_type="text/plain; charset=utf-8")


ROUTES: Final = (is_alive, is_ready)
