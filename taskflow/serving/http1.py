"""HTTP/1.1 on one connection: Hypercorn's protocol, with strict and complete error responses.

Hypercorn's own class offers HTTP/2 and WebSockets, sends responses in more packets than needed,
and answers malformed requests without a body.
"""

from __future__ import annotations

import dataclasses
import functools
from http import HTTPStatus
from itertools import chain
from types import SimpleNamespace
from typing import Any, Final

import h11
import msgspec
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol

from taskflow import linear_h11  # noqa: F401 - imported for its effect
from taskflow.api.access.browser import SECURITY_HEADERS
from taskflow.api.problems import MEDIA_TYPE, document_for
from taskflow.model.problem_types import type_for

Headers = list[tuple[bytes, bytes]]

# Problems whose example in the documentation is the detail of every such response.
_FIXED_DETAILS: Final = (
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)


@dataclasses.dataclass(frozen=True)
class RequestStarted(Event):
    """The first bytes of a request, or more of them, have arrived."""


class H11ServerConnection(h11.Connection):
    """Ignores data after the last request of a connection.

    Hypercorn would answer that data with a 400, instead of the response to the last request.
    """

    def receive_data(self, data: bytes) -> None:
        """Receive data, unless no further request is allowed."""
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> Any:
        """Return the next event, if a further request is allowed."""
        return h11.NEED_DATA if self.their_state is h11.MUST_CLOSE else super().next_event()


class Http1Protocol(H11Protocol):
    """HTTP/1.1 without upgrades to HTTP/2 or WebSockets."""

    def __init__(self, *hypercorn_args: Any) -> None:
        super().__init__(*hypercorn_args)
        self.connection = H11ServerConnection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )
        self._buffered_head = b""

    async def handle(self, event: Event) -> None:
        """Handle received data; data outside of a request starts one."""
        if isinstance(event, RawData) and self.stream is None:
            await self.send(RequestStarted())
        await super().handle(event)

    async def _check_protocol(self, event: Any) -> None:
        """Ignore offers to upgrade to HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Start to handle a request, without its ``Connection`` header.

        With ``Connection: upgrade`` Hypercorn would switch to WebSockets. A server may ignore an
        upgrade (RFC 9110, section 7.8).
        """
        if not request.http_version.startswith(b"1."):
            await self._send_error_response(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
            await self.send(Closed())
            return
        # A namespace, because an h11.Request would be validated a second time.
        request_without_upgrade: Any = SimpleNamespace(
            method=request.method,
            target=request.target,
            headers=[field for field in request.headers if field[0] != b"connection"],
            http_version=request.http_version,
        )
        await super()._create_stream(request_without_upgrade)

    async def _send_h11_event(self, event: Any) -> None:
        """Send an event; the head of a response with a known length is sent with its body.

        That is one packet and one system call instead of two. Error responses are sent in two: if
        the client has left, the second one fails, which stops reading the rest of the request.
        """
        try:
            data = self._buffered_head + (self.connection.send(event) or b"")
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        is_buffered = isinstance(event, h11.Response) and _can_wait_for_body(event)
        self._buffered_head = data if is_buffered else b""
        if data and not is_buffered:
            await self.send(RawData(data))

    async def _maybe_recycle(self) -> None:
        """Prepare for the next request, part of which may have arrived already."""
        await super()._maybe_recycle()
        if self.connection.trailing_data[0]:
            await self.send(RequestStarted())

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = error_response(status_code)
        common = self.config.response_headers("h11")
        head = h11.Response(status_code=status_code, headers=list(chain(headers, common)))
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            await self._send_h11_event(event)


def _can_wait_for_body(head: h11.Response) -> bool:
    has_length = any(name == b"content-length" for name, _ in head.headers)
    return has_length and head.status_code < HTTPStatus.BAD_REQUEST


def error_response(status_code: int) -> tuple[Headers, bytes]:
    """Return the headers and the body of a response that closes the connection."""
    body = msgspec.json.encode(document_for(status_code, _detail(status_code)))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    return headers, body


def _detail(status_code: int) -> str:
    if status_code in _FIXED_DETAILS:
        return type_for(status_code).example_detail
    if status_code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return "the request line and headers are too long"
    return "the request is not valid HTTP/1.1"


@functools.cache
def connection_limit_response() -> bytes:
    """Return the complete response to a client above the connection limit."""
    headers, body = error_response(HTTPStatus.SERVICE_UNAVAILABLE)
    headers.append((b"retry-after", b"2"))
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n%b\r\n%b" % (head, body)
