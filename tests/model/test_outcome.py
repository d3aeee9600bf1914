"""Failures whose text comes from strangers."""

from __future__ import annotations

from taskflow.model.outcome import MAX_ERROR_CHARACTERS, ErrorType, failed


def test_text_is_made_safe():
    """What is not printable is escaped: for PostgreSQL, for logs, for terminals."""
    outcome = failed(ErrorType.PROTOCOL, "a\x00b\r\nc\x1b[2J\u202e\ud800 é 😀")
    assert outcome.error == "a\\x00b\\r\\nc\\x1b[2J\\u202e\\ud800 é 😀"


def test_text_is_bounded():
    """A long story is cut."""
    assert len(failed(ErrorType.PROTOCOL, "x" * 5000).error) == MAX_ERROR_CHARACTERS
