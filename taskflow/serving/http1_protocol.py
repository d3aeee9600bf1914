"""HTTP/1.1 on one connection of a client, between the connection and Hypercorn's ASGI stream.

The responses to what is not valid HTTP are problem documents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
import trio
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream

from taskflow.api.access.browser import SECURITY_HEADERS
from taskflow.api.problems import MEDIA_TYPE, document_for
from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Headers, RequestHead, Signal
from taskflow.http1.readers import RequestReader
from taskflow.http1.writing import CONTINUE, ResponseWriter
from taskflow.model.problem_types import type_for

_STREAM_ID: Final = 1

# Problems whose example in the documentation is the detail of every such response.
_FIXED_DETAILS: Final = (
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)


class Client(Protocol):
    """The connection that the requests come from."""

    def head_began(self) -> None:
        """The first bytes of a request, or more of them, have arrived."""

    def request_began(self) -> None:
        """The head of a request has arrived."""

    def request_ended(self) -> None:
        """A request has ended, and another one may follow."""

    async def send(self, data: bytes) -> None:
        """Send data."""

    async def close(self) -> None:
        """Close the connection."""


class Http1Protocol:
    """The requests of a connection, one after the other.

    ``receive`` returns once all of the data is processed; so no more is received meanwhile, and
    what is buffered stays bounded. An ASGI stream per request runs in a task of its own, and
    responds through ``send_event``.

    Args:
        client: The connection.
        new_stream: Creates an ASGI stream from the callback for its events and its number.
        config: Hypercorn's configuration.
        context: Hypercorn's state of the process.
        state: Hypercorn's state of the application, for the ASGI scope.
    """

    def __init__(
        self,
        client: Client,
        new_stream: Callable[..., HTTPStream],
        config: Any,
        context: Any,
        state: Any,
    ) -> None:
        self._client = client
        self._new_stream = new_stream
        self._config = config
        self._context = context
        self._state = state
        self._reader = RequestReader()
        self._writer: ResponseWriter | None = None
        self._stream: HTTPStream | None = None
        self._requests = 0
        self._is_closed = False
        self._has_ended = trio.Event()
        self._buffered_head = b""

    async def receive(self, data: bytes) -> None:
        """Handle received data; empty at the end of the stream."""
        if data and self._stream is None:
            self._client.head_began()
        self._reader.feed(data)
        await self._handle_requests()

    async def end(self) -> None:
        """End the request in progress, if any."""
        if self._stream is not None:
            await self._stream.handle(StreamClosed(stream_id=_STREAM_ID))
            self._stream = None

    async def _handle_requests(self) -> None:
        """Handle what has arrived; wait for the response to a request before the next one."""
        while not self._is_closed:
            try:
                event = self._reader.next_event()
            except ProtocolError as error:
                await self._reject(error)
                return
            if isinstance(event, RequestHead):
                await self._begin(event)
            elif event is Signal.PAUSED:
                await self._has_ended.wait()
            elif self._stream is None or event is Signal.NEED_DATA:
                return
            elif isinstance(event, bytes):
                await self._pass_on(self._stream, event)
            else:
                await self._stream.handle(EndBody(stream_id=_STREAM_ID))

    async def _pass_on(self, stream: HTTPStream, data: bytes) -> None:
        """Pass on data of a body; the last data as the end, which saves waking the app twice."""
        is_last = self._reader.is_complete
        if is_last:
            self._reader.next_event()
        if not stream.closed:
            await stream.app_put({"type": "http.request", "body": data, "more_body": not is_last})

    async def _begin(self, head: RequestHead) -> None:
        """Begin to handle a request: start the ASGI app."""
        self._has_ended = trio.Event()
        self._client.request_began()
        self._writer = ResponseWriter(head.method, head.version, keeps_alive=head.keeps_alive)
        self._stream = self._new_stream(self.send_event, _STREAM_ID)
        await self._stream.handle(
            Request(
                stream_id=_STREAM_ID,
                headers=head.headers,
                http_version=head.version,
                method=head.method,
                raw_path=head.target,
                state=self._state,
            )
        )
        self._requests += 1
        await self._context.mark_request()
        if head.expects_continue and not self._reader.has_data and not self._writer.has_started:
            await self._client.send(CONTINUE)

    async def send_event(self, event: Any) -> None:
        """Send a part of a response; called by the ASGI stream."""
        if isinstance(event, StreamClosed):
            await self._end_request()
        elif self._is_closed or self._writer is None:
            return
        elif isinstance(event, Response):
            await self._send_head(event.status_code, event.headers)
        elif isinstance(event, Body):
            await self._send_data(self._writer.data(event.data))
        elif isinstance(event, EndBody):
            await self._send_data(self._writer.end())

    async def _send_head(self, status: int, headers: Headers) -> None:
        """Send a head; if the length of the body is known, together with the body.

        That is one packet and one system call instead of two. Error responses are sent in two: if
        the client has left, the second one fails, which stops reading the rest of the request.
        """
        assert self._writer is not None
        if self._requests >= self._config.keep_alive_max_requests:
            self._writer.keeps_alive = False
        headers = [*headers, *self._config.response_headers("h11")]
        self._buffered_head = self._writer.head(status, headers)
        is_known = any(name == b"content-length" for name, _ in headers)
        if not is_known or status >= HTTPStatus.BAD_REQUEST:
            await self._send_data(b"")

    async def _send_data(self, data: bytes) -> None:
        data, self._buffered_head = self._buffered_head + data, b""
        if data:
            await self._client.send(data)

    async def _end_request(self) -> None:
        """End the request, and prepare for the next one, part of which may have arrived already."""
        writer, reader = self._writer, self._reader
        may_go_on = writer is not None and writer.has_ended and writer.keeps_alive
        if not may_go_on or not reader.has_ended or self._context.terminated.is_set():
            await self.end()
            await self._close()
            return
        if self._stream is not None:
            self._stream.closed = True  # without a message to the app, which has ended
            self._stream = None
        reader.start_next()
        self._writer = None
        self._has_ended.set()
        self._client.request_ended()
        if reader.has_data:
            self._client.head_began()

    async def _reject(self, error: ProtocolError) -> None:
        """Respond to what is not valid HTTP, unless a response has begun, and close."""
        if self._writer is None or not self._writer.has_started:
            headers, body = error_response(error.status, str(error))
            headers += self._config.response_headers("h11")
            head = ResponseWriter("GET", "1.1", keeps_alive=False).head(error.status, headers)
            self._is_closed = True  # what the app still sends is dropped
            await self._client.send(head + body)
        await self._close()

    async def _close(self) -> None:
        self._is_closed = True
        self._has_ended.set()
        await self._client.close()


def error_response(status: int, complaint: str = "") -> tuple[Headers, bytes]:
    """Return the headers and the body of a response that closes the connection.

    Args:
        status: The status.
        complaint: What is not valid HTTP/1.1.
    """
    body = msgspec.json.encode(document_for(status, _detail(status, complaint)))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    return headers, body


def _detail(status: int, complaint: str) -> str:
    if status in _FIXED_DETAILS:
        return type_for(status).example_detail
    if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return complaint
    return f"the request is not valid HTTP/1.1: {complaint}"


@functools.cache
def connection_limit_response() -> bytes:
    """Return the complete response to a client above the connection limit."""
    headers, body = error_response(HTTPStatus.SERVICE_UNAVAILABLE)
    headers.append((b"retry-after", b"2"))
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n%b\r\n%b" % (head, body)
