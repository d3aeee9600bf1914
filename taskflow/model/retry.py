"""When an attempt that failed is made again, and how long that waits."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.outcome import ErrorType, Failed

_RETRYABLE: Final = frozenset({ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.DNS})
# What asks to come back (RFC 9110 sections 15.5.9 and 15.6, RFC 8470, RFC 6585); every 5xx does.
_RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
_FIRST_SERVER_ERROR: Final = 500


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


def is_retryable(failure: Failed) -> bool:
    """Whether another attempt may go better: a passing fault of the target or the network."""
    status = failure.status_code
    if failure.error_type is ErrorType.HTTP_STATUS and status is not None:
        return status in _RETRYABLE_STATUSES or status >= _FIRST_SERVER_ERROR
    return failure.error_type in _RETRYABLE


def backoff_seconds(policy: RetryPolicy, failure: Failed, *, attempt: int, chance: float) -> float:
    """How long to wait after a failed attempt: exponential backoff with jitter and a cap.

    The wait is drawn between half of the backoff and all of it, so that tasks that failed
    together do not come back together ("equal jitter", AWS Architecture Blog, 2015). A target
    that asked for longer gets longer, within its bound.

    Args:
        policy: The bounds.
        failure: How the attempt went.
        attempt: Its number, from 1.
        chance: From 0 to 1, drawn anew each time.
    """
    # Bounded exponent: a float overflows at 1024.
    doubled = policy.first_seconds * 2.0 ** min(attempt - 1, 64)
    backoff = min(doubled, policy.longest_seconds) * (0.5 + chance / 2)
    asked = min(failure.retry_after_seconds or 0.0, policy.longest_retry_after_seconds)
    return max(backoff, asked)
