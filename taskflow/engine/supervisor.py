"""The engine: runs a node, and another one when the first loses its lease."""

from __future__ import annotations

import msgspec
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.load import LoadStatistics
from taskflow.engine.node import Node
from taskflow.telemetry import Event, emit, node_name


class EngineStatistics(msgspec.Struct, frozen=True):
    """State of the engine; ``max_held`` is the maximum number of claims."""

    is_running: bool
    is_store_reachable: bool
    load: LoadStatistics | None
    max_held: int


class Engine:
    """Runs tasks until it is shut down."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._node: Node | None = None
        self._deadline: float | None = None

    def __repr__(self) -> str:
        return f"<Engine: {self._node.load if self._node else 'not running'}>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run tasks until shut down. Any exception is an internal error."""
        task_status.started()
        while True:
            self._node = node = self._new_node()
            if self._deadline is not None:
                node.shut_down_by(self._deadline)
            await node.run()
            self._node = None
            if self._deadline is not None:
                return

    def shut_down(self, *, drain_seconds: float) -> None:
        """Claim no more tasks; cancel and release the fetches that are running after this time.

        May be called again to shorten the time.
        """
        deadline = trio.current_time() + drain_seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        if self._node is not None:
            self._node.shut_down_by(self._deadline)

    def statistics(self) -> EngineStatistics:
        """Return the current state."""
        node = self._node
        return EngineStatistics(
            is_running=self._deadline is None and node is not None and node.is_claiming,
            is_store_reachable=not self._context.outage.is_active,
            load=node.load.statistics() if node else None,
            max_held=node.load.max_held if node else 0,
        )

    def _new_node(self) -> Node:
        emit(Event.WORKERS_STARTED, workers=self._context.settings.workers)
        return Node(self._context, name=node_name())
