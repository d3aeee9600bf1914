"""Serves most ``POST`` requests in the Trio task of Hypercorn, without further tasks."""

from __future__ import annotations

import enum
from typing import Any, Final

import trio
from quart import Request
from quart.wrappers.request import Body
from quart_trio.asgi import TrioASGIHTTPConnection

from taskflow.api.access.roles import CALLER, Caller, is_page
from taskflow.api.reading.request_headers import LINE_TYPES
from taskflow.model.errors import BodyTooSlow, RequestError
from taskflow.model.untrusted_text import BYTE_ORDER_MARK

MAX_ARRAY_BYTES: Final = "MAX_ARRAY_BYTES"
"""The name of the size limit of JSON arrays in the configuration of Quart."""

STREAM_PATH: Final = "/tasks"

# For callers without a key: enough for the form of the sign-in.
MAX_BYTES_WITHOUT_KEY: Final = 32 * 2**10


class _Body(enum.Enum):
    """The result of reading a body."""

    COMPLETE = enum.auto()
    REJECTED = enum.auto()  # too large, or too slow
    DISCONNECTED = enum.auto()


class Incoming:
    """The body of a streamed request. A part is received only when it is requested.

    Args:
        receive: The ``receive`` of ASGI.
        seconds: The timeout of each part.

    Attributes:
        is_complete: Whether all of it was received.
        error: The reason why no more is read, if the client is too slow.
    """

    def __init__(self, receive: Any, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self.is_complete = False
        self.error: RequestError | None = None

    async def next_part(self) -> bytes | None:
        """Return the next part; ``None`` at the end, on a disconnect, or after the timeout."""
        if self.is_complete or self.error is not None:
            return None
        with trio.move_on_after(self._seconds) as waiting:
            message = await self._receive()
        if waiting.cancelled_caught:
            self.error = BodyTooSlow()
            return None
        if message["type"] == "http.disconnect":
            return None
        self.is_complete = not message.get("more_body", False)
        return bytes(message["body"])


class InlineConnection(TrioASGIHTTPConnection):
    """Quart-Trio's connection, without Trio tasks of its own for most ``POST`` requests.

    Quart-Trio opens a nursery for every request: one task receives the body and the disconnect,
    another one runs the handler. A submission is stored whether or not the client still waits, so
    here the body is read first and then the handler runs, which saves a sixth of the cost of a
    ``POST``. A stream is read while the response is sent. A request that waits for its task gets
    the two tasks, so that a disconnect ends the wait.
    """

    async def __call__(self, receive: Any, send: Any) -> None:
        """Serve one request."""
        if self.scope["method"] != "POST":
            await super().__call__(receive, send)
            return
        request = self._create_request_from_scope(send)
        if request.mimetype in LINE_TYPES and self.scope["path"] == STREAM_PATH:
            stream: Any = Incoming(receive, self.app.config["BODY_TIMEOUT"])
            request.body = stream
            await self._send_response(send, await self.app.handle_request(request))
            return
        body = await self._read(request, receive)
        if body is _Body.COMPLETE and not _may_wait(request):
            await self._send_response(send, await self.app.handle_request(request))
        elif body is not _Body.DISCONNECTED:  # the client may still be sending, or disconnect
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.handle_messages, nursery, request, receive)
                nursery.start_soon(self.handle_request, nursery, request, send)

    async def _read(self, request: Request, receive: Any) -> _Body:
        """Read the body up to its limits; if it exceeds them, Quart raises that in the handler."""
        config = self.app.config
        content_length, read = request.content_length or 0, 0
        max_bytes, max_array_bytes = self._limits()
        start, has_begun = b"", False
        if max_bytes < config["MAX_CONTENT_LENGTH"]:
            request.max_content_length = max_bytes
            request.body = Body(content_length, max_bytes)
        if content_length > max_array_bytes:
            request.max_content_length = max_array_bytes
        with trio.move_on_after(config["BODY_TIMEOUT"]):
            while read <= max_bytes:
                if content_length > (max_bytes if has_begun else max_array_bytes):
                    break
                message = await receive()
                if message["type"] == "http.disconnect":
                    return _Body.DISCONNECTED
                if not has_begun:
                    start = (start + message["body"]).removeprefix(BYTE_ORDER_MARK).lstrip()
                    has_begun = not BYTE_ORDER_MARK.startswith(start)
                    if start.startswith(b"["):
                        max_bytes = request.max_content_length = max_array_bytes
                        request.body = Body(content_length, max_bytes)
                request.body.append(message["body"])
                read += len(message["body"])
                if not message.get("more_body", False):
                    request.body.set_complete()
                    return _Body.COMPLETE
        request.body_timeout = 0
        return _Body.REJECTED

    def _limits(self) -> tuple[int, int]:
        """Return the size limits of a body, and of a body that is an array."""
        config = self.app.config
        max_bytes: int = config["MAX_CONTENT_LENGTH"]
        scope: Any = self.scope
        caller: Caller | None = scope.get(CALLER)
        if caller is not None and caller.role is None:
            limit = min(max_bytes, MAX_BYTES_WITHOUT_KEY)
            return limit, limit
        return max_bytes, max_bytes if is_page(scope["path"]) else config[MAX_ARRAY_BYTES]


def _may_wait(request: Request) -> bool:
    return "Prefer" in request.headers or bool(request.query_string)
