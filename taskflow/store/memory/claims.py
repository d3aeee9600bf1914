"""Claims of tasks in memory, from the claim to its outcome."""

from __future__ import annotations

import datetime as dt
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, TypeVar

import msgspec
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.claim_selection import Candidate, ClaimSelector, HostShares
from taskflow.model.lifecycle import Move
from taskflow.model.masking import Masking
from taskflow.model.outcome import response_of
from taskflow.model.queue_limits import QueueHost
from taskflow.model.task import AttemptStatus, Claim, ClaimKey, TaskStatus
from taskflow.store.base.claims import (
    ClaimStore,
    IdleNode,
    Release,
    Retry,
    Settlement,
    masked_claims,
)
from taskflow.store.memory.state import NEVER, MemoryState

_Write = TypeVar("_Write", Settlement, Retry, Release)
_MOVES: Final = {TaskStatus.COMPLETED: Move.COMPLETE, TaskStatus.FAILED: Move.FAIL}
_LONG_AGO: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


class MemoryClaims(MemoryState, ClaimStore):
    """Claims tasks, and writes the outcomes of claims where they are still held."""

    def __init__(self, max_per_host: int | None, masking: Masking) -> None:
        super().__init__(max_per_host, masking)
        self._claiming = trio.Lock()
        self._claimed_at = _LONG_AGO
        self._next_start: dt.datetime | None = None

    async def claim(
        self,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int = 0,
        token: uuid.UUID | None = None,
        shares: HostShares | None = None,
    ) -> list[Claim]:
        async with self._claiming:
            if not self._is_alive(node_id):
                return []
            self._claimed_at = self._now()
            due = [one for one in self._pending if one.run_at <= self._claimed_at]
            limiter = self._limiter()
            selector = ClaimSelector(limit, limiter, shares)
            if by_age:
                oldest = sorted(due, key=lambda one: (one.run_at, one.task_id.int))
                await self._offer(selector, oldest, limit=by_age)
            await self._offer(selector, due, limit=limit)
            selector.fill()
            self._queues.keep_rates(limiter.next_starts)
            self._next_start = selector.next_start()
            ids = filter(self._is_claimable, selector.ordered_ids())
            selected = [self._tasks[task_id] for task_id in ids]
            if not self._is_alive(node_id):
                return []
            claims = self._hold(selected, node_id, token or uuid.uuid4(), limiter)
            return await masked_claims(self._masking, claims)

    async def _offer(
        self, selector: ClaimSelector, candidates: Iterable[Candidate], *, limit: int
    ) -> None:
        """Select up to ``limit`` candidates; of each queue and host the first are sufficient."""
        counts, checkpoints = Counter[QueueHost](), Checkpoints()
        most = len(selector.selected) + min(limit, selector.remaining)
        for candidate in candidates:
            if len(selector.selected) == most:
                return
            if counts[candidate.queue_host] < 2 * limit and self._is_claimable(candidate.task_id):
                counts[candidate.queue_host] += 1
                selector.offer([candidate])
            await checkpoints.after(0)

    def _is_claimable(self, task_id: uuid.UUID) -> bool:
        """Return whether a task is pending, and has not expired."""
        task = self._tasks.get(task_id)
        if task is None or task.status is not TaskStatus.PENDING:
            return False
        return task.expires_at is None or task.expires_at > self._claimed_at

    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        held = self._still_held(settlements)
        for one in held:
            finished_at = self._record_attempt(
                one.task_id,
                AttemptStatus(one.status.value),
                error=one.error or "",
                error_type=one.error_type,
                status_code=one.status_code,
                elapsed_seconds=one.elapsed_seconds,
                response=response_of(one.response),
            )
            self._move(
                one.task_id,
                _MOVES[one.status],
                finished_at=finished_at,
                result=None if one.result is None else msgspec.Raw(one.result),
                error=one.error or "",
                error_type=one.error_type,
            )
        self._cancel_rest()
        return {one.task_id for one in held}

    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        held = self._still_held(retries)
        for one in held:
            self._record_attempt(
                one.task_id,
                AttemptStatus.FAILED,
                error=one.error,
                error_type=one.error_type,
                status_code=one.status_code,
                elapsed_seconds=one.elapsed_seconds,
                response=response_of(one.response),
            )
            run_at = self._now() + dt.timedelta(seconds=one.delay_seconds)
            self._move(
                one.task_id,
                Move.RETRY,
                run_at=run_at,
                error=one.error,
                error_type=one.error_type,
            )
        return {one.task_id for one in held}

    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        held = self._still_held(releases)
        for one in held:
            if one.elapsed_seconds is not None:
                elapsed = {"elapsed_seconds": one.elapsed_seconds}
                self._record_attempt(one.task_id, AttemptStatus.INTERRUPTED, **elapsed)
            changes: dict[str, object] = {}
            if one.delay_seconds:
                changes["run_at"] = self._now() + dt.timedelta(seconds=one.delay_seconds)
            if one.error is not None:
                changes |= {"error": one.error, "error_type": one.error_type}
            self._move(one.task_id, Move.RELEASE, counted=-1, **changes)
        return {one.task_id for one in held}

    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        await trio.lowlevel.checkpoint()
        return {key for key in claims if not self._is_held(key)}

    async def wait_for_work(self, node: IdleNode | None = None) -> None:
        next_due = min(self._next_due(), self._next_start or NEVER)
        if self._work.is_pending:
            node = None  # new tasks must not overtake older ones
        with (
            self._direct_claims.to(node),
            trio.move_on_after(max(0.0, (next_due - self._now()).total_seconds())),
        ):
            await self._work.wait()

    def _next_due(self) -> dt.datetime:
        """Return when the next task becomes due; those due earlier were considered by a claim."""
        next_due, start, pending = NEVER, 0, self._pending
        while start < len(pending):  # of each priority, the first that is due later
            rank = pending[start].order[0]
            considered = (rank, self._claimed_at)
            later = bisect_right(pending, considered, start, key=lambda one: one.order[:2])
            start = bisect_right(pending, rank, later, key=lambda one: one.order[0])
            if later < start:
                next_due = min(next_due, pending[later].run_at)
        return next_due

    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        return await self._cancellations.wait(node_id)

    def _still_held(self, writes: Sequence[_Write]) -> list[_Write]:
        if any(one.makes_room for one in writes):
            self._work.notify()
        return [one for one in writes if self._is_held(ClaimKey(one.task_id, one.token))]
