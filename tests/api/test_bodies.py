"""Bodies: how long, how slow, how framed; and that a refusal reaches who is still sending."""

from __future__ import annotations

import json
import socket

import pytest

from taskflow.api import middleware
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem, in_chunks, request_bytes
from tests.api.live import LiveServer

LIMIT = 2**20
SMALL_LIMIT = 1000
CHUNKED = {"transfer-encoding": "chunked"}


def body_of(size: int) -> bytes:
    return b'{"payload": "' + b"x" * (size - 15) + b'"}'


@pytest.fixture(scope="module")
def strict_server():
    """One that takes 1,000 bytes, and waits half a second for them."""

    def configure(app):
        app.config["BODY_TIMEOUT"] = 0.5

    with LiveServer(
        database_url=MEMORY_URL, max_body_bytes=SMALL_LIMIT, configure=configure
    ) as server:
        yield server


class TestLength:
    @pytest.mark.parametrize("headers", [{}, CHUNKED], ids=["stated", "chunked"])
    def test_exactly_the_limit(self, server, headers):
        """A body of 1 MiB is accepted and returned, with Content-Length or chunked."""
        body = body_of(LIMIT)
        assert len(body) == LIMIT
        sent = in_chunks(body, 70_000) if headers else body
        answer = server.ask("POST", "/tasks", sent, headers)
        assert answer.status == 201
        assert server.show(answer.json["id"])["payload"] == "x" * (LIMIT - 15)

    @pytest.mark.parametrize("headers", [{}, CHUNKED], ids=["stated", "chunked"])
    @pytest.mark.parametrize("excess", [1, 3 * LIMIT])
    def test_over_the_limit(self, server, headers, excess):
        """413 is what the client reads, even one that sends all before it looks."""
        body = body_of(LIMIT + excess)
        with server.connect() as connection:
            sent = in_chunks(body, 70_000) if headers else body
            answer = connection.ask("POST", "/tasks", sent, headers)
            check_problem(answer, 413, "1048576 bytes")
            assert connection.ask("GET", "/livez").status == 200

    def test_over_the_limit_by_its_own_word(self, memory_server):
        """A length that is stated and too great is refused before anything is sent."""
        with memory_server.connect() as connection:
            connection.send(
                request_bytes("POST", "/tasks", None, {"host": "x", "content-length": "9" * 15})
            )
            check_problem(connection.read(), 413)  # and not the 408 of a body that never came

    def test_the_limit_is_a_setting(self, strict_server):
        """And both sides of it are where it says."""
        assert strict_server.post(body_of(SMALL_LIMIT)).status == 201
        check_problem(strict_server.post(body_of(SMALL_LIMIT + 1)), 413, "1000 bytes")

    def test_many_small_chunks(self, server):
        """A body in chunks of one byte is the same body."""
        answer = server.ask("POST", "/tasks", in_chunks(b'{"payload": "x"}', 1), CHUNKED)
        assert (answer.status, answer.json["payload"]) == (201, "x")

    @pytest.mark.parametrize(
        ("method", "target", "status"),
        [
            ("POST", "/nothing", 404),
            ("PUT", "/tasks", 405),
            ("GET", "/livez", 200),
            ("GET", "/tasks?limit=0", 422),
        ],
    )
    def test_a_body_that_is_not_read(self, memory_server, method, target, status):
        """A body that no route reads does not delay the response."""
        with memory_server.connect() as connection:
            answer = connection.ask(method, target, b"x" * (4 * LIMIT))
            assert answer.status == status
            assert connection.ask("GET", "/livez").status == 200

    def test_an_unsupported_coding_with_a_long_body(self, memory_server):
        """A client that sends the whole body first gets the 415."""
        answer = memory_server.ask(
            "POST", "/tasks", b"\x1f\x8b" * LIMIT, {"content-encoding": "gzip"}
        )
        check_problem(answer, 415)


