"""Routes for operators: ``/stats``, ``/nodes`` and ``/hosts``, ``/livez`` and ``/readyz``."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from quart import Response, request

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.document.examples import HOST, MINUTE, NODE, SERIES, STATISTICS
from taskflow.api.problems import store_timeout
from taskflow.api.reading.request_headers import wants_json
from taskflow.api.responses import as_json
from taskflow.api.route import Content, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import NotRunning, Unprocessable
from taskflow.model.monitoring import (
    DatabaseState,
    HostRecord,
    Minute,
    NodeRecord,
    ReplicationMode,
)
from taskflow.model.problem_types import WORKERS_NOT_RUNNING
from taskflow.model.queues import TaskStatistics, with_states
from taskflow.model.rollups import Series, Span, series_of
from taskflow.schema.query import (
    SERIES_QUERY,
    STATISTICS_QUERY,
    SeriesRequest,
    StatisticsRequest,
)
from taskflow.store.base.partial_reads import missing_parts

MAX_QUEUES: Final = 1000
MAX_NODES: Final = 1000
MAX_HOSTS: Final = 100
_OK: Final = "ok\n"


class Readiness(msgspec.Struct, frozen=True):
    """The service is ready.

    Attributes:
        status: ``ok``, or ``degraded`` if some of the cells of the task store do not answer or
            have no node. A service that is not ready returns a problem.
        database: The database in use; ``null`` if tasks are in memory, or in several cells.
        missing_cells: The names of the cells that do not answer; absent if all do.
        cells_without_nodes: The names of the cells whose tasks no node runs; absent if nodes run
            the tasks of all.
    """

    status: Literal["ok", "degraded"]
    database: DatabaseState | None
    missing_cells: list[str] | UnsetType = UNSET
    cells_without_nodes: list[str] | UnsetType = UNSET


_READY: Final = Readiness(
    "ok", DatabaseState(host=2, hosts=3, replication=ReplicationMode.SYNCHRONOUS)
)


@Route(
    "GET",
    "/stats",
    "tasks",
    (RouteResponse("The current statistics.", TaskStatistics, STATISTICS),),
    query=StatisticsRequest,
)
async def show_statistics(services: Services) -> Response:
    """Count tasks by status, for each queue and in total.

    The cost does not grow with the number of tasks. At most 1,000 queues are listed; ``queue``
    selects any other. Tasks are also counted by state, up to 2,000 of each: if ``is_exact`` is
    false, there are at least as many. The counts of a queue by state are exact more often if
    ``queue`` names it.
    """
    query = STATISTICS_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        counted = await services.store.count(limit=MAX_QUEUES, queue=query.queue)
        states = await services.store.monitoring.states()
        of_queue = query.queue and await services.store.monitoring.states(queue=query.queue)
    shown = with_states(counted, states)
    if of_queue:
        shown = replace(shown, queues=with_states(counted, of_queue).queues)
    return as_json(shown)


class History(msgspec.Struct, frozen=True):
    """The number of tasks that finished in each minute of the last hour.

    Attributes:
        minutes: Sixty minutes by the clock, the oldest first. The last one is the current minute.
    """

    minutes: list[Minute]


@Route(
    "GET",
    "/stats/history",
    "monitoring",
    (
        RouteResponse(
            "Sixty minutes by the clock, including those in which no task finished.",
            History,
            History([MINUTE]),
        ),
    ),
    query=StatisticsRequest,
)
async def show_history(services: Services) -> Response:
    """Count the tasks that finished in each minute of the last hour.

    For all queues together, or for the one that ``queue`` names.
    """
    query = STATISTICS_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        return as_json(History(await services.store.monitoring.history(query.queue)))


@Route(
    "GET",
    "/stats/series",
    "monitoring",
    (RouteResponse("The series, with a point for each period.", Series, SERIES),),
    query=SeriesRequest,
)
async def show_series(services: Services) -> Response:
    """Get throughput, wait and run times and the backlog over time.

    For all tasks, or for the tasks of one queue or one host. Percentiles are computed from
    histograms, with a relative error of at most 10 %. A task is included a few seconds after it
    finished. Series of minutes go back 24 hours, series of hours 90 days. In each of these periods,
    200 queues and 100 hosts have a series of their own: the first ones in which a task finished.
    """
    query = SERIES_QUERY.read_query(dict(request.args.lists()))
    span = query.span or Span.HOUR
    if query.queue is not None and query.host is not None:
        raise Unprocessable("queue and host cannot be used together: choose one of them")
    with store_timeout():
        recorded = await services.store.rollups.read(span, queue=query.queue, host=query.host)
    return as_json(series_of(recorded, span))


@Route(
    "GET",
    "/nodes",
    "monitoring",
    (RouteResponse("The nodes.", list[NodeRecord], [NODE]),),
    has_whole_view=True,
)
async def list_nodes(services: Services) -> Response:
    """List the nodes that run tasks.

    By name, 1,000 at most. A node that died is listed for one more minute.
    """
    with store_timeout():
        return as_json(await services.store.monitoring.nodes(MAX_NODES))


@Route(
    "GET",
    "/hosts",
    "monitoring",
    (RouteResponse("The hosts.", list[HostRecord], [HOST]),),
    has_whole_view=True,
)
async def list_hosts(services: Services) -> Response:
    """List target hosts with their failures and response times.

    Hosts whose circuit breaker is open come first, then the slowest among the newest 1,000 tasks
    that were fetched; 100 at most.
    """
    with store_timeout():
        return as_json(await services.store.monitoring.hosts(MAX_HOSTS))


@Route(
    "GET",
    "/livez",
    "health",
    (RouteResponse("It is alive.", Literal["ok\n"], _OK, media_type="text/plain"),),
    access=AccessPolicy.OPEN,
    is_traced=False,
    reads_store=False,
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
    (
        RouteResponse(
            "It is ready: `ok`, or `degraded:` and the cells of the store that do not answer, or "
            "whose tasks no node runs. With `Accept: application/json`, the state of the database.",
            Readiness,
            _READY,
            also=(Content("text/plain", (str,), _OK),),
        ),
    ),
    access=AccessPolicy.OPEN,
    is_traced=False,
)
async def is_ready(services: Services) -> Response:
    """Check that the service accepts tasks and runs them.

    Queries the database, and checks that the workers are running. The description of the database
    contains no names; ``taskflow doctor`` has them.
    """
    # The store first: without it workers cannot run either, so it is the reason to report.
    with store_timeout():
        database = await services.store.check()
        idle = list(await services.store.parts_without_nodes())
    if not services.is_running():
        raise NotRunning(WORKERS_NOT_RUNNING.example_detail)
    missing = missing_parts()
    if wants_json(request.headers.getlist("Accept")):
        status: Literal["ok", "degraded"] = "degraded" if missing or idle else "ok"
        return as_json(Readiness(status, database, missing or UNSET, idle or UNSET))
    return _degraded(missing, idle) if missing or idle else _ok()


def _degraded(missing: list[str], idle: list[str]) -> Response:
    reasons = [
        *([f"no answer from {', '.join(missing)}"] if missing else ()),
        *([f"no node runs the tasks of {', '.join(idle)}"] if idle else ()),
    ]
    text = f"degraded: {'; '.join(reasons)}\n"
    return Response(text, content_type="text/plain; charset=utf-8")


def _ok() -> Response:
    return Response(_OK, content_type="text/plain; charset=utf-8")


HEALTH_ROUTES: Final = (is_alive, is_ready)
ROUTES: Final = (show_statistics, show_history, show_series, list_nodes, list_hosts)
