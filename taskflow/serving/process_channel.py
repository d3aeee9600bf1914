"""What ``taskflow serve --processes`` and each of its processes say to each other.

The main process accepts connections and passes them to its processes, over one Unix socket each.
If it dies, the sockets are closed, and its processes shut down in order.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import trio

from taskflow.serving.shutdown import Shutdown

# From the main process; a connection comes with its file descriptor.
CONNECTION: Final = b"c"
SHUT_DOWN: Final = b"s"
FORCE_SHUTDOWN: Final = b"f"
HANG_UP: Final = b"h"
# To the main process.
READY: Final = b"r"
ENDING: Final = b"e"
CLOSED: Final = b"-"


class MainProcess:
    """The main process, as one of its processes sees it.

    Args:
        channel: The socket to it.

    Attributes:
        pid: Its process id.
        is_ending: Whether it is shutting down or has died.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.pid: Final = os.getppid()
        self.is_ending = False
        self._channel = channel
        self._channel.settimeout(0.0)
        self._serve: Callable[[trio.SocketStream], None] | None = None
        self._unreported = b""

    async def serve_connections(
        self, handler: Callable[[Any], Awaitable[object]], *, handler_nursery: trio.Nursery
    ) -> None:
        """Serve the connections that the main process passes, as ``trio.serve_listeners`` does."""
        self._serve = lambda stream: handler_nursery.start_soon(self._run, handler, stream)
        try:
            self._report(READY)
            await trio.sleep_forever()
        finally:
            self._serve = None
            self._report(ENDING)

    async def follow(self, shutdown: Shutdown) -> None:
        """Do what the main process says, until it ends."""
        while message := await self._receive():
            if message == SHUT_DOWN:
                self.is_ending = True
                shutdown.start()
            elif message == FORCE_SHUTDOWN:
                shutdown.force()
            elif message == HANG_UP:
                shutdown.hang_up.notify()
        self.is_ending = True
        shutdown.start()

    async def _receive(self) -> bytes:
        """Return the next message, empty at the end; a connection is handled here."""
        await trio.lowlevel.wait_readable(self._channel)
        try:
            message, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        except ConnectionError:
            return b""
        if message == CONNECTION:
            self._take(descriptors)
        return message

    def _take(self, descriptors: list[int]) -> None:
        # Without a free file descriptor the system closes the connection instead of passing it.
        connections = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for connection in connections:
            if self._serve is None:
                connection.close()
            else:
                connection.settimeout(0.0)
                self._serve(trio.SocketStream(trio.socket.from_stdlib_socket(connection)))
        if not connections or self._serve is None:
            self._report(CLOSED)

    async def _run(
        self, handler: Callable[[Any], Awaitable[object]], stream: trio.SocketStream
    ) -> None:
        try:
            await handler(stream)
        finally:
            await trio.aclose_forcefully(stream)
            self._report(CLOSED)

    def _report(self, message: bytes) -> None:
        """Send without waiting; what does not fit is sent with the next message."""
        self._unreported += message
        with contextlib.suppress(OSError):
            self._unreported = self._unreported[self._channel.send(self._unreported) :]


@contextlib.asynccontextmanager
async def followed_main_process(descriptor: int, shutdown: Shutdown) -> AsyncIterator[MainProcess]:
    """Do what the main process says during the block.

    Args:
        descriptor: The file descriptor of the channel.
        shutdown: Started when the main process shuts down or dies.
    """
    with socket.socket(fileno=descriptor) as channel:
        main = MainProcess(channel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(main.follow, shutdown)
            yield main
            nursery.cancel_scope.cancel()
