"""The settler: writes the outcomes of attempts to the store, in batches."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import trio

from taskflow.engine.breaker import Breaker
from taskflow.engine.context import EngineContext, RetryPauses
from taskflow.engine.load import Load
from taskflow.engine.outcomes import Write, attempt_end, not_storable, write_of
from taskflow.engine.worker import Attempt
from taskflow.metrics.catalogue import AttemptEnd
from taskflow.model.backoff import RetryPolicy
from taskflow.model.delivery import Delivery
from taskflow.model.errors import StatementRejected, StoreUnavailable
from taskflow.model.outcome import ErrorType, Outcome
from taskflow.model.task import ClaimKey
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.telemetry import Event, emit

# Maximum size of a statement: 50 results of 1 MiB took a second here, 200 took longer than the
# statement timeout of five seconds.
MAX_STATEMENT_BYTES: Final = 2 * 2**20

# A busy node writes at most once per interval: writing 40 attempts costs hardly more than writing
# 10. By measurement, a node with five workers completes 8 % more tasks with half the commits.
BUSY_INTERVAL_SECONDS: Final = 0.01
BUSY_BATCH_SIZE: Final = 8

W = TypeVar("W", Settlement, Retry, Release)
Outcomes = TypeVar("Outcomes", Settlement, Retry)


class Settler:
    """Writes outcomes until it has written all, also after an outage of the store."""

    def __init__(self, context: EngineContext, load: Load) -> None:
        settings = context.settings
        self._context = context
        self._store = context.store
        self._load = load
        self._breaker = Breaker(context)
        self._policy = RetryPolicy(
            initial_seconds=settings.backoff_seconds,
            max_seconds=settings.max_backoff_seconds,
            max_retry_after_seconds=settings.max_retry_after_seconds,
        )

    async def run(self, attempts: trio.MemoryReceiveChannel[Attempt]) -> None:
        """Write attempts until the channel is closed.

        Attempts that arrive during a write form the next batch. A batch of a busy node waits for
        more attempts until ``BUSY_INTERVAL_SECONDS`` after the start of the last one. While the
        store is unavailable, attempts wait here; their claims count as held, which limits them.
        """
        started_at = -math.inf
        async with attempts:
            async for first in attempts:
                batch = [first, *_available(attempts)]
                if len(batch) >= BUSY_BATCH_SIZE:
                    await trio.sleep_until(started_at + BUSY_INTERVAL_SECONDS)
                    batch += _available(attempts)
                started_at = trio.current_time()
                await self._settle(batch)
                del first, batch  # free the results while waiting for more

    async def _settle(self, batch: Sequence[Attempt]) -> None:
        await self._breaker.update(batch)
        writes = [self._write_of(attempt) for attempt in batch]
        for attempt, write in zip(batch, writes, strict=True):
            _log(attempt, write)
        too_late = await self._write_all(writes)
        await self._context.endpoints.update(_of_deliveries(batch))
        for attempt, write in zip(batch, writes, strict=True):
            attempt.trace.settled(write, is_late=attempt.claim.task_id in too_late)
        self._record_metrics(batch, writes, too_late)
        self._load.written([attempt.claim for attempt in batch])

    def _write_of(self, attempt: Attempt) -> Write | None:
        # Not for secrets: it only keeps tasks that failed together from coming back together.
        chance = random.random()  # noqa: S311
        try:
            return write_of(attempt, self._policy, chance=chance)
        except Exception as error:  # noqa: BLE001 - whatever it is, the task must finish
            claim = attempt.claim
            emit(Event.OUTCOME_NOT_STORED, error=error, task=claim.task_id, attempt=claim.attempt)
            return not_storable(claim)

    async def _write_all(self, writes: Sequence[Write | None]) -> set[uuid.UUID]:
        """Write all outcomes; return the tasks whose claims were no longer held."""
        too_late: set[uuid.UUID] = set()
        # Releases first: other nodes may be waiting for these tasks.
        releases = [write for write in writes if isinstance(write, Release)]
        too_late |= await self._write_until_done(self._store.release, releases)
        for retries in _portions([write for write in writes if isinstance(write, Retry)]):
            too_late |= await self._write_until_done(self._store.schedule_retries, retries)
        for settlements in _portions([write for write in writes if isinstance(write, Settlement)]):
            too_late |= await self._write_until_done(self._settle_each_if_refused, settlements)
        return too_late

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
                self._log_too_late(portion, written)
                too_late |= {one.task_id for one in portion} - written
                pending = pending[len(portion) :]
        return too_late

    async def _settle_each_if_refused(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        """Settle; if the store refuses one of the outcomes, settle the others without it."""
        try:
            return await self._store.settle(settlements)
        except Exception as error:
            if isinstance(error, StoreUnavailable) and not isinstance(error, StatementRejected):
                raise
            if len(settlements) > 1:
                middle = len(settlements) // 2
                first = await self._settle_each_if_refused(settlements[:middle])
                return first | await self._settle_each_if_refused(settlements[middle:])
            [refused] = settlements
            attempt = self._load.claims[ClaimKey(refused.task_id, refused.token)].attempt
            emit(Event.OUTCOME_NOT_STORED, error=error, task=refused.task_id, attempt=attempt)
            return await self._store.settle([not_storable(refused)])

    def _log_too_late(
        self, portion: Sequence[Settlement | Retry | Release], written: set[uuid.UUID]
    ) -> None:
        for one in portion:
            if one.task_id not in written:
                held = self._load.claims[ClaimKey(one.task_id, one.token)]
                event = Event.TASK_CANCELED if held.is_canceled else Event.OUTCOME_TOO_LATE
                emit(event, task=one.task_id, attempt=held.attempt)

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
            if claim.task_id in too_late:
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


def _of_deliveries(batch: Sequence[Attempt]) -> Iterator[tuple[Delivery, Outcome]]:
    for attempt in batch:
        if (delivery := attempt.claim.options.delivery) is not None:
            yield delivery, attempt.outcome


def _available(attempts: trio.MemoryReceiveChannel[Attempt]) -> Iterable[Attempt]:
    while True:
        try:
            yield attempts.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return


def _portions(writes: Sequence[Outcomes]) -> Iterator[list[Outcomes]]:
    """Divide outcomes into portions of at most ``MAX_STATEMENT_BYTES`` or one outcome."""
    portion: list[Outcomes] = []
    size_bytes = 0
    for write in writes:
        size_bytes += _size_bytes(write)
        if portion and size_bytes > MAX_STATEMENT_BYTES:
            yield portion
            portion, size_bytes = [], _size_bytes(write)
        portion.append(write)
    if portion:
        yield portion


def _size_bytes(write: Settlement | Retry) -> int:
    result = write.result if isinstance(write, Settlement) else None
    return len(result or b"") + len(write.response or b"")


def _log(attempt: Attempt, write: Write | None) -> None:
    task, number = attempt.claim.task_id, attempt.claim.attempt
    match write:
        case None:
            emit(Event.TASK_CANCELED, task=task, attempt=number)
        case Release(error_type=ErrorType() as error_type):
            emit(
                Event.TASK_POSTPONED,
                task=task,
                attempt=number,
                after_seconds=round(write.delay_seconds, 3),
                error_type=error_type,
            )
        case Release():
            emit(Event.TASK_RELEASED, task=task, attempt=number)
        case Retry():
            after_seconds = round(write.delay_seconds, 3)
            emit(Event.TASK_RETRIED, task=task, attempt=number, after_seconds=after_seconds)
        case Settlement(error_type=None):
            emit(Event.TASK_FINISHED, task=task, attempt=number, outcome="Fetched")
        case Settlement(error_type=error_type):
            emit(
                Event.TASK_FINISHED,
                task=task,
                attempt=number,
                outcome="Failed",
                error_type=error_type,
            )
