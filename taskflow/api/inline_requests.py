"""Requests that Quart serves in the task that Hypercorn gave them, where nothing else is needed."""

from __future__ import annotations

import enum
from typing import Any, Final

import trio
from quart import Request
from quart.wrappers.request import Body
from quart_trio.asgi import TrioASGIHTTPConnection

from taskflow.api.access.roles import CALLER, Caller, is_page
from taskflow.api.reading.accept import LINE_TYPES
from taskflow.model.errors import BodyTooSlow, RequestError
from taskflow.model.untrusted_text import BYTE_ORDER_MARK

MAX_ARRAY_BYTES: Final = "MAX_ARRAY_BYTES"
"""The name in Quart's configuration of how long a body that is a JSON array may be."""

STREAM_PATH: Final = "/tasks"

# Of who has no key, where keys are wanted: room for the form in which one is sent.
MOST_BYTES_OF_ANYBODY: Final = 32 * 2**10


class _Body(enum.Enum):
    """How the body of a request came."""

    WHOLE = enum.auto()
    REFUSED = enum.auto()  # it is too long, or takes too long
    NEVER = enum.auto()  # its sender has left


class Incoming:
    """The body of a request as it comes: no more of it is read than is asked for.

    Args:
        receive: ASGI's.
        seconds: How long each part of it may take.

    Attributes:
        is_complete: Whether all of it has come.
        error: Why no more of it is read, if its sender is too slow.
    """

    def __init__(self, receive: Any, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self.is_complete = False
        self.error: RequestError | None = None

    async def next_part(self) -> bytes | None:
        """What comes next; ``None`` at its end, or if its sender leaves or is too slow."""
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


class OneTaskConnection(TrioASGIHTTPConnection):
    """Quart-Trio's connection, with no tasks of its own for a request that hands something in.

    Quart-Trio opens a nursery for every request: one task hears what the client sends and whether
    it has left, another one makes the answer. What is handed in is kept whether its sender still
    waits or not, so there the body is read first and then the answer made, one after the other:
    a sixth less of what a ``POST`` costs. A stream is read while it is answered. Whoever wants to
    wait for the end of its task gets the two tasks after all, so that leaving ends the waiting.
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
        if body is _Body.WHOLE and not _may_wait(request):
            await self._send_response(send, await self.app.handle_request(request))
        elif body is not _Body.NEVER:  # to somebody who may still be sending, or leave
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.handle_messages, nursery, request, receive)
                nursery.start_soon(self.handle_request, nursery, request, send)

    async def _read(self, request: Request, receive: Any) -> _Body:
        """Read the body up to the bounds; the route then hears from Quart what is wrong with it."""
        config = self.app.config
        announced, read = request.content_length or 0, 0
        most, most_in_array = self._bounds()
        opening, is_begun = b"", False
        if most < config["MAX_CONTENT_LENGTH"]:
            request.max_content_length = most
            request.body = Body(announced, most)
        if announced > most_in_array:
            request.max_content_length = most_in_array
        with trio.move_on_after(config["BODY_TIMEOUT"]):
            while read <= most and announced <= (most if is_begun else most_in_array):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return _Body.NEVER
                if not is_begun:
                    opening = (opening + message["body"]).removeprefix(BYTE_ORDER_MARK).lstrip()
                    is_begun = not BYTE_ORDER_MARK.startswith(opening)
                    if opening.startswith(b"["):
                        most = request.max_content_length = most_in_array
                        request.body = Body(announced, most)
                request.body.append(message["body"])
                read += len(message["body"])
                if not message.get("more_body", False):
                    request.body.set_complete()
                    return _Body.WHOLE
        request.body_timeout = 0
        return _Body.REFUSED

    def _bounds(self) -> tuple[int, int]:
        """How long the body may be, and how long if it is an array."""
        config = self.app.config
        most: int = config["MAX_CONTENT_LENGTH"]
        scope: Any = self.scope
        caller: Caller | None = scope.get(CALLER)
        if caller is not None and caller.role is None:
            return min(most, MOST_BYTES_OF_ANYBODY), min(most, MOST_BYTES_OF_ANYBODY)
        return most, most if is_page(scope["path"]) else config[MAX_ARRAY_BYTES]


def _may_wait(request: Request) -> bool:
    return "Prefer" in request.headers or bool(request.query_string)
