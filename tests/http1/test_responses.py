"""Responses: what is read, what odd servers send, and when a connection can be used again."""

from __future__ import annotations

import pytest

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import ResponseHead, Signal
from taskflow.http1.readers import (
    MAX_HEAD_LINES,
    MAX_INTERIM_RESPONSES,
    MAX_RESPONSE_HEAD_BYTES,
    ResponseReader,
)
from tests.http1.engines import response_with_engine

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"


def read_of(data: bytes, method: str = "GET") -> tuple[ResponseHead, bytes, ResponseReader]:
    """Head, body so far, and the reader."""
    reader = ResponseReader(method)
    reader.feed(data)
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    body = b""
    while isinstance(event := reader.next_event(), bytes):
        body += event
    return head, body, reader


def complaint_of(data: bytes) -> str:
    return response_with_engine([data]).complaint


def test_a_response():
    """The parts of a head, its body, and the connection is good for another request."""
    head, body, reader = read_of(OK + b"X-A: b\r\nContent-Length: 2\r\n\r\nhi")
    assert head == ResponseHead(200, b"OK", [(b"x-a", b"b"), (b"content-length", b"2")], True)
    assert (body, reader.is_reusable) == (b"hi", True)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (OK + b"Transfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
        (b"HTTP/1.1 205\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_framings(data, body):
    """Each of these has an end, and a byte behind it makes the connection unfit."""
    assert read_of(data)[1:2] == (body,)
    assert read_of(data)[2].is_reusable
    assert not read_of(data + b"x")[2].is_reusable


def test_head_has_no_body():
    """Whatever its headers announce."""
    _, body, reader = read_of(OK + b"Content-Length: 5\r\n\r\n", "HEAD")
    assert (body, reader.has_ended, reader.is_reusable) == (b"", True, True)
    assert read_of(OK + b"\r\n", "HEAD")[2].is_reusable


def test_until_the_connection_closes():
    """Without a length the body ends with the connection."""
    _, body, reader = read_of(OK + b"\r\nhello")
    assert (body, reader.has_ended) == (b"hello", False)
    reader.feed(b"")
    assert reader.next_event() is Signal.END
    assert not reader.is_reusable


@pytest.mark.parametrize(
    "data",
    [
        EMPTY.replace(b"1.1", b"1.0"),
        EMPTY.replace(b"1.1", b"1.2"),
        EMPTY.replace(b"1.1", b"2.0"),
        EMPTY.replace(b"OK\r\n", b"OK\r\nConnection: Close\r\n"),
        EMPTY.replace(b"OK\r\n", b"OK\r\nConnection: x,close\r\n"),
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_not_reusable(data):
    """It is read, and the connection is closed."""
    _, _, reader = read_of(data)
    assert (reader.has_ended, reader.is_reusable) == (True, False)


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"HTTP/1.1 200\r\nX: a\r\n\r\n", [(b"x", b"a")]),
        (b"HTTP/1.1 200 OK\nX: a\n\n", [(b"x", b"a")]),
        (OK + b"X: a\r\n\tb\r\n  c\r\n\r\n", [(b"x", b"a b c")]),
        (OK + b"X: a\x01\x1b[2J\x7f\xff\r\n\r\n", [(b"x", b"a\x01\x1b[2J\x7f\xff")]),
        (
            OK + b"Content-Length: 0\r\nX: a\r\ncontent-length:0\r\n\r\n",
            [(b"content-length", b"0"), (b"x", b"a")],
        ),
        (OK + b"Content-Length: 0, 0\r\n\r\n", [(b"content-length", b"0")]),
        (b"HTTP/3.0 200 OK\r\nX: a\r\n\r\n", [(b"x", b"a")]),
        (
            OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        ),
    ],
)
def test_odd_servers(data, headers):
    """What is harmless is read, and shown as it was sent."""
    head, body, _ = read_of(data)
    assert (head.status, head.headers, body) == (200, headers, b"")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the response is not HTTP"),
        (b"\r\n\r\n", "the response is not HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 99 X\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 099 X\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", "illegal status line"),
        (OK + b" folded: first\r\n\r\n", "illegal header line"),
        (OK + b"X Y: z\r\n\r\n", "illegal header line"),
        (OK + b"X: a\0b\r\n\r\n", "illegal header line"),
        (OK + b"X: a\rb\r\n\r\n", "illegal header line"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "conflicting Content-Length"),
        (OK + b"Content-Length: 1, 2\r\n\r\n", "conflicting Content-Length"),
        (OK + b"Content-Length: x\r\n\r\n", "Content-Length"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "Only Transfer-Encoding: chunked is supported"),
        (OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n", "illegal header line"),
        (OK + b"Transfer-Encoding: \x01chunked\r\n\r\n", "Only Transfer-Encoding: chunked"),
        (b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "switched protocols"),
        (INTERIM, "the connection closed before the response was complete"),
        (INTERIM * (MAX_INTERIM_RESPONSES + 1) + EMPTY, "interim"),
        (OK + b"a:\r\n" * MAX_HEAD_LINES + b"\r\n", f"more than {MAX_HEAD_LINES} lines"),
        (OK + b"a:" + b"b" * MAX_RESPONSE_HEAD_BYTES + b"\r\n\r\n", "is longer than"),
        (INTERIM + OK + b"a:\r\n" * (MAX_HEAD_LINES - 4) + b"\r\n", "lines"),
    ],
)
def test_bad_responses(data, complaint):
    """They are refused with what is wrong, and none of their bytes are quoted."""
    assert complaint in complaint_of(data)


def test_no_complaint_quotes_what_was_received():
    """It may be a secret."""
    for data in (
        b"HTTP/1.1 secret\r\n\r\n",
        OK + b"secret\r\n\r\n",
        OK + b"X: secret\0\r\n\r\n",
        OK + b"Content-Length: secret\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxsecret",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nsecret\r\n\r\n",
    ):
        complaint = complaint_of(data)
        assert complaint
        assert "secret" not in complaint


def test_interim_responses():
    """They are passed over, up to a number."""
    head, _, _ = read_of(b"HTTP/1.1 100 Go\r\n\r\n" + INTERIM * (MAX_INTERIM_RESPONSES - 1) + EMPTY)
    assert head.headers == [(b"content-length", b"0")]


@pytest.mark.parametrize("again", [b"a: b\r\n", b"b", b" c\r\n", b"HTTP/1.1 103 E\r\n\r\n"])
def test_endless_heads(again):
    """They are refused at the limit, however they go on."""
    reader, fed_bytes = ResponseReader("GET"), 0
    reader.feed(OK if again[:1] != b"H" else again)
    with pytest.raises(ProtocolError):
        while fed_bytes < 2 * MAX_RESPONSE_HEAD_BYTES:
            assert reader.next_event() is Signal.NEED_DATA
            reader.feed(again)
            fed_bytes += len(again)
