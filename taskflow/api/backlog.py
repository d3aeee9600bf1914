"""How many tasks may wait: beyond that no more are taken, until some are done."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.model.errors import BacklogFull
from taskflow.store.base.tasks import TaskStore

POLICY_NAME: Final = "pending"
# A count is used for so long, and what is handed in here since then is added to it.
COUNT_SECONDS: Final = 1.0
# When by that there is no room, it is looked again, but no oftener than this.
RECOUNT_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 2


class Backlog:
    """The bound on tasks that wait.

    Args:
        store: Where they wait.
        most: How many may; ``None`` is without bound, and nothing is counted.
    """

    def __init__(self, store: TaskStore, most: int | None) -> None:
        self._store: Final = store
        self._most: Final = most
        self._waiting = 0
        self._counted_at = -COUNT_SECONDS
        self._counting = trio.Lock()

    async def admit(self, count: int = 1) -> None:
        """Let so many more tasks in, all or none.

        Nodes do not hear of each other's at once, so together they may take some more.

        Raises:
            BacklogFull: Too many wait already.
            StoreUnavailable: They cannot be counted.
        """
        if self._most is None:
            return
        if self._is_stale(self._most - count):
            async with self._counting:  # one counts for all who wait here
                if self._is_stale(self._most - count):
                    await self._count(self._most)
        if self._waiting + count > self._most:
            raise BacklogFull(
                f"{self._most} tasks are waiting already; try again in {RETRY_SECONDS} s",
                policy=f'"{POLICY_NAME}";q={self._most}',
                limit=f'"{POLICY_NAME}";r=0;t={RETRY_SECONDS}',
                retry_seconds=RETRY_SECONDS,
            )
        self._waiting += count

    def _is_stale(self, room_below: int) -> bool:
        age_seconds = trio.current_time() - self._counted_at
        return age_seconds >= (COUNT_SECONDS if self._waiting <= room_below else RECOUNT_SECONDS)

    async def _count(self, most: int) -> None:
        began = trio.current_time()
        # Tasks that were let in and are still being written are missed: for a moment there may be
        # as many more.
        self._waiting = await self._store.count_pending(limit=most)
        self._counted_at = began
