"""Which failed attempts are retried, and after which delay."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.options import NO_OPTIONS, StoredBackoff, TaskOptions, matches
from taskflow.model.outcome import ErrorType, Failed

_RETRYABLE: Final = frozenset(
    {ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.DNS}
    | {ErrorType.TOKEN, ErrorType.CREDENTIAL_MISSING, ErrorType.REPORTED}
    | {ErrorType.MAIL}
)
# Webhooks must be delivered even if their receiver is broken for a while.
_RETRYABLE_FOR_WEBHOOKS: Final = _RETRYABLE | {
    *(ErrorType.TLS, ErrorType.PROTOCOL, ErrorType.INTERNAL)
}
# A receiver of webhooks unsubscribes with this status (Standard Webhooks, "Delivery").
GONE: Final = 410
# Statuses of temporary errors (RFC 9110 sections 15.5.9 and 15.6, RFC 8470, RFC 6585).
_RETRYABLE_STATUSES: Final = (408, 425, 429, "5xx")
_NO_BACKOFF: Final = StoredBackoff()


class RetryPolicy(msgspec.Struct, frozen=True):
    """The default delays between attempts.

    Attributes:
        initial_seconds: Maximum delay before the second attempt; doubled before each further one.
        max_seconds: Upper limit of the doubled delay.
        max_retry_after_seconds: Upper limit of a target's ``Retry-After``.
    """

    initial_seconds: float
    max_seconds: float
    max_retry_after_seconds: float


def is_retryable(failure: Failed, options: TaskOptions = NO_OPTIONS) -> bool:
    """Return whether a failure may be temporary, so that another attempt may succeed."""
    if failure.is_of_node:
        return True
    status = failure.status_code
    if failure.error_type is ErrorType.HTTP_STATUS and status is not None:
        statuses = _RETRYABLE_STATUSES if options.retry_on is None else options.retry_on
        return matches(status, statuses) and not (options.is_webhook and status == GONE)
    return failure.error_type in (_RETRYABLE_FOR_WEBHOOKS if options.is_webhook else _RETRYABLE)


def backoff_seconds(
    policy: RetryPolicy,
    failure: Failed,
    *,
    attempt: int,
    chance: float,
    options: TaskOptions = NO_OPTIONS,
) -> float:
    """Return the delay after a failed attempt: exponential backoff with jitter and a maximum.

    The delay is drawn between half of the backoff and all of it, so that tasks that failed together
    are not retried together ("equal jitter", AWS Architecture Blog, 2015). Delays that a task lists
    explicitly are used as they are. A longer ``Retry-After`` of the target extends the delay, up to
    its maximum.

    Args:
        policy: The default delays.
        failure: The outcome of the attempt.
        attempt: The number of the attempt, from 1.
        chance: A random number from 0 to 1.
        options: The options of the task.
    """
    if isinstance(options.backoff, tuple):
        delays = options.backoff
        backoff = delays[min(attempt, len(delays)) - 1]
    else:
        backoff = _exponential_delay(policy, options.backoff or _NO_BACKOFF, attempt) * (
            0.5 + chance / 2
        )
    retry_after = min(failure.retry_after_seconds or 0.0, policy.max_retry_after_seconds)
    return max(backoff, retry_after)


def _exponential_delay(policy: RetryPolicy, backoff: StoredBackoff, attempt: int) -> float:
    initial = policy.initial_seconds if backoff.initial_seconds is None else backoff.initial_seconds
    maximum = policy.max_seconds if backoff.max_seconds is None else backoff.max_seconds
    # The exponent is limited because floats overflow: with a factor of 100, at 154.
    delay: float = initial * backoff.factor ** min(attempt - 1, 64)
    return min(delay, maximum)
