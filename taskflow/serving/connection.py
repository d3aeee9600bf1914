"""The connection of one client, with limits of time and number.

Hypercorn 0.18 runs all connections in one nursery, where an exception of one would end all others,
and it never times out while sending. ``serving/server.py`` puts this class in place of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import trio
from hypercorn.events import Event, RawData
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer

from taskflow import telemetry
from taskflow.serving.http1 import RequestStarted, connection_limit_response

# Maximum time from the first byte of a request to the end of its headers.
HEAD_TIMEOUT_SECONDS: Final = 5.0
# Clients must read responses at this rate, beyond the time that every response has.
MIN_BYTES_PER_SECOND: Final = 64 * 2**10
# Timeout for sending the 503 response when the connection limit is reached.
REJECT_TIMEOUT_SECONDS: Final = 1.0


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

    Hypercorn starts a task for this after each request. This class has the same methods and one
    task per connection, which made a ``POST`` 10 % faster (measured with a sampling profiler).

    Args:
        seconds: Timeout after a request.
        terminated: Hypercorn's event that no more requests are accepted.
    """

    def __init__(self, seconds: float, terminated: Any) -> None:
        self._seconds = seconds
        self._terminated = terminated
        self._scope = trio.CancelScope()
        self._is_watching = False

    async def restart(self, task_group: Any, close: Callable[[], Awaitable[None]]) -> None:
        """Start the timeout after a request; ``close`` is called when it expires."""
        self._set_deadline(trio.current_time() + self._seconds)
        if not self._is_watching and math.isfinite(self._scope.deadline):
            self._is_watching = True
            task_group.spawn(self._watch, close)

    async def stop(self) -> None:
        """Stop the timeout: a request has arrived."""
        self._set_deadline(math.inf)

    def shorten(self, seconds: float) -> None:
        """Expire after this time at the latest."""
        self._set_deadline(min(self._scope.deadline, trio.current_time() + seconds))

    def expire(self) -> None:
        """Expire now, and ignore later calls."""
        self._set_deadline(-math.inf)

    def _set_deadline(self, deadline: float) -> None:
        if self._scope.deadline != -math.inf:
            self._scope.deadline = deadline

    async def _watch(self, close: Callable[[], Awaitable[None]]) -> None:
        # The deadline may be moved at the moment at which it expires.
        while self._scope.deadline > trio.current_time() and not self._terminated.is_set():
            with trio.CancelScope(deadline=self._scope.deadline) as self._scope:
                await self._terminated.wait()
        self._is_watching = False
        # During a request the deadline is infinite; Hypercorn closes after its response.
        if math.isfinite(self._scope.deadline):
            with trio.CancelScope(shield=True):
                await close()


class Connection(TCPServer):
    """A connection; an exception in it closes it and affects no other connection."""

    def __init__(self, limits: ConnectionLimits, *hypercorn_args: Any) -> None:
        super().__init__(*hypercorn_args)
        self._limits = limits
        self._requests = trio.CancelScope()
        self.idle_task: Any = IdleTimeout(self.config.keep_alive_timeout, self.context.terminated)

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
            await trio.aclose_forcefully(self.stream)

    async def _serve_or_reject(self) -> None:
        with self._limits.serving.slot() as has_slot:
            if has_slot:
                # A scope of our own: Hypercorn's nursery would pass a cancellation on to all
                # connections.
                with self._requests:
                    await super().run()
                return
        telemetry.emit_throttled(telemetry.Event.CONNECTIONS_FULL)
        stream: Any = self.stream
        with self._limits.rejecting.slot() as has_slot:
            # With TLS the handshake would cost more than the response is worth.
            if has_slot and isinstance(stream, trio.SocketStream):
                await self._reject(stream)

    async def _reject(self, stream: trio.SocketStream) -> None:
        """Send a 503 response, and read until the client closes: a reset would discard it."""
        with (
            trio.move_on_after(REJECT_TIMEOUT_SECONDS),
            contextlib.suppress(trio.BrokenResourceError),
        ):
            await stream.send_all(connection_limit_response())
            await stream.send_eof()
            while await stream.receive_some(MAX_RECV):
                pass

    async def protocol_send(self, event: Event) -> None:
        """Handle an event of the protocol; sending data has a timeout and can be cancelled."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, RequestStarted):
            self.idle_task.shorten(HEAD_TIMEOUT_SECONDS)
        else:
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        """Read until the client closes, and free its slot then.

        A client that closes right after its response does so before Hypercorn has finished the
        request, and would keep its slot until the idle timeout.
        """
        await super()._read_data()
        self.idle_task.expire()

    async def _send(self, data: bytes) -> None:
        """Send all data, or abort: a connection with half a response is useless."""
        seconds = self._limits.send_seconds + len(data) / MIN_BYTES_PER_SECOND
        async with self.send_lock:
            try:
                with trio.fail_after(seconds):
                    await self.stream.send_all(data)
            except (
                trio.BrokenResourceError,
                trio.BusyResourceError,  # another task is closing it
                trio.ClosedResourceError,
                trio.TooSlowError,
            ):
                await self._abort()
            except trio.Cancelled:
                await trio.aclose_forcefully(self.stream)
                raise

    async def _abort(self) -> None:
        """Close, and cancel the requests of this client that are in progress.

        Notifying the protocol is not enough: if another request is queued, Hypercorn's reader
        waits for the end of the response, which never comes.
        """
        await trio.aclose_forcefully(self.stream)
        self._requests.cancel()

    async def _idle_timeout(self) -> None:
        """Close; called when ``IdleTimeout`` has expired."""
        await self._initiate_server_close()
