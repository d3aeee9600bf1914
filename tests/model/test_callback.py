"""Which failures of a callback are worth another attempt."""

from __future__ import annotations

import uuid

import pytest

from taskflow.model.backoff import is_retryable
from taskflow.model.callback import RETRY_ON
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType, Failed

CALLBACK = TaskOptions(retry_on=RETRY_ON, callback_of=uuid.uuid4())
STRANGER = TaskOptions(retry_on=RETRY_ON)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 409, 411, 429, 500, 503])
def test_statuses_that_are_tried_again(status):
    """A receiver may be wrong for a while in any way."""
    assert is_retryable(Failed(ErrorType.HTTP_STATUS, "", status), CALLBACK)


def test_gone():
    """410 of a receiver says that it wants no more; of a target it is what the task says."""
    gone = Failed(ErrorType.HTTP_STATUS, "", 410)
    assert not is_retryable(gone, CALLBACK)
    assert is_retryable(gone, STRANGER)


@pytest.mark.parametrize("error_type", ["timeout", "dns", "connect", "tls", "protocol", "internal"])
def test_faults_that_pass(error_type):
    """A certificate is renewed, a secret set, a server mended."""
    assert is_retryable(Failed(ErrorType(error_type), ""), CALLBACK)


@pytest.mark.parametrize("error_type", ["blocked", "invalid_url", "too_large", "expired", "poison"])
def test_faults_that_stay(error_type):
    """What must not be sent there, or was answered already, is not sent again."""
    assert not is_retryable(Failed(ErrorType(error_type), ""), CALLBACK)


def test_other_tasks_are_tried_as_before():
    """Certificates and the like are final for them."""
    for error_type in (ErrorType.TLS, ErrorType.PROTOCOL, ErrorType.INTERNAL):
        assert not is_retryable(Failed(error_type, ""), STRANGER)
