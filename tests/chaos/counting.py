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
        head = b""
        while data := connection.recv(65536):
            head += data
            if head.endswith(b"\r\n\r\n"):
                self._answer(connection, head.split(b" ", 2)[1].decode())
                head = b""

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
