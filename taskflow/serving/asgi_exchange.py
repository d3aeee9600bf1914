"""One request and its response, between a connection and the ASGI app."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

import trio
from hypercorn.utils import UnexpectedMessageError

from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Headers, Signal
from taskflow.http1.readers import RequestReader
from taskflow.http1.writing import ResponseWriter

_DISCONNECT: Final = {"type": "http.disconnect"}


class Client(Protocol):
    """The connection that the requests come from."""

    def head_began(self) -> None:
        """The first bytes of a request, or more of them, have arrived."""

    def request_began(self) -> None:
        """The head of a request has arrived."""

    def request_ended(self) -> None:
        """A request has ended, and another one may follow."""

    async def receive(self) -> bytes:
        """Receive data; empty once the client has closed the connection."""

    async def send(self, data: bytes) -> None:
        """Send data."""

    async def close(self) -> None:
        """Close the connection."""


class AsgiExchange:
    """Receives one request and sends its response, as an ASGI app asks for it.

    No data is read from the connection before the app receives it, so nothing is buffered. An app
    learns of a disconnect by receiving.

    Args:
        client: The connection.
        reader: Has returned the head of the request.
        writer: Writes the response.
        error_response: Returns the response to a request that is not valid HTTP.
        added_headers: Headers that each response gets.

    Attributes:
        response: The ASGI message with the head of the response, once it was sent completely.
    """

    def __init__(
        self,
        client: Client,
        reader: RequestReader,
        writer: ResponseWriter,
        error_response: Callable[[ProtocolError], bytes],
        added_headers: Headers,
    ) -> None:
        self._client = client
        self._reader = reader
        self._writer = writer
        self._error_response = error_response
        self._added_headers = added_headers
        self._has_received = False
        self._is_disconnected = False
        self._is_rejected = False
        self._start: Any = None
        self._buffered_head = b""
        self.response: Any = None

    def end(self) -> bool:
        """Return whether another request may follow: both messages have ended in order."""
        if self._reader.is_complete:
            self._reader.next_event()
        return self._writer.has_ended and self._writer.keeps_alive and self._reader.has_ended

    async def receive(self) -> dict[str, Any]:
        """Return data of the body; once it has ended, wait for the disconnect."""
        if self._has_received:
            await trio.lowlevel.checkpoint()  # much data may have arrived already
        self._has_received = True
        while not self._is_disconnected:
            try:
                event = self._reader.next_event()
            except ProtocolError as error:
                await self._reject(error)
                break
            if event is Signal.PAUSED:
                await trio.sleep_forever()  # data behind the request stays unread
            elif isinstance(event, bytes) or event is Signal.END:
                return self._part(event if isinstance(event, bytes) else b"")
            data = await self._client.receive()
            self._reader.feed(data)
            self._is_disconnected = not data and self._reader.has_ended
        return _DISCONNECT

    def _part(self, data: bytes) -> dict[str, Any]:
        """Return the message for data of the body; the last data ends it."""
        if self._reader.is_complete:
            self._reader.next_event()
        return {"type": "http.request", "body": data, "more_body": not self._reader.has_ended}

    async def _reject(self, error: ProtocolError) -> None:
        """Respond to what is not valid HTTP, unless a response has begun, and close."""
        self._is_disconnected = self._is_rejected = True  # what the app still sends is dropped
        if not self._writer.has_started:
            await self._client.send(self._error_response(error))
        await self._client.close()

    async def send(self, message: dict[str, Any]) -> None:
        """Send a part of the response."""
        if self._is_rejected:
            return
        if message["type"] == "http.response.start":
            await self._send_head(message)
        elif message["type"] == "http.response.body" and self._writer.has_started:
            data = b"" if self._writer.is_bodiless else message.get("body", b"")
            await self._send_body(data, is_last=not message.get("more_body", False))
        else:
            raise UnexpectedMessageError(self._start, message["type"])

    async def _send_head(self, message: dict[str, Any]) -> None:
        """Send a head; if the length of the body is known, together with the body.

        That is one packet and one system call instead of two. Error responses are sent in two: if
        the client has left, the second one fails, which stops reading the rest of the request.
        """
        status, headers = int(message["status"]), [*message["headers"], *self._added_headers]
        self._buffered_head = self._writer.head(status, headers)
        self._start = message
        is_known = any(name == b"content-length" for name, _ in headers)
        if not is_known or status >= HTTPStatus.BAD_REQUEST:
            await self._send_data(b"")

    async def _send_body(self, body: bytes, *, is_last: bool) -> None:
        data = self._writer.data(body)
        if is_last:
            data += self._writer.end()
            self.response = self._start
        await self._send_data(data)

    async def _send_data(self, data: bytes) -> None:
        data, self._buffered_head = self._buffered_head + data, b""
        if data:
            await self._client.send(data)

    async def fail(self, status: HTTPStatus) -> None:
        """Send an empty response if the app has sent none, although the client waits for it."""
        if not self._writer.has_started and not self._is_disconnected:
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body"})
