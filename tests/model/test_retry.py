"""Which failures are tried again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.backoff import RetryPolicy, backoff_seconds, is_retryable
from taskflow.model.outcome import ErrorType, Failed

POLICY = RetryPolicy(initial_seconds=1.0, max_seconds=60.0, max_retry_after_seconds=300.0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_are_tried_again(status):
    """The target asks to come back, or is broken for the moment."""
    assert is_retryable(Failed(ErrorType.HTTP_STATUS, "e", status_code=status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 451])
def test_statuses_that_are_not(status):
    """The same request would get the same answer."""
    assert not is_retryable(Failed(ErrorType.HTTP_STATUS, "e", status_code=status))


@pytest.mark.parametrize("error_type", [t for t in ErrorType if t is not ErrorType.HTTP_STATUS])
def test_which_other_failures_are_tried_again(error_type):
    """Time, connections, names, credentials and what a target reports may be better later."""
    passing = {ErrorType.TIMEOUT, ErrorType.CONNECT, ErrorType.DNS}
    passing |= {ErrorType.TOKEN, ErrorType.CREDENTIAL_MISSING, ErrorType.REPORTED, ErrorType.MAIL}
    assert is_retryable(Failed(error_type, "e")) == (error_type in passing)


def test_the_wait_doubles_up_to_its_cap():
    """1, 2, 4 ... seconds at most, and half of that at least."""
    failure = Failed(ErrorType.TIMEOUT, "e")
    longest = [backoff_seconds(POLICY, failure, attempt=n, chance=1.0) for n in range(1, 9)]
    assert longest == [1, 2, 4, 8, 16, 32, 60, 60]
    shortest = [backoff_seconds(POLICY, failure, attempt=n, chance=0.0) for n in range(1, 9)]
    assert shortest == [0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("asked", "waits"), [(0.2, 1.0), (20.0, 20.0), (3000.0, 300.0)])
def test_retry_after_can_extend_the_backoff(asked, waits):
    """The delay is the longer of the backoff and Retry-After, which is bounded."""
    failure = Failed(ErrorType.HTTP_STATUS, "e", status_code=503, retry_after_seconds=asked)
    assert backoff_seconds(POLICY, failure, attempt=1, chance=1.0) == waits


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_the_wait_is_always_within_its_bounds(attempt, chance):
    """No number of attempts overflows, waits for ever, or comes back at once."""
    waits = backoff_seconds(POLICY, Failed(ErrorType.DNS, "e"), attempt=attempt, chance=chance)
    assert 0.5 <= waits <= 60
