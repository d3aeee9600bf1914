"""The engine beside h11: the same bytes to both, and each difference is one that was decided.

``docs/http.md`` lists the differences with their reasons.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random, SystemRandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http1 import engines, messages
from tests.http1.engines import Message, Read

STRICTER_WITH_REQUESTS = (
    "unsupported version",  # 505
    "Unexpected start char in url",
    "Unexpected char in url",
    "Invalid char in url",
    "Invalid characters in url",
    "Invalid header value char",  # a control character
    "Double @ in url",
    "Duplicate Content-Length",
    "bad Content-Length",
    "Invalid character in Content-Length",
    "Content-Length overflow",
    "send Content-Length or Transfer-Encoding, not both",
    "HTTP/1.0 has no Transfer-Encoding",
    "illegal chunk header",  # a control character
    "illegal trailer line",  # a fold, or a bare line feed
)
STRICTER_WITH_RESPONSES = (
    "Content-Length overflow",
    "illegal chunk header",
    "illegal trailer line",
)
UNFINISHED = "peer closed connection without sending complete message body"
# Of the response itself, or of an interim one before it.
ODD_PHRASE = re.compile(r"illegal status line: bytearray\(b.HTTP/\d\.\d \d{3} .*\\x0[bc]")
SHORT_RUN, LONG_RUN = 5_000, 200_000


@pytest.fixture
def randoms(is_long) -> Iterator[Random]:
    """Sources of messages: the same ones in each short run, others in each long one."""
    start = SystemRandom().randrange(2**32) if is_long else 0
    return map(Random, range(start, start + (LONG_RUN if is_long else SHORT_RUN)))


def test_requests(randoms):
    """Nothing is accepted that h11 rejects, and what both accept they read alike."""
    for random in randoms:
        data = messages.requests(random)
        check(
            engines.requests_with_h11(data),
            engines.requests_with_engine([data]),
            STRICTER_WITH_REQUESTS,
        )


def test_responses(randoms):
    """The same; only reason phrases may contain more, for they are not shown as they are."""
    for random in randoms:
        data, method = messages.responses(random), random.choice(["GET", "HEAD"])
        theirs = engines.response_with_h11(data, method)
        ours = engines.response_with_engine([data], method)
        if not ODD_PHRASE.match(theirs.complaint):
            check(theirs, ours, STRICTER_WITH_RESPONSES)


def test_requests_in_pieces(randoms):
    """However the bytes of requests arrive, they are read alike."""
    check_pieces(randoms, messages.requests, engines.requests_with_engine)


def test_responses_in_pieces(randoms):
    """However the bytes of a response arrive, they are read alike."""
    check_pieces(randoms, messages.responses, engines.response_with_engine)


def check_pieces(
    randoms: Iterator[Random], made: messages.Made, read: Callable[[list[bytes]], Read]
) -> None:
    for random in randoms:
        pieces = messages.pieces_of(random, made(random))
        assert read(pieces) == read([b"".join(pieces)]), pieces


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes(data, cut):
    """Whatever arrives is read, or is refused as what it is."""
    pieces = [piece for piece in (data[:cut], data[cut:]) if piece]
    assert engines.requests_with_engine(pieces).status in (0, 400, 431, 505)
    assert engines.response_with_engine(pieces).complaint


def check(theirs: Read, ours: Read, stricter: tuple[str, ...]) -> None:
    assert begins_with(theirs.messages, ours.messages), (theirs, ours)
    if ours.status and not theirs.status:
        is_decided = ours.complaint.startswith(stricter)
        # What is left out at the end of the trailers is missed there.
        assert is_decided or ours.complaint.startswith(UNFINISHED), (theirs, ours)
    if theirs.status and not ours.status:
        # Data behind the last message is ignored, or makes the connection unfit for another one.
        assert theirs.complaint.startswith("Got data when expecting EOF"), (theirs, ours)


def begins_with(theirs: tuple[Message, ...], ours: tuple[Message, ...]) -> bool:
    """Whether h11 reads the same messages, and perhaps more than we accept."""
    if len(ours) > len(theirs):
        return False
    for mine, other in zip(ours, theirs, strict=False):
        is_last = mine is ours[-1]
        if normal(mine.head) != normal(other.head) or not other.body.startswith(mine.body):
            return False
        if mine.is_whole != other.is_whole and not is_last:
            return False
        if mine.is_whole and (mine.body != other.body or not other.is_whole):
            return False
    return True


def normal(head: tuple[object, ...]) -> list[object]:
    """h11 writes the transfer coding in small letters."""
    return [
        (part[0], part[1].lower())
        if isinstance(part, tuple) and part[0] == b"transfer-encoding"
        else part
        for part in head
    ]
