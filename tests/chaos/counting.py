"""A target that counts: what it was asked for, when, and what it answered."""

from __future__ import annotations

import socket
import time
from collections import defaultdict

from tests.service.targets import ANSWER, SocketServer

MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"


class CountingTarget(SocketServer):
    """``/now/<key>`` at once, ``/slow/<ms>/<key>`` after a while, ``/missing/<key>`` never."""

    def __init__(self) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        self.answered: defaultdict[str, set[int]] = defaultdict(set)

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                length = 0
                while (field := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = field.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                stream.read(length)
                self._answer(connection, line.split(b" ", 2)[1].decode())

    def _answer(self, connection: socket.socket, path: str) -> None:
        _, kind, *rest = path.split("/")
        key = rest[-1]
        self.asked[key].append(time.time())
        if kind == "slow":
            time.sleep(int(rest[0]) / 1000)  # how long this answer takes
        is_missing = kind == "missing"
        # Noted before it is sent: what arrived has been counted.
        self.answered[key].add(404 if is_missing else 200)
        connection.sendall(MISSING if is_missing else ANSWER)
