"""What a client may take of each entry point, over bare sockets; and who is cut off at what."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from tests.api.holds import unit_seconds
from tests.service.connections import connections_to
from tests.service.processes import PATIENCE_SECONDS, Running, running, wait_until

SERVERS = ["serve", "hypercorn"]
CONNECTIONS = 20
REQUEST_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 1.5

LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /tasks HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
WEB_SOCKET = (
    b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + KEY
)
H2C = (
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.fixture(scope="module", params=SERVERS)
def service(request, tmp_path_factory):
    """A service whose bounds are near."""
    folder = tmp_path_factory.mktemp("bounds")
    with running(
        request.param,
        folder,
        DATABASE_URL="memory://",
        TASKFLOW_MAX_CONNECTIONS=CONNECTIONS,
        TASKFLOW_REQUEST_SECONDS=REQUEST_SECONDS,
        TASKFLOW_KEEP_ALIVE_SECONDS=KEEP_ALIVE_SECONDS,
    ) as service:
        yield service
        ended = service.end()
    assert ended.code == 0
    for complaint in ("Traceback", "fault"):
        assert complaint not in ended.stderr, ended.stderr


@pytest.fixture(autouse=True)
def serves_on(service):
    """Whatever happens in a test, others are served afterwards."""
    yield
    wait_until(lambda: service.ask("GET", "/livez").status == 200)


def ask_for_life(client: socket.socket) -> None:
    client.sendall(LIVE)
    assert b"ok\n" in read_answer(client)


def read_answer(client: socket.socket, said: bytes = b"") -> bytes:
    """What comes, up to the end of a body of known length."""
    while b"\r\n\r\n" not in said:
        received = client.recv(65536)
        assert received, said
        said += received
    head, _, body = said.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    output = b""
    with contextlib.suppress(ConnectionResetError):
        while received := client.recv(65536):
            output += received
    return output


def answer_to(service: Running, data: bytes) -> bytes:
    """What is answered on a connection of its own that then sends no more."""
    with service.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        return read_to_end(client)


def check_problem(answer: bytes, status: int, *words: str) -> None:
    """It is one answer, a problem of this status."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head.lower()
    assert b"\r\nserver:" not in head.lower()
    problem = json.loads(body)
    assert problem["status"] == status
    for word in words:
        assert word in problem["detail"]


class TestProtocols:
    def test_websockets_are_rejected(self, service):
        """With a byte behind the handshake too (Hypercorn's issue 225), which once ended all."""
        for behind in (b"", b"\x81"):
            check_problem(answer_to(service, WEB_SOCKET + b"\r\n" + behind), 400, "WebSocket")

    def test_h2c_is_passed_over(self, service):
        """The answer is HTTP/1, as for a server that does not know the offer: curl sends it."""
        answer = answer_to(service, H2C)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"101" not in answer

    def test_http2_is_rejected(self, service):
        """A client that starts with HTTP/2 is rejected."""
        check_problem(answer_to(service, PREFACE), 505, "HTTP/1.1")


class TestHeads:
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"a" * 9000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 100 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 9000 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 20_000, 431),
            (b"a" * 100_000, 431),
        ],
        ids=["target", "field", "101 fields", "9001 fields", "without end", "no line"],
    )
    def test_too_long(self, service, data, status):
        """Refused with what it is, and closed."""
        check_problem(answer_to(service, data), status)

    def test_too_long_in_pieces(self, service):
        """The same when it comes bit by bit: no more than 16 KiB are ever kept."""
        with service.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 200_000:
                    client.sendall(b"x: " + b"a" * 500 + b"\r\n")
                    sent += 505
                    time.sleep(0.001)
            assert sent < 100_000
            check_problem(read_to_end(client), 431)

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\nX:" + b" " * 65_000 + b"\0\r\n\r\n",
            CHUNKED + b"0\r\nX:" + b" " * 60_000 + b"\0\r\n\r\n",
            CHUNKED + b"1;" + b" " * 60_000 + b"\n\r\n",
        ],
        ids=["field", "trailer", "chunk"],
    )
    def test_one_of_blanks_costs_nothing(self, service, data):
        """Parsing it took seconds of CPU time, in which no client was served."""
        [process] = service.node_processes()
        before = process.cpu_times().user
        answer_to(service, data)
        with service.connect() as other:
            ask_for_life(other)
        assert process.cpu_times().user - before < 100 * unit_seconds()

    def test_a_slow_one_is_cut(self, service):
        """A byte now and then does not keep a head open."""
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nx: " + b"a" * 10_000
        seconds = trickle(service, head, pause_seconds=0.05)
        assert seconds > KEEP_ALIVE_SECONDS - 0.5

    @pytest.mark.parametrize("first", [b"", LIVE], ids=["at once", "after a request"])
    def test_an_idle_one_is_closed(self, service, first):
        """Also one that has never said a word."""
        with service.connect() as client:
            if first:
                ask_for_life(client)
            began = time.monotonic()
            assert read_to_end(client) == b""
            seconds = time.monotonic() - began
        assert seconds > KEEP_ALIVE_SECONDS - 0.5


def trickle(service: Running, data: bytes, pause_seconds: float) -> float:
    """Send byte by byte until it is closed without an answer, and say how long that took.

    It is reset, not ended, if a byte was on its way.
    """
    began = time.monotonic()
    with service.connect() as client, contextlib.suppress(ConnectionError):
        client.settimeout(pause_seconds)
        for byte in data:
            with contextlib.suppress(TimeoutError):
                client.sendall(bytes([byte]))
                assert client.recv(1000) == b""
                break
        else:
            raise AssertionError("it was never closed")
    return time.monotonic() - began


