"""Paths between servers that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.service.targets import SocketServer


class Path(SocketServer):
    """A TCP path: what arrives at one address is handed on to another.

    While it is cut, it accepts connections and hands on nothing, like a network that drops packets.

    Args:
        start: The address that it listens on.
        end: The address that it leads to.
    """

    def __init__(self, start: tuple[str, int], end: tuple[str, int]) -> None:
        super().__init__(socket.create_server(start))
        self._end = end
        self._is_whole = threading.Event()
        self._is_whole.set()

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._is_whole.set()
        super().__exit__(*exc)

    def cut(self) -> None:
        """Hand on nothing from now on."""
        self._is_whole.clear()

    def mend(self) -> None:
        """Hand on again, but close the connections on which something was lost."""
        self._is_whole.set()

    def serve(self, connection: socket.socket) -> None:
        if self._is_cut():
            return
        with socket.create_connection(self._end) as server:
            self._open.add(server)
            self._start(self._hand_on, server, connection)
            self._hand_on(connection, server)
            self._open.discard(server)

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._is_cut():
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_cut(self) -> bool:
        """Return whether it is cut; if so, wait until it is not."""
        was_cut = not self._is_whole.is_set()
        self._is_whole.wait()
        return was_cut or self._is_over.is_set()
