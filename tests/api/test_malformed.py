"""HTTP that is none: a 4xx or a clean end for that connection, and nothing for any other."""

from __future__ import annotations

import contextlib

import pytest

from tests.api.client import NoAnswer, check_problem

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
def test_no_answer_but_a_refusal(memory_server, data):
    """A 4xx or a clean end, and the server goes on serving."""
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
        assert connection.read().status == 501
    memory_server.check_serves()


BOTH = (
    b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
    b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
)


def test_a_length_and_chunks(server):
    """Who states a length and sends chunks is refused: two readers may cut it at two places."""
    with server.connect() as connection:
        connection.send(BOTH)
        answer = connection.read()
        check_problem(answer, 400, "not both")
        assert answer.header("connection") == "close"
        assert connection.is_closed()
    server.check_serves()


def test_nothing_is_smuggled(memory_server, events):
    """What comes after such a request is never taken for another one."""
    with memory_server.connect() as connection:
        connection.send(BOTH + GOOD)
        # Hypercorn may see what is left over before it has answered: it closes at once, and
        # says that it could not answer.
        with contextlib.suppress(NoAnswer):
            assert connection.read().status == 400
        assert connection.is_closed()
    memory_server.check_serves()
    events.clear()


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
    assert memory_server.ask("GET", "/tasks", headers={"x": "a" * 8_000}).status == 200


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


def test_many_on_one_connection(memory_server):
    """Good and bad requests follow each other on a connection that stays."""
    with memory_server.connect() as connection:
        for _ in range(20):
            assert connection.ask("POST", "/tasks", b"").status == 400
            assert connection.ask("GET", "/tasks?limit=x").status == 422
            assert connection.ask("POST", "/tasks", BODY).status == 201
            assert connection.ask("PUT", "/tasks", BODY).status == 405


@pytest.mark.parametrize(
    "target", ["http://example.com/tasks", "HTTP://example.com:80/tasks", "https://x/tasks?limit=1"]
)
def test_the_absolute_form(memory_server, target):
    """A target with scheme and host is taken, as a proxy sends it (RFC 9112, section 3.2.2)."""
    assert memory_server.ask("GET", target).status == 200
    check_problem(memory_server.ask("GET", target.replace("tasks", "x")), 404)
    assert memory_server.ask("GET", "http://example.com").status == 404


def test_a_method_in_small_letters(memory_server):
    """Hypercorn makes them capitals before anybody sees them."""
    with memory_server.connect() as connection:
        connection.send(GOOD.lower().replace(b"http/", b"HTTP/"))
        assert connection.read().status == 200


@pytest.mark.parametrize("target", ["/tasks", "/nothing", "/livez"])
@pytest.mark.parametrize("host", ["x", "a..b"])
def test_a_web_socket(memory_server, target, host):
    """Nobody takes one here: it is refused or passed over, and no other connection feels it."""
    handshake = (
        f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    with memory_server.connect() as other:
        with memory_server.connect() as connection:
            connection.send(handshake)
            assert connection.read_raw_head()[0] in (200, 400, 404)
        assert other.ask("GET", "/livez").status == 200
    memory_server.check_serves()