class TestBodies:
    @pytest.mark.parametrize("is_chunked", [False, True], ids=["stated", "chunked"])
    def test_a_slow_one_is_cut(self, service, is_chunked):
        """The bound is for all of it: bytes that go on coming do not move it."""
        head = CHUNKED if is_chunked else POST + b"Content-Length: 9999\r\n\r\n"
        piece = b"1\r\nx\r\n" if is_chunked else b"x"
        began = time.monotonic()
        with service.connect() as client:
            client.sendall(head)
            client.settimeout(0.05)
            answer = b""
            while not answer:
                assert time.monotonic() - began < PATIENCE_SECONDS
                with contextlib.suppress(TimeoutError):
                    client.sendall(piece)
                    answer = client.recv(65536)
            client.settimeout(PATIENCE_SECONDS)
            check_problem(read_answer(client, answer), 408, "in time")

    def test_too_long_a_one_is_not_kept(self, service):
        """After the answer it is read no longer than a client needs to see the answer."""
        began = time.monotonic()
        with service.connect() as client, contextlib.suppress(ConnectionError):
            client.sendall(CHUNKED)
            while time.monotonic() - began < PATIENCE_SECONDS:
                client.sendall(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
                time.sleep(0.01)
        assert time.monotonic() - began < PATIENCE_SECONDS


class TestReaders:
    def test_clients_that_do_not_read_are_disconnected(self, service):
        """A response that the client does not read is aborted, which frees the slot."""
        task_id = service.post("x" * 300_000)
        with service.connect(receive_bytes=4096) as client:
            began = time.monotonic()
            client.sendall(b"GET /tasks/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % task_id.encode())
            assert client.recv(100)
            wait_until(lambda: is_cut(client, service))
            seconds = time.monotonic() - began
        assert seconds > REQUEST_SECONDS

    def test_clients_that_only_send_are_disconnected(self, service):
        """Their places are free again, and nothing is done of what is behind that answer."""
        task_id = service.post("x" * 300_000)
        show = b"GET /tasks/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % task_id.encode()
        post = POST + b'Content-Length: 21\r\n\r\n{"payload": "behind"}'
        wait_until(lambda: not clients_of(service))
        with contextlib.ExitStack() as stack:
            for _ in range(CONNECTIONS):
                client = stack.enter_context(service.connect(receive_bytes=4096))
                client.sendall(show + post * 9)
                assert client.recv(100)
            wait_until(lambda: not clients_of(service))
            newest = service.ask("GET", "/tasks?limit=1").body
        assert [task["id"] for task in newest] == [task_id]

    def test_a_client_that_resets_during_responses(self, service):
        """A reset in the middle of an answer, with requests waiting, frees the place as well."""
        task_id = service.post("x" * 300_000)
        request = b"GET /tasks/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % task_id.encode()
        for _ in range(2 * CONNECTIONS):
            with service.connect(receive_bytes=4096) as client:
                client.sendall(request * 9)
                assert client.recv(100)
        wait_until(lambda: not clients_of(service))


def is_cut(client: socket.socket, service: Running) -> bool:
    """Whether the service has let go of this client."""
    return client.getsockname()[1] not in clients_of(service)


def clients_of(service: Running) -> set[int]:
    """The ports of all clients that the service has a socket for."""
    return {
        one.client_port
        for one in connections_to(service.port)
        if one.inode  # of a process
    }


class TestMany:
    def test_over_the_bound(self, service):
        """The next client gets a 503; connected clients, and later ones, are served."""
        wait_until(lambda: not clients_of(service))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(service.connect()) for _ in range(CONNECTIONS)]
            for client in clients:
                ask_for_life(client)
            for _ in range(3):
                answer = answer_to(service, LIVE)
                check_problem(answer, 503, "connection limit reached")
                assert b"retry-after: 2" in answer
                assert b"connection: close" in answer
            for client in clients:
                ask_for_life(client)

    def test_closed_connections_are_freed_at_once(self, service):
        """At once: they are not waited for as idle ones, whenever they leave."""
        wait_until(lambda: not clients_of(service))
        for number in range(5 * CONNECTIONS):
            with service.connect() as client:
                if number % 2:
                    ask_for_life(client)
                    time.sleep(0.01)
        with service.connect() as client:
            ask_for_life(client)

    def test_a_request_cut_short_is_no_fault(self, service):
        """Who hangs up in the middle of a body leaves nothing in the log."""
        for _ in range(50):
            with service.connect() as client:
                client.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
                client.shutdown(socket.SHUT_WR)
                read_to_end(client)
        assert "internal error" not in service.log

    def test_far_over_the_bound(self, service):
        """Hundreds of clients at once end nothing, and are forgotten when they are gone."""
        clients = []
        try:
            for _ in range(300):
                clients.append(service.connect())
                with contextlib.suppress(ConnectionError):
                    clients[-1].sendall(LIVE)
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: not clients_of(service))
        assert service.log.count("connection limit reached") <= 3

    def test_requests_on_one_connection(self, service):
        """A connection takes about a thousand, says that it will close, and does."""
        with service.connect() as client:
            answers, is_last = 0, False
            while not is_last:
                client.sendall(LIVE)
                is_last = b"connection: close" in read_answer(client).lower()
                answers += 1
            assert answers in (1000, 1001)
            assert read_to_end(client) == b""

    def test_pipelined(self, service):
        """Requests that come at once, one of them bad, are answered in order up to that one."""
        answer = answer_to(service, LIVE * 50 + b"GET / HTTP/1.1\r\nno colon\r\n\r\n" + LIVE)
        assert answer.count(b"HTTP/1.1 200 ") == 50
        assert answer.count(b"HTTP/1.1 400 ") == 1
