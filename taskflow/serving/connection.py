"""One client's connection: its faults are its own, and whatever it may take is bounded.

Hypercorn's own classes, to which Hypercorn 0.18 gives one nursery for all connections, see to
neither; ``serving/server.py`` puts these in their places.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from itertools import chain
from types import SimpleNamespace
from typing import Any, Final

import h11
import msgspec
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer

from taskflow import linear_h11, telemetry  # noqa: F401 - the first for its effect
from taskflow.api.access.browser import SECURITY_HEADERS
from taskflow.api.problems import MEDIA_TYPE, document_for

# A head may take so long from its first byte on, or from the beginning of the idle time on if
# that is over earlier.
HEAD_SECONDS: Final = 5.0
# An answer may take a second more for each so many bytes.
ANSWER_BYTES_PER_SECOND: Final = 64 * 2**10
# How long those may take who are told that there is no place.
TURN_AWAY_SECONDS: Final = 1.0

_DETAILS: Final = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "the head of the request is too long",
    HTTPStatus.NOT_IMPLEMENTED: "chunked is the only supported transfer coding",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "only HTTP/1.1 is supported",
    HTTPStatus.SERVICE_UNAVAILABLE: "connection limit reached; try again shortly",
}
_NO_HTTP: Final = "this cannot be read as HTTP/1.1"


@dataclasses.dataclass(frozen=True)
class HeadBegun(Event):
    """The first bytes of a request have come, or more of them."""


class Places:
    """Room for so many at once."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextlib.contextmanager
    def one(self) -> Iterator[bool]:
        """Have a place for the block, if there is one."""
        is_free = self._free > 0
        self._free -= is_free
        try:
            yield is_free
        finally:
            self._free += is_free


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What holds for all connections of a process together, or that Hypercorn has no option for.

    Attributes:
        places: For those who are served.
        doorstep: For those who are told that there is no place; others are only hung up on.
        answer_seconds: How long a client may take to read an answer, a long one aside.
    """

    places: Places
    doorstep: Places
    answer_seconds: float


class Patience:
    """How long a connection may stay without a request.

    Hypercorn starts a task for that after each request, and ends it with the next one. This has
    the same verbs and one task in all: that was a tenth of a ``POST``, by a sampling profile.

    Args:
        seconds: From the end of a request on.
        terminated: Hypercorn's event that no more requests are to be taken.
    """

    def __init__(self, seconds: float, terminated: Any) -> None:
        self._seconds = seconds
        self._terminated = terminated
        self._scope = trio.CancelScope()
        self._is_watched = False

    async def restart(self, task_group: Any, close: Callable[[], Awaitable[None]]) -> None:
        """Wait for a request from now on; ``close`` is called if none comes."""
        self._wait_until(trio.current_time() + self._seconds)
        if not self._is_watched and math.isfinite(self._scope.deadline):
            self._is_watched = True
            task_group.spawn(self._watch, close)

    async def stop(self) -> None:
        """A request has come."""
        self._wait_until(math.inf)

    def hurry(self, seconds: float) -> None:
        """What is waited for has begun, and must be complete soon."""
        self._wait_until(min(self._scope.deadline, trio.current_time() + seconds))

    def end(self) -> None:
        """There is nobody to wait for any more, whatever else is said from now on."""
        self._wait_until(-math.inf)

    def _wait_until(self, deadline: float) -> None:
        if self._scope.deadline != -math.inf:
            self._scope.deadline = deadline

    async def _watch(self, close: Callable[[], Awaitable[None]]) -> None:
        # Moved on in the moment in which it was over, it goes on.
        while self._scope.deadline > trio.current_time() and not self._terminated.is_set():
            with trio.CancelScope(deadline=self._scope.deadline) as self._scope:
                await self._terminated.wait()
        self._is_watched = False
        # Hypercorn itself closes after an answer that is still being made when no more requests
        # are to be taken.
        if math.isfinite(self._scope.deadline):
            with trio.CancelScope(shield=True):
                await close()


class ContainedServer(TCPServer):
    """One connection, whose faults are its own."""

    def __init__(self, bounds: Bounds, *hypercorns: Any) -> None:
        super().__init__(*hypercorns)
        self._bounds = bounds
        self._service = trio.CancelScope()
        self.idle_task: Any = Patience(self.config.keep_alive_timeout, self.context.terminated)

    async def run(self) -> None:
        """Serve the connection to its end; never raise but ``Cancelled``."""
        try:
            await self._serve_or_turn_away()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this connection alone
            telemetry.emit_throttled(telemetry.Event.CONNECTION_ERROR, error=error)
        except BaseExceptionGroup as group:
            faults, rest = group.split(Exception)
            if faults is not None:
                telemetry.emit_throttled(telemetry.Event.CONNECTION_ERROR, error=faults)
            if rest is not None:
                raise rest from None
        finally:
            await trio.aclose_forcefully(self.stream)

    async def _serve_or_turn_away(self) -> None:
        with self._bounds.places.one() as has_place:
            if has_place:
                # Hypercorn's own nursery lets a cancellation of itself out, to all connections.
                with self._service:
                    await super().run()
                return
        telemetry.emit_throttled(telemetry.Event.CONNECTIONS_FULL)
        stream: Any = self.stream
        with self._bounds.doorstep.one() as has_place:
            # What TLS would cost is more than an answer is worth.
            if has_place and isinstance(stream, trio.SocketStream):
                await self._turn_away(stream)

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        """Say why, and wait a moment for the client to take it: a reset would destroy it."""
        with (
            trio.move_on_after(TURN_AWAY_SECONDS),
            contextlib.suppress(trio.BrokenResourceError),
        ):
            await stream.send_all(_NO_PLACE)
            await stream.send_eof()
            while await stream.receive_some(MAX_RECV):
                pass

    async def protocol_send(self, event: Event) -> None:
        """Send, for so long at most, and let a cancellation through: a client need not read."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, HeadBegun):
            self.idle_task.hurry(HEAD_SECONDS)
        else:
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        """Read until the client leaves, and give its place back then.

        One that leaves right after its answer is gone before Hypercorn is done with the request,
        and would be waited for as an idle one.
        """
        await super()._read_data()
        self.idle_task.end()

    async def _send(self, data: bytes) -> None:
        """Send all of it, or give the connection up: what is cut off half-way leaves it useless."""
        seconds = self._bounds.answer_seconds + len(data) / ANSWER_BYTES_PER_SECOND
        async with self.send_lock:
            try:
                with trio.fail_after(seconds):
                    await self.stream.send_all(data)
            except (
                trio.BrokenResourceError,
                trio.BusyResourceError,  # it is being closed just now
                trio.ClosedResourceError,
                trio.TooSlowError,
            ):
                await self._give_up()
            except trio.Cancelled:
                await trio.aclose_forcefully(self.stream)
                raise

    async def _give_up(self) -> None:
        """Close, and end all that is still at work for this client.

        To tell the protocol would not do: with another request behind the one that was being
        answered, Hypercorn's reader waits for an end of the answer that never comes.
        """
        await trio.aclose_forcefully(self.stream)
        self._service.cancel()

    async def _idle_timeout(self) -> None:
        """Close: it is ``Patience`` that waits."""
        await self._initiate_server_close()


