"""HTTP that is none: a 4xx or a clean end for that connection, and nothing for any other."""

from __future__ import annotations

import time

import pytest

import taskflow.serving.connection
from taskflow.service import MEMORY_URL
from tests.api.client import NoAnswer, check_problem
from tests.api.live import LiveServer

GOOD = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
BODY = b'{"payload": 1}'
CHUNKED = b"POST /tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n\r\n",
        b"\x00\x00\x00\x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /tasks\r\n\r\n",
        b"GET  /tasks HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /ta sks HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /tasks?\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\nx: a\r\n b\x00\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\n: empty\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /tasks?" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
        b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\ncontent-length: 4\r\n\r\n"
        + BODY,
        b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 1e3\r\n\r\n",
        b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: +14\r\n\r\n" + BODY,
        b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        CHUNKED + b"zz\r\n\r\n",
        CHUNKED + b"-1\r\n\r\n",
        CHUNKED + b"2\r\n{}}}\r\n0\r\n\r\n",
        CHUNKED + b"f" * 200 + b"\r\n",
        b"PRI * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
        b"GET ?limit=1 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET tasks HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://[::1/tasks HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://]/ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET file:///tasks HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: a..b\r\n\r\n",
        b"GET /tasks HTTP/1.1\r\nhost: " + b"a" * 64 + b".example\r\n\r\n",
        b"GET /tasks/%0d%0aset-cookie:%20x=1 HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=lambda data: repr(data)[2:60],
)
def test_malformed_requests_are_rejected(memory_server, data):
    """The response is a 4xx, or the connection closes; the server continues."""
    with memory_server.connect() as connection:
        connection.send(data)
        connection.send(b"")
        try:
            answer = connection.read()
        except NoAnswer:
            pass
        else:
            assert 400 <= answer.status < 500, answer
            assert answer.header("set-cookie") is None
    memory_server.check_serves()


@pytest.mark.parametrize(
    "host",
    [b"", b"x y", b"my_service:8080", b"[::1]:8080", b"\xff", b"<script>", b"x:99999", b"x:y"],
)
def test_any_host(memory_server, host):
    """Names that DNS would not take (Compose's have underscores) are served all the same."""
    with memory_server.connect() as connection:
        connection.send(b"GET /tasks?limit=1 HTTP/1.1\r\nhost: %b\r\n\r\n" % host)
        assert connection.read().status in (200, 400)
    if host == b"my_service:8080":
        answer = memory_server.ask("GET", "/tasks?limit=1", headers={"host": host.decode()})
        assert answer.status == 200


def test_an_unknown_transfer_coding(memory_server):
    """501 is what HTTP says (RFC 9112, section 6.1), and it is no fault."""
    with memory_server.connect() as connection:
        connection.send(b"POST /tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n")
        check_problem(connection.read(), 501, "chunked")
    memory_server.check_serves()


HEAD = b"POST /tasks HTTP/1.1\r\nhost: x\r\n"
CHUNKS = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
BOTH = HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS

# What one reader may take for the end of a request, and another not.
AMBIGUOUS = {
    "a length and chunks": BOTH,
    "chunks and a length": HEAD
    + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n"
    + CHUNKS,
    "a length and folded chunks": HEAD
    + b"content-length: 4\r\ntransfer-encoding:\r\n chunked\r\n\r\n"
    + CHUNKS,
    "two lengths": HEAD + b"content-length: 14\r\ncontent-length: 4\r\n\r\n" + BODY,
    "two lengths in one": HEAD + b"content-length: 14, 4\r\n\r\n" + BODY,
    "a length with an underscore": HEAD + b"content-length: 1_4\r\n\r\n" + BODY,
    "a hexadecimal length": HEAD + b"content-length: 0xe\r\n\r\n" + BODY,
    "chunked twice": HEAD + b"transfer-encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "chunked, then not": HEAD
    + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n"
    + CHUNKS,
    "chunked behind a tab that is none": HEAD + b"transfer-encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a space before the colon": HEAD + b"transfer-encoding : chunked\r\n\r\n" + CHUNKS,
    "nearly chunked": HEAD + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunks in HTTP/1.0": BOTH.replace(b"HTTP/1.1", b"HTTP/1.0").replace(
        b"content-length: 4", b"x: y"
    ),
    "a chunk that is longer than it says": HEAD
    + b"transfer-encoding: chunked\r\n\r\ne\r\n"
    + BODY
    + b"XX0\r\n\r\n",
    "chunks in lines of another sort": HEAD
    + b"transfer-encoding: chunked\r\n\r\n"
    + CHUNKS.replace(b"\r\n", b"\n"),
    "a line within a line": b"GET /livez HTTP/1.1\r\nhost: x\rcontent-length: 99\r\n\r\n",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_nothing_is_smuggled(memory_server, data):
    """A request whose end is in doubt is refused once, and what is behind it is no request."""
    with memory_server.connect() as connection:
        connection.send(data + GOOD + GOOD)
        answer = connection.read()
        check_problem(answer, 501 if answer.status == 501 else 400)
        assert answer.header("connection") == "close"
        assert connection.is_closed()
    memory_server.check_serves()


def test_a_folded_field_is_one_line(memory_server):
    """The old way to go on in the next line is read as a space (RFC 9112, section 5.2)."""
    folds = [
        b"transfer-encoding:\r\n chunked",
        b"content-length: 14\r\nx: y\r\n transfer-encoding: chunked",
    ]
    for fold, body in zip(folds, [CHUNKS, BODY], strict=True):
        with memory_server.connect() as connection:
            connection.send(HEAD + fold + b"\r\n\r\n" + body + GOOD)
            assert connection.read().json["payload"] == 1
            assert connection.read().body == b"ok\n"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_behind_the_last_request(memory_server, version):
    """What follows a request after which the connection closes does not spoil its answer."""
    with memory_server.connect() as connection:
        connection.send(
            b"POST /tasks HTTP/%b\r\nhost: x\r\nconnection: close\r\ncontent-length: 14\r\n\r\n"
            % version
            + BODY
            + GOOD
        )
        assert connection.read().status == 201
        assert connection.is_closed()


def test_a_length_and_chunks(server):
    """Who states a length and sends chunks is refused: two readers may cut it at two places."""
    with server.connect() as connection:
        connection.send(BOTH)
        answer = connection.read()
        check_problem(answer, 400, "not both")
        assert answer.header("connection") == "close"
        assert connection.is_closed()
    server.check_serves()


def test_the_same_length_twice(memory_server):
    """Two equal lengths are one (RFC 9110, section 8.6)."""
    with memory_server.connect() as connection:
        connection.send(
            b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\ncontent-length: 14\r\n\r\n"
            + BODY
        )
        assert connection.read().status in (201, 400)
    memory_server.check_serves()


def test_a_field_of_20_kib(memory_server):
    """431, and as a problem where the head came in one piece."""
    for size in (8_200, 20_000):
        answer = memory_server.ask("GET", "/tasks", headers={"x-long": "a" * size})
        assert answer.status == 431
    check_problem(memory_server.ask("GET", "/tasks", headers={"x": "a" * 8_200}), 431, "8192 bytes")
    check_problem(memory_server.ask("GET", "/tasks", headers={"x": "a" * 90_000}), 431, "too long")
    assert memory_server.ask("GET", "/tasks", headers={"x": "a" * 8_000}).status == 200


def test_too_many_headers(memory_server):
    """A hundred and no more, for each costs more than its bytes."""
    for number, status in ((99, 200), (100, 431)):
        fields = {f"x{n}": "" for n in range(number)}
        answer = memory_server.ask("GET", "/tasks?limit=1", headers=fields)
        assert answer.status == status
    check_problem(answer, 431, "100 header fields")


