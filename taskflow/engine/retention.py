"""Retention: tasks that ended long ago go, a few at a time, and old events, keys and firings."""

from __future__ import annotations

import math
from typing import Final

import trio

from taskflow.engine.outage import Outage
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit

# Small enough for milliseconds, so that claims and pages never wait for it.
_BATCH: Final = 500
_EVENT_BATCH: Final = 5000
_LONGEST_PAUSE_SECONDS: Final = 60.0
# Between batches, so that deleting a backlog leaves most of the store's time to others.
_BETWEEN_SECONDS: Final = 0.1


async def delete_ended_tasks(
    *, store: TaskStore, outage: Outage, retention_seconds: float | None
) -> None:
    """Delete tasks that were kept long enough, and forget what else is old, until cancelled.

    Every node does so; they share the work, for each passes over what another one has in hand.

    Args:
        store: Where they are.
        outage: Told whether the store can be reached.
        retention_seconds: How long those are kept that do not say so themselves; ``None`` is for
            ever.
    """
    pause_seconds = min(retention_seconds or math.inf, _LONGEST_PAUSE_SECONDS)
    while True:
        try:
            deleted = await store.delete_finished(age_seconds=retention_seconds, limit=_BATCH)
            keys = await store.delete_expired_keys(limit=_BATCH)
            others = await store.queues.forget(limit=_BATCH)
            events = await store.delete_old_events(limit=_EVENT_BATCH)
            firings = await store.schedules.delete_old_firings(limit=_EVENT_BATCH)
        except StoreUnavailable as error:
            outage.began(error)
            await trio.sleep(pause_seconds)
            continue
        if deleted:
            emit(Event.TASKS_DELETED, tasks=deleted)
        has_more = deleted or max(keys, others) >= _BATCH or max(events, firings) == _EVENT_BATCH
        await trio.sleep(_BETWEEN_SECONDS if has_more else pause_seconds)
