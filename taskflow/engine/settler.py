"""The settler: writes how attempts went, many at once.

This is the one place that turns an outcome into a write.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar, assert_never

import msgspec
import trio

from taskflow.engine.attempt_metrics import Write, tell_of
from taskflow.engine.breaker import Breaker
from taskflow.engine.cancellation import ClaimsInHand
from taskflow.engine.load import Load
from taskflow.engine.outage import Outage, Pauses
from taskflow.engine.worker import Attempt
from taskflow.metrics import Metrics
from taskflow.model.backoff import RetryPolicy, backoff_seconds, is_retryable
from taskflow.model.errors import StatementRefused, StoreUnavailable
from taskflow.model.outcome import Canceled, ErrorType, Failed, Fetched, Interrupted
from taskflow.model.task import Claim, ClaimKey, TaskStatus
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit

# What one UPDATE carries: 50 results of 1 MiB took a second here, 200 more than the five that
# a statement may take.
MAX_PORTION_BYTES: Final = 2 * 2**20

# A busy node writes no oftener than that: a write of 40 attempts costs hardly more than one of 10.
# By measurement a node with five workers does a twelfth more in all, with half the commits.
BUSY_PACE_SECONDS: Final = 0.01
MANY_ATTEMPTS: Final = 8

Held = TypeVar("Held", Settlement, Retry, Release)
Outcomes = TypeVar("Outcomes", Settlement, Retry)


async def settle(  # noqa: PLR0913 - all that has a say in it
    attempts: trio.MemoryReceiveChannel[Attempt],
    *,
    store: TaskStore,
    load: Load,
    outage: Outage,
    policy: RetryPolicy,
    breaker: Breaker,
    metrics: Metrics,
) -> None:
    """Write attempts as they come until there are no more to come.

    What came while a batch was being written is the next batch; where that is many, the next
    one waits a moment for more. While the store is out of reach they wait here; they are bounded,
    for their claims count as held.
    """
    began = -math.inf
    async with attempts:
        async for first in attempts:
            batch = [first, *_at_hand(attempts)]
            if len(batch) >= MANY_ATTEMPTS:
                await trio.sleep_until(began + BUSY_PACE_SECONDS)
                batch += _at_hand(attempts)
            began = trio.current_time()
            await breaker.judge(batch)
            writes = [_write_of(attempt, policy) for attempt in batch]
            late = await _write(writes, store, outage, load.in_hand)
            _tell(batch, writes, late, load, metrics)
            load.written([attempt.claim for attempt in batch])
            del first, batch, writes  # all their results, while it waits for more


def _at_hand(attempts: trio.MemoryReceiveChannel[Attempt]) -> Iterable[Attempt]:
    while True:
        try:
            yield attempts.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return


async def _write(
    writes: Sequence[Write],
    store: TaskStore,
    outage: Outage,
    in_hand: ClaimsInHand,
) -> set[uuid.UUID]:
    """Write all of them; return the tasks of those that came too late."""
    late: set[uuid.UUID] = set()
    # Releases first: other nodes may wait for these tasks.
    releases = [write for write in writes if isinstance(write, Release)]
    late |= await _write_until_done(store.release, releases, outage, in_hand)
    for retries in _portions([write for write in writes if isinstance(write, Retry)]):
        late |= await _write_until_done(store.schedule_retries, retries, outage, in_hand)
    settle_some = partial(_settle_apart_if_refused, store, in_hand)
    for settlements in _portions([write for write in writes if isinstance(write, Settlement)]):
        late |= await _write_until_done(settle_some, settlements, outage, in_hand)
    return late


def _tell(
    batch: Sequence[Attempt],
    writes: Sequence[Write],
    late: set[uuid.UUID],
    load: Load,
    metrics: Metrics,
) -> None:
    for attempt, write in zip(batch, writes, strict=True):
        attempt.trace.settled(write, is_late=attempt.claim.task_id in late)
    tell_of(batch, writes, late, load, metrics)


def _portions(writes: Sequence[Outcomes]) -> Iterator[list[Outcomes]]:
    """Outcomes in portions that a statement can carry."""
    portion: list[Outcomes] = []
    size_bytes = 0
    for write in writes:
        size_bytes += _size_of(write)
        if portion and size_bytes > MAX_PORTION_BYTES:
            yield portion
            portion, size_bytes = [], _size_of(write)
        portion.append(write)
    if portion:
        yield portion


def _size_of(write: Settlement | Retry) -> int:
    result = write.result if isinstance(write, Settlement) else None
    return len(result or b"") + len(write.response or b"")


async def _write_until_done(
    write: Callable[[Sequence[Held]], Awaitable[set[uuid.UUID]]],
    held: Sequence[Held],
    outage: Outage,
    in_hand: ClaimsInHand,
) -> set[uuid.UUID]:
    """Write all of it, in smaller portions if the store does not manage the larger ones in time.

    Returns:
        The tasks of those that came too late.
    """
    pauses = Pauses()
    late: set[uuid.UUID] = set()
    size = len(held)
    while held:
        portion = held[:size]
        try:
            written = await write(portion)
        except StoreUnavailable as error:
            outage.began(error)
            size = max(1, size // 2)
            await pauses.pause()
        else:
            outage.is_over()
            _report_late(portion, written, in_hand)
            late |= {one.task_id for one in portion} - written
            held = held[len(portion) :]
    return late


def _write_of(attempt: Attempt, policy: RetryPolicy) -> Write:
    """What is to be written, if anything is: the law of a task as seen by who ran it."""
    claim, outcome = attempt.claim, attempt.outcome
    task, number = claim.task_id, claim.attempt
    match outcome:
        case Canceled():
            emit(Event.TASK_CANCELED, task=task, attempt=number)
            return None
        case Interrupted():
            emit(Event.TASK_RELEASED, task=task, attempt=number)
            return Release(claim.task_id, claim.token, attempt.elapsed_ms, claim.is_limited)
        case Failed() if _has_another_try(claim, outcome):
            retry = _retry(attempt, outcome, policy)
            after_seconds = round(retry.delay_seconds, 3)
            emit(Event.TASK_RETRIED, task=task, attempt=number, after_seconds=after_seconds)
            return retry
        case Failed():
            emit(
                Event.TASK_FINISHED,
                task=task,
                attempt=number,
                outcome="Failed",
                error_type=outcome.error_type,
            )
            return Settlement(
                claim.task_id,
                claim.token,
                TaskStatus.FAILED,
                error=outcome.error,
                error_type=outcome.error_type,
                status_code=outcome.status_code,
                elapsed_ms=attempt.elapsed_ms,
                makes_room=claim.is_limited,
                response=_response_of(outcome),
            )
        case Fetched():
            emit(Event.TASK_FINISHED, task=task, attempt=number, outcome="Fetched")
            return _completed(attempt, outcome)
        case _:
            assert_never(outcome)


def _has_another_try(claim: Claim, failure: Failed) -> bool:
    return claim.attempt < claim.max_attempts and is_retryable(failure, claim.options)


def _retry(attempt: Attempt, failure: Failed, policy: RetryPolicy) -> Retry:
    claim = attempt.claim
    # Not for secrets: it only keeps tasks that failed together from coming back together.
    chance = random.random()  # noqa: S311
    return Retry(
        claim.task_id,
        claim.token,
        backoff_seconds(
            policy, failure, attempt=claim.attempt, chance=chance, options=claim.options
        ),
        failure.error,
        failure.error_type,
        failure.status_code,
        attempt.elapsed_ms,
        claim.is_limited,
        _response_of(failure),
    )


def _response_of(failure: Failed) -> bytes | None:
    return None if failure.response is None else msgspec.json.encode(failure.response)


def _completed(attempt: Attempt, outcome: Fetched) -> Settlement:
    claim = attempt.claim
    try:
        result = msgspec.json.encode(outcome.response)
    except Exception as error:  # noqa: BLE001 - whatever it is, the task must come to an end
        emit(Event.OUTCOME_NOT_STORED, error=error, task=claim.task_id, attempt=claim.attempt)
        return _unstorable(claim)
    return Settlement(
        claim.task_id,
        claim.token,
        TaskStatus.COMPLETED,
        result=result,
        status_code=outcome.response.status_code,
        elapsed_ms=attempt.elapsed_ms,
        makes_room=claim.is_limited,
    )


async def _settle_apart_if_refused(
    store: TaskStore, in_hand: ClaimsInHand, settlements: Sequence[Settlement]
) -> set[uuid.UUID]:
    """Settle; if the store refuses what is in one of them, that must not be the others' loss."""
    try:
        return await store.settle(settlements)
    except Exception as error:
        if isinstance(error, StoreUnavailable) and not isinstance(error, StatementRefused):
            raise
        if len(settlements) > 1:
            middle = len(settlements) // 2
            first = await _settle_apart_if_refused(store, in_hand, settlements[:middle])
            return first | await _settle_apart_if_refused(store, in_hand, settlements[middle:])
        [settlement] = settlements
        number = in_hand.attempt_of(ClaimKey(settlement.task_id, settlement.token))
        emit(Event.OUTCOME_NOT_STORED, error=error, task=settlement.task_id, attempt=number)
        return await store.settle([_unstorable(settlement)])


def _unstorable(held: Settlement | Claim) -> Settlement:
    return Settlement(
        held.task_id,
        held.token,
        TaskStatus.FAILED,
        error="internal: the outcome could not be stored; the log has the details",
        error_type=ErrorType.INTERNAL,
        makes_room=held.makes_room if isinstance(held, Settlement) else held.is_limited,
    )


def _report_late(
    held: Sequence[Settlement | Retry | Release], written: set[uuid.UUID], in_hand: ClaimsInHand
) -> None:
    for one in held:
        if one.task_id not in written:
            key = ClaimKey(one.task_id, one.token)
            event = Event.OUTCOME_TOO_LATE
            if in_hand.is_called_off(key):
                event = Event.TASK_CANCELED
            emit(event, task=one.task_id, attempt=in_hand.attempt_of(key))
