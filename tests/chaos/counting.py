"""A target that counts: what it was asked for, when, and what it answered."""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from tests.service.targets import ANSWER, SocketServer

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"


class CountingTarget(SocketServer):
    """``/now/<key>`` at once, ``/slow/<ms>/<key>`` after a while, ``/missing/<key>`` never.

    ``/later/<how>/<key>`` is accepted, and its outcome reported.

    Attributes:
        accept: Called with the key, how it is done, the completion URL and the number of the
            attempt before an attempt is accepted.
    """

    def __init__(self) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        self.answered: defaultdict[str, set[int]] = defaultdict(set)
        self.accept: Callable[[str, str, str, int], None] = lambda *_: None

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                headers = {}
                while (field := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = field.decode().partition(":")
                    headers[name.lower()] = value.strip()
                stream.read(int(headers.get("content-length", 0)))
                self._answer(connection, line.split(b" ", 2)[1].decode(), headers)

    def _answer(self, connection: socket.socket, path: str, headers: Mapping[str, str]) -> None:
        _, kind, *rest = path.split("/")
        key = rest[-1]
        self.asked[key].append(time.time())
        if kind == "later":
            url, attempt = headers["x-taskflow-completion-url"], headers["x-taskflow-attempt"]
            self.accept(key, rest[0], url, int(attempt))
            connection.sendall(ACCEPTED)
            return
        if kind == "slow":
            time.sleep(int(rest[0]) / 1000)  # how long this answer takes
        is_missing = kind == "missing"
        # Noted before it is sent: what arrived has been counted.
        self.answered[key].add(404 if is_missing else 200)
        connection.sendall(MISSING if is_missing else ANSWER)
