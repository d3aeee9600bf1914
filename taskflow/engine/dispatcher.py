"""The dispatcher: claims tasks as workers need them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final

import trio

from taskflow.engine.load import Load
from taskflow.engine.outage import Outage, Pauses
from taskflow.engine.worker import Attempt
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import Interrupted
from taskflow.model.task import Claim
from taskflow.store.base import Release, TaskStore

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


async def dispatch(
    claims: trio.MemorySendChannel[Claim],
    *,
    store: TaskStore,
    node_id: uuid.UUID,
    load: Load,
    outage: Outage,
    poll_seconds: float,
) -> None:
    """Claim what the workers will start soon, until cancelled.

    The channel has room for all that is ever claimed, so handing over never waits. A claim
    whose answer was lost may have been made all the same: the node holds tasks that it does
    not know of. Once the store is back ``load.doubts`` is rung, and they are put back.
    """
    turns, pauses, is_in_doubt = Turns(), Pauses(), False
    async with claims:
        while True:
            limit = load.claim_limit()
            if not limit:
                await load.wait_for_change()
                continue
            found = await _claim(claims, store, node_id, load, turns, outage)
            if found is None:
                is_in_doubt = True
                await pauses.pause()
                continue
            if is_in_doubt:
                load.doubts.ring()
                pauses, is_in_doubt = Pauses(), False
            if found < limit:
                with trio.move_on_after(poll_seconds):
                    await store.wait_for_work()


async def _claim(
    claims: trio.MemorySendChannel[Claim],
    store: TaskStore,
    node_id: uuid.UUID,
    load: Load,
    turns: Turns,
    outage: Outage,
) -> int | None:
    """Claim once, hand over what was found, and return how many; ``None`` if it is not known."""
    limit = load.claim_limit()
    token, by_age = uuid.uuid4(), turns.by_age(limit)
    count = None
    async with _finishing(CLAIM_GRACE_SECONDS) as is_late:
        with load.claiming(token):
            try:
                found = await store.claim(node_id, limit=limit, by_age=by_age, token=token)
                if is_late.is_set():
                    await store.release([Release(claim.task_id, claim.token) for claim in found])
                    return None
            except StoreUnavailable as error:
                outage.began(error)
                return None
            load.claimed(found)
        outage.is_over()
        count = len(found)
        turns.claimed(count, by_age=by_age)
        for claim in found:
            claims.send_nowait(claim)
    return count


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
    """Hand on as interrupted what no worker has taken yet.

    Closing the channel would drop it: these tasks would stay RUNNING until a rescue.
    """
    while True:
        try:
            claim = claims.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return
        load.unstarted()
        attempts.send_nowait(Attempt(claim, Interrupted()))
