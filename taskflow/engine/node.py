"""One life of a node: from its registration to its clean end, or to the loss of its lease.

The nesting is the order of shutdown, inside out: first no more is claimed, then workers
end, then outcomes are written, then the node is retired. The lease bounds the workers alone:
an outcome that was fetched in time is still worth writing, if nobody else has the task yet.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Final

import trio

from taskflow.engine.breaker import Breaker
from taskflow.engine.cancellation import call_off_canceled
from taskflow.engine.count_folding import fold_counts
from taskflow.engine.dispatcher import Dispatcher, hand_back_unstarted
from taskflow.engine.expiry import expire_tasks
from taskflow.engine.lease import keep_lease, rescue_from_the_dead
from taskflow.engine.load import Load
from taskflow.engine.outage import Outage, Pauses
from taskflow.engine.retention import delete_ended_tasks
from taskflow.engine.scheduling import fire_schedules
from taskflow.engine.settler import settle
from taskflow.engine.worker import Attempt, work
from taskflow.fetch.interface import Fetcher
from taskflow.metrics import Metrics
from taskflow.model.backoff import RetryPolicy
from taskflow.model.callback_signature import NO_SIGNER, Signer
from taskflow.model.errors import StoreUnavailable
from taskflow.model.task import Claim
from taskflow.model.zones import zone_database
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit
from taskflow.tracing import NO_TRACING, Tracing
from taskflow.version import __version__

# After the last fetch has ended or was cut off: for its outcome to be written, and for the
# node to be retired, when the store is slow to answer.
WRITE_GRACE_SECONDS: Final = 0.5
RETIRE_GRACE_SECONDS: Final = 0.25


class Node:
    """One life of a node. ``run`` may be called once; ``end_by`` at any time.

    Attributes:
        load: What it has in hand.
        is_claiming: Whether it takes tasks now.
    """

    def __init__(  # noqa: PLR0913 - all that it is made of
        self,
        *,
        name: str,
        store: TaskStore,
        fetcher: Fetcher,
        settings: Settings,
        outage: Outage,
        metrics: Metrics,
        signer: Signer = NO_SIGNER,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._name = name
        self._store = store
        self._fetcher = fetcher
        self._settings = settings
        self._outage = outage
        self._metrics = metrics
        self._signer = signer
        self._tracing = tracing
        self.load: Final = Load(workers=settings.workers, queue_size=settings.queue_size)
        self._policy = RetryPolicy(
            first_seconds=settings.backoff_seconds,
            longest_seconds=settings.max_backoff_seconds,
            longest_retry_after_seconds=settings.max_retry_after_seconds,
        )
        self._registering = trio.CancelScope()
        self._retiring = trio.CancelScope()
        self._lease = trio.CancelScope()
        self._intake = trio.CancelScope()
        self._fetching = trio.CancelScope()
        self._writing = trio.CancelScope()
        self.is_claiming = False

    async def run(self) -> None:
        """Register, run tasks, and retire when ended.

        Returns early, for another life to begin, when the lease is lost: fetches are cut off,
        outcomes wait until the store takes them or says that they come too late.
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
                    is_retired = await self._retire_at_last(node_id)
        finally:
            # Also after a fault: what the node held can be run by others at once.
            if not is_retired:
                with trio.move_on_after(RETIRE_GRACE_SECONDS, shield=True):
                    await self._retire(node_id)

    def end_by(self, deadline: float) -> None:
        """Claim no more from now on; fetches in flight may go on until the deadline.

        May be called again to move the deadline forward, never back.

        Args:
            deadline: On Trio's clock, in seconds.
        """
        self._registering.cancel()
        self._retiring.cancel()
        self._intake.cancel()
        self._fetching.deadline = min(self._fetching.deadline, deadline)
        self._writing.deadline = self._fetching.deadline + WRITE_GRACE_SECONDS

    async def _register(self) -> uuid.UUID:
        pauses = Pauses()
        while True:
            asked_at = trio.current_time()
            try:
                node_id = await self._store.register(
                    self._name,
                    self._settings.lease_seconds,
                    version=__version__,
                    workers=self._settings.workers,
                    tz_version=zone_database().version,
                )
            except StoreUnavailable as error:
                self._outage.began(error)
                await pauses.pause()
            else:
                self._outage.is_over()
                self._lease.deadline = asked_at + self._settings.lease_seconds
                return node_id

    async def _run_as(self, node_id: uuid.UUID) -> None:
        attempts_send, attempts = trio.open_memory_channel[Attempt](self.load.most_held)
        # Open to the end, also when the settler is cut off: workers that are cut off at the
        # same moment still hand their attempts on.
        async with attempts, trio.open_nursery() as keeping:
            self._start_keeping(keeping, node_id)
            with self._writing:
                async with trio.open_nursery() as settling:
                    settling.start_soon(self._settle, attempts.clone())
                    async with attempts_send:
                        await self._run_within_lease(node_id, attempts_send)
            keeping.cancel_scope.cancel()

    async def _run_within_lease(
        self, node_id: uuid.UUID, attempts: trio.MemorySendChannel[Attempt]
    ) -> None:
        with self._lease:
            await self._run_workers(node_id, attempts)
        if self._lease.cancelled_caught:
            self._metrics.lease_lost()
            emit(Event.LEASE_LOST)

    async def _settle(self, attempts: trio.MemoryReceiveChannel[Attempt]) -> None:
        await settle(
            attempts,
            store=self._store,
            load=self.load,
            outage=self._outage,
            policy=self._policy,
            breaker=Breaker(
                store=self._store,
                outage=self._outage,
                failures=self._settings.breaker_failures,
                longest_retry_after_seconds=self._settings.max_retry_after_seconds,
                metrics=self._metrics,
            ),
            metrics=self._metrics,
        )

    def _start_keeping(self, keeping: trio.Nursery, node_id: uuid.UUID) -> None:
        settings = self._settings
        keeping.start_soon(
            partial(call_off_canceled, self.load.in_hand, store=self._store, node_id=node_id)
        )
        keeping.start_soon(
            partial(
                keep_lease,
                self._lease,
                store=self._store,
                node_id=node_id,
                load=self.load,
                outage=self._outage,
                settings=settings,
            )
        )
        keeping.start_soon(
            partial(
                rescue_from_the_dead,
                store=self._store,
                outage=self._outage,
                max_rescues=settings.max_rescues,
                heartbeat_seconds=settings.heartbeat_seconds,
                metrics=self._metrics,
            )
        )
        keeping.start_soon(
            partial(
                expire_tasks,
                store=self._store,
                outage=self._outage,
                poll_seconds=settings.poll_seconds,
            )
        )
        keeping.start_soon(
            partial(
                fold_counts,
                store=self._store,
                outage=self._outage,
                heartbeat_seconds=settings.heartbeat_seconds,
            )
        )
        keeping.start_soon(
            partial(
                fire_schedules,
                store=self._store,
                outage=self._outage,
                poll_seconds=settings.poll_seconds,
            )
        )
        keeping.start_soon(
            partial(
                delete_ended_tasks,
                store=self._store,
                outage=self._outage,
                retention_seconds=settings.retention_seconds,
            )
        )

    async def _run_workers(
        self, node_id: uuid.UUID, attempts: trio.MemorySendChannel[Attempt]
    ) -> None:
        claims_send, claims = trio.open_memory_channel[Claim](self.load.most_held)
        with self._fetching:
            async with trio.open_nursery() as working:
                self._start_workers(working, claims, attempts)
                async with claims:
                    try:
                        await self._take_in(claims_send, node_id)
                    finally:
                        hand_back_unstarted(claims, attempts, self.load)

    def _start_workers(
        self,
        working: trio.Nursery,
        claims: trio.MemoryReceiveChannel[Claim],
        attempts: trio.MemorySendChannel[Attempt],
    ) -> None:
        for _ in range(self._settings.workers):
            working.start_soon(
                partial(
                    work,
                    claims.clone(),
                    attempts.clone(),
                    fetcher=self._fetcher,
                    load=self.load,
                    fetch_timeout_seconds=self._settings.fetch_timeout_seconds,
                    signer=self._signer,
                    tracing=self._tracing,
                )
            )

    async def _take_in(self, claims: trio.MemorySendChannel[Claim], node_id: uuid.UUID) -> None:
        self.is_claiming = True
        try:
            with self._intake:
                await self._dispatch(claims, node_id)
        finally:
            self.is_claiming = False

    async def _dispatch(self, claims: trio.MemorySendChannel[Claim], node_id: uuid.UUID) -> None:
        dispatcher = Dispatcher(
            claims,
            store=self._store,
            node_id=node_id,
            load=self.load,
            outage=self._outage,
            poll_seconds=self._settings.poll_seconds,
            metrics=self._metrics,
            tracing=self._tracing,
            takes_new=self._settings.max_per_host is None,
        )
        await dispatcher.run()

    async def _retire_at_last(self, node_id: uuid.UUID) -> bool:
        pauses = Pauses()
        while not await self._retire(node_id):
            await pauses.pause()
        return True

    async def _retire(self, node_id: uuid.UUID) -> bool:
        try:
            await self._store.retire(node_id)
        except StoreUnavailable as error:
            self._outage.began(error)
            return False
        return True
