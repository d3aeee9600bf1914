"""Serves most requests in the Trio task of the connection, without further tasks."""

from __future__ import annotations

import enum
import math
from typing import Any, Final

import trio
from quart import Request
from quart.wrappers.request import Body
from quart.wrappers.response import IterableBody
from quart_trio.asgi import TrioASGIHTTPConnection

from taskflow.api.access.roles import CALLER, Caller, is_page
from taskflow.api.reading.request_headers import LINE_TYPES
from taskflow.model.errors import BadRequest, BodyTooLarge, BodyTooSlow, RequestError
from taskflow.model.untrusted_text import BYTE_ORDER_MARK

MAX_ARRAY_BYTES: Final = "MAX_ARRAY_BYTES"
"""The name of the size limit of JSON arrays in the configuration of Quart."""

STREAM_PATHS: Final = frozenset({"/tasks", "/tasks/batch"})
# A group may have an array of tasks.
GROUPS_PATH: Final = "/groups"
COMPLETIONS_PATH: Final = "/completions/"
PING_PATH: Final = "/ping/"
_READS: Final = frozenset({"GET", "HEAD"})

# For callers without a key: enough for the form of the sign-in.
MAX_BYTES_WITHOUT_KEY: Final = 32 * 2**10


class _Body(enum.Enum):
    """The result of reading a body."""

    UNREAD = enum.auto()  # the handler reads it
    COMPLETE = enum.auto()
    REJECTED = enum.auto()  # too large, or too slow
    DISCONNECTED = enum.auto()


class Incoming:
    """A body that the handler reads. A part is received only when it is requested.

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

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            BodyTooLarge: It is longer than ``max_bytes``.
            BodyTooSlow: It did not arrive in time.
            BadRequest: It is not complete.
        """
        body = bytearray()
        with trio.move_on_after(self._seconds) as reading:
            while (part := await self.next_part()) is not None:
                body += part
                if len(body) > max_bytes:
                    raise BodyTooLarge(f"the request body exceeds the limit of {max_bytes} bytes")
        if reading.cancelled_caught or self.error is not None:
            raise BodyTooSlow
        if not self.is_complete:  # the client is gone
            raise BadRequest("the request body is not complete")
        return bytes(body)


class InlineConnection(TrioASGIHTTPConnection):
    """Quart-Trio's connection, without Trio tasks of its own for most requests.

    Quart-Trio opens a nursery for every request: one task receives the body and the disconnect,
    another one runs the handler. A submission is stored whether or not the client still waits, and
    a read without parameters is short. So the body is read first, and then the handler runs here,
    which saves a sixth of the cost of a ``POST``. A stream of tasks is read while the response is
    sent, and a report of a target when its URL is known to be valid. A request that waits for its
    task gets the two tasks, and so does a response that is a stream, so that a disconnect ends
    them.
    """

    async def __call__(self, receive: Any, send: Any) -> None:
        """Serve one request."""
        request = self._create_request_from_scope(send)
        if _is_read_by_handler(request):
            stream: Any = Incoming(receive, self.app.config["BODY_TIMEOUT"])
            request.body = stream
            await self._send_response(send, await self.app.handle_request(request))
            return
        body = await self._read(request, receive)
        if body is _Body.COMPLETE and not _may_wait(request):
            await self._respond(request, receive, send)
        elif body is not _Body.DISCONNECTED:  # the client may still be sending, or disconnect
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.handle_messages, nursery, request, receive)
                nursery.start_soon(self.handle_request, nursery, request, send)

    async def _respond(self, request: Request, receive: Any, send: Any) -> None:
        response = await self.app.handle_request(request)
        if not isinstance(response.response, IterableBody):
            await self._send_response(send, response)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.handle_messages, nursery, request, receive)
            nursery.start_soon(self._send_stream, nursery, send, response)

    async def _send_stream(self, nursery: trio.Nursery, send: Any, response: Any) -> None:
        seconds = response.timeout
        if seconds is Ellipsis:
            seconds = self.app.config["RESPONSE_TIMEOUT"]
        with trio.move_on_after(math.inf if seconds is None else seconds):
            await self._send_response(send, response)
        nursery.cancel_scope.cancel()

    async def _read(self, request: Request, receive: Any) -> _Body:
        """Read the body before the handler runs, if that is to read all of it or none."""
        if request.method == "POST":
            return await self._read_whole(request, receive)
        if request.method not in _READS or _has_body(request):
            return _Body.UNREAD
        request.body.set_complete()
        return _Body.COMPLETE

    async def _read_whole(self, request: Request, receive: Any) -> _Body:
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
                    if start.startswith(b"[") or request.path == GROUPS_PATH:
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


def _is_read_by_handler(request: Request) -> bool:
    """Return whether this is a stream of tasks, a report of a target, or a ping."""
    if request.method != "POST":
        return False
    if request.path in STREAM_PATHS:
        return request.mimetype in LINE_TYPES
    return request.path.startswith((COMPLETIONS_PATH, PING_PATH))


def _has_body(request: Request) -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers
