"""A stream as asks' RequestProcessor wants one, with what the pool has to know."""

from __future__ import annotations

import ssl
from typing import Final, TypeAlias

import trio

from taskflow.fetch.errors import ConnectionLost
from taskflow.model.url import Target

RECEIVE_BYTES: Final = 65_536

Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Connection:
    """One connection to an origin, used by one fetch at a time.

    Attributes:
        origin: Of the targets that it serves.
        received: Bytes of answers since it was last taken in use.
        is_reused: Whether it served a request before this one.
        host: Read by asks.
        port: Read by asks, as text.
    """

    def __init__(self, stream: Stream, target: Target) -> None:
        self._stream = stream
        self._socket = _socket_of(stream)
        self._active = True
        self.origin = target.origin
        self.host = target.host
        self.port = str(target.port)
        self.received = 0
        self.is_reused = False

    def __repr__(self) -> str:
        """Say to whom, and how it stands."""
        state = "open" if self._active else "closed"
        return f"<Connection to {self.origin}: {state}{', reused' if self.is_reused else ''}>"

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed by us."""
        return self._active

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has arrived that nobody asked for, an end included."""
        return not self._socket.is_readable() and not self._has_decrypted_more()

    def _has_decrypted_more(self) -> bool:
        """Whether TLS holds something back that came in one piece with the last answer.

        It would be taken for the answer to the next request. What is read here is lost, and with
        it the connection.
        """
        if not isinstance(self._stream, trio.SSLStream):
            return False
        try:
            self._stream._ssl_object.read(1)  # noqa: SLF001 - trio has no way to look
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True

    async def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """
        await self._stream.send_all(data)

    async def receive(self) -> bytes:
        """What has come in; nothing at the end.

        Raises:
            ConnectionLost: It ended before a byte of an answer.
            trio.BrokenResourceError: The connection broke.
        """
        data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        if not data and not self.received:
            raise ConnectionLost(f"{self.origin} closed the connection before it answered")
        self.received += len(data)
        return data

    async def aclose(self) -> None:
        """Close as ``close`` does. asks asks for it."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close at once and without a farewell: HTTP says itself where a message ends."""
        self._active = False
        self._socket.close()

    def reuse(self) -> None:
        """Begin with another request."""
        self.received = 0
        self.is_reused = True


def _socket_of(stream: Stream) -> trio.socket.SocketType:
    if isinstance(stream, trio.SSLStream):
        return stream.transport_stream.socket
    return stream.socket
