"""A node's lease: renewed while the node lives, a cancel scope that ends its work if not."""

from __future__ import annotations

import uuid
from typing import Final

import trio

from taskflow.engine.load import Load
from taskflow.engine.outage import Outage
from taskflow.metrics import Metrics
from taskflow.model.errors import LeaseLost, StoreUnavailable
from taskflow.settings import Settings
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit

_RESCUE_BATCH: Final = 500


async def keep_lease(
    lease: trio.CancelScope,
    *,
    store: TaskStore,
    node_id: uuid.UUID,
    load: Load,
    outage: Outage,
    settings: Settings,
) -> None:
    """Renew the lease until it is lost; each renewal moves the scope's deadline forward.

    The deadline counts from before the renewal was asked for, so it never comes after the
    end of the lease by the store's clock: the node's work is cut off before its tasks can
    be taken over. After each renewal the node puts back what it does not know that it holds;
    ``load.doubts`` tells when that should not wait. And it calls off what it holds no more, for
    the word of a cancellation may have been lost.
    """
    while True:
        with trio.move_on_after(settings.heartbeat_seconds):
            await load.doubts.wait()
        asked_at = trio.current_time()
        try:
            renewed_at = await store.renew(node_id)
            lease.deadline = asked_at + settings.lease_seconds
            lost = await store.reconcile(node_id, load.tokens, before=renewed_at)
            if keys := load.in_hand.keys:
                load.in_hand.call_off(await store.lost_claims(keys))
        except StoreUnavailable as error:
            outage.began(error)
        except LeaseLost:
            lease.cancel()
            return
        else:
            outage.is_over()
            if lost:
                emit(Event.CLAIMS_RECONCILED, tasks=lost)


async def rescue_from_the_dead(
    *,
    store: TaskStore,
    outage: Outage,
    max_rescues: int,
    heartbeat_seconds: float,
    metrics: Metrics,
) -> None:
    """Take tasks from dead nodes now and then, until cancelled."""
    while True:
        try:
            rescued = await store.rescue(limit=_RESCUE_BATCH, max_rescues=max_rescues)
        except StoreUnavailable as error:
            outage.began(error)
            await trio.sleep(heartbeat_seconds)
            continue
        pending, poisoned = len(rescued.pending), len(rescued.poisoned)
        if pending or poisoned:
            metrics.rescued(pending=pending, poisoned=poisoned)
            emit(Event.TASKS_RESCUED, pending=pending, poisoned=poisoned)
        if pending + poisoned < _RESCUE_BATCH:
            await trio.sleep(heartbeat_seconds)
