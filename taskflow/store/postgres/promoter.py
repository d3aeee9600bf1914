"""Promotion in PostgreSQL: starts tasks that waited for others.

Whatever may let a waiting task start adds a step in its own transaction. A promoter of each store
takes steps in batches: when a verb of this store added some, when a node is notified of tasks that
were enqueued, and periodically, for the steps of processes that died and of other programs.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import trio

from taskflow.model.errors import StatementRejected, StoreUnavailable
from taskflow.store.postgres.claim_position import Announcements
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import Statements
from taskflow.telemetry import Event, emit
from taskflow.wakeup import WakeUp

BATCH: Final = 500
# Maximum delay of a task whose step no verb of a living process added.
SWEEP_SECONDS: Final = 2.0
# Delay of a step whose tasks another transaction has locked; it grows up to that maximum.
MIN_PAUSE_SECONDS: Final = 0.02
# A batch begins this many steps before the last one taken: the index may have any number of dead
# entries before. A sweep finds steps that were committed after more than this many later ones.
BACKTRACKED_STEPS: Final = 1000
# Attempts at a step that PostgreSQL rejects: another node may have started another task of its key.
MAX_ATTEMPTS: Final = 3


class Batch(NamedTuple):
    """What a promoter did with some steps.

    Attributes:
        last: The greatest number of a step; ``None`` if there were no steps.
        started: The tasks that were started: their ids, priorities and due times.
        has_more: Whether there may be more steps now.
        is_delayed: Whether a step was added again, because a task was locked.
        passed_over: Due tasks, as in ``started``, that were locked meanwhile, so that a claim may
            have skipped them.
    """

    last: int | None
    started: list[Row]
    has_more: bool
    is_delayed: bool = False
    passed_over: Sequence[Row] = ()


class Promoter(abc.ABC):
    """Takes steps, and starts the tasks that they are about.

    Args:
        statements: The statements, on the connections for everything but heartbeats.
        announcements: The tasks that are started are announced here.
        added: Notified when there are steps.
    """

    first_steps: ClassVar[str]
    give_up_step: ClassVar[str]

    def __init__(self, statements: Statements, announcements: Announcements, added: WakeUp) -> None:
        self._statements = statements
        self._announcements = announcements
        self._added = added
        self._lock = trio.Lock()
        self._since = 0
        self._swept_at = -math.inf
        self._pause = SWEEP_SECONDS

    async def run(self) -> None:
        """Start tasks until cancelled."""
        while True:
            try:
                await self.promote()
            except StoreUnavailable:
                await trio.sleep(SWEEP_SECONDS)  # others report it
            with trio.move_on_after(self._pause):
                await self._added.wait()

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
                batch = await self._promote_batch()
                started += len(batch.started)
                if not batch.has_more:
                    self._pause_after(batch)
                    return started

    def _pause_after(self, batch: Batch) -> None:
        if not batch.is_delayed:
            self._pause = SWEEP_SECONDS
        elif self._pause >= SWEEP_SECONDS:
            self._pause = MIN_PAUSE_SECONDS
        else:
            self._pause = min(2 * self._pause, SWEEP_SECONDS)

    async def _promote_batch(self) -> Batch:
        try:
            return await self._take_steps(self._since, BATCH)
        except StatementRejected:  # which does not say by which task
            steps = await self._statements.run(self.first_steps, since=self._since, limit=BATCH)
            alone = [await self._promote_one(step) for (step,) in steps]
            started = [row for batch in alone for row in batch.started]
            return Batch(None, started, has_more=len(steps) == BATCH)

    async def _promote_one(self, step: int) -> Batch:
        """Take one step; it is given up if its tasks cannot be started at all."""
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._take_steps(step, 1)
            except StatementRejected as error:
                reason = str(error)
        await self._statements.run(self.give_up_step, id=step)
        emit(Event.PROMOTION_FAILED, reason=reason)
        return Batch(None, [], has_more=False)

    async def _take_steps(self, since: int, limit: int) -> Batch:
        batch = await self._take(since, limit)
        if batch.last is not None:
            self._since = max(self._since, batch.last - BACKTRACKED_STEPS)
        self._announcements.announce([*batch.started, *batch.passed_over])
        return batch

    def _notified(self) -> dict[str, object]:
        """Return the parameters that decide which nodes are notified of started tasks."""
        announcements = self._announcements
        return {"sender": announcements.sender, "own_nodes": announcements.own_nodes}

    @abc.abstractmethod
    async def _take(self, since: int, limit: int) -> Batch:
        """Take up to ``limit`` steps from this one on, in one transaction."""


class OrderPromoter(Promoter):
    """Starts the first task of each order key that is free (migration 0026)."""

    first_steps = "first_steps"
    give_up_step = "give_up_step"

    async def _take(self, since: int, limit: int) -> Batch:
        rows = await self._statements.run("promote", since=since, limit=limit, **self._notified())
        taken, last, *_ = rows[0]
        started = [row[2:] for row in rows if row[2] is not None]
        return Batch(last, started, has_more=taken >= limit)
