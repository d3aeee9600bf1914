"""Expiry: tasks that still wait when their time is over come to their end."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.engine.outage import Outage
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit

_BATCH: Final = 500
# What is over but just being claimed, in time, is passed over.
_SHORTEST_PAUSE_SECONDS: Final = 0.05


async def expire_tasks(*, store: TaskStore, outage: Outage, poll_seconds: float) -> None:
    """End tasks whose time is over, until cancelled.

    No attempt is begun too late, whatever happens here: claims look for themselves. Every node
    does so; each passes over what another one has in hand.

    Args:
        store: Where they are.
        outage: Told whether the store can be reached.
        poll_seconds: How often to look for tasks that are new, or put back.
    """
    while True:
        try:
            expired = await store.expire(limit=_BATCH)
            seconds = await store.seconds_to_expiry()
        except StoreUnavailable as error:
            outage.began(error)
            await trio.sleep(poll_seconds)
            continue
        if expired:
            emit(Event.TASKS_EXPIRED, tasks=expired)
        if expired < _BATCH:
            seconds = poll_seconds if seconds is None else min(seconds, poll_seconds)
            await trio.sleep(max(seconds, _SHORTEST_PAUSE_SECONDS))
