"""The engine: runs a node, and another one when the first loses its lease.

The nesting of a node is the order of shutdown, from the inside out: claims stop, workers finish,
outcomes are written, the node is retired. The lease, which heartbeats renew, limits the workers
only: an outcome that was fetched in time is still written if no other node has rescued the task.
"""

from __future__ import annotations

import uuid
from typing import Final

import msgspec
import trio

from taskflow.engine.context import EngineContext, RetryPauses
from taskflow.engine.dispatcher import Dispatcher, release_unstarted
from taskflow.engine.housekeeping import run_housekeeping
from taskflow.engine.load import Load, LoadStatistics, cancel_claims
from taskflow.engine.parking import ParkedAttempts
from taskflow.engine.settler import Settler
from taskflow.engine.worker import Attempt, work
from taskflow.model.errors import LeaseLost, StoreUnavailable
from taskflow.model.task import Claim
from taskflow.model.zones import zone_database
from taskflow.settings import reported_settings
from taskflow.telemetry import Event, emit, node_name
from taskflow.version import __version__

# Time after the last fetch for writing its outcome, and for retiring the node, while the store is
# slow.
WRITE_GRACE_SECONDS: Final = 0.5
RETIRE_GRACE_SECONDS: Final = 0.25


class Node:
    """A node. ``run`` may be called once, ``shut_down_by`` at any time.

    Attributes:
        load: The claims that it holds.
        is_claiming: Whether it claims tasks.
    """

    def __init__(self, context: EngineContext, *, name: str) -> None:
        self._context = context
        self._store = context.store
        self._name = name
        settings = context.settings
        self.load: Final = Load(workers=settings.workers, queue_size=settings.queue_size)
        self.is_claiming = False
        self._registering = trio.CancelScope()
        self._retiring = trio.CancelScope()
        self._lease = trio.CancelScope()
        self._claiming = trio.CancelScope()
        self._fetching = trio.CancelScope()
        self._writing = trio.CancelScope()

    async def run(self) -> None:
        """Register, run tasks, and retire at the end.

        Returns early if the lease is lost: fetches are canceled, and outcomes wait until the store
        writes them or reports that the claims are no longer held.
        """
        node_id = None
        with self._registering:
            node_id = await self._register()
        if node_id is None:
            return
        is_retired = False
        try:
            await self._run_as(node_id)
            if self._lease.cancelled_caught:
                with self._retiring:
                    is_retired = await self._retire_with_retries(node_id)
        finally:
            # Also after an exception, so that other nodes can run its tasks at once.
            if not is_retired:
                with trio.move_on_after(RETIRE_GRACE_SECONDS, shield=True):
                    await self._retire(node_id)

    def shut_down_by(self, deadline: float) -> None:
        """Stop claiming now, and cancel the fetches that are running at the deadline.

        May be called again with an earlier deadline.

        Args:
            deadline: On Trio's clock, in seconds.
        """
        self._registering.cancel()
        self._retiring.cancel()
        self._claiming.cancel()
        self._fetching.deadline = min(self._fetching.deadline, deadline)
        self._writing.deadline = self._fetching.deadline + WRITE_GRACE_SECONDS

    async def _register(self) -> uuid.UUID:
        settings, outage = self._context.settings, self._context.outage
        pauses = RetryPauses()
        while True:
            requested_at = trio.current_time()
            try:
                node_id = await self._store.register(
                    self._name,
                    settings.lease_seconds,
                    version=__version__,
                    workers=settings.workers,
                    tz_version=zone_database().version,
                    settings=reported_settings(settings),
                )
            except StoreUnavailable as error:
                outage.begin(error)
                await pauses.pause()
            else:
                outage.end()
                self._lease.deadline = requested_at + settings.lease_seconds
                return node_id

    async def _run_as(self, node_id: uuid.UUID) -> None:
        attempts_send, attempts = trio.open_memory_channel[Attempt](self.load.max_held)
        # The channel stays open when the settler is cancelled: workers that are cancelled at the
        # same moment still send their attempts.
        async with attempts, trio.open_nursery() as background:
            background.start_soon(keep_lease, self._lease, self._context, node_id, self.load)
            background.start_soon(cancel_claims, self.load.claims, self._store, node_id)
            background.start_soon(run_housekeeping, self._context)
            background.start_soon(ParkedAttempts(self._context).run)
            await background.start(self._context.authenticators.run)
            with self._writing:
                async with trio.open_nursery() as settling:
                    settler = Settler(self._context, self.load)
                    settling.start_soon(settler.run, attempts.clone())
                    async with attempts_send:
                        await self._run_within_lease(node_id, attempts_send)
            background.cancel_scope.cancel()

    async def _run_within_lease(
        self, node_id: uuid.UUID, attempts: trio.MemorySendChannel[Attempt]
    ) -> None:
        with self._lease:
            await self._run_workers(node_id, attempts)
        if self._lease.cancelled_caught:
            self._context.metrics.lease_lost()
            emit(Event.LEASE_LOST)

    async def _run_workers(
        self, node_id: uuid.UUID, attempts: trio.MemorySendChannel[Attempt]
    ) -> None:
        claims_send, claims = trio.open_memory_channel[Claim](self.load.max_held)
        with self._fetching:
            async with trio.open_nursery() as working:
                for _ in range(self._context.settings.workers):
                    working.start_soon(
                        work, claims.clone(), attempts.clone(), self._context, self.load
                    )
                async with claims:
                    try:
                        await self._claim(claims_send, node_id)
                    finally:
                        release_unstarted(claims, attempts, self.load)

    async def _claim(self, claims: trio.MemorySendChannel[Claim], node_id: uuid.UUID) -> None:
        dispatcher = Dispatcher(claims, self._context, node_id, self.load)
        self.is_claiming = True
        try:
            with self._claiming:
                await dispatcher.run()
        finally:
            self.is_claiming = False

    async def _retire_with_retries(self, node_id: uuid.UUID) -> bool:
        pauses = RetryPauses()
        while not await self._retire(node_id):
            await pauses.pause()
        return True

    async def _retire(self, node_id: uuid.UUID) -> bool:
        try:
            await self._store.retire(node_id)
        except StoreUnavailable as error:
            self._context.outage.begin(error)
            return False
        return True


async def keep_lease(
    lease: trio.CancelScope, context: EngineContext, node_id: uuid.UUID, load: Load
) -> None:
    """Renew the lease at every heartbeat until it is lost.

    Each renewal moves the deadline of the scope, counted from before the request to the store. So
    the scope ends no later than the lease by the store's clock: the node's fetches are canceled
    before other nodes can rescue its tasks.

    A heartbeat also releases claims that the node does not know of, and cancels claims that it no
    longer holds, since a notification of a cancel may be lost. ``load.reconcile_request`` makes
    the next heartbeat immediate.
    """
    while True:
        with trio.move_on_after(context.settings.heartbeat_seconds):
            await load.reconcile_request.wait()
        requested_at = trio.current_time()
        try:
            renewed_at = await context.store.renew(node_id)
            lease.deadline = requested_at + context.settings.lease_seconds
            released = await context.store.reconcile(node_id, load.tokens, before=renewed_at)
            if keys := load.claims.keys:
                load.claims.cancel(await context.store.lost_claims(keys))
        except StoreUnavailable as error:
            context.outage.begin(error)
        except LeaseLost:
            lease.cancel()
            return
        else:
            context.outage.end()
            if released:
                emit(Event.CLAIMS_RECONCILED, tasks=released)


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