class LastRequest(h11.Connection):
    """Passes over what comes after a request that was to be the last one.

    Hypercorn would answer that with a 400, in place of the answer to the request before it.
    """

    def receive_data(self, data: bytes) -> None:
        """Take what came, unless nothing more is to come."""
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> Any:
        """What is next, if there can be anything."""
        return h11.NEED_DATA if self.their_state is h11.MUST_CLOSE else super().next_event()


class Http1(H11Protocol):
    """HTTP/1, and no way from there to HTTP/2 or WebSockets."""

    def __init__(self, *hypercorns: Any) -> None:
        super().__init__(*hypercorns)
        self.connection = LastRequest(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )
        self._held_back = b""

    async def handle(self, event: Event) -> None:
        """Take what came; bytes that are of no request yet begin one."""
        if isinstance(event, RawData) and self.stream is None:
            await self.send(HeadBegun())
        await super().handle(event)

    async def _check_protocol(self, event: Any) -> None:
        """Pass over an offer to go on in HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Answer in HTTP/1, whatever else is offered, as a server may (RFC 9110, section 7.8).

        Hypercorn goes over to WebSockets if ``Connection`` says so too. The app refuses them.
        """
        if not request.http_version.startswith(b"1."):
            await self._send_error_response(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
            await self.send(Closed())
            return
        # An h11.Request would be validated a second time.
        plain: Any = SimpleNamespace(
            method=request.method,
            target=request.target,
            headers=[field for field in request.headers if field[0] != b"connection"],
            http_version=request.http_version,
        )
        await super()._create_stream(plain)

    async def _send_h11_event(self, event: Any) -> None:
        """Send what the event is on the wire; a head of a known length goes out with its body.

        One packet rather than two, and one call of the system. Not so for refusals: that the second
        packet cannot be sent tells of a client who has left, and ends the reading of the rest of
        what it had sent.
        """
        try:
            data = self._held_back + (self.connection.send(event) or b"")
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        is_held = isinstance(event, h11.Response) and _goes_with_its_body(event)
        self._held_back = data if is_held else b""
        if data and not is_held:
            await self.send(RawData(data))

    async def _maybe_recycle(self) -> None:
        """Be ready for the next request, a part of which may have come already."""
        await super()._maybe_recycle()
        if self.connection.trailing_data[0]:
            await self.send(HeadBegun())

    async def _send_error_response(self, status_code: int) -> None:
        fields, body = refusal(status_code)
        ours = self.config.response_headers("h11")
        head = h11.Response(status_code=status_code, headers=list(chain(fields, ours)))
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            await self._send_h11_event(event)


def _goes_with_its_body(head: h11.Response) -> bool:
    has_length = any(name == b"content-length" for name, _ in head.headers)
    return has_length and head.status_code < HTTPStatus.BAD_REQUEST


def refusal(status_code: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The header fields and the body of an answer that closes the connection."""
    status = HTTPStatus(status_code)
    body = msgspec.json.encode(document_for(status, _DETAILS.get(status, _NO_HTTP)))
    fields = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    return fields, body


def _no_place() -> bytes:
    fields, body = refusal(HTTPStatus.SERVICE_UNAVAILABLE)
    fields.append((b"retry-after", b"2"))
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"HTTP/1.1 503 Service Unavailable\r\n%b\r\n%b" % (head, body)


_NO_PLACE: Final = _no_place()
