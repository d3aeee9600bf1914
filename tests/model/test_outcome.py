"""Failures with untrusted text, and stored responses."""

from __future__ import annotations

import json

import msgspec
import pytest

from taskflow.client.task import Result
from taskflow.model.outcome import MAX_ERROR_CHARACTERS, ErrorType, StoredResponse, failed

RESPONSE = {
    "message": "fetched",
    "result": "x",
    "status": "200 OK",
    "status_code": 200,
    "headers": {},
    "content_type": None,
    "encoding": "text",
    "url": "http://a.example/",
    "size": 1,
}


def test_text_is_made_safe():
    """What is not printable is escaped: for PostgreSQL, for logs, for terminals."""
    outcome = failed(ErrorType.PROTOCOL, "a\x00b\r\nc\x1b[2J\u202e\ud800 é 😀")
    assert outcome.error == "a\\x00b\\r\\nc\\x1b[2J\\u202e\\ud800 é 😀"


def test_text_is_bounded():
    """A long story is cut."""
    assert len(failed(ErrorType.PROTOCOL, "x" * 5000).error) == MAX_ERROR_CHARACTERS


@pytest.mark.parametrize("kind", [StoredResponse, Result])
@pytest.mark.parametrize("duration", [{"elapsed_seconds": 0.0125}, {"elapsed_ms": 12.5}])
def test_responses_of_version_0_1_have_seconds_too(kind, duration):
    """Responses that version 0.1 stored are decoded, and encoded with the current name."""
    response = msgspec.json.decode(json.dumps(RESPONSE | duration), type=kind)
    assert response.elapsed_seconds == 0.0125
    encoded = json.loads(msgspec.json.encode(response))
    assert encoded == RESPONSE | {"elapsed_seconds": 0.0125}
