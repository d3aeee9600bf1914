"""Verification of signed requests, beyond the vectors of ``clients/conformance``."""

from __future__ import annotations

import datetime as dt
import time
from email.message import Message

import pytest

from taskflow import InvalidArgument, InvalidSignature, UnexpectedResponse
from taskflow.client.webhooks import verify_signature, verify_webhook
from taskflow.model.signature import Signer, new_secret, secret_of

SECRET = new_secret()


def headers_of(body: bytes, *, secret: str = SECRET, ago: int = 0, name: str = "one"):
    signer = Signer([secret_of(secret)])
    return dict(signer.headers(name, body, timestamp=int(time.time()) - ago))


def test_headers_in_any_form():
    """Names in any case, of any mapping; a body as text or bytes; a request without a body."""
    headers = headers_of(b'{"a": 1}')
    upper = {name.upper(): value for name, value in headers.items()}
    message = Message()
    for name, value in headers.items():
        message[name.title()] = value
    for one in (headers, upper, message):
        assert verify_webhook(SECRET, one, '{"a": 1}') == {"a": 1}
    assert verify_webhook([SECRET], headers_of(b""), b"") is None


def test_a_body_that_is_no_json():
    """It can be verified, and not be parsed."""
    for body in (b"plain", b"\xff", b"[" * 100_000):
        verify_signature(SECRET, headers_of(body), body)
        with pytest.raises(UnexpectedResponse, match="not JSON"):
            verify_webhook(SECRET, headers_of(body), body)


def test_the_tolerance():
    """It can be changed; the time can be given."""
    headers = headers_of(b"1", ago=400)
    with pytest.raises(InvalidSignature, match="too old"):
        verify_webhook(SECRET, headers, b"1")
    assert verify_webhook(SECRET, headers, b"1", tolerance_seconds=900) == 1
    then = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=400)
    assert verify_webhook(SECRET, headers, b"1", now=then) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "9" * 16},
        {"webhook-timestamp": "-1"},
        {"webhook-id": "\ud800"},
        {"webhook-signature": "v1,é v1,=== v1"},
        {"webhook-signature": ""},
    ],
)
def test_headers_of_an_attacker(wrong):
    """Nothing in a header raises another error."""
    with pytest.raises(InvalidSignature):
        verify_webhook(SECRET, {**headers_of(b"1"), **wrong}, b"1")


@pytest.mark.parametrize(
    "secrets",
    ["", [], "whsec_", "whsec_é", SECRET[:-1], [SECRET, ""], [None]],
    ids=["empty", "none", "no value", "letters", "too short", "one empty", "one none"],
)
def test_invalid_secrets(secrets):
    """They are named as the reason, and not repeated."""
    with pytest.raises(InvalidArgument, match="secret") as caught:
        verify_webhook(secrets, headers_of(b"1"), b"1")
    assert SECRET[6:-1] not in str(caught.value)


@pytest.mark.parametrize("seconds", [-1, "5", None, float("nan")])
def test_invalid_tolerances(seconds):
    """Otherwise each request would be rejected, or none."""
    with pytest.raises(InvalidArgument, match="tolerance_seconds must be 0 or more seconds"):
        verify_webhook(SECRET, headers_of(b"1"), b"1", tolerance_seconds=seconds)
