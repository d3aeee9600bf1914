"""The dispatcher: claims tasks as workers need them."""

from __future__ import annotations

import uuid

import trio

from taskflow.engine.load import Load
from taskflow.engine.outage import Outage
from taskflow.engine.worker import Attempt
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import Interrupted
from taskflow.model.task import Claim
from taskflow.store.base import TaskStore


async def dispatch(
    claims: trio.MemorySendChannel[Claim],
    *,
    store: TaskStore,
    node_id: uuid.UUID,
    load: Load,
    outage: Outage,
    poll_seconds: float,
) -> None:
    """Claim what the workers will start soon, until cancelled or until a claim fails.

    The channel has room for all that is ever claimed, so handing over never waits. A claim
    that was cut off, or whose answer was lost, may have been made all the same: the node
    holds tasks that it does not know of. So it claims no more after that; retiring it puts
    those tasks back, and another life of the node begins.
    """
    async with claims:
        while True:
            limit = load.claim_limit()
            if not limit:
                await load.wait_for_change()
                continue
            try:
                found = await store.claim(node_id, limit=limit)
            except StoreUnavailable as error:
                outage.began(error)
                return
            outage.is_over()
            load.claimed(len(found))
            for claim in found:
                claims.send_nowait(claim)
            if len(found) < limit:
                with trio.move_on_after(poll_seconds):
                    await store.wait_for_work()


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
