"""Order keys in PostgreSQL: starts the next task of each key that is free.

Whatever may free a key adds a step in its own transaction (migration 0026). The promoter of each
store takes steps in batches: when a verb of this store added some, when a node is notified of tasks
that were enqueued, and periodically, for the steps of processes that died and of other programs.
"""

from __future__ import annotations

import math
from typing import Final

import trio

from taskflow.model.errors import StatementRejected, StoreUnavailable
from taskflow.store.postgres.claim_position import Announcements
from taskflow.store.postgres.statements import Statements
from taskflow.telemetry import Event, emit

BATCH: Final = 500
# Maximum delay of a task whose step no verb of a living process added.
SWEEP_SECONDS: Final = 2.0
# A batch begins this many steps before the last one taken: the index may have any number of dead
# entries before. A sweep finds steps that were committed after more than this many later ones.
BACKTRACKED_STEPS: Final = 1000
# Attempts at a step that PostgreSQL rejects: another node may have started another task of its key.
MAX_ATTEMPTS: Final = 3


class Promoter:
    """Starts the first task of each order key that is free.

    Args:
        statements: The statements, on the connections for everything but heartbeats.
        announcements: The tasks that are started are announced here.
    """

    def __init__(self, statements: Statements, announcements: Announcements) -> None:
        self._statements = statements
        self._announcements = announcements
        self._lock = trio.Lock()
        self._since = 0
        self._swept_at = -math.inf

    async def run(self) -> None:
        """Start tasks until cancelled."""
        while True:
            try:
                await self.promote()
            except StoreUnavailable:
                await trio.sleep(SWEEP_SECONDS)  # others report it
            with trio.move_on_after(SWEEP_SECONDS):
                await self._announcements.order_steps.wait()

    async def promote(self) -> int:
        """Take all steps that are committed, and return the number of tasks that were started.

        The step of a task that another transaction has locked is left to the next time.

        Raises:
            StoreUnavailable: The database cannot be reached.
        """
        started = 0
        async with self._lock:
            if self._swept_at + SWEEP_SECONDS <= trio.current_time():
                self._since, self._swept_at = 0, trio.current_time()
            while True:
                taken, batch = await self._promote_batch()
                started += batch
                if taken < BATCH:
                    return started

    async def _promote_batch(self) -> tuple[int, int]:
        """Return the number of steps that were taken, and of tasks that were started."""
        try:
            return await self._take(self._since, BATCH)
        except StatementRejected:  # which does not say by which task
            steps = await self._statements.run("first_steps", since=self._since, limit=BATCH)
            started = [await self._promote_one(step) for (step,) in steps]
            return len(steps), sum(started)

    async def _promote_one(self, step: int) -> int:
        """Take one step; it is given up if the task of its key cannot be started at all."""
        for _ in range(MAX_ATTEMPTS):
            try:
                _, started = await self._take(step, 1)
            except StatementRejected as error:
                reason = str(error)
            else:
                return started
        await self._statements.run("give_up_step", id=step)
        emit(Event.PROMOTION_FAILED, reason=reason)
        return 0

    async def _take(self, since: int, limit: int) -> tuple[int, int]:
        rows = await self._statements.run(
            "promote",
            since=since,
            limit=limit,
            sender=self._announcements.sender,
            own_nodes=list(self._announcements.nodes),
        )
        taken, last, *_ = rows[0]
        if last is not None:
            self._since = max(self._since, last - BACKTRACKED_STEPS)
        started = [row[2:] for row in rows if row[2] is not None]
        self._announcements.announce(started)
        return taken, len(started)
