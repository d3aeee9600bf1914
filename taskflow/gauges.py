"""Current values for the gauges of ``/metrics``, from the engine, the store and the fetcher."""

from __future__ import annotations

from collections.abc import Callable

from taskflow.engine.node import Engine
from taskflow.fetch.http_fetcher import HttpFetcher
from taskflow.metrics import Metrics
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore


def gauge_sampler(
    engine: Engine, store: TaskStore, fetcher: HttpFetcher, settings: Settings
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


def _sample_engine(engine: Engine, metrics: Metrics) -> None:
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
