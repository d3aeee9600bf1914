"""``Connection``: a stream for asks' RequestProcessor, with state for the connection pool."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final, Protocol, TypeAlias

import trio

from taskflow.fetch.errors import ConnectionLost
from taskflow.model.proxy import Proxy
from taskflow.model.url import Target

RECEIVE_BYTES: Final = 65_536


class Stream(Protocol):
    """A connected stream of bytes."""

    async def send(self, data: bytes) -> None:
        """Send data.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """

    async def receive(self) -> bytes:
        """Return received data; empty at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """

    def is_quiet(self) -> bool:
        """Return whether neither unexpected data nor the end of the stream has arrived."""

    def close(self) -> None:
        """Close the connection at once."""


class PlainStream:
    """A stream without TLS.

    It uses the socket directly: ``trio.SocketStream`` yields to other tasks after each call, and
    tries to receive a response before it can have arrived. For a small response, that is half of
    the time of both calls.

    Args:
        stream: The stream whose socket is used from now on.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.settimeout(0)

    async def send(self, data: bytes) -> None:
        """See ``Stream``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError(f"sending failed: {error}") from error

    async def receive(self) -> bytes:
        """See ``Stream``."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"receiving failed: {error}") from error

    def is_quiet(self) -> bool:
        """See ``Stream``."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """See ``Stream``."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class TlsStream:
    """A stream with TLS.

    Args:
        stream: The stream, after its handshake.
    """

    def __init__(self, stream: trio.SSLStream[trio.abc.Stream]) -> None:
        self._stream = stream
        self._socket = socket_of(stream)

    async def send(self, data: bytes) -> None:
        """See ``Stream``."""
        await self._stream.send_all(data)

    async def receive(self) -> bytes:
        """See ``Stream``."""
        return bytes(await self._stream.receive_some(RECEIVE_BYTES))

    def is_quiet(self) -> bool:
        """See ``Stream``."""
        return not self._socket.is_readable() and not self._has_decrypted_more()

    def close(self) -> None:
        """See ``Stream``; without a TLS alert, because HTTP itself delimits messages."""
        self._socket.close()

    def _has_decrypted_more(self) -> bool:
        """Return whether TLS has buffered data that arrived together with the last response.

        It would be taken for the response to the next request. Reading it here consumes it, so the
        connection cannot be used any more.
        """
        layer: trio.abc.Stream = self._stream
        while isinstance(layer, trio.SSLStream):
            try:
                layer._ssl_object.read(1)  # noqa: SLF001 - Trio has no API for this
            except ssl.SSLWantReadError:
                layer = layer.transport_stream
            except ssl.SSLError:
                return True
            else:
                return True
        return False


def socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType:
    """Return the socket of a connection, below its layers of TLS."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    return stream.socket


PoolKey: TypeAlias = str | tuple[str, Proxy | None, str]
"""What a connection in the pool is reused for: an origin, a proxy, and a client certificate."""


def pool_key_of(target: Target, proxy: Proxy | None, identity: str = "") -> PoolKey:
    """Return the key of connections to the origin of a target.

    A connection is never reused through another proxy, or with another client certificate.

    Args:
        target: The target.
        proxy: The proxy, with its credentials; ``None`` for a direct connection.
        identity: The name of the TLS configuration of a credential, if it has one.
    """
    return (target.origin, proxy, identity) if proxy or identity else target.origin


class Connection:
    """One connection to an origin, used by one fetch at a time.

    Attributes:
        origin: The origin that it is connected to.
        received: Number of bytes received since it was last acquired.
        is_reused: True if it served an earlier request.
        proxy: The proxy through which it leads, if any.
        pool_key: Requests with the same key can reuse it.
        host: Used by asks.
        port: Used by asks, as text.
    """

    def __init__(self, stream: Stream, target: Target, proxy: Proxy | None = None) -> None:
        self._stream = stream
        self._active = True
        self.origin = target.origin
        self.host = target.host
        self.port = str(target.port)
        self.received = 0
        self.is_reused = False
        self.proxy = proxy
        self.pool_key = pool_key_of(target, proxy)

    def __repr__(self) -> str:
        """Return the origin and the state."""
        state = "open" if self._active else "closed"
        return f"<Connection to {self.origin}: {state}{', reused' if self.is_reused else ''}>"

    @property
    def is_forwarded(self) -> bool:
        """True if a proxy forwards its requests, instead of the bytes of a tunnel."""
        return self.proxy is not None and self.origin.startswith("http:")

    @property
    def is_open(self) -> bool:
        """True if this side has not closed it."""
        return self._active

    @property
    def is_quiet(self) -> bool:
        """True if neither unexpected data nor the end of the stream has arrived."""
        return self._stream.is_quiet()

    async def send(self, data: bytes) -> None:
        """Send data.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """
        await self._stream.send(data)

    async def receive(self) -> bytes:
        """Return received data; empty at the end of the stream.

        Raises:
            ConnectionLost: The stream ended before the first byte of a response.
            trio.BrokenResourceError: The connection broke.
        """
        data = await self._stream.receive()
        if not data and not self.received:
            raise ConnectionLost(f"{self.origin} closed the connection without a response")
        self.received += len(data)
        return data

    async def aclose(self) -> None:
        """Close the connection; required by asks."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close at once."""
        self._active = False
        self._stream.close()

    def reuse(self) -> None:
        """Reset the state for another request."""
        self.received = 0
        self.is_reused = True
