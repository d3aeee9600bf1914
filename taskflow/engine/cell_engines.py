"""An engine for each cell: each has its own lease and its own share of the workers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Final

import msgspec
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.load import LoadStatistics
from taskflow.engine.node import Engine, EngineStatistics
from taskflow.store.base.store import TaskStore


class CellEngines:
    """Runs an engine in each open cell of some until all are shut down.

    A cell that does not answer stops its engine only.

    Args:
        names: The names of the cells, among which the workers are divided.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names: Final = frozenset(names)
        self._make: Callable[[TaskStore], Engine] | None = None
        self._can_begin = trio.Event()
        self._is_shut_down = trio.Event()
        self._engines: dict[str, Engine] = {}
        self._has_ended = trio.Condition()
        self._deadline: float | None = None

    def of(self, context: EngineContext) -> CellEngines:
        """Let the engines run, each with the store of its cell, and return this."""
        workers = math.ceil(context.settings.workers / len(self._names))
        settings = msgspec.structs.replace(context.settings, workers=workers)
        self._make = lambda store: Engine(
            dataclasses.replace(context, store=store, settings=settings)
        )
        self._can_begin.set()
        return self

    async def work(self, name: str, store: TaskStore) -> None:
        """Run tasks of a cell until the shutdown, or until canceled, if it is one of the cells."""
        if name not in self._names:
            return
        await self._can_begin.wait()
        assert self._make is not None
        self._engines[name] = engine = self._make(store)
        if self._deadline is not None:
            engine.shut_down(drain_seconds=self._deadline - trio.current_time())
        try:
            await engine.run()
        finally:
            del self._engines[name]
            with trio.CancelScope(shield=True):
                async with self._has_ended:
                    self._has_ended.notify_all()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait until all engines have ended after ``shut_down``."""
        task_status.started()
        await self._is_shut_down.wait()
        async with self._has_ended:
            while self._engines:
                await self._has_ended.wait()

    def shut_down(self, *, drain_seconds: float) -> None:
        """Shut all engines down, as ``Engine.shut_down`` does."""
        deadline = trio.current_time() + drain_seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        for engine in self._engines.values():
            engine.shut_down(drain_seconds=drain_seconds)
        self._is_shut_down.set()

    @property
    def _has_no_cell(self) -> bool:
        """True if there is no engine at the moment, and not because of a shutdown."""
        return not self._engines and not self._is_shut_down.is_set()

    def statistics(self) -> EngineStatistics:
        """Return the state of all engines together.

        They run if one does, or if none of the cells is open: the API serves the others.
        """
        parts = [engine.statistics() for engine in self._engines.values()]
        loads = [one.load for one in parts if one.load is not None]
        load = LoadStatistics(
            held=sum(one.held for one in loads),
            waiting=sum(one.waiting for one in loads),
            running=sum(one.running for one in loads),
        )
        return EngineStatistics(
            is_running=any(one.is_running for one in parts) or self._has_no_cell,
            is_store_reachable=all(one.is_store_reachable for one in parts),
            load=load if loads else None,
            max_held=sum(one.max_held for one in parts),
        )
