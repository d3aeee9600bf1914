"""A TCP path with a delay and a bandwidth, like a network between two machines."""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from typing import TypeAlias

from tests.service.targets import SocketServer

_Queue: TypeAlias = queue.SimpleQueue[tuple[float, bytes]]
"""Data on its way, and when it is due; empty at the end."""


class DelayedPath(SocketServer):
    """Forwards what arrives at a port of the loopback address, half of the delay later.

    Attributes:
        port: Where it listens.
        round_trip_seconds: The delay that it adds to a request and its response.
        bytes_per_second: Bandwidth of each direction of a connection; ``None`` for no limit.
    """

    def __init__(self, end_port: int) -> None:
        super().__init__(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listener.getsockname()[1]
        self.round_trip_seconds = 0.0
        self.bytes_per_second: float | None = None
        self._end_port = end_port

    def serve(self, connection: socket.socket) -> None:
        """Connect to the other end, and hand on in both directions."""
        with socket.create_connection(("127.0.0.1", self._end_port)) as server:
            for one in (connection, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(server)
            to_server: _Queue = queue.SimpleQueue()
            to_client: _Queue = queue.SimpleQueue()
            self._start(self._read, connection, to_server)
            self._start(self._read, server, to_client)
            self._start(_deliver, to_client, connection)
            _deliver(to_server, server)
            self._open.discard(server)

    def _read(self, source: socket.socket, on_the_way: _Queue) -> None:
        is_free_at = 0.0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                is_free_at = max(is_free_at, time.monotonic())
                if self.bytes_per_second is not None:
                    is_free_at += len(data) / self.bytes_per_second
                on_the_way.put((is_free_at + self.round_trip_seconds / 2, data))
        on_the_way.put((0.0, b""))


def _deliver(on_the_way: _Queue, sink: socket.socket) -> None:
    """Write in another thread than the one that reads, so that delays do not add up."""
    with contextlib.suppress(OSError):
        while (one := on_the_way.get())[1]:
            due_at, data = one
            time.sleep(max(due_at - time.monotonic(), 0.0))
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
