"""What stands between Hypercorn and Quart.

It refuses what Quart would answer with a 500, or drop, and what the rules of access do not
let through, whatever its path; and it adds to every answer what browsers are to know.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlencode

import trio
from quart import Response
from werkzeug.exceptions import HTTPException, RequestHeaderFieldsTooLarge, RequestURITooLarge

from taskflow.api import problems
from taskflow.api.access.browser import defended, preflight_fields
from taskflow.api.access.gate import Gate
from taskflow.api.access.request_head import Head, head_of
from taskflow.api.access.roles import CALLER, REJECTED, SIGN_IN_PATH, Caller, is_page
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import NO_ROUTE
from taskflow.model.errors import (
    BadRequest,
    RateLimited,
    RequestError,
    StoreUnavailable,
    Unauthorized,
)

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Fields: TypeAlias = Sequence[tuple[bytes, bytes]]

# How long a client may go on sending what nobody reads, after it has its answer.
LINGER_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 1.0
# Hypercorn's own bound of 16 KiB holds only for a head that comes in pieces.
MAX_TARGET_BYTES: Final = 8 * 2**10
MAX_FIELD_BYTES: Final = 8 * 2**10
MAX_FIELDS_BYTES: Final = 16 * 2**10
MAX_FIELDS: Final = 100
ROUTE: Final = "taskflow.route"
"""Where the edge finds in the scope which route a request went to."""

_NO_WEB_SOCKET: Final = "no path here takes a WebSocket"
_NO_PATH: Final = " "  # Quart's own way to say that no route has it
_ABSOLUTE: Final = re.compile(
    rb"https?://(?P<authority>[^/\[\]]*(\[[0-9a-f:.]+\](:[0-9]*)?)?)(?=/|$)", re.IGNORECASE
)


class Edge:
    """An ASGI app around Quart's.

    Args:
        app: Quart's.
        gate: Who and what is let through.
        metrics: What is told of answers.
    """

    def __init__(self, app: Any, gate: Gate, metrics: Metrics) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request, or pass on what is none."""
        if scope["type"] == "http":
            self._metrics.in_flight.add()
            try:
                await _Exchange(self._app, self._gate, self._metrics, scope, receive, send).run()
            finally:
                self._metrics.in_flight.add(amount=-1)
        elif scope["type"] == "websocket":
            await _refuse_web_socket(send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request and its answer.

    Hypercorn closes a connection whose request was answered but not read to its end. A client
    that is still sending would get a reset, and might never see the answer. So the end of the
    answer waits, within bounds, for the end of the request.
    """

    def __init__(
        self,
        app: Any,
        gate: Gate,
        metrics: Metrics,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        self._began = trio.current_time()
        self._app = app
        self._gate = gate
        self._metrics = metrics
        self._scope = scope
        self._receive_next = receive
        self._pass_on = send
        self._head = head_of(scope, path_of(scope["raw_path"]))
        # What is said in the head of the answer, whoever makes it.
        self._added = gate.cross_origin.fields_for(self._head)
        self._is_read = trio.Event()
        self._is_answered = False

    async def run(self) -> None:
        try:
            check_head(self._scope)
        except (HTTPException, RequestError) as error:
            await self._refuse(error, closes=True)
            return
        try:
            admission = self._gate.admit(self._head, trio.current_time())
            await self._check_session(admission.caller.session)
        except Unauthorized as error:
            if self._is_for_a_person():
                await self._answer(_sign_in_first(self._scope))
            else:
                await self._refuse(error, closes=False)
            return
        except (RequestError, StoreUnavailable) as error:
            if isinstance(error, RateLimited) and self._is_for_a_person():
                self._scope = {**self._scope, REJECTED: error}
                await self._serve(Caller(None, None))  # the dashboard shows it
            else:
                await self._refuse(error, closes=False)
            return
        self._added += admission.fields
        if self._gate.cross_origin.is_preflight(self._head):
            await self._answer(_no_content(preflight_fields()))
        else:
            await self._serve(admission.caller)

    def _is_for_a_person(self) -> bool:
        return is_page(self._head.path) and not _is_stream(self._head)

    async def _check_session(self, session_id: str | None) -> None:
        """Refuse a session that was signed out of, on whichever node.

        Raises:
            Unauthorized: It was.
            StoreUnavailable: It is not known.
        """
        ended = self._gate.ended_sessions
        if session_id is None or ended is None:
            return
        with problems.store_in_time():
            if await ended.is_session_ended(session_id):
                raise Unauthorized("this session was signed out of; sign in again")

    async def _serve(self, caller: Caller) -> None:
        self._scope = {**self._scope, "path": self._head.path, CALLER: caller}
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:
            # Quart does not handle what goes wrong before it looks for a route.
            if self._is_answered:
                raise
            await self._refuse(error, closes=True)

    async def _receive(self) -> Message:
        message = await self._receive_next()
        if not message.get("more_body", False):  # the last of the body, or a disconnect
            self._is_read.set()
        return message

    async def _send(self, message: Message) -> None:
        if is_last(message):
            await self._read_to_end()
            await self._end(message)
        else:
            self._is_answered = True
            await self._send_next(message)

    async def _refuse(self, error: Exception, *, closes: bool) -> None:
        """Answer without Quart.

        Args:
            error: Why.
            closes: Whether what comes after that on the connection is not to be trusted.
        """
        response = await problems.answer(error)
        if closes and self._scope["http_version"].startswith("1"):
            response.headers["Connection"] = "close"
        await self._answer(response)

    async def _answer(self, response: Response) -> None:
        """Send an answer that is not Quart's, and wait for the end of the request."""
        start, body = await _messages_of(response)
        await self._send_next({"type": "http.response.start", **start})
        await self._send_next({"type": "http.response.body", **body, "more_body": True})
        await self._read_to_end()
        await self._end({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read_to_end(self) -> None:
        """Discard what is left of the request, for a bounded time.

        A response may be complete before its request is; a connection that is closed with unread
        data is reset, and the client may lose the response.
        """
        with trio.move_on_after(LINGER_SECONDS):
            while not self._is_read.is_set():
                await self._receive()

    async def _send_next(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._metrics.answered(
                self._head.method,
                self._scope.get(ROUTE, NO_ROUTE),
                message["status"],
                trio.current_time() - self._began,
            )
            message = {**message, "headers": defended([*message["headers"], *self._added])}
        await self._pass_on(message)

    async def _end(self, message: Message) -> None:
        """Send the last message, shielded.

        Hypercorn tells the app of the end before it has closed a connection that is to be
        closed, and Quart cancels the sender when it hears of it: the connection would stay.
        """
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._send_next(message)


def is_last(message: Message) -> bool:
    """Whether an answer ends with this message."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def check_head(scope: Message) -> None:
    """Refuse a head that is too long, or that two readers may understand in two ways.

    Raises:
        HTTPException: It is too long.
        BadRequest: Its end or its meaning is in doubt.
    """
    query: bytes = scope["query_string"]
    if len(scope["raw_path"]) + len(query) > MAX_TARGET_BYTES:
        raise RequestURITooLarge(f"the target is longer than {MAX_TARGET_BYTES} bytes")
    if not query.isascii():
        raise BadRequest("the query has bytes that are not ASCII; percent-encode them")
    check_fields(scope["headers"])
    check_framing(scope)
    check_authority(scope)


def check_fields(fields: Fields) -> None:
    """Refuse fields that are too many or too long, or that ask for a WebSocket.

    Raises:
        HTTPException: There are too many, or they are too long.
        BadRequest: They ask for a WebSocket.
    """
    sizes = [len(name) + len(value) for name, value in fields]
    if max(sizes, default=0) > MAX_FIELD_BYTES or sum(sizes) > MAX_FIELDS_BYTES:
        raise RequestHeaderFieldsTooLarge(
            f"a header field is longer than {MAX_FIELD_BYTES} bytes, or all of them together "
            f"are longer than {MAX_FIELDS_BYTES}"
        )
    if len(sizes) > MAX_FIELDS:
        raise RequestHeaderFieldsTooLarge(f"there are more than {MAX_FIELDS} header fields")
    if any(name == b"upgrade" and b"websocket" in value.lower() for name, value in fields):
        raise BadRequest(_NO_WEB_SOCKET)


def check_framing(scope: Message) -> None:
    """Refuse a head that says twice, or in a way older than chunks, where the body ends.

    Raises:
        BadRequest: It does (RFC 9112, section 6.1).
    """
    names = {name for name, _ in scope["headers"]}  # in small letters, as ASGI has them
    if names >= {b"content-length", b"transfer-encoding"}:
        raise BadRequest("send Content-Length or Transfer-Encoding, not both")
    if b"transfer-encoding" in names and scope["http_version"] == "1.0":
        raise BadRequest("Transfer-Encoding is not for HTTP/1.0; send Content-Length")


def check_authority(scope: Message) -> None:
    """Refuse a target in absolute form that names another server than ``Host`` does.

    Raises:
        BadRequest: It does, so that the rules for names would judge the wrong one.
    """
    target = _ABSOLUTE.match(scope["raw_path"])
    hosts = [value.lower() for name, value in scope["headers"] if name == b"host"]
    if target and target["authority"].lower() not in hosts:
        raise BadRequest("the target and Host name two servers; send the same in both")


def path_of(target: bytes) -> str:
    """The path of a request target without its query, in origin or absolute form (RFC 9112)."""
    path = target if target.startswith(b"/") else _ABSOLUTE.sub(b"", target, count=1)
    if target and not path:
        return "/"
    decoded = unquote(path.decode("latin-1"))
    # Werkzeug would take any number of slashes at the start for one.
    is_path = path.startswith(b"/") and not decoded.startswith("//")
    return decoded if is_path else _NO_PATH


async def _refuse_web_socket(send: Send) -> None:
    """Answer the handshake; Quart's own way does not survive a ``Host`` that is none."""
    response = await problems.answer(BadRequest(_NO_WEB_SOCKET))
    start, body = await _messages_of(response)
    start["headers"] = defended(start["headers"])
    await send({"type": "websocket.http.response.start", **start})
    await send({"type": "websocket.http.response.body", **body})


def _is_stream(head: Head) -> bool:
    """Whether a script of ours asks, which does not follow a redirect to a page."""
    return "text/event-stream" in head.fields.get("accept", "")


def _sign_in_first(scope: Message) -> Response:
    """Have a person sign in, and then see what they wanted to see."""
    wanted = scope["raw_path"].decode("latin-1")
    if query := scope["query_string"].decode("latin-1"):
        wanted += f"?{query}"
    where = f"?{urlencode({'next': wanted})}" if scope["method"] == "GET" else ""
    return Response(b"", HTTPStatus.SEE_OTHER, {"Location": SIGN_IN_PATH + where})


def _no_content(fields: dict[str, str]) -> Response:
    response = Response(b"", HTTPStatus.NO_CONTENT, fields)
    for name in ("Content-Length", "Content-Type"):  # there is nothing that they could be of
        response.headers.pop(name, None)
    return response


async def _messages_of(response: Response) -> tuple[Message, Message]:
    """What a response says, without the types of the messages that say it."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
    ]
    start = {"status": response.status_code, "headers": headers}
    return start, {"body": await response.get_data(as_text=False)}
