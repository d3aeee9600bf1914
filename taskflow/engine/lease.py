"""A node's lease: renewed while the node lives, a cancel scope that ends its work if not."""

from __future__ import annotations

import uuid
from typing import Final

import trio

from taskflow.engine.outage import Outage
from taskflow.model.errors import LeaseLost, StoreUnavailable
from taskflow.store.base import TaskStore
from taskflow.telemetry import Event, emit

_RESCUE_BATCH: Final = 500


async def keep_lease(
    lease: trio.CancelScope,
    *,
    store: TaskStore,
    node_id: uuid.UUID,
    outage: Outage,
    lease_seconds: float,
    heartbeat_seconds: float,
) -> None:
    """Renew the lease until cancelled; each renewal moves the scope's deadline forward.

    The deadline counts from before the renewal was asked for, so it never comes after the
    end of the lease by the store's clock: the node's work is cut off before its tasks can
    be taken over.
    """
    while True:
        await trio.sleep(heartbeat_seconds)
        asked_at = trio.current_time()
        try:
            await store.renew(node_id)
        except StoreUnavailable as error:
            outage.began(error)
        except LeaseLost:
            lease.cancel()
        else:
            outage.is_over()
            lease.deadline = asked_at + lease_seconds


async def rescue_from_the_dead(
    *, store: TaskStore, outage: Outage, max_rescues: int, heartbeat_seconds: float
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
            emit(Event.TASKS_RESCUED, pending=pending, poisoned=poisoned)
        if pending + poisoned < _RESCUE_BATCH:
            await trio.sleep(heartbeat_seconds)
