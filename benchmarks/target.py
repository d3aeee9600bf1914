"""A cheap target: one process, one epoll, raw HTTP/1.1.

======================  ==============================================================
``GET /``               answered at once
``GET /accepted``       answered with a 202 at once
``GET /100``            answered after 100 ms
``GET /at/7``           answered at once; when its first byte came is kept under 7
``GET /large/3000``     1 MiB, the last byte of which comes after 3,000 ms
``GET /arrivals``       what was kept, as JSON of numbers to seconds; forgotten by this
``GET /count``          the number of requests so far, without those for the last two
======================  ==============================================================

Seconds are from CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import heapq
import json
import select
import socket
import threading
import time

ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"ok": true}'
)
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
LARGE_BYTES = 2**20
LARGE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n" % LARGE_BYTES
)
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR


class Target:
    """Responds to requests in one thread, and with large bodies in threads of their own."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._poll = select.epoll()
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._clients: dict[int, socket.socket] = {}
        self._begun: dict[int, bytes] = {}
        self._due: list[tuple[float, int]] = []
        self._arrivals: dict[int, float] = {}
        self._count = 0

    def run(self) -> None:
        """Respond until killed."""
        while True:
            wait_seconds = max(self._due[0][0] - time.monotonic(), 0) if self._due else None
            for number, _ in self._poll.poll(wait_seconds):
                if number == self._listener.fileno():
                    self._accept()
                else:
                    self._read(self._clients[number])
            self._answer_those_due()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[client.fileno()] = client
        self._poll.register(client.fileno(), _READABLE)

    def _read(self, client: socket.socket) -> None:
        """Read a request, which has no body."""
        came_at = time.monotonic()
        try:
            data = client.recv(65_536)
        except ConnectionError:
            data = b""
        head = self._begun.pop(client.fileno(), b"") + data
        if not data:
            self._drop(client).close()
            return
        if not head.endswith(b"\r\n\r\n"):
            self._begun[client.fileno()] = head
            return
        self._answer(client, head.split(b" ", 2)[1].decode("ascii").strip("/"), came_at)

    def _answer(self, client: socket.socket, path: str, came_at: float) -> None:
        kind, _, argument = path.rpartition("/")
        if path == "arrivals":
            kept, self._arrivals = self._arrivals, {}
            self._report(client, kept)
            return
        if path == "count":
            self._report(client, self._count)
            return
        self._count += 1
        if path == "accepted":
            self._send(client, ACCEPTED)
        elif kind == "at":
            self._arrivals[int(argument)] = came_at
            self._send(client)
        elif kind == "large":
            threading.Thread(
                target=send_large, args=[self._drop(client), int(argument) / 1000], daemon=True
            ).start()
        elif argument:
            heapq.heappush(self._due, (came_at + int(argument) / 1000, client.fileno()))
        else:
            self._send(client)

    def _report(self, client: socket.socket, report: object) -> None:
        body = json.dumps(report).encode()
        client.settimeout(None)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def _answer_those_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            client = self._clients.get(heapq.heappop(self._due)[1])
            if client is not None:
                self._send(client)

    def _send(self, client: socket.socket, answer: bytes = ANSWER) -> None:
        try:
            client.sendall(answer)
        except OSError:
            self._drop(client).close()

    def _drop(self, client: socket.socket) -> socket.socket:
        self._poll.unregister(client.fileno())
        return self._clients.pop(client.fileno())


def send_large(client: socket.socket, seconds: float) -> None:
    """Send a large response, and its last byte after ``seconds``."""
    with client:
        client.settimeout(None)
        try:
            client.sendall(LARGE_HEAD + b"x" * (LARGE_BYTES - 1))
            time.sleep(seconds)
            client.sendall(b"x")
        except OSError:
            return


if __name__ == "__main__":
    with socket.create_server(("0.0.0.0", 0), backlog=1024) as listening:  # noqa: S104 - as many hosts
        print(listening.getsockname()[1], flush=True)
        Target(listening).run()
