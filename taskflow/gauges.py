"""How a process stands at this moment, for the gauges of its metrics."""

from __future__ import annotations

from collections.abc import Callable

from taskflow.engine.supervisor import Engine
from taskflow.fetch.http_fetcher import HttpFetcher
from taskflow.metrics import Metrics
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore


def sampler_of(
    engine: Engine, store: TaskStore, fetcher: HttpFetcher, settings: Settings
) -> Callable[[Metrics], None]:
    """What sets the gauges to how these stand."""

    def sample(metrics: Metrics) -> None:
        metrics.workers.put(settings.workers)
        _sample_engine(engine, metrics)
        _sample_store(store, metrics)
        connections = fetcher.statistics()
        metrics.fetch_connections.put(connections.in_use, "used")
        metrics.fetch_connections.put(connections.idle, "idle")

    return sample


def _sample_engine(engine: Engine, metrics: Metrics) -> None:
    now = engine.statistics()
    metrics.engines_running.put(now.is_running)
    metrics.stores_reached.put(now.is_store_reachable)
    load = now.load
    waiting, running, held = (load.waiting, load.running, load.held) if load else (0, 0, 0)
    metrics.claims_held.put(waiting, "waiting")
    metrics.claims_held.put(running, "running")
    metrics.claims_held.put(held - waiting - running, "unwritten")
    metrics.max_claims.put(now.max_held)


def _sample_store(store: TaskStore, metrics: Metrics) -> None:
    now = store.statistics()
    for pool in now.pools:
        metrics.database_connections.put(pool.used, pool.name, "used")
        metrics.database_connections.put(pool.free, pool.name, "free")
        metrics.database_waiting.put(pool.waiting, pool.name)
    metrics.listeners.put(now.is_listening is True, "connected")
    metrics.listeners.put(now.is_listening is False, "lost")
