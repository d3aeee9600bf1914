"""The counts of tasks: what statements noted is folded into them, a little now and then."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.engine.outage import Outage
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.tasks import TaskStore

# Milliseconds of the store's time.
_BATCH: Final = 5000


async def fold_counts(*, store: TaskStore, outage: Outage, heartbeat_seconds: float) -> None:
    """Keep short what is not folded yet, until cancelled.

    Every node does so; they share the work, for each passes over what another one has in hand.
    """
    while True:
        try:
            folded = await store.fold_counts(limit=_BATCH)
        except StoreUnavailable as error:
            outage.began(error)
            await trio.sleep(heartbeat_seconds)
            continue
        if folded < _BATCH:
            await trio.sleep(heartbeat_seconds)
