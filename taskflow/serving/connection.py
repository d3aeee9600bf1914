"""The connection of one client, with limits of time and number.

Hypercorn 0.18 runs all connections in one nursery, where an exception of one would end all others,
it never times out while sending, and it offers HTTP/2 and WebSockets. ``serving/server.py`` puts
this class in place of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, Final, TypeAlias

import trio
from hypercorn.utils import parse_socket_addr

from taskflow import telemetry
from taskflow.serving.http1_protocol import Http1Protocol, connection_limit_response

RECEIVE_BYTES: Final = 2**16

# Maximum time from the first byte of a request to the end of its headers.
HEAD_TIMEOUT_SECONDS: Final = 5.0
# Clients must read responses at this rate, beyond the time that every response has.
MIN_BYTES_PER_SECOND: Final = 64 * 2**10
# Timeout for sending the 503 response when the connection limit is reached.
REJECT_TIMEOUT_SECONDS: Final = 1.0

Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class ConnectionLimit:
    """Limits the number of simultaneous connections."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @contextlib.contextmanager
    def slot(self) -> Iterator[bool]:
        """Take a slot for the block; yields whether one was free."""
        is_free = self._free > 0
        self._free -= is_free
        try:
            yield is_free
        finally:
            self._free += is_free


@dataclasses.dataclass(frozen=True)
class ConnectionLimits:
    """Limits that Hypercorn has no options for.

    Attributes:
        serving: Number of connections that are served.
        rejecting: Number of further connections that get a 503 response; others are closed.
        send_seconds: Time to send a response, plus its size by ``MIN_BYTES_PER_SECOND``.
    """

    serving: ConnectionLimit
    rejecting: ConnectionLimit
    send_seconds: float


