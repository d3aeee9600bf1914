"""Bodies: their framing, within limits, in whatever pieces they come."""

from __future__ import annotations

import time

import pytest

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Signal
from taskflow.http1.framing import (
    MAX_CHUNK_LINE_BYTES,
    MAX_CHUNKS_PER_EVENT,
    MAX_TRAILER_BYTES,
    MAX_TRAILER_LINES,
)
from taskflow.http1.readers import ResponseReader

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def body_of(*pieces: bytes) -> tuple[bytes, bool]:
    """The data of a chunked body, and whether it has ended."""
    reader = ResponseReader("GET")
    reader.feed(CHUNKED)
    reader.next_event()
    body = b""
    for piece in pieces:
        reader.feed(piece)
        while isinstance(event := reader.next_event(), bytes):
            body += event
        if event is Signal.END:
            return body, True
    return body, False


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"005\r\nhello\r\n000\r\n\r\n",
        b"5  \t\r\nhello\r\n0 \r\n\r\n",
        b'2;a\r\nhe\r\n3;b="c;d"\r\nllo\r\n0;e\r\n\r\n',
        b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n",
    ],
)
def test_chunks(chunks):
    """They are put together; extensions and trailers are dropped."""
    assert body_of(chunks) == (b"hello", True)
    assert body_of(*[bytes([byte]) for byte in chunks]) == (b"hello", True)


@pytest.mark.parametrize(
    ("chunks", "complaint"),
    [
        (b"z\r\n", "illegal chunk header"),
        (b"\r\n", "illegal chunk header"),
        (b"-1\r\n", "illegal chunk header"),
        (b"+1\r\n", "illegal chunk header"),
        (b"0x1\r\n", "illegal chunk header"),
        (b" 1\r\n", "illegal chunk header"),
        (b"1_1\r\n", "illegal chunk header"),
        (b"1\n", "illegal chunk header"),
        (b"1 ;a\r\n", "illegal chunk header"),
        (b"1;\0\r\n", "illegal chunk header"),
        (b"1;a\rb\r\n", "illegal chunk header"),
        (b"f" * 21 + b"\r\n", "illegal chunk header"),
        (b"1;" + b"a" * MAX_CHUNK_LINE_BYTES + b"b\r\n", "illegal chunk header"),
        (b"1\r\nab", "malformed chunk footer"),
        (b"1\r\na\n1\r\nb\r\n", "malformed chunk footer"),
        (b"1\r\na\r1", "malformed chunk footer"),
        (b"0\r\nX y\r\n\r\n", "illegal trailer line"),
        (b"0\r\nX: \x0b\r\n\r\n", "illegal trailer line"),
        (b"0\r\nX: y\r\n z\r\n\r\n", "illegal trailer line"),
        (b"0\r\nX: y\nZ: a\r\n\r\n", "illegal trailer line"),
        (b"0\r\n" + b"a:\r\n" * (MAX_TRAILER_LINES + 1) + b"\r\n", "the trailers are too long"),
        (b"0\r\na:" + b"b" * MAX_TRAILER_BYTES + b"\r\n\r\n", "the trailers are too long"),
    ],
)
def test_bad_chunks(chunks, complaint):
    """They are refused, whole or byte by byte, with the same words."""
    for pieces in ([chunks], [bytes([byte]) for byte in chunks]):
        with pytest.raises(ProtocolError, match=complaint):
            body_of(*pieces)


def test_data_before_a_bad_chunk_is_passed_on():
    """A failed attempt shows it."""
    reader = ResponseReader("GET")
    reader.feed(CHUNKED + b"1\r\na\r\n1\r\nb\r\nz\r\n")
    reader.next_event()
    assert reader.next_event() == b"ab"
    with pytest.raises(ProtocolError):
        reader.next_event()


@pytest.mark.parametrize(
    "endless", [b"1;" + b"a" * 999, b"0\r\n" + b"a:b\r\n" * 99, b"1" + b" " * 99]
)
def test_endless_lines(endless):
    """A line that never ends is refused once it is too long."""
    with pytest.raises(ProtocolError):
        body_of(endless, *[endless[-50:]] * 1000)


def test_tiny_chunks():
    """An event joins a bounded number of them, and they are counted."""
    reader = ResponseReader("GET")
    reader.feed(CHUNKED)
    reader.next_event()
    reader.feed(b"1\r\nx\r\n" * 10_000)
    sizes = []
    while isinstance(event := reader.next_event(), bytes):
        sizes.append(len(event))
    assert sum(sizes) == reader.chunks == 10_000
    assert max(sizes) == MAX_CHUNKS_PER_EVENT


def test_lines_of_blanks_take_no_time():
    """Nothing backtracks: the time grows with the length."""
    for data in (
        b"1" + b" " * 60_000,
        b"1;" + b" \t" * 30_000 + b"\n",
        b"0\r\nX:" + b" " * 8_000 + b"\0\r\n\r\n",
    ):
        began = time.thread_time()
        with pytest.raises(ProtocolError):
            body_of(data)
        assert time.thread_time() - began < 0.5


def test_large_pieces_are_not_copied():
    """A piece that is all data of the body is passed on as the same object."""
    reader = ResponseReader("GET")
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    reader.next_event()
    piece = b"x" * 65_536
    reader.feed(piece)
    assert reader.next_event() is piece
