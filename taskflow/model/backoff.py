"""When an attempt that failed is made again, and how long that waits."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.options import NO_OPTIONS, Backoff, TaskOptions, matches
from taskflow.model.outcome import ErrorType, Failed

_RETRYABLE: Final = frozenset({ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.DNS})
# A callback is to arrive, whatever is the matter with its receiver for a while.
_RETRYABLE_OF_CALLBACKS: Final = _RETRYABLE | {
    *(ErrorType.TLS, ErrorType.PROTOCOL, ErrorType.INTERNAL)
}
# By which a receiver says that it wants no more (Standard Webhooks, "Delivery").
_GONE: Final = 410
# What asks to come back (RFC 9110 sections 15.5.9 and 15.6, RFC 8470, RFC 6585).
_RETRYABLE_STATUSES: Final = (408, 425, 429, "5xx")
_NO_BACKOFF: Final = Backoff()


class RetryPolicy(msgspec.Struct, frozen=True):
    """How long to wait between attempts.

    Attributes:
        first_seconds: Before the second attempt, at most; doubled before each further one.
        longest_seconds: What doubling ends at.
        longest_retry_after_seconds: How much of a target's ``Retry-After`` is honoured.
    """

    first_seconds: float
    longest_seconds: float
    longest_retry_after_seconds: float


def is_retryable(failure: Failed, options: TaskOptions = NO_OPTIONS) -> bool:
    """Whether another attempt may go better: a passing fault of the target or the network."""
    status = failure.status_code
    is_callback = options.callback_of is not None
    if failure.error_type is ErrorType.HTTP_STATUS and status is not None:
        statuses = _RETRYABLE_STATUSES if options.retry_on is None else options.retry_on
        return matches(status, statuses) and not (is_callback and status == _GONE)
    return failure.error_type in (_RETRYABLE_OF_CALLBACKS if is_callback else _RETRYABLE)


def backoff_seconds(
    policy: RetryPolicy,
    failure: Failed,
    *,
    attempt: int,
    chance: float,
    options: TaskOptions = NO_OPTIONS,
) -> float:
    """How long to wait after a failed attempt: exponential backoff with jitter and a cap.

    The wait is drawn between half of the backoff and all of it, so that tasks that failed
    together do not come back together ("equal jitter", AWS Architecture Blog, 2015). A task that
    says each wait by itself gets just that. A target that asked for longer gets longer, within
    its bound.

    Args:
        policy: The bounds.
        failure: How the attempt went.
        attempt: Its number, from 1.
        chance: From 0 to 1, drawn anew each time.
        options: What the task wants.
    """
    if isinstance(options.backoff, tuple):
        pauses = options.backoff
        backoff = pauses[min(attempt, len(pauses)) - 1]
    else:
        backoff = _grown(policy, options.backoff or _NO_BACKOFF, attempt) * (0.5 + chance / 2)
    asked = min(failure.retry_after_seconds or 0.0, policy.longest_retry_after_seconds)
    return max(backoff, asked)


def _grown(policy: RetryPolicy, backoff: Backoff, attempt: int) -> float:
    first = policy.first_seconds if backoff.initial is None else backoff.initial
    longest = policy.longest_seconds if backoff.max is None else backoff.max
    # Bounded exponent: a float overflows, by a factor of 100 at 154.
    grown: float = first * backoff.factor ** min(attempt - 1, 64)
    return min(grown, longest)