def test_a_head_has_its_own_time(monkeypatch):
    """However long a connection may be idle: from its first byte on a head has to hurry."""
    monkeypatch.setattr(taskflow.serving.connection, "HEAD_TIMEOUT_SECONDS", 0.3)
    with (
        LiveServer(database_url=MEMORY_URL, keep_alive_seconds=3600.0) as server,
        server.connect() as client,
    ):
        assert client.ask("GET", "/livez").status == 200
        began = time.monotonic()
        client.send(b"GET /livez HTTP/1.1\r\n")
        assert client.is_closed()
        assert time.monotonic() - began > 0.2


def test_a_long_query(memory_server):
    """414 as a problem; one that is shorter is judged by what it says."""
    check_problem(memory_server.ask("GET", "/tasks?" + "a" * 9_000), 414, "8192 bytes")
    check_problem(memory_server.ask("GET", "/tasks?limit=" + "1" * 8_000), 422, "limit")
    check_problem(memory_server.ask("GET", "/tasks?" + "&".join(["limit=1"] * 900)), 422, "limit")


def test_http_1_0(server):
    """A client of the old sort is answered, and its connection closed."""
    with server.connect() as connection:
        connection.send(b"POST /tasks HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY))
        answer = connection.read()
        assert (answer.status, answer.json["payload"]) == (201, 1)
        assert connection.is_closed()
    with server.connect() as connection:
        connection.send(b"GET /tasks?limit=0 HTTP/1.0\r\n\r\n")
        check_problem(connection.read(), 422, "limit")


def test_pipelined(server):
    """Requests that are sent without waiting are answered in their order."""
    with server.connect() as connection:
        posts = [
            b'POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n\r\n{"payload": %d}' % n
            for n in range(9)
        ]
        connection.send(b"".join(posts) + GOOD)
        assert [connection.read().json["payload"] for _ in posts] == list(range(9))
        assert connection.read().body == b"ok\n"


def test_many_requests_on_one_connection(memory_server):
    """Valid and invalid requests follow each other on a kept connection."""
    with memory_server.connect() as connection:
        for _ in range(20):
            assert connection.ask("POST", "/tasks", b"").status == 400
            assert connection.ask("GET", "/tasks?limit=x").status == 422
            assert connection.ask("POST", "/tasks", BODY).status == 201
            assert connection.ask("PUT", "/tasks", BODY).status == 405


@pytest.mark.parametrize(
    ("start", "host"),
    [
        ("http://example.com", "example.com"),
        ("HTTP://Example.com:80", "example.com:80"),
        ("https://x", "x"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_absolute_form(memory_server, start, host):
    """A target with scheme and host is taken, as a proxy sends it (RFC 9112, section 3.2.2).

    If that is another host than ``Host`` names, the request is ambiguous.
    """
    fields = {"host": host}
    assert memory_server.ask("GET", f"{start}/tasks?limit=1", headers=fields).status == 200
    check_problem(memory_server.ask("GET", f"{start}/x", headers=fields), 404)
    assert memory_server.ask("GET", start, headers=fields).status == 404
    other = memory_server.ask("GET", f"{start}/tasks", headers={"host": "localhost"})
    check_problem(other, 400, "different servers")


@pytest.mark.parametrize("target", ["//tasks", "/%2Ftasks", "/%2f%2Ftasks", "//livez"])
def test_slashes_at_the_start(memory_server, target):
    """However they are written, several are not taken for one."""
    check_problem(memory_server.ask("GET", target), 404)


def test_a_lower_case_method(memory_server):
    """Hypercorn converts methods to capitals before TaskFlow reads them."""
    with memory_server.connect() as connection:
        connection.send(GOOD.lower().replace(b"http/", b"HTTP/"))
        assert connection.read().status == 200


@pytest.mark.parametrize("target", ["/tasks", "/nothing", "/livez"])
@pytest.mark.parametrize("host", ["x", "a..b"])
def test_a_web_socket(memory_server, target, host):
    """WebSockets are rejected, without effect on other connections."""
    handshake = (
        f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    with memory_server.connect() as other:
        with memory_server.connect() as connection:
            connection.send(handshake)
            check_problem(connection.read(), 400, "WebSocket")
        assert other.ask("GET", "/livez").status == 200
    memory_server.check_serves()
