"""The settler: writes the outcomes of attempts to the store, in batches."""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from typing import Final, TypeVar

import trio

from taskflow.engine.breaker import Breaker
from taskflow.engine.context import EngineContext, RetryPauses
from taskflow.engine.load import Load
from taskflow.engine.outcome_writes import (
    available,
    log_write,
    portions,
    settle_each_if_refused,
    storable_write_of,
)
from taskflow.engine.outcomes import Write, attempt_end, retry_policy
from taskflow.engine.worker import Attempt
from taskflow.metrics.catalogue import AttemptEnd
from taskflow.model.delivery import Delivery
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import Outcome
from taskflow.model.task import Claim, ClaimKey
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.store.base.parking import Parking
from taskflow.telemetry import Event, emit

# A busy node writes at most once per interval: writing 40 attempts costs hardly more than writing
# 10. By measurement, a node with five workers completes 8 % more tasks with half the commits.
BUSY_INTERVAL_SECONDS: Final = 0.01
BUSY_BATCH_SIZE: Final = 8

W = TypeVar("W", Settlement, Retry, Release, Parking)


class Settler:
    """Writes outcomes until it has written all, also after an outage of the store."""

    def __init__(self, context: EngineContext, load: Load) -> None:
        self._context = context
        self._store = context.store
        self._load = load
        self._breaker = Breaker(context)
        self._policy = retry_policy(context.settings)

    async def run(self, attempts: trio.MemoryReceiveChannel[Attempt]) -> None:
        """Write attempts until the channel is closed.

        Attempts that arrive during a write form the next batch. A batch of a busy node waits for
        more attempts until ``BUSY_INTERVAL_SECONDS`` after the start of the last one. While the
        store is unavailable, attempts wait here; their claims count as held, which limits them.
        """
        started_at = -math.inf
        async with attempts:
            async for first in attempts:
                batch = [first, *available(attempts)]
                if len(batch) >= BUSY_BATCH_SIZE:
                    await trio.sleep_until(started_at + BUSY_INTERVAL_SECONDS)
                    batch += available(attempts)
                started_at = trio.current_time()
                await self._settle(batch)
                del first, batch  # free the results while waiting for more

    async def _settle(self, batch: Sequence[Attempt]) -> None:
        await self._breaker.update(batch)
        writes = [storable_write_of(attempt, self._policy) for attempt in batch]
        for attempt, write in zip(batch, writes, strict=True):
            log_write(attempt, write)
        too_late = await self._write_all(writes)
        if too_late:
            self._log_too_late(batch, too_late)
        await self._context.endpoints.update(_of_deliveries(batch))
        for attempt, write in zip(batch, writes, strict=True):
            claim = attempt.claim
            if claim.task_id in too_late and not _is_news(claim):
                attempt.trace.settled(None, is_late=False)
            else:
                attempt.trace.settled(write, is_late=claim.task_id in too_late)
        self._record_metrics(batch, writes, too_late)
        self._load.written([attempt.claim for attempt in batch])

    async def _write_all(self, writes: Sequence[Write | None]) -> set[uuid.UUID]:
        """Write all outcomes; return the tasks whose claims were no longer held."""
        too_late: set[uuid.UUID] = set()
        # Releases first: other nodes may be waiting for these tasks.
        releases = [write for write in writes if isinstance(write, Release)]
        too_late |= await self._write_until_done(self._store.release, releases)
        for retries in portions([write for write in writes if isinstance(write, Retry)]):
            too_late |= await self._write_until_done(self._store.schedule_retries, retries)
        for settlements in portions([write for write in writes if isinstance(write, Settlement)]):
            too_late |= await self._write_until_done(self._settle_all, settlements)
        parkings = [write for write in writes if isinstance(write, Parking)]
        return too_late | await self._write_until_done(self._store.parking.park, parkings)

    async def _write_until_done(
        self, write: Callable[[Sequence[W]], Awaitable[set[uuid.UUID]]], pending: Sequence[W]
    ) -> set[uuid.UUID]:
        """Write outcomes, in smaller portions if the store times out; return those too late."""
        pauses = RetryPauses()
        too_late: set[uuid.UUID] = set()
        size = len(pending)
        while pending:
            portion = pending[:size]
            try:
                written = await write(portion)
            except StoreUnavailable as error:
                self._context.outage.begin(error)
                size = max(1, size // 2)
                await pauses.pause()
            else:
                self._context.outage.end()
                too_late |= {one.task_id for one in portion} - written
                pending = pending[len(portion) :]
        return too_late

    async def _settle_all(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        settled = await settle_each_if_refused(self._store, settlements, self._number_of)
        return {one.task_id for one in settled}

    def _number_of(self, settlement: Settlement) -> int:
        return self._load.claims[ClaimKey(settlement.task_id, settlement.token)].attempt

    def _log_too_late(self, batch: Sequence[Attempt], too_late: Container[uuid.UUID]) -> None:
        for claim in (attempt.claim for attempt in batch):
            if claim.task_id not in too_late:
                continue
            if self._load.claims[claim.key].is_canceled:
                emit(Event.TASK_CANCELED, task=claim.task_id, attempt=claim.attempt)
            elif _is_news(claim):
                emit(Event.OUTCOME_TOO_LATE, task=claim.task_id, attempt=claim.attempt)

    def _record_metrics(
        self,
        batch: Sequence[Attempt],
        writes: Sequence[Write | None],
        too_late: Container[uuid.UUID],
    ) -> None:
        metrics, now = self._context.metrics, trio.current_time()
        for attempt, write in zip(batch, writes, strict=True):
            claim = attempt.claim
            held = self._load.claims[claim.key]
            if claim.task_id in too_late and (held.is_canceled or _is_news(claim)):
                metrics.dropped(is_canceled=held.is_canceled)
            end = attempt_end(attempt, write)
            error_type = None if write is None else write.error_type
            metrics.attempt_ended(end, error_type or "")
            if attempt.elapsed_seconds is None or end is AttemptEnd.CANCELED:
                continue
            started_at = attempt.finished_at - attempt.elapsed_seconds
            metrics.waited(claim.waited_seconds + started_at - held.claimed_at)
            if end not in (AttemptEnd.INTERRUPTED, AttemptEnd.POSTPONED):
                metrics.fetched(attempt.elapsed_seconds)
                metrics.settled(now - attempt.finished_at)


def _is_news(claim: Claim) -> bool:
    """Return whether a lost claim is unusual: a target may report the outcome before it answers."""
    return claim.options.completion is None


def _of_deliveries(batch: Sequence[Attempt]) -> Iterator[tuple[Delivery, Outcome]]:
    for attempt in batch:
        if (delivery := attempt.claim.options.delivery) is not None:
            yield delivery, attempt.outcome
