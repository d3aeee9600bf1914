"""``Connection``: a stream for asks' RequestProcessor, with state for the connection pool."""

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
        origin: The origin that it is connected to.
        received: Number of bytes received since it was last acquired.
        is_reused: True if it served an earlier request.
        host: Used by asks.
        port: Used by asks, as text.
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
        """Return the origin and the state."""
        state = "open" if self._active else "closed"
        return f"<Connection to {self.origin}: {state}{', reused' if self.is_reused else ''}>"

    @property
    def is_open(self) -> bool:
        """True if this side has not closed it."""
        return self._active

    @property
    def is_quiet(self) -> bool:
        """True if neither unexpected data nor the end of the stream has arrived."""
        return not self._socket.is_readable() and not self._has_decrypted_more()

    def _has_decrypted_more(self) -> bool:
        """Return whether TLS has buffered data that arrived together with the last response.

        It would be taken for the response to the next request. Reading it here consumes it, so the
        connection cannot be used any more.
        """
        if not isinstance(self._stream, trio.SSLStream):
            return False
        try:
            self._stream._ssl_object.read(1)  # noqa: SLF001 - Trio has no API for this
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass
        return True

    async def send(self, data: bytes) -> None:
        """Send data.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """
        await self._stream.send_all(data)

    async def receive(self) -> bytes:
        """Return received data; empty at the end of the stream.

        Raises:
            ConnectionLost: The stream ended before the first byte of a response.
            trio.BrokenResourceError: The connection broke.
        """
        data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        if not data and not self.received:
            raise ConnectionLost(f"{self.origin} closed the connection without a response")
        self.received += len(data)
        return data

    async def aclose(self) -> None:
        """Close the connection; required by asks."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close at once without a TLS alert: HTTP itself delimits messages."""
        self._active = False
        self._socket.close()

    def reuse(self) -> None:
        """Reset the state for another request."""
        self.received = 0
        self.is_reused = True


def _socket_of(stream: Stream) -> trio.socket.SocketType:
    if isinstance(stream, trio.SSLStream):
        return stream.transport_stream.socket
    return stream.socket
