"""Requests: what is read, what is refused and with which status, and what is never kept."""

from __future__ import annotations

import time

import pytest

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import RequestHead, Signal
from taskflow.http1.readers import MAX_HEAD_LINES, MAX_REQUEST_HEAD_BYTES, RequestReader
from tests.http1.engines import requests_with_engine

HOST = b"Host: x\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def read_one(data: bytes) -> RequestHead:
    reader = RequestReader()
    reader.feed(data)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    return head


def refusal_of(*pieces: bytes) -> tuple[int, str]:
    read = requests_with_engine(list(pieces))
    return read.status, read.complaint


def test_a_request():
    """The parts of a head, its names in lower case, and its body; then nothing more."""
    reader = RequestReader()
    reader.feed(POST + b"X-A: \t b c \t\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhel")
    assert reader.next_event() == RequestHead(
        method="POST",
        target=b"/",
        version="1.1",
        headers=[
            (b"host", b"x"),
            (b"x-a", b"b c"),
            (b"x-empty", b""),
            (b"content-length", b"5"),
        ],
        keeps_alive=True,
        expects_continue=False,
    )
    assert [reader.next_event() for _ in range(2)] == [b"hel", Signal.NEED_DATA]
    reader.feed(b"lo")
    assert [reader.next_event() for _ in range(3)] == [b"lo", Signal.END, Signal.NEED_DATA]


def test_pipelined_requests():
    """The next request is kept, unread, until the last one is done."""
    reader = RequestReader()
    reader.feed(CHUNKED + b"2\r\nab\r\n0\r\n\r\n" + GET)
    assert isinstance(reader.next_event(), RequestHead)
    assert [reader.next_event() for _ in range(3)] == [b"ab", Signal.END, Signal.PAUSED]
    assert reader.has_data
    reader.start_next()
    assert isinstance(reader.next_event(), RequestHead)
    assert [reader.next_event() for _ in range(2)] == [Signal.END, Signal.NEED_DATA]
    assert not reader.has_data


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Connection: close\r\n",
        POST.replace(b"1.1", b"1.0"),
        POST + b"Connection: a, CLOSE\r\n",
    ],
)
def test_behind_the_last_request(head):
    """It is dropped, however much it is."""
    reader = RequestReader()
    reader.feed(head + b"Content-Length: 1\r\n\r\nx" + GET)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    assert not head.keeps_alive
    assert [reader.next_event() for _ in range(3)] == [b"x", Signal.END, Signal.NEED_DATA]
    for _ in range(3):
        reader.feed(GET * 1000)
        assert not reader.has_data
        assert reader.next_event() is Signal.NEED_DATA


@pytest.mark.parametrize("method", ["GET", "get", "CONNECT", "M-SEARCH", "SOURCE", "FOO"])
def test_any_method(method):
    """Of any name, for the application decides; the case does not matter."""
    assert read_one(GET.replace(b"GET", method.encode())).method == method.upper()


@pytest.mark.parametrize(
    "target", [b"/", b"*", b"//x", b"/a?b=c?d#e", b"HTTP://[::1]:80/", b'/|"^`{}<>\\', b"http://x"]
)
def test_targets(target):
    """They are passed on as they are."""
    assert read_one(GET.replace(b" / ", b" %b " % target)).target == target


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET", 400),
        (b"GET /", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /  HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"G@T / HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET x:80 HTTP/1.1", 400),
        (b"CONNECT x:80 HTTP/1.1", 400),
        (b"GET ?x HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / RTSP/1.0", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"PRI * HTTP/2.0", 505),
    ],
)
def test_bad_request_lines(line, status):
    """They are refused, and 505 tells a client of another version so."""
    assert refusal_of(line + b"\r\n" + HOST + b"\r\n")[0] == status


