"""Servers on this machine that do as a test says: a target for fetches, a way to a database."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.service.processes import PATIENCE_SECONDS, wait_until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


class SocketServer:
    """Accepts connections, each served in a thread; at the end all of them are gone."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_over = threading.Event()

    def __enter__(self) -> Any:
        self._listener.listen(100)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()  # also for a connection that is not among the open ones yet
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        self._listener.close()

    def serve(self, connection: socket.socket) -> None:
        """Serve one; an OSError ends it."""
        raise NotImplementedError

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            with connection, contextlib.suppress(OSError):
                if not self._is_over.is_set():
                    self.serve(connection)
        finally:
            self._open.discard(connection)


class Target(SocketServer):
    """What is fetched: ``/now...`` is answered at once, ``/held...`` when the test says so."""

    def __init__(self) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.seen: list[tuple[str, float]] = []
        self.closed: list[tuple[str, float]] = []
        self._held, self._releasing = socket.socketpair()

    def __exit__(self, *exc: object) -> None:
        self.release()
        super().__exit__(*exc)
        self._held.close()

    def release(self) -> None:
        """Answer all that is held back, and hold nothing back any more."""
        self._releasing.close()

    def wait_for(self, path: str, *, times: int = 1) -> list[float]:
        """Wait until this path was requested this many times, and return when."""

        def asked() -> list[float]:
            return [at for asked_for, at in self.seen if asked_for == path]

        wait_until(lambda: len(asked()) >= times)
        return asked()

    def wait_for_close(self, path: str) -> float:
        """Wait until a connection was closed on which this path was held back, and say when."""

        def closed() -> list[float]:
            return [at for asked_for, at in self.closed if asked_for == path]

        return wait_until(closed)[0]

    def serve(self, connection: socket.socket) -> None:
        head = b""
        while data := connection.recv(65536):
            at = time.perf_counter()
            head += data
            if not head.endswith(b"\r\n\r\n"):
                continue
            path = head.split(b" ", 2)[1].decode()
            self.seen.append((path, at))
            if path.startswith("/held"):
                self._hold(connection, path)
            connection.sendall(ANSWER)
            head = b""

    def _hold(self, connection: socket.socket, path: str) -> None:
        """Wait until released, and note when the other side closes meanwhile."""
        poll = select.poll()
        poll.register(self._held, select.POLLRDHUP)
        poll.register(connection, select.POLLRDHUP)
        while self._held.fileno() not in dict(poll.poll()):
            self.closed.append((path, time.perf_counter()))
            poll.unregister(connection)


class Way(SocketServer):
    """A way to a PostgreSQL's socket that can freeze: it takes all and hands on nothing."""

    def __init__(self, folder: Path, socket_path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / socket_path.name))
        super().__init__(listener)
        self._socket_path = socket_path
        self._is_frozen = threading.Event()

    def freeze(self) -> None:
        self._is_frozen.set()

    def thaw(self) -> None:
        """Be a way again, but not for connections that something was lost on."""
        self._is_frozen.clear()

    def serve(self, connection: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._socket_path))
            self._open.add(server)
            self._start(self._hand_on, server, connection)
            self._hand_on(connection, server)
            self._open.discard(server)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._is_frozen.is_set():
                    self._is_over.wait()
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
