"""What the metrics are told of attempts once their outcomes are written, many at a time."""

from __future__ import annotations

import uuid
from collections.abc import Container, Sequence

import trio

from taskflow.engine.load import Load
from taskflow.engine.worker import Attempt
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import AttemptEnd
from taskflow.model.task import TaskStatus
from taskflow.store.base.claims import Release, Retry, Settlement

Write = Settlement | Retry | Release | None


def tell_of(
    attempts: Sequence[Attempt],
    writes: Sequence[Write],
    late: Container[uuid.UUID],
    load: Load,
    metrics: Metrics,
) -> None:
    """Tell how attempts went.

    Args:
        attempts: Whose outcomes are written; their claims are in hand still.
        writes: What was written of each.
        late: The tasks of which it was not, for the claim was over.
        load: Knows when they were claimed.
        metrics: What is told.
    """
    now = trio.current_time()
    for attempt, write in zip(attempts, writes, strict=True):
        if attempt.claim.task_id in late:
            metrics.dropped(is_called_off=load.in_hand.is_called_off(attempt.claim.key))
        end = end_of(attempt, write)
        error_type = write.error_type if isinstance(write, Retry | Settlement) else None
        metrics.ended(end, error_type or "")
        if attempt.elapsed_ms is None or end is AttemptEnd.CALLED_OFF:
            continue
        elapsed_seconds = attempt.elapsed_ms / 1000
        began = attempt.ended_at - elapsed_seconds
        metrics.waited(attempt.claim.waited_seconds + began - load.claimed_at(attempt.claim))
        if end is not AttemptEnd.INTERRUPTED:
            metrics.fetched(elapsed_seconds)
            metrics.settled(now - attempt.ended_at)


def end_of(attempt: Attempt, write: Write) -> AttemptEnd:
    """What came of a claim, by what was written of it."""
    match write:
        case None:
            return AttemptEnd.CALLED_OFF
        case Release():
            is_begun = attempt.elapsed_ms is not None
            return AttemptEnd.INTERRUPTED if is_begun else AttemptEnd.UNSTARTED
        case Retry():
            return AttemptEnd.RETRIED
        case Settlement():
            is_completed = write.status is TaskStatus.COMPLETED
            return AttemptEnd.COMPLETED if is_completed else AttemptEnd.FAILED