@pytest.mark.parametrize(
    "header",
    [
        b"no colon",
        b": empty",
        b"a b: c",
        b"a : c",
        b"\xffa: b",
        b"a: b\0c",
        b"a: b\rc",
        b"a: b\x01c",
        b"a: b\x7f",
        b"Content-Length: -1",
        b"Content-Length: +1",
        b"Content-Length: 0x1",
        b"Content-Length: 1_0",
        b"Content-Length:",
        b"Content-Length: 1, 1",
        b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: " + b"9" * 30,
        b"Host: y",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1",
    ],
)
def test_bad_headers(header):
    """They are refused, for an intermediary may read them in another way."""
    assert refusal_of(POST + header + b"\r\n\r\n")[0] == 400


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"gzip, chunked", b"identity", b"xchunked", b"chunked\r\nTransfer-Encoding: x"],
)
def test_other_transfer_codings(coding):
    """501 is what the standard says (RFC 9112 section 6.1)."""
    status, complaint = refusal_of(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n")
    assert status in (400, 501), complaint
    assert "Transfer-Encoding" in complaint


def test_the_complaint_names_the_fault():
    """What llhttp says in other words is said plainly."""
    assert refusal_of(POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n") == (
        400,
        "send Content-Length or Transfer-Encoding, not both",
    )
    assert "HTTP/1.0" in refusal_of(CHUNKED.replace(b"1.1", b"1.0"))[1]
    assert refusal_of(b"GET / HTTP/1.1\r\n\r\n") == (400, "there must be one Host header")


def test_http_1_0():
    """It needs no ``Host``, and the connection closes."""
    head = read_one(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (head.version, head.keeps_alive) == ("1.0", False)


def test_what_is_read_although_it_is_odd():
    """Folds are spaces (RFC 9112 section 5.2), and lines may end with a line feed (2.2)."""
    head = read_one(b"GET / HTTP/1.1\nHost: x\r\nX: a\r\n \t b\n\tc\nY:\r\n z\r\n\n")
    assert head.headers == [(b"host", b"x"), (b"x", b"a b c"), (b"y", b"z")]


def test_upgrades_are_passed_over():
    """An offer to speak another protocol is a header like any other."""
    for offer in (b"websocket", b"h2c"):
        head = read_one(POST + b"Connection: Upgrade\r\nUpgrade: " + offer + b"\r\n\r\n")
        assert (b"upgrade", offer) in head.headers
        assert head.keeps_alive


def test_expectations():
    """Expectations of HTTP/1.0 are ignored (RFC 9110 section 10.1.1)."""
    asked = POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
    assert read_one(asked).expects_continue
    assert not read_one(asked.replace(b"1.1", b"1.0")).expects_continue
    assert not read_one(POST + b"Expect: x\r\n\r\n").expects_continue


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_too_long_heads(size):
    """They are refused once they are too long, in whatever pieces they come."""
    reader, sent = RequestReader(), 0
    with pytest.raises(ProtocolError) as caught:
        while sent < 2 * MAX_REQUEST_HEAD_BYTES:
            data = (POST + b"x: ")[sent : sent + size].ljust(size, b"a")
            reader.feed(data)
            sent += size
            assert reader.next_event() is Signal.NEED_DATA
    assert sent <= MAX_REQUEST_HEAD_BYTES + size
    assert caught.value.status == 431


def test_too_many_lines():
    """They are refused before they are parsed."""
    most = POST + b"a:\r\n" * (MAX_HEAD_LINES - 3) + b"\r\n"
    assert refusal_of(most) == (0, "")
    assert refusal_of(most[:-2] + b"a:\r\n\r\n")[0] == 431


def test_noise_is_refused_at_its_first_byte():
    """No one waits for the end of a head that cannot come."""
    for data in (b"\r\n", b"\x16\x03\x01", b"\0"):
        with pytest.raises(ProtocolError):
            RequestReader.next_event(fed(data))


def test_a_request_that_breaks_off():
    """Its head or its body is incomplete."""
    assert refusal_of(b"GET / HT") == (400, "the connection closed before the request was complete")
    assert "received 1 bytes, expected 2" in refusal_of(POST + b"Content-Length: 2\r\n\r\nx")[1]
    assert "incomplete chunked read" in refusal_of(CHUNKED + b"2\r\nx")[1]
    assert refusal_of() == (0, "")


def test_heads_of_blanks_take_no_time():
    """Nothing backtracks: the time grows with the length."""
    for tail in (b"\0", b"\x0b", b"a\rb", b"\r\n \0"):
        data = POST + b"X:" + b" \t" * 15_000 + tail + b"\r\n\r\n"
        began = time.thread_time()
        assert refusal_of(data)[0] == 400
        assert time.thread_time() - began < 0.5


def fed(data: bytes) -> RequestReader:
    reader = RequestReader()
    reader.feed(data)
    return reader
