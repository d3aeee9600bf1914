"""Rescue: tasks of nodes whose lease has ended become PENDING again.

The store moves them, in one statement: ``rescue_if_dead`` in ``store/postgres/queries/leases.sql``.
"""

from __future__ import annotations

from typing import Final

from taskflow.engine.context import EngineContext
from taskflow.telemetry import Event, emit

RESCUE_BATCH: Final = 500


async def rescue_tasks(context: EngineContext) -> float:
    """Rescue a batch of tasks, and return the seconds until the next batch.

    The attempt does not count. A task whose nodes died ``TASKFLOW_MAX_RESCUES`` times fails as
    ``poison``, since it may be what kills them.
    """
    settings = context.settings
    rescued = await context.store.rescue(limit=RESCUE_BATCH, max_rescues=settings.max_rescues)
    pending, poisoned = len(rescued.pending), len(rescued.poisoned)
    if pending or poisoned:
        context.metrics.rescued(pending=pending, poisoned=poisoned)
        emit(Event.TASKS_RESCUED, pending=pending, poisoned=poisoned)
    return 0.0 if pending + poisoned >= RESCUE_BATCH else settings.heartbeat_seconds
