"""A target that counts how many requests of each host it has at once, and when they began."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter, defaultdict

from tests.service.targets import ANSWER, SocketServer


class PacedTarget(SocketServer):
    """Answers ``/<milliseconds>/...`` after that time, on every address of this machine."""

    def __init__(self, port: int = 0) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        super().__init__(listener)
        self.port = listener.getsockname()[1]
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: defaultdict[str, list[float]] = defaultdict(list)

    def url(self, milliseconds: int, host: str = "127.0.0.1", key: object = "") -> str:
        return f"http://{host}:{self.port}/{milliseconds}/{key}"

    def starts(self) -> list[float]:
        """When any request began, in order."""
        return sorted(at for some in self.began.values() for at in some)

    def serve(self, connection: socket.socket) -> None:
        head = b""
        while data := connection.recv(65536):
            head += data
            if head.endswith(b"\r\n\r\n"):
                self._answer(connection, head.decode())
                head = b""

    def _answer(self, connection: socket.socket, head: str) -> None:
        host = re.search(r"host: ([0-9.]+)", head, re.IGNORECASE)[1]
        with self._lock:
            self.began[host].append(time.monotonic())
            for name in (host, "all"):
                self._running[name] += 1
                self.most[name] = max(self.most[name], self._running[name])
        time.sleep(int(head.split("/")[1] or 0) / 1000)  # how long this answer takes
        with self._lock:
            for name in (host, "all"):
                self._running[name] -= 1
        connection.sendall(ANSWER)
