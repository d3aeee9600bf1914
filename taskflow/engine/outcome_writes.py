"""Writes of outcomes, which the settler shares with the outcomes of parked attempts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import trio

from taskflow.engine.outcomes import Write, not_storable, write_of
from taskflow.engine.worker import Attempt
from taskflow.model.backoff import RetryPolicy
from taskflow.model.errors import StatementRejected, StoreUnavailable
from taskflow.model.outcome import ErrorType
from taskflow.store.base.claims import ClaimStore, Release, Retry, Settlement
from taskflow.store.base.parking import Parking
from taskflow.telemetry import Event, emit

# Maximum size of a statement: 50 results of 1 MiB took a second here, 200 took longer than the
# statement timeout of five seconds.
MAX_STATEMENT_BYTES: Final = 2 * 2**20

T = TypeVar("T")
Outcomes = TypeVar("Outcomes", Settlement, Retry)


def available(channel: trio.MemoryReceiveChannel[T]) -> Iterable[T]:
    """Yield what a channel has now."""
    while True:
        try:
            yield channel.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return


def storable_write_of(attempt: Attempt, policy: RetryPolicy) -> Write | None:
    """Return the write for an attempt; if its outcome cannot be encoded, the task fails.

    Args:
        attempt: The attempt.
        policy: Backoff of retries.

    Returns:
        The write; ``None`` if the claim was canceled.
    """
    # Not for secrets: it only keeps tasks that failed together from coming back together.
    chance = random.random()  # noqa: S311
    try:
        return write_of(attempt, policy, chance=chance)
    except Exception as error:  # noqa: BLE001 - whatever it is, the task must finish
        claim = attempt.claim
        emit(Event.OUTCOME_NOT_STORED, error=error, task=claim.task_id, attempt=claim.attempt)
        return not_storable(claim)


async def settle_each_if_refused(
    store: ClaimStore, settlements: Sequence[Settlement], attempt_of: Callable[[Settlement], int]
) -> list[Settlement]:
    """Settle; if the store refuses one of the outcomes, settle the others without it.

    Args:
        store: Writes the outcomes.
        settlements: The outcomes.
        attempt_of: Returns the number of an attempt, for the log.

    Returns:
        What was written: where the claims were still held, and instead of a refused outcome, that
        it could not be stored.

    Raises:
        StoreUnavailable: Some of them may have been written.
    """
    try:
        written = await store.settle(settlements)
    except Exception as error:
        if isinstance(error, StoreUnavailable) and not isinstance(error, StatementRejected):
            raise
        if len(settlements) > 1:
            middle = len(settlements) // 2
            first = await settle_each_if_refused(store, settlements[:middle], attempt_of)
            return first + await settle_each_if_refused(store, settlements[middle:], attempt_of)
        [refused] = settlements
        emit(
            Event.OUTCOME_NOT_STORED,
            error=error,
            task=refused.task_id,
            attempt=attempt_of(refused),
        )
        settlements = [not_storable(refused)]
        written = await store.settle(settlements)
    return [one for one in settlements if one.task_id in written]


def portions(writes: Sequence[Outcomes]) -> Iterator[list[Outcomes]]:
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


def log_write(attempt: Attempt, write: Write | None) -> None:
    """Log what is written for an attempt."""
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
        case Parking():
            emit(Event.TASK_PARKED, task=task, attempt=number)
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