class TestLies:
    def test_a_body_that_breaks_off(self, server):
        """A client that leaves before its body is complete creates no task."""
        before = server.add(b'"before"')
        with server.connect() as connection:
            connection.send(b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n")
            connection.send(b'{"payload": "cut off"}')
        server.check_serves()
        newest = server.ask("GET", "/tasks?limit=10").json
        payloads = [task["payload"] for task in newest if task["id"] > before]
        assert "cut off" not in payloads

    def test_a_body_that_ends_too_early(self, server):
        """If the client ends its sending side in order, it gets a 400."""
        with server.connect() as connection:
            connection.send(b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n")
            connection.send(b'{"payload": "half"}')
            connection.socket.shutdown(socket.SHUT_WR)
            assert connection.read().status == 400
            assert connection.is_closed()
        server.check_serves()

    def test_a_body_beyond_its_length(self, server):
        """Bytes beyond Content-Length are the next request, here an invalid one."""
        with server.connect() as connection:
            connection.send(
                b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n\r\n"
                b'{"payload": 1}{"payload": 2}\r\n\r\n'
            )
            assert connection.read().json["payload"] == 1
            assert connection.read().status == 400
            assert connection.is_closed()
        server.check_serves()


class TestSlowness:
    def test_half_a_body(self, strict_server):
        """408 when the rest does not come in time; others are served meanwhile."""
        with strict_server.connect() as connection:
            connection.send(b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
            strict_server.check_serves()
            check_problem(connection.read(), 408, "in time")
        strict_server.check_serves()

    def test_clients_that_send_on_are_disconnected(self, memory_server, monkeypatch):
        """After its response a client can finish sending, but only for a limited time."""
        monkeypatch.setattr(middleware, "LINGER_SECONDS", 0.2)
        with memory_server.connect() as connection:
            connection.send(b"PUT /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
            check_problem(connection.read(), 405)
            assert connection.is_closed()

    def test_a_complete_request_is_answered_at_once(self, memory_server, monkeypatch):
        """The response does not wait, wherever the end of the request is received."""
        monkeypatch.setattr(middleware, "LINGER_SECONDS", 3600)
        for method, path in [("OPTIONS", "/ui"), ("HEAD", "/tasks"), ("GET", "/ui/tasks")] * 30:
            assert memory_server.ask(method, path).status == 200

    def test_the_limit_has_a_default(self, memory_server):
        """The limit has a default."""
        seen = []
        with LiveServer(database_url=MEMORY_URL, configure=seen.append):
            [app] = seen
            assert app.config["BODY_TIMEOUT"] == 30

    def test_many_slow_bodies(self, memory_server):
        """A hundred incomplete bodies do not delay the response to a valid request."""
        slow = [memory_server.connect() for _ in range(100)]
        try:
            for connection in slow:
                connection.send(b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
            memory_server.check_serves()
        finally:
            for connection in slow:
                connection.close()


class TestExpect:
    def test_100_continue(self, server):
        """A client that waits for leave to send gets it."""
        body = body_of(5000)
        with server.connect() as connection:
            headers = {"host": "x", "expect": "100-continue", "content-length": str(len(body))}
            connection.send(request_bytes("POST", "/tasks", None, headers))
            assert connection.read_raw_head()[0] == 100
            connection.send(body)
            assert connection.read().status == 201

    def test_too_large_a_body_expected(self, memory_server):
        """``Expect: 100-continue`` with a body that is too large gets a 413 instead of a 100."""
        with memory_server.connect() as connection:
            headers = {"host": "x", "expect": "100-continue", "content-length": str(2**25)}
            connection.send(request_bytes("POST", "/tasks", None, headers))
            check_problem(connection.read(), 413)

    def test_too_large_a_task_expected(self, memory_server):
        """What is too large for a task may still be an array: that is seen at its first byte."""
        with memory_server.connect() as connection:
            headers = {"host": "x", "expect": "100-continue", "content-length": str(2 * LIMIT)}
            connection.send(request_bytes("POST", "/tasks", None, headers))
            assert connection.read_raw_head()[0] == 100
            connection.send(b"{")
            check_problem(connection.read(), 413)


def test_payloads_are_returned_unchanged(server):
    """A large payload of every sort of character survives the way in and out."""
    text = json.dumps("".join(chr(c) for c in range(1, 0x3000)) * 20, ensure_ascii=False)
    answer = server.post(b'{"payload": ' + text.encode() + b"}")
    assert answer.status == 201
    assert server.show(answer.json["id"])["payload"] == json.loads(text)
