"""The settler: writes how attempts went, many at once.

This is the one place that turns an outcome into a write.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar, assert_never

import msgspec
import trio

from taskflow.engine.load import Load
from taskflow.engine.outage import Outage, Pauses
from taskflow.engine.worker import Attempt
from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import ErrorType, Failed, Fetched, Interrupted
from taskflow.model.task import Claim, TaskStatus
from taskflow.store.base import Ending, TaskStore
from taskflow.telemetry import Event, emit

# What one UPDATE carries: 50 results of 1 MiB took a second here, 200 more than the five that
# a statement may take.
MAX_PORTION_BYTES: Final = 8 * 2**20

Held = TypeVar("Held", Ending, Claim)


async def settle(
    attempts: trio.MemoryReceiveChannel[Attempt],
    *,
    store: TaskStore,
    load: Load,
    outage: Outage,
) -> None:
    """Write attempts as they come until there are no more to come.

    What came while a batch was being written is the next batch. While the store is out of
    reach they wait here; they are bounded, for their claims count as held.
    """
    async with attempts:
        async for first in attempts:
            batch = [first, *_at_hand(attempts)]
            await _write(batch, store, outage)
            load.written(len(batch))


def _at_hand(attempts: trio.MemoryReceiveChannel[Attempt]) -> Iterable[Attempt]:
    while True:
        try:
            yield attempts.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return


async def _write(batch: Sequence[Attempt], store: TaskStore, outage: Outage) -> None:
    # Releases first: other nodes may wait for these tasks.
    releases = [one.claim for one in batch if isinstance(one.outcome, Interrupted)]
    for claim in releases:
        emit(Event.TASK_RELEASED, task=str(claim.task_id))
    await _write_until_done(store.release, releases, outage)
    settle_some = partial(_settle_apart_if_refused, store)
    for endings in _portions(batch):
        await _write_until_done(settle_some, endings, outage)


def _portions(batch: Sequence[Attempt]) -> Iterator[list[Ending]]:
    """The endings of a batch in portions that a statement can carry, made as they are needed."""
    portion: list[Ending] = []
    size_bytes = 0
    for attempt in batch:
        if isinstance(attempt.outcome, Interrupted):
            continue
        ending = _ending(attempt.claim, attempt.outcome)
        size_bytes += len(ending.result or b"")
        if portion and size_bytes > MAX_PORTION_BYTES:
            yield portion
            portion, size_bytes = [], len(ending.result or b"")
        portion.append(ending)
    if portion:
        yield portion


async def _write_until_done(
    write: Callable[[Sequence[Held]], Awaitable[set[uuid.UUID]]],
    held: Sequence[Held],
    outage: Outage,
) -> None:
    """Write all of it, in smaller portions if the store does not manage the larger ones in time."""
    pauses = Pauses()
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
            _report_late(portion, written)
            held = held[len(portion) :]


def _ending(claim: Claim, outcome: Fetched | Failed) -> Ending:
    emit(Event.TASK_ENDED, task=str(claim.task_id), outcome=type(outcome).__name__)
    match outcome:
        case Fetched():
            return _completed(claim, outcome)
        case Failed():
            return Ending(
                claim.task_id,
                claim.token,
                TaskStatus.FAILED,
                error=outcome.error,
                error_type=outcome.error_type,
            )
        case _:
            assert_never(outcome)


def _completed(claim: Claim, outcome: Fetched) -> Ending:
    try:
        result = msgspec.json.encode(outcome.response)
    except Exception as error:  # noqa: BLE001 - whatever it is, the task must come to an end
        emit(Event.TASK_WRITE_REFUSED, error=error, task=str(claim.task_id))
        return _unstorable(claim)
    return Ending(claim.task_id, claim.token, TaskStatus.COMPLETED, result=result)


async def _settle_apart_if_refused(store: TaskStore, endings: Sequence[Ending]) -> set[uuid.UUID]:
    """Settle; if the store refuses what is in one of them, that must not be the others' loss."""
    try:
        return await store.settle(endings)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the tasks must come to an end
        if len(endings) > 1:
            middle = len(endings) // 2
            first = await _settle_apart_if_refused(store, endings[:middle])
            return first | await _settle_apart_if_refused(store, endings[middle:])
        [ending] = endings
        emit(Event.TASK_WRITE_REFUSED, error=error, task=str(ending.task_id))
        return await store.settle([_unstorable(ending)])


def _unstorable(held: Ending | Claim) -> Ending:
    return Ending(
        held.task_id,
        held.token,
        TaskStatus.FAILED,
        error="internal: the outcome could not be stored; the log has the details",
        error_type=ErrorType.INTERNAL,
    )


def _report_late(held: Sequence[Ending | Claim], written: set[uuid.UUID]) -> None:
    for one in held:
        if one.task_id not in written:
            emit(Event.TASK_WRITE_LATE, task=str(one.task_id))
