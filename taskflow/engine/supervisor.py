"""The engine: a node, and another one when the first cannot go on."""

from __future__ import annotations

import msgspec
import trio

from taskflow.engine.load import LoadStatistics
from taskflow.engine.node import Node
from taskflow.engine.outage import Outage
from taskflow.fetch.interface import Fetcher
from taskflow.metrics import Metrics
from taskflow.model.callback_signature import NO_SIGNER, Signer
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit, node_name
from taskflow.tracing import NO_TRACING, Tracing


class EngineStatistics(msgspec.Struct, frozen=True):
    """What the engine would say of itself; ``most_held`` is how many claims it may hold."""

    is_running: bool
    is_store_reachable: bool
    load: LoadStatistics | None
    most_held: int


class Engine:
    """Runs tasks. ``run`` is the service; ``shut_down`` ends it in order.

    Args:
        store: Where the tasks are.
        fetcher: What runs them.
        settings: For the bounds.
        signer: What signs callbacks.
        metrics: What is told of what happens.
        tracing: Where spans go.
    """

    def __init__(
        self,
        *,
        store: TaskStore,
        fetcher: Fetcher,
        settings: Settings,
        signer: Signer = NO_SIGNER,
        metrics: Metrics | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._settings = settings
        self._signer = signer
        self._metrics = metrics or Metrics()
        self._tracing = tracing
        self._outage = Outage(self._metrics)
        self._node: Node | None = None
        self._end: float | None = None

    def __repr__(self) -> str:
        return f"<Engine: {self._node.load if self._node else 'not running'}>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run tasks until shut down. Any exception is a fault of TaskFlow's own."""
        task_status.started()
        while True:
            self._node = node = self._new_node()
            if self._end is not None:
                node.end_by(self._end)
            await node.run()
            self._node = None
            if self._end is not None:
                return

    def shut_down(self, *, drain_seconds: float) -> None:
        """Claim no more; fetches in flight may go on for so long, then are released.

        May be called again to shorten the time.
        """
        end = trio.current_time() + drain_seconds
        self._end = end if self._end is None else min(self._end, end)
        if self._node is not None:
            self._node.end_by(self._end)

    def statistics(self) -> EngineStatistics:
        """What it is doing at this moment."""
        return EngineStatistics(
            is_running=self._end is None and self._node is not None and self._node.is_claiming,
            is_store_reachable=not self._outage.is_on,
            load=self._node.load.statistics() if self._node else None,
            most_held=self._node.load.most_held if self._node else 0,
        )

    def _new_node(self) -> Node:
        emit(Event.WORKERS_STARTED, workers=self._settings.workers)
        return Node(
            name=node_name(),
            store=self._store,
            fetcher=self._fetcher,
            settings=self._settings,
            outage=self._outage,
            metrics=self._metrics,
            signer=self._signer,
            tracing=self._tracing,
        )
