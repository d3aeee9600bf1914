"""The dispatcher: claims tasks when workers need them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Final

import trio

from taskflow.engine.context import EngineContext, RetryPauses
from taskflow.engine.load import Load
from taskflow.engine.worker import Attempt
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import Canceled, Interrupted
from taskflow.model.task import Claim
from taskflow.store.base.claims import IdleNode, Release, Reservation
from taskflow.wakeup import WakeUp

# One task in ten is claimed by age instead of priority, so that tasks of low priority are not
# starved by a flood of higher priority.
OLDEST_FIRST_INTERVAL: Final = 10
# At shutdown a claim that is under way may complete within this time, so that its tasks can be
# released at once.
CLAIM_GRACE_SECONDS: Final = 0.5


class OldestFirstQuota:
    """Decides how many tasks of a claim are taken by age instead of priority."""

    def __init__(self) -> None:
        self._claimed = 0

    def next(self, limit: int) -> int:
        """Return how many of the next ``limit`` tasks are to be claimed by age."""
        return min(limit, self._claimed // OLDEST_FIRST_INTERVAL)

    def record(self, count: int, *, by_age: int) -> None:
        """Record a claim of ``count`` tasks, ``by_age`` of them by age."""
        self._claimed += count - by_age * OLDEST_FIRST_INTERVAL


class Dispatcher(IdleNode):
    """Claims the tasks that the workers will start soon, and sends the claims to them.

    The channel has room for all claims that the node may hold, so sending never waits.

    If the response to a claim is lost, the claim may have been made: the node then holds tasks
    that it does not know of. When the store is available again, the dispatcher requests a
    reconciliation, which releases them.

    Args:
        claims: The workers receive from it; closed at the end.
        context: Collaborators.
        node_id: The node that claims.
        load: Its claims.
    """

    def __init__(
        self,
        claims: trio.MemorySendChannel[Claim],
        context: EngineContext,
        node_id: uuid.UUID,
        load: Load,
    ) -> None:
        self._claims = claims
        self._context = context
        self._store = context.store
        self._node_id = node_id
        self._load = load
        self._quota = OldestFirstQuota()
        self._may_hold_unknown = False
        self._reservations = 0
        self._reservation_ended = WakeUp()

    async def run(self) -> None:
        """Claim tasks until cancelled."""
        async with self._claims:
            try:
                await self._claim_as_needed()
            finally:
                with trio.move_on_after(CLAIM_GRACE_SECONDS, shield=True):
                    await self._wait_for_reservations()

    @contextlib.contextmanager
    def reserve(self, limit: int) -> Iterator[Reservation]:
        """Reserve room for new tasks; see ``IdleNode``."""
        count = min(limit, self._load.claim_limit())
        token = uuid.uuid4()
        self._context.tracing.claiming(token)
        self._reservations += 1
        try:
            with self._load.claiming(token), self._load.reserved(count):
                yield Reservation(
                    self._node_id, token, count, partial(self._send_to_workers, is_direct=True)
                )
        except StoreUnavailable:
            self._may_hold_unknown = True
            raise
        finally:
            self._reservations -= 1
            self._reservation_ended.notify()

    async def _claim_as_needed(self) -> None:
        # A limit per host can only be checked by a claim, so there are no direct claims then.
        settings = self._context.settings
        idle_node = self if settings.max_per_host is None else None
        pauses = RetryPauses()
        while True:
            limit = self._load.claim_limit()
            if not limit:
                await self._load.wait_for_room()
                continue
            claimed = await self._claim(limit)
            if claimed is None:
                self._may_hold_unknown = True
                await pauses.pause()
                continue
            pauses = RetryPauses()
            if self._may_hold_unknown:
                self._may_hold_unknown = False
                self._load.reconcile_request.notify()
            if claimed < limit:
                with trio.move_on_after(settings.poll_seconds):
                    await self._store.wait_for_work(idle_node)

    async def _claim(self, limit: int) -> int | None:
        """Claim once; return the number of tasks, or ``None`` if it is unknown."""
        token, by_age = uuid.uuid4(), self._quota.next(limit)
        count = None
        self._context.tracing.claiming(token)
        async with _finish_despite_cancel(CLAIM_GRACE_SECONDS) as is_cancelled:
            with self._load.claiming(token):
                try:
                    claims = await self._store.claim(
                        self._node_id,
                        limit=limit,
                        by_age=by_age,
                        token=token,
                        shares=self._load.shares(limit),
                    )
                    if is_cancelled.is_set():
                        await self._store.release(list(map(_release_of, claims)))
                        return None
                except StoreUnavailable as error:
                    self._context.outage.begin(error)
                    return None
                self._send_to_workers(claims, is_direct=False)
            self._context.outage.end()
            count = len(claims)
            self._quota.record(count, by_age=by_age)
        return count

    def _send_to_workers(self, claims: Sequence[Claim], *, is_direct: bool) -> None:
        self._load.claimed(claims)
        self._context.metrics.claimed(len(claims), is_direct=is_direct)
        self._context.tracing.claimed(claims)
        # After the end there is no receiver; the node is then retired, which releases the tasks.
        # This must not raise: the tasks are stored, and the client must get that response.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for claim in claims:
                self._claims.send_nowait(claim)

    async def _wait_for_reservations(self) -> None:
        while self._reservations:
            await self._reservation_ended.wait()


def _release_of(claim: Claim) -> Release:
    return Release(claim.task_id, claim.token, makes_room=claim.is_limited)


@contextlib.asynccontextmanager
async def _finish_despite_cancel(grace_seconds: float) -> AsyncIterator[trio.Event]:
    """When cancelled, give the block this time to finish, and set the event that is yielded."""
    is_cancelled = trio.Event()

    async def watch_for_cancel() -> None:
        try:
            await trio.sleep_forever()
        finally:
            is_cancelled.set()
            shielded.deadline = trio.current_time() + grace_seconds

    async with trio.open_nursery() as nursery:
        with trio.CancelScope(shield=True) as shielded:
            nursery.start_soon(watch_for_cancel)
            yield is_cancelled
        nursery.cancel_scope.cancel()


def release_unstarted(
    claims: trio.MemoryReceiveChannel[Claim],
    attempts: trio.MemorySendChannel[Attempt],
    load: Load,
) -> None:
    """Send the claims that no worker has received to the settler, as interrupted or canceled.

    Closing the channel would drop them: their tasks would stay RUNNING until a rescue.
    """
    while True:
        try:
            claim = claims.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return
        load.unstarted(claim)
        outcome = Canceled() if load.claims[claim.key].is_canceled else Interrupted()
        attempts.send_nowait(Attempt(claim, outcome, trio.current_time()))
