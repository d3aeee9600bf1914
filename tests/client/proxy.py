"""A way to a service that can be cut: each connection goes on until the test says otherwise."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit


class Proxy:
    """Passes on what comes, in threads of its own.

    Attributes:
        connections: How many there have been.
        answers_lost: How many of the next answers are lost: the connection is cut when the
            service has begun to answer.
    """

    def __init__(self, url: str) -> None:
        self.turn_to(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.connections = 0
        self.answers_lost = 0
        self.on_answer: Callable[[bytes], None] = lambda data: None

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def turn_to(self, url: str) -> None:
        """Further connections lead to this service."""
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)

    def cut(self) -> None:
        """Cut all connections that there are."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                service = socket.create_connection(self._target)
                self._pairs.append((client, service))
                self._start(self._pass_on, client, service)
                self._start(self._pass_back, service, client)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _pass_on(self, client: socket.socket, service: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(65536):
                service.sendall(data)
        with contextlib.suppress(OSError):
            service.shutdown(socket.SHUT_WR)

    def _pass_back(self, service: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError), service:
            while data := service.recv(65536):
                if self.answers_lost:
                    self.answers_lost -= 1
                    break
                self.on_answer(data)
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
