"""The settler: writes how attempts went, many at once.

This is the one place that turns an outcome into a write.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar, assert_never

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
    endings: list[Ending] = []
    releases: list[Claim] = []
    for attempt in batch:
        match attempt.outcome:
            case Fetched() | Failed():
                endings.append(_ending(attempt.claim, attempt.outcome))
            case Interrupted():
                releases.append(attempt.claim)
            case _:
                assert_never(attempt.outcome)
    # Releases first: other nodes may wait for these tasks.
    await _write_until_done(store.release, releases, outage)
    await _write_until_done(partial(_settle_apart_if_refused, store), endings, outage)


async def _write_until_done(
    write: Callable[[Sequence[Held]], Awaitable[set[uuid.UUID]]],
    held: Sequence[Held],
    outage: Outage,
) -> None:
    pauses = Pauses()
    while held:
        try:
            written = await write(held)
        except StoreUnavailable as error:
            outage.began(error)
            await pauses.pause()
        else:
            outage.is_over()
            _report_late(held, written)
            return


def _ending(claim: Claim, outcome: Fetched | Failed) -> Ending:
    emit(Event.TASK_ENDED, task=str(claim.task_id), outcome=type(outcome).__name__)
    if isinstance(outcome, Fetched):
        result = msgspec.json.encode(outcome.response)
        return Ending(claim.task_id, claim.token, TaskStatus.COMPLETED, result=result)
    return Ending(
        claim.task_id,
        claim.token,
        TaskStatus.FAILED,
        error=outcome.error,
        error_type=outcome.error_type,
    )


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


def _unstorable(ending: Ending) -> Ending:
    return Ending(
        ending.task_id,
        ending.token,
        TaskStatus.FAILED,
        error="internal: the outcome could not be stored; the log has the details",
        error_type=ErrorType.INTERNAL,
    )


def _report_late(held: Sequence[Ending | Claim], written: set[uuid.UUID]) -> None:
    for one in held:
        if one.task_id not in written:
            emit(Event.TASK_WRITE_LATE, task=str(one.task_id))
