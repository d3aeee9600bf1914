"""``/metrics``: metrics for Prometheus, and the current values of its gauges."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import trio
from quart import Quart, Response, request

from taskflow.api.middleware import ROUTE
from taskflow.api.monitoring import MAX_QUEUES
from taskflow.api.problems import store_timeout
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.engine.cell_engines import CellEngines
from taskflow.engine.node import Engine
from taskflow.fetch.http_fetcher import HttpFetcher
from taskflow.metrics import Metrics, catalogue
from taskflow.metrics.catalogue import Labels
from taskflow.metrics.exposition import Reading, expose
from taskflow.model.errors import StoreUnavailable, TooManySearches
from taskflow.model.heartbeat_monitors import HeartbeatState
from taskflow.model.queue_limits import HostHold
from taskflow.model.queues import TaskStatistics
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.partial_reads import missing_parts
from taskflow.store.base.store import TaskStore

MAX_HELD_HOSTS: Final = 1000
_PARAMETER: Final = re.compile(r"<(?:[^:<>]+:)?(\w+)>")


@Route(
    "GET",
    "/metrics",
    "monitoring",
    (
        RouteResponse(
            "The metrics.",
            str,
            "# HELP taskflow_store_up Whether the store answered this scrape in time.\n"
            "# TYPE taskflow_store_up gauge\ntaskflow_store_up 1.0\n",
            media_type="text/plain",
        ),
    ),
    has_whole_view=True,
    is_traced=False,
)
async def show_metrics(services: Services) -> Response:
    """Get metrics for Prometheus.

    In Prometheus' text format, or in OpenMetrics if ``Accept`` asks for it.
    ``docs/reference/metrics.md`` lists all metrics. If the store is unavailable, the response
    has the other metrics, and ``taskflow_store_up`` is 0.
    """
    metrics = services.metrics
    readings = await _read(services.store)
    metrics.sample()
    accept = request.headers.get("Accept", "")
    # With a thousand queues this would block the event loop for too long.
    exposition = await trio.to_thread.run_sync(expose, metrics.registry, readings, accept)
    return Response(exposition.body, content_type=exposition.content_type)


def count_requests(app: Quart, metrics: Metrics) -> None:
    """Count requests by route, in an app that has all its routes."""
    names = {rule.rule: _PARAMETER.sub(r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    metrics.declare_routes(
        (names[rule.rule], rule.methods or ()) for rule in app.url_map.iter_rules()
    )

    @app.url_value_preprocessor
    def note_route(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
        if request.url_rule is not None and request.url_rule.rule in names:
            scope: Any = request.scope
            scope[ROUTE] = names[request.url_rule.rule]


async def _read(store: TaskStore) -> list[Reading]:
    """Return the readings from the store; without most of them if it does not answer in time."""
    began = trio.current_time()
    readings: list[Reading] = []
    is_up = True
    try:
        with store_timeout():
            statistics = await store.count(limit=MAX_QUEUES)
            held = await store.queues.open_circuits(MAX_HELD_HOSTS)
            idle = await store.parts_without_nodes()
            heartbeats = await store.heartbeat_monitors.count_states()
        readings = [
            *_readings_of(statistics),
            _reading_of_hosts(held),
            _reading_of_heartbeats(heartbeats),
            *_readings_of_nodes(store, idle),
        ]
    except StoreUnavailable as error:
        # The metric reports it; parts that need the store log it.
        is_up = isinstance(error, TooManySearches)
    seconds = trio.current_time() - began
    missing = missing_parts()
    cells: dict[Labels, float] = {
        (name,): float(is_up and name not in missing) for name in store.statistics().parts
    }
    return [
        *([Reading(catalogue.CELL_UP, cells)] if cells else ()),
        Reading(catalogue.STORE_UP, {(): float(is_up)}),
        Reading(catalogue.STORE_SECONDS, {(): seconds}),
        *readings,
    ]


def _readings_of_nodes(store: TaskStore, idle: Collection[str]) -> Iterator[Reading]:
    missing = missing_parts()
    names = [name for name in store.statistics().parts if name not in missing]
    if names:
        yield Reading(
            catalogue.CELL_HAS_NODES, {(name,): float(name not in idle) for name in names}
        )


def _readings_of(statistics: TaskStatistics) -> Iterator[Reading]:
    queues = statistics.queues
    yield Reading(
        catalogue.TASKS,
        {
            (queue.queue, status): float(count)
            for queue in queues
            for status, count in queue.counts.items()
        },
    )
    listed = [queue.counts for queue in queues]
    yield Reading(catalogue.TASKS_UNLISTED, dict(_unlisted(statistics.total.counts, listed)))
    yield Reading(
        catalogue.OLDEST_WAITING,
        {(queue.queue,): queue.oldest_waiting_seconds or 0.0 for queue in queues},
    )
    yield Reading(
        catalogue.OLDEST_WAITING_OF_ALL, {(): statistics.total.oldest_waiting_seconds or 0.0}
    )


def _unlisted(
    total: Mapping[TaskStatus, int], listed: Iterable[Mapping[TaskStatus, int]]
) -> Iterator[tuple[Labels, float]]:
    counts = list(listed)
    for status, count in total.items():
        yield (status,), float(count - sum(one[status] for one in counts))


def _reading_of_hosts(held: Mapping[str, HostHold]) -> Reading:
    now = dt.datetime.now(dt.UTC)
    count_open = sum(hold.until > now for hold in held.values())
    return Reading(
        catalogue.BREAKER_HOSTS,
        {("open",): float(count_open), ("half_open",): float(len(held) - count_open)},
    )


def _reading_of_heartbeats(counts: Mapping[HeartbeatState, int]) -> Reading:
    return Reading(
        catalogue.HEARTBEATS, {(state.value,): float(count) for state, count in counts.items()}
    )


ROUTES: Final = (show_metrics,)


def gauge_sampler(
    engine: Engine | CellEngines, store: TaskStore, fetcher: HttpFetcher, settings: Settings
) -> Callable[[Metrics], None]:
    """Return a function that sets the gauges to the current state of these parts."""

    def sample(metrics: Metrics) -> None:
        metrics.workers.set(settings.workers)
        _sample_engine(engine, metrics)
        _sample_store(store, metrics)
        connections = fetcher.statistics()
        metrics.fetch_connections.set(connections.in_use, "used")
        metrics.fetch_connections.set(connections.idle, "idle")

    return sample


def _sample_engine(engine: Engine | CellEngines, metrics: Metrics) -> None:
    now = engine.statistics()
    metrics.engines_running.set(now.is_running)
    metrics.stores_reached.set(now.is_store_reachable)
    load = now.load
    waiting, running, held = (load.waiting, load.running, load.held) if load else (0, 0, 0)
    metrics.claims_held.set(waiting, "waiting")
    metrics.claims_held.set(running, "running")
    metrics.claims_held.set(held - waiting - running, "unwritten")
    metrics.max_claims.set(now.max_held)


def _sample_store(store: TaskStore, metrics: Metrics) -> None:
    now = store.statistics()
    for pool in now.pools:
        metrics.database_connections.set(pool.used, pool.name, "used")
        metrics.database_connections.set(pool.free, pool.name, "free")
        metrics.database_waiting.set(pool.waiting, pool.name)
    metrics.listeners.set(now.is_listening is True, "connected")
    metrics.listeners.set(now.is_listening is False, "lost")
