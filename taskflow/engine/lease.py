"""The lease of a node: renewed by heartbeats; its end cancels the node's workers."""

from __future__ import annotations

import uuid

import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.load import Load
from taskflow.model.errors import LeaseLost, StoreUnavailable
from taskflow.telemetry import Event, emit


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
