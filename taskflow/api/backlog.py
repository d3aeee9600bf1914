"""The backlog limit: submissions are rejected while too many tasks are pending."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.model.errors import BacklogFull
from taskflow.store.base.store import TaskStore

POLICY_NAME: Final = "pending"
# How long a count is used. Tasks submitted through this node are added to it meanwhile.
COUNT_SECONDS: Final = 1.0
# The minimum interval between counts when the limit seems to be reached.
RECOUNT_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 2


class Backlog:
    """Counts pending tasks and enforces the limit.

    Args:
        store: Where the tasks are kept.
        max_pending: The limit; ``None`` for no limit, in which case nothing is counted.
    """

    def __init__(self, store: TaskStore, max_pending: int | None) -> None:
        self._store: Final = store
        self._max_pending: Final = max_pending
        self._pending = 0
        self._counted_at = -COUNT_SECONDS
        self._counting = trio.Lock()

    async def admit(self, count: int = 1) -> None:
        """Admit this number of tasks, all or none.

        Nodes learn of each other's tasks with a delay, so together they may exceed the limit.

        Raises:
            BacklogFull: The limit is reached.
            StoreUnavailable: The tasks cannot be counted.
        """
        if self._max_pending is None:
            return
        if self._is_stale(self._max_pending - count):
            async with self._counting:  # one count serves all that wait for it
                if self._is_stale(self._max_pending - count):
                    await self._count(self._max_pending)
        if self._pending + count > self._max_pending:
            raise BacklogFull(
                f"the backlog limit is reached (TASKFLOW_MAX_PENDING={self._max_pending}); "
                f"try again in {RETRY_SECONDS} s",
                policy=f'"{POLICY_NAME}";q={self._max_pending}',
                limit=f'"{POLICY_NAME}";r=0;t={RETRY_SECONDS}',
                retry_seconds=RETRY_SECONDS,
            )
        self._pending += count

    def _is_stale(self, room_below: int) -> bool:
        age_seconds = trio.current_time() - self._counted_at
        return age_seconds >= (COUNT_SECONDS if self._pending <= room_below else RECOUNT_SECONDS)

    async def _count(self, limit: int) -> None:
        began_at = trio.current_time()
        # Misses tasks that were admitted and are still being written.
        self._pending = await self._store.count_pending(limit=limit)
        self._counted_at = began_at
