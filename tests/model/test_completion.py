"""Deferred completion: the tokens of URLs, and the time between polls."""

from __future__ import annotations

import uuid

import pytest

from taskflow.model.completion import (
    PARKED_NODE,
    completion_token,
    completion_url,
    is_completion_token,
    poll_delay_seconds,
)

TASK, OTHER_TASK = uuid.UUID(int=1), uuid.UUID(int=2)
CLAIM, OTHER_CLAIM = uuid.uuid4(), uuid.uuid4()


def test_a_token_belongs_to_one_attempt():
    """Another task or another claim has another token, and none shows the one of its claim."""
    token = completion_token(TASK, CLAIM)
    assert token == completion_token(TASK, CLAIM)
    assert (
        len({token, completion_token(OTHER_TASK, CLAIM), completion_token(TASK, OTHER_CLAIM)}) == 3
    )
    assert len(token) == 43
    assert CLAIM.hex not in token
    assert is_completion_token(token, TASK, CLAIM)
    assert not is_completion_token(token, OTHER_TASK, CLAIM)
    assert not is_completion_token(token, TASK, OTHER_CLAIM)


@pytest.mark.parametrize("change", ["", "{}x", "x{}", "{}=", " {}", "\xe9", "\0", "{}{}"])
def test_other_texts(change):
    """No other text is a token: longer, shorter, or not ASCII."""
    token = completion_token(TASK, CLAIM)
    assert not is_completion_token(change.format(token, token), TASK, CLAIM)
    assert not is_completion_token(token[:-1], TASK, CLAIM)
    assert not is_completion_token(token.swapcase(), TASK, CLAIM)


@pytest.mark.parametrize("public_url", ["https://tasks.example.com", "https://example.com/tasks"])
def test_the_url(public_url):
    """It is below the public URL, and needs no escapes."""
    url = completion_url(public_url, TASK, CLAIM)
    assert url == f"{public_url}/completions/{TASK}/{completion_token(TASK, CLAIM)}"
    assert completion_url(f"{public_url}/", TASK, CLAIM) == url
    assert set(url) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/")


def test_the_node_of_parked_attempts():
    """No node that registers can have its id, and it is last in every index."""
    assert str(PARKED_NODE) == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert all(uuid.uuid4() < PARKED_NODE for _ in range(100))


@pytest.mark.parametrize(
    ("retry_after_seconds", "delay"),
    [(None, 5.0), (0.0, 1.0), (0.5, 1.0), (7.0, 7.0), (3600.0, 3600.0), (1e9, 3600.0)],
)
def test_the_time_between_polls(retry_after_seconds, delay):
    """The target chooses it, within limits."""
    assert poll_delay_seconds(retry_after_seconds) == delay
