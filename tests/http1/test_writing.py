"""What is written: heads that nothing can be injected into, and bodies as announced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.http1.errors import UnsendableError
from taskflow.http1.writing import ResponseWriter, request_head
from tests.http1.engines import requests_with_h11, response_with_h11

names = st.text("aX-_!", min_size=1, max_size=5) | st.text(max_size=4)
values = st.text("ab \t,;", max_size=8) | st.text(max_size=8)


def test_a_request():
    """The head as given."""
    assert request_head("GET", "/a?b", [("Host", "x"), ("X", "")]) == (
        b"GET /a?b HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n"
    )


@given(st.text(max_size=5), st.text(max_size=5), st.lists(st.tuples(names, values), max_size=4))
def test_no_request_is_smuggled(method, target, headers):
    """Whatever is given, what is written is one head with just these headers, or nothing."""
    try:
        head = request_head(method, target, [("Host", "x"), *headers])
    except UnsendableError:
        return
    assert head.startswith(f"{method} {target} HTTP/1.1\r\n".encode())
    lines = head.split(b"\r\n")
    assert lines[2:] == [f"{name}: {value}".encode() for name, value in headers] + [b"", b""]
    assert head.count(b"\n") == len(headers) + 3


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GE T", "/", ("X", "a")),
        ("", "/", ("X", "a")),
        ("GET", "/ HTTP/1.1\r\nX: y\r\n\r\n", ("X", "a")),
        ("GET", "", ("X", "a")),
        ("GET", "/\xe9", ("X", "a")),
        ("GET", "/", ("X", "a\r\nY: b")),
        ("GET", "/", ("X", "a\nY: b")),
        ("GET", "/", ("X", "a\rb")),
        ("GET", "/", ("X", "a\0b")),
        ("GET", "/", ("X: y\r\nZ", "a")),
        ("GET", "/", ("X y", "a")),
        ("GET", "/", ("", "a")),
        ("GET", "/", ("X", "\udc80")),
    ],
)
def test_what_cannot_be_sent(method, target, header):
    """It is refused, as h11 did."""
    with pytest.raises(UnsendableError):
        request_head(method, target, [header])


def written(writer: ResponseWriter, status: int, headers, *pieces: bytes) -> bytes:
    return writer.head(status, headers) + b"".join(map(writer.data, pieces)) + writer.end()


def test_a_body_of_known_length():
    """It goes out as it is, and the connection is kept."""
    writer = ResponseWriter("GET", "1.1", keeps_alive=True)
    assert written(writer, 200, [(b"content-length", b"3")], b"a", b"bc") == (
        b"HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\nabc"
    )
    assert (writer.keeps_alive, writer.has_ended) == (True, True)


def test_a_body_of_unknown_length():
    """In chunks for HTTP/1.1; HTTP/1.0 has none, so the connection closes."""
    writer = ResponseWriter("GET", "1.1", keeps_alive=True)
    assert written(writer, 200, [], b"a" * 16, b"", b"b") == (
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n10\r\n%b\r\n1\r\nb\r\n0\r\n\r\n"
        % (b"a" * 16)
    )
    assert writer.keeps_alive
    writer = ResponseWriter("GET", "1.0", keeps_alive=True)
    assert written(writer, 200, [], b"ab") == b"HTTP/1.1 200 \r\nConnection: close\r\n\r\nab"
    assert not writer.keeps_alive


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_body(method, status):
    """The headers are the same as for a GET, and nothing follows."""
    writer = ResponseWriter(method, "1.1", keeps_alive=True)
    assert written(writer, status, [(b"content-length", b"5")]).endswith(b"length: 5\r\n\r\n")
    assert (writer.keeps_alive, writer.has_ended) == (True, True)
    with pytest.raises(UnsendableError):
        writer.data(b"x")


def test_closing():
    """If either side wants it, the response says so, once."""
    for keeps_alive, headers in ((False, []), (True, [(b"Connection", b"close")])):
        writer = ResponseWriter("GET", "1.1", keeps_alive=keeps_alive)
        head = writer.head(200, [*headers, (b"content-length", b"0")])
        assert head.lower().count(b"connection: close") == 1
        assert not writer.keeps_alive


@pytest.mark.parametrize(
    "header",
    [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\ny", b""), (b"x y", b""), (b"x", b"\0")],
)
def test_no_response_is_split(header):
    """A header that would be two is refused, and nothing is written."""
    writer = ResponseWriter("GET", "1.1", keeps_alive=True)
    with pytest.raises(UnsendableError):
        writer.head(200, [header])
    assert not writer.has_started


def test_a_body_of_another_length_than_announced():
    """It would be taken for the next response."""
    for pieces in ([b"abc"], [b"a", b"bc"]):
        writer = ResponseWriter("GET", "1.1", keeps_alive=True)
        with pytest.raises(UnsendableError, match="longer"):
            written(writer, 200, [(b"content-length", b"2")], *pieces)
    writer = ResponseWriter("GET", "1.1", keeps_alive=True)
    with pytest.raises(UnsendableError, match="shorter"):
        written(writer, 200, [(b"content-length", b"2")], b"a")
    assert not writer.has_ended
    for length in (b"x", b"-1", b""):
        with pytest.raises(UnsendableError):
            ResponseWriter("GET", "1.1", keeps_alive=True).head(200, [(b"content-length", length)])


def test_two_heads():
    """A response has one."""
    writer = ResponseWriter("GET", "1.1", keeps_alive=True)
    writer.head(200, [])
    with pytest.raises(UnsendableError):
        writer.head(200, [])


@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from([200, 201, 204, 304, 404, 500]),
    st.lists(st.binary(max_size=20), max_size=4),
    st.booleans(),
)
def test_h11_reads_it(method, status, pieces, is_length_known):
    """Another implementation reads what was written."""
    has_body = method != "HEAD" and status not in (204, 304)
    pieces = pieces if has_body else []
    length = [(b"content-length", b"%d" % len(b"".join(pieces)))] if is_length_known else []
    writer = ResponseWriter(method, "1.1", keeps_alive=True)
    data = written(writer, status, [(b"x-a", b"\xff b"), *length], *pieces)
    [message] = response_with_h11(data, method).messages
    assert (message.head[0], message.body, message.is_whole) == (status, b"".join(pieces), True)
    assert (b"x-a", b"\xff b") in message.head


@given(st.text("abc/", min_size=1), st.text("abc ", max_size=9))
def test_h11_reads_requests(path, value):
    """The same for requests."""
    head = request_head("POST", f"/{path}", [("Host", "x"), ("X-A", value)])
    [message] = requests_with_h11(head).messages
    assert message.head[:3] == ("POST", f"/{path}".encode(), "1.1")
    assert message.head[4] == (b"x-a", value.strip().encode())