class IdleTimeout:
    """Closes a connection on which no request arrives.

    One task per connection watches it. It is woken only if the deadline becomes earlier; each
    request of a busy connection postpones the deadline, which is checked when it has passed.

    Args:
        seconds: Timeout after a request.
        terminated: Hypercorn's event that no more requests are accepted.
    """

    def __init__(self, seconds: float, terminated: Any) -> None:
        self._seconds = seconds
        self._terminated = terminated
        self._scope = trio.CancelScope()
        self._deadline = math.inf

    def restart(self) -> None:
        """Start the timeout after a request."""
        self._set_deadline(trio.current_time() + self._seconds)

    def stop(self) -> None:
        """Stop the timeout: a request has arrived."""
        self._set_deadline(math.inf)

    def shorten(self, seconds: float) -> None:
        """Expire after this time at the latest."""
        self._set_deadline(min(self._deadline, trio.current_time() + seconds))

    def _set_deadline(self, deadline: float) -> None:
        is_earlier = deadline < self._scope.deadline
        self._deadline = deadline
        if is_earlier:
            self._scope.deadline = deadline

    async def watch(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call ``close`` when the timeout expires, or at once when no more are accepted."""
        while self._deadline > trio.current_time() and not self._terminated.is_set():
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                await self._terminated.wait()
        # During a request the deadline is infinite; the connection closes after its response.
        if math.isfinite(self._deadline):
            with trio.CancelScope(shield=True):
                await close()


class Connection:
    """A connection; an exception in it closes it and affects no other connection.

    ``serve_http``, or Hypercorn under its own command, creates one for each client and awaits it.
    """

    def __init__(self, limits: ConnectionLimits, *hypercorn_args: Any) -> None:
        self._app, self._config, self._context, self._state, self._stream = hypercorn_args
        self._limits = limits
        self._requests = trio.CancelScope()
        self._send_lock = trio.Lock()
        self._idle = IdleTimeout(self._config.keep_alive_timeout, self._context.terminated)

    def __await__(self) -> Generator[Any, None, None]:
        return self.run().__await__()

    async def run(self) -> None:
        """Serve the connection until it is closed; raises ``Cancelled`` only."""
        try:
            await self._serve_or_reject()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this connection only
            telemetry.emit_throttled(telemetry.Event.CONNECTION_ERROR, error=error)
        except BaseExceptionGroup as group:
            errors, rest = group.split(Exception)
            if errors is not None:
                telemetry.emit_throttled(telemetry.Event.CONNECTION_ERROR, error=errors)
            if rest is not None:
                raise rest from None
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _serve_or_reject(self) -> None:
        with self._limits.serving.slot() as has_slot:
            if has_slot:
                # A scope of our own: Hypercorn's nursery would pass a cancellation on to all
                # connections.
                with self._requests:
                    await self._serve()
                return
        telemetry.emit_throttled(telemetry.Event.CONNECTIONS_FULL)
        with self._limits.rejecting.slot() as has_slot:
            # With TLS the handshake would cost more than the response is worth.
            if has_slot and isinstance(self._stream, trio.SocketStream):
                await self._reject(self._stream)

    async def _reject(self, stream: trio.SocketStream) -> None:
        """Send a 503 response, and read until the client closes: a reset would discard it."""
        with (
            trio.move_on_after(REJECT_TIMEOUT_SECONDS),
            contextlib.suppress(trio.BrokenResourceError),
        ):
            await stream.send_all(connection_limit_response())
            await stream.send_eof()
            while await stream.receive_some(RECEIVE_BYTES):
                pass

    async def _serve(self) -> None:
        """Serve requests until the connection is closed."""
        is_tls = isinstance(self._stream, trio.SSLStream)
        try:
            if is_tls and not await self._shakes_hands():
                return
            socket = (self._stream.transport_stream if is_tls else self._stream).socket
            try:
                client, server = socket.getpeername(), socket.getsockname()
            except OSError:
                return  # the client has left before its address was known
            scope = {
                "type": "http",
                "asgi": {"spec_version": "2.1", "version": "3.0"},
                "scheme": "https" if is_tls else "http",
                "root_path": self._config.root_path,
                "client": parse_socket_addr(socket.family, client),
                "server": parse_socket_addr(socket.family, server),
                "state": self._state,
            }
            protocol = Http1Protocol(self, self._app, self._config, self._context, scope)
            self._idle.restart()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._idle.watch, self._stream.aclose)
                await protocol.serve()
                nursery.cancel_scope.cancel()
        finally:
            await self.close()

    async def _shakes_hands(self) -> bool:
        """Do the TLS handshake; return whether it succeeded."""
        try:
            with trio.fail_after(self._config.ssl_handshake_timeout):
                await self._stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError):
            return False
        return True

    def head_began(self) -> None:
        """Limit the time for the rest of the head."""
        self._idle.shorten(HEAD_TIMEOUT_SECONDS)

    def request_began(self) -> None:
        """Stop the idle timeout."""
        self._idle.stop()

    def request_ended(self) -> None:
        """Start the idle timeout."""
        self._idle.restart()

    async def receive(self) -> bytes:
        """Receive data; empty once the client has closed the connection."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return b""

    async def send(self, data: bytes) -> None:
        """Send all data, or abort: a connection with half a response is useless."""
        seconds = self._limits.send_seconds + len(data) / MIN_BYTES_PER_SECOND
        async with self._send_lock:
            try:
                with trio.fail_after(seconds):
                    await self._stream.send_all(data)
            except (
                trio.BrokenResourceError,
                trio.BusyResourceError,  # another task is closing it
                trio.ClosedResourceError,
                trio.TooSlowError,
            ):
                await self._abort()
            except trio.Cancelled:
                await trio.aclose_forcefully(self._stream)
                raise

    async def _abort(self) -> None:
        """Close, and cancel the request in progress: its app may not be receiving."""
        await trio.aclose_forcefully(self._stream)
        self._requests.cancel()

    async def close(self) -> None:
        """Close the connection in order."""
        if isinstance(self._stream, trio.SocketStream):
            with contextlib.suppress(
                trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError
            ):
                await self._stream.send_eof()
        await self._stream.aclose()
