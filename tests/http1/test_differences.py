"""The engine beside h11: the same bytes to both, and each difference is one that was decided.

``docs/http.md`` lists the differences with their reasons.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
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
MANY = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(messages.requests)
def test_requests(data):
    """Nothing is accepted that h11 rejects, and what both accept they read alike."""
    check(
        engines.requests_with_h11(data),
        engines.requests_with_engine([data]),
        STRICTER_WITH_REQUESTS,
    )


@MANY
@given(messages.responses, st.sampled_from(["GET", "HEAD"]))
def test_responses(data, method):
    """The same; only reason phrases may contain more, for they are not shown as they are."""
    theirs = engines.response_with_h11(data, method)
    ours = engines.response_with_engine([data], method)
    if theirs.complaint.startswith("illegal status line") and has_odd_phrase(ours):
        return
    check(theirs, ours, STRICTER_WITH_RESPONSES)


@MANY
@given(messages.pieces_of(messages.requests))
def test_requests_in_pieces(pieces):
    """However the bytes of requests arrive, they are read alike."""
    assert engines.requests_with_engine(pieces) == engines.requests_with_engine([b"".join(pieces)])


@MANY
@given(messages.pieces_of(messages.responses))
def test_responses_in_pieces(pieces):
    """However the bytes of a response arrive, they are read alike."""
    assert engines.response_with_engine(pieces) == engines.response_with_engine([b"".join(pieces)])


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


def has_odd_phrase(read: Read) -> bool:
    return any(set(message.head[1]) & {0x0B, 0x0C} for message in read.messages)
