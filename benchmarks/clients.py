"""The load: keep-alive connections that POST, in a process and on an epoll of their own.

``python -m benchmarks.clients '{"port": ..., ...}'`` sends as told by ``Load`` and prints a
``Report``, both as JSON. It parses no more of an answer than where it ends, so that it takes a
small part of what the servers take; how much CPU it took is in the report.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections import deque

import msgspec

_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_END_OF_HEAD = b"\r\n\r\n"


class Submission(msgspec.Struct, frozen=True):
    """The ``POST`` that submits a task.

    Attributes:
        path: Path of the route.
        body: JSON; ``URL`` in it becomes the URL of the task, and ``QUEUE`` its queue.
    """

    path: str = "/tasks"
    body: str = '{"payload": "URL"}'


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        port: Of the server, on the loopback.
        url: Of the tasks; ``{}`` in it becomes the number of the request.
        submission: How the server accepts a task.
        connections: How many, each with one request at a time.
        seconds: For how long.
        warm_up_seconds: For how long before that, unmeasured.
        rate: Requests a second, evenly; as fast as answers come if ``None``.
        queues: The queues of the tasks: each connection has one of them, in turn.
    """

    port: int
    url: str
    submission: Submission = Submission()
    connections: int
    seconds: float
    warm_up_seconds: float = 0.5
    rate: float | None = None
    queues: tuple[str, ...] = ("default",)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a load.

    Attributes:
        per_second: Requests answered with 2xx a second.
        p50_ms: The median time until the response, in milliseconds.
        p95_ms: The time that one in twenty exceeds.
        p99_ms: The time that one in a hundred exceeds.
        failures: Answers that were no 2xx.
        cpu_share: The CPU that the client took, as a part of one core.
        sent_at: When each request went out, by its number, in seconds; with a rate only.
    """

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failures: int
    cpu_share: float
    sent_at: dict[int, float]


class Client:
    """Sends a load over non-blocking sockets."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._path = load.submission.path.encode()
        body = load.submission.body.replace("URL", load.url)
        bodies = [body.replace("QUEUE", queue).encode() for queue in load.queues]
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._began: dict[int, float] = {}
        self._received: dict[int, bytes] = {}
        self._free: deque[int] = deque()
        self._number = 0
        self.took: list[float] = []
        self.failures = 0
        self.sent_at: dict[int, float] = {}
        self._bodies: dict[int, bytes] = {}
        for place in range(load.connections):
            self._free.append(self._connect(bodies[place % len(bodies)]))

    def run(self, seconds: float) -> None:
        """Send for this time, then wait for the last responses."""
        began = time.monotonic()
        end = began + seconds
        while (now := time.monotonic()) < end:
            self._send_what_is_due(now - began)
            for number, _ in self._poll.poll(self._pause_seconds(now - began)):
                self._receive(number)
        while self._began and time.monotonic() < end + 10:
            for number, _ in self._poll.poll(0.1):
                self._receive(number)

    def _send_what_is_due(self, elapsed: float) -> None:
        rate = self._load.rate
        while self._free and (rate is None or self._number < elapsed * rate):
            self._send(self._free.popleft())

    def _pause_seconds(self, elapsed: float) -> float:
        if self._load.rate is None or not self._free:
            return 0.1
        return max((self._number + 1) / self._load.rate - elapsed, 0)

    def _send(self, number: int) -> None:
        path, body = self._path, self._bodies[number].replace(b"{}", b"%d" % self._number)
        self._began[number] = now = time.monotonic()
        if self._load.rate is not None:
            self.sent_at[self._number] = now
        self._number += 1
        self._sockets[number].send(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (path, len(body), body)
        )

    def _receive(self, number: int) -> None:
        data = self._sockets[number].recv(65_536)
        answer = self._received.pop(number, b"") + data
        if not data:
            self._reconnect(number)
        elif is_whole(answer):
            self._finish(number, answer)
        else:
            self._received[number] = answer

    def _finish(self, number: int, answer: bytes) -> None:
        self.took.append(time.monotonic() - self._began.pop(number))
        if not answer.startswith(b"HTTP/1.1 2"):
            self.failures += 1
        if b"connection: close" in answer.partition(_END_OF_HEAD)[0].lower():
            self._reconnect(number)
        else:
            self._free.append(number)

    def _reconnect(self, number: int) -> None:
        """Reconnect: the server closes connections after a number of requests."""
        if self._began.pop(number, None) is not None:
            self.failures += 1
        if number in self._free:
            self._free.remove(number)
        self._poll.unregister(number)
        self._sockets.pop(number).close()
        self._free.append(self._connect(self._bodies.pop(number)))

    def _connect(self, body: bytes) -> int:
        connection = socket.create_connection(("127.0.0.1", self._load.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = connection.fileno()
        self._sockets[number] = connection
        self._bodies[number] = body
        self._poll.register(number, _READABLE)
        return number


def is_whole(answer: bytes) -> bool:
    """Return whether a response is complete."""
    head, end, body = answer.partition(_END_OF_HEAD)
    if not end:
        return False
    _, found, rest = head.lower().partition(b"content-length:")
    if found:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n")


def percentile(values: list[float], share: float) -> float:
    """Return the percentile of the values; 0 without values."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def send(load: Load) -> Report:
    """Send a load from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.clients", msgspec.json.encode(load).decode()]
    output = subprocess.run(command, check=True, capture_output=True, timeout=300).stdout
    return msgspec.json.decode(output, type=Report)


def measured(load: Load) -> Report:
    """Send a load from this process."""
    if load.warm_up_seconds:
        Client(load).run(load.warm_up_seconds)
    client, began, cpu = Client(load), time.monotonic(), time.process_time()
    client.run(load.seconds)
    elapsed = time.monotonic() - began
    return Report(
        per_second=(len(client.took) - client.failures) / elapsed,
        p50_ms=percentile(client.took, 0.5) * 1000,
        p95_ms=percentile(client.took, 0.95) * 1000,
        p99_ms=percentile(client.took, 0.99) * 1000,
        failures=client.failures,
        cpu_share=(time.process_time() - cpu) / elapsed,
        sent_at=client.sent_at,
    )


if __name__ == "__main__":
    report = measured(msgspec.json.decode(sys.argv[1], type=Load))
    print(msgspec.json.encode(report).decode())
