"""Outcomes of attempts as writes to the store, and as labels of metrics: pure functions."""

from __future__ import annotations

from typing import TypeAlias, assert_never

import msgspec

from taskflow.engine.worker import Attempt
from taskflow.metrics.catalogue import AttemptEnd
from taskflow.model.backoff import RetryPolicy, backoff_seconds, is_retryable
from taskflow.model.outcome import (
    Canceled,
    ErrorType,
    Failed,
    Fetched,
    Interrupted,
    Parked,
    Postponed,
)
from taskflow.model.task import Claim, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.store.base.parking import Parking

Write: TypeAlias = Settlement | Retry | Release | Parking


def retry_policy(settings: Settings) -> RetryPolicy:
    """Return the default delays between attempts."""
    return RetryPolicy(
        initial_seconds=settings.backoff_seconds,
        max_seconds=settings.max_backoff_seconds,
        max_retry_after_seconds=settings.max_retry_after_seconds,
    )


def write_of(attempt: Attempt, policy: RetryPolicy, *, chance: float) -> Write | None:
    """Return the write for an attempt; ``None`` if its claim was canceled.

    Args:
        attempt: The attempt.
        policy: Backoff of retries.
        chance: Random number from 0 to 1, for the jitter.

    Raises:
        Exception: The response cannot be encoded as JSON.
    """
    claim, outcome = attempt.claim, attempt.outcome
    match outcome:
        case Fetched():
            return _success(attempt, outcome)
        case Failed():
            if claim.attempt < claim.max_attempts and is_retryable(outcome, claim.options):
                return _retry(attempt, outcome, policy, chance)
            return _failure(attempt, outcome)
        case Parked():
            return _parking(claim, outcome)
        case Interrupted() | Postponed():
            return _release(attempt, outcome)
        case Canceled():
            return None
        case _:
            assert_never(outcome)


def _success(attempt: Attempt, success: Fetched) -> Settlement:
    claim = attempt.claim
    return Settlement(
        claim.task_id,
        claim.token,
        TaskStatus.COMPLETED,
        result=msgspec.json.encode(success.response),
        status_code=success.response.status_code,
        elapsed_seconds=attempt.elapsed_seconds,
        makes_room=claim.is_limited,
    )


def _parking(claim: Claim, parked: Parked) -> Parking:
    return Parking(
        claim.task_id,
        claim.token,
        parked.within_seconds,
        claim.is_limited,
        parked.poll_url,
        parked.poll_delay_seconds,
    )


def _release(attempt: Attempt, outcome: Interrupted | Postponed) -> Release:
    claim = attempt.claim
    if isinstance(outcome, Interrupted):
        return Release(claim.task_id, claim.token, attempt.elapsed_seconds, claim.is_limited)
    return Release(
        claim.task_id,
        claim.token,
        # An attempt that sent nothing is not recorded: an outage would cause any number of them.
        attempt.elapsed_seconds if outcome.may_have_been_sent else None,
        claim.is_limited,
        outcome.delay_seconds,
        outcome.error,
        outcome.error_type,
    )


def _retry(attempt: Attempt, failure: Failed, policy: RetryPolicy, chance: float) -> Retry:
    claim = attempt.claim
    delay_seconds = backoff_seconds(
        policy, failure, attempt=claim.attempt, chance=chance, options=claim.options
    )
    return Retry(
        claim.task_id,
        claim.token,
        delay_seconds,
        failure.error,
        failure.error_type,
        failure.status_code,
        attempt.elapsed_seconds,
        claim.is_limited,
        _encoded_response(failure),
    )


def _failure(attempt: Attempt, failure: Failed) -> Settlement:
    claim = attempt.claim
    return Settlement(
        claim.task_id,
        claim.token,
        TaskStatus.FAILED,
        error=failure.error,
        error_type=failure.error_type,
        status_code=failure.status_code,
        elapsed_seconds=attempt.elapsed_seconds,
        makes_room=claim.is_limited,
        response=_encoded_response(failure),
    )


def _encoded_response(failure: Failed) -> bytes | None:
    return None if failure.response is None else msgspec.json.encode(failure.response)


def not_storable(held: Settlement | Claim) -> Settlement:
    """Return the write for an outcome that cannot be stored: the task fails."""
    return Settlement(
        held.task_id,
        held.token,
        TaskStatus.FAILED,
        error="internal: the outcome could not be stored; the log has the details",
        error_type=ErrorType.INTERNAL,
        makes_room=held.makes_room if isinstance(held, Settlement) else held.is_limited,
    )


def attempt_end(attempt: Attempt, write: Write | None) -> AttemptEnd:
    """Return how a claim ended, as a label of metrics."""
    match write:
        case None:
            return AttemptEnd.CANCELED
        case Release(error_type=ErrorType()):
            return AttemptEnd.POSTPONED
        case Release():
            was_started = attempt.elapsed_seconds is not None
            return AttemptEnd.INTERRUPTED if was_started else AttemptEnd.UNSTARTED
        case Retry():
            return AttemptEnd.RETRIED
        case Parking():
            return AttemptEnd.PARKED
        case Settlement():
            is_completed = write.status is TaskStatus.COMPLETED
            return AttemptEnd.COMPLETED if is_completed else AttemptEnd.FAILED
