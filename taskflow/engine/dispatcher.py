"""The dispatcher: claims tasks as workers need them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Final

import trio

from taskflow.engine.load import Load
from taskflow.engine.outage import Outage, Pauses
from taskflow.engine.worker import Attempt
from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import Canceled, Interrupted
from taskflow.model.task import Claim
from taskflow.store.base.claims import IdleNode, Release, Reservation
from taskflow.store.base.tasks import TaskStore
from taskflow.tracing import NO_TRACING, Tracing
from taskflow.wakeup import WakeUp

# Of so many tasks one is chosen by how long it has been due: a flood of higher priority leaves
# a tenth of the work to the rest, which therefore always comes to its turn.
TASKS_PER_TURN_BY_AGE: Final = 10
# A claim that is under way at shutdown may finish, so that what it takes can be put back at once.
CLAIM_GRACE_SECONDS: Final = 0.5


class Turns:
    """Whose turn it is: mostly the most urgent, now and then who has waited the longest."""

    def __init__(self) -> None:
        self._claimed = 0

    def by_age(self, limit: int) -> int:
        """How many of the next ``limit`` claims are to go by age."""
        return min(limit, self._claimed // TASKS_PER_TURN_BY_AGE)

    def claimed(self, count: int, *, by_age: int) -> None:
        """So many were claimed, so many of them by age."""
        self._claimed += count - by_age * TASKS_PER_TURN_BY_AGE


class Dispatcher(IdleNode):
    """Claims what the workers will start soon.

    The channel has room for all that is ever claimed, so handing over never waits. A claim
    whose answer was lost may have been made all the same: the node holds tasks that it does
    not know of. Once the store is back ``load.doubts`` is rung, and they are put back.

    Args:
        claims: Where workers take them; closed at the end.
        store: Where the tasks are.
        node_id: For whom.
        load: What the node has in hand.
        outage: Told whether the store can be reached.
        poll_seconds: How long to wait for a word of new tasks before looking without one.
        metrics: What is told of claims.
        tracing: Told when tasks are claimed.
        takes_new: Whether tasks may be claimed as they are stored.
    """

    def __init__(  # noqa: PLR0913 - all that it is made of
        self,
        claims: trio.MemorySendChannel[Claim],
        *,
        store: TaskStore,
        node_id: uuid.UUID,
        load: Load,
        outage: Outage,
        poll_seconds: float,
        metrics: Metrics,
        tracing: Tracing = NO_TRACING,
        takes_new: bool = True,
    ) -> None:
        self._claims = claims
        self._store = store
        self._node_id = node_id
        self._load = load
        self._outage = outage
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._tracing = tracing
        self._taker = self if takes_new else None
        self._turns = Turns()
        self._is_in_doubt = False
        self._reservations = 0
        self._reservation_ended = WakeUp()

    async def run(self) -> None:
        """Claim until cancelled."""
        async with self._claims:
            try:
                await self._claim_as_needed()
            finally:
                with trio.move_on_after(CLAIM_GRACE_SECONDS, shield=True):
                    await self._end_of_reservations()

    @contextlib.contextmanager
    def reserve(self, most: int) -> Iterator[Reservation]:
        """Keep room for new tasks; see ``IdleNode``."""
        count = min(most, self._load.claim_limit())
        token = uuid.uuid4()
        self._tracing.claiming(token)
        self._reservations += 1
        try:
            with self._load.claiming(token), self._load.reserved(count):
                yield Reservation(
                    self._node_id, token, count, partial(self._hand_over, is_handover=True)
                )
        except StoreUnavailable:
            self._is_in_doubt = True
            raise
        finally:
            self._reservations -= 1
            self._reservation_ended.notify()

    async def _claim_as_needed(self) -> None:
        pauses = Pauses()
        while True:
            limit = self._load.claim_limit()
            if not limit:
                await self._load.wait_for_change()
                continue
            found = await self._claim(limit)
            if found is None:
                self._is_in_doubt = True
                await pauses.pause()
                continue
            pauses = Pauses()
            if self._is_in_doubt:
                self._is_in_doubt = False
                self._load.doubts.notify()
            if found < limit:
                with trio.move_on_after(self._poll_seconds):
                    await self._store.wait_for_work(self._taker)

    async def _claim(self, limit: int) -> int | None:
        """Claim once, hand over what was found, and say how many; ``None`` if it is not known."""
        token, by_age = uuid.uuid4(), self._turns.by_age(limit)
        count = None
        self._tracing.claiming(token)
        async with _finishing(CLAIM_GRACE_SECONDS) as is_late:
            with self._load.claiming(token):
                try:
                    found = await self._store.claim(
                        self._node_id,
                        limit=limit,
                        by_age=by_age,
                        token=token,
                        shares=self._load.shares(limit),
                    )
                    if is_late.is_set():
                        await self._store.release(
                            [
                                Release(claim.task_id, claim.token, makes_room=claim.is_limited)
                                for claim in found
                            ]
                        )
                        return None
                except StoreUnavailable as error:
                    self._outage.began(error)
                    return None
                self._hand_over(found, is_handover=False)
            self._outage.is_over()
            count = len(found)
            self._turns.claimed(count, by_age=by_age)
        return count

    def _hand_over(self, claims: Sequence[Claim], *, is_handover: bool) -> None:
        self._load.claimed(claims)
        self._metrics.claimed(len(claims), is_handover=is_handover)
        self._tracing.claimed(claims)
        # After the end nobody takes them; the node is retired then, which puts them back. This must
        # not fail: the tasks are stored, and whoever handed them in is to be told so.
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for claim in claims:
                self._claims.send_nowait(claim)

    async def _end_of_reservations(self) -> None:
        while self._reservations:
            await self._reservation_ended.wait()


@contextlib.asynccontextmanager
async def _finishing(grace_seconds: float) -> AsyncIterator[trio.Event]:
    """When cancelled, let the block go on for so long at most, and set the event."""
    is_late = trio.Event()

    async def cut_off_late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            is_late.set()
            shielded.deadline = trio.current_time() + grace_seconds

    async with trio.open_nursery() as nursery:
        with trio.CancelScope(shield=True) as shielded:
            nursery.start_soon(cut_off_late)
            yield is_late
        nursery.cancel_scope.cancel()


def hand_back_unstarted(
    claims: trio.MemoryReceiveChannel[Claim],
    attempts: trio.MemorySendChannel[Attempt],
    load: Load,
) -> None:
    """Hand on as interrupted, or called off, what no worker has taken yet.

    Closing the channel would drop it: these tasks would stay RUNNING until a rescue.
    """
    while True:
        try:
            claim = claims.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return
        load.unstarted(claim)
        is_called_off = load.in_hand.is_called_off(claim.key)
        outcome = Canceled() if is_called_off else Interrupted()
        attempts.send_nowait(Attempt(claim, outcome, trio.current_time()))
