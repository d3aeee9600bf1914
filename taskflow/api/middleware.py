"""The ASGI layer between the server and Quart.

It rejects requests that Quart would answer with a 500 or drop, and requests that the access rules
forbid, whatever their path; and it adds the headers for browsers to every response.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlencode

import trio
from quart import Response
from werkzeug.exceptions import HTTPException, RequestHeaderFieldsTooLarge, RequestURITooLarge

from taskflow.api import problems
from taskflow.api.access.browser import preflight_headers, with_security_headers
from taskflow.api.access.gate import Gate
from taskflow.api.access.request_head import Message, Receive, RequestHead, Send, request_head_of
from taskflow.api.access.roles import CALLER, REJECTED, SIGN_IN_PATH, Caller, is_page
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import NO_ROUTE
from taskflow.model.errors import (
    BadRequest,
    Forbidden,
    RateLimited,
    RequestError,
    StoreUnavailable,
    Unauthorized,
)

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

# How long a client may go on sending a body after it has the response.
LINGER_SECONDS: Final = 5.0
# The server itself rejects what is far longer, before it is parsed.
MAX_TARGET_BYTES: Final = 8 * 2**10
MAX_HEADER_BYTES: Final = 8 * 2**10
MAX_HEADERS_BYTES: Final = 16 * 2**10
MAX_HEADERS: Final = 100
ROUTE: Final = "taskflow.route"
"""The key of the label of the route in the scope of a request."""

_NO_WEB_SOCKET: Final = "WebSockets are not supported"
_NO_PATH: Final = " "  # as Quart represents a path that no route has
_ABSOLUTE: Final = re.compile(
    rb"https?://(?P<authority>[^/\[\]]*(\[[0-9a-f:.]+\](:[0-9]*)?)?)(?=/|$)", re.IGNORECASE
)


class Middleware:
    """An ASGI app around Quart."""

    def __init__(self, app: Any, gate: Gate, metrics: Metrics) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request; pass on other events."""
        if scope["type"] == "http":
            self._metrics.in_flight.add()
            try:
                await _Exchange(self._app, self._gate, self._metrics, scope, receive, send).run()
            finally:
                self._metrics.in_flight.add(amount=-1)
        elif scope["type"] == "websocket":
            await _reject_web_socket(send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request and its response.

    The server closes a connection if the response is complete before the request has been read. A
    client that is still sending would get a reset, and might never see the response. So the end of
    the response waits, for a limited time, for the end of the request.
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
        self._send_on = send
        self._head = request_head_of(scope, path_of(scope["raw_path"]))
        # Headers that the response gets, from Quart or not.
        self._added = gate.cross_origin.headers_for(self._head)
        self._is_read = trio.Event()
        self._receivers = 0
        self._has_started = False
        self._caller = Caller(None, None)
        self._serving = trio.CancelScope()

    async def run(self) -> None:
        try:
            check_head(self._scope)
        except (HTTPException, RequestError) as error:
            await self._reject(error, closes=True)
            return
        try:
            admission = self._gate.admit(self._head, trio.current_time())
            await self._check_session(admission.caller.session)
        except Unauthorized as error:
            if error.error is not None:  # it has a key
                self._gate.count_rejected_key(self._head)
            if self._is_for_browser():
                await self._respond(_redirect_to_sign_in(self._scope))
            else:
                await self._reject(error, closes=False)
            return
        except (RequestError, StoreUnavailable) as error:
            if self._has_error_page(error):
                self._scope = {**self._scope, REJECTED: error}
                await self._serve(Caller(None, None))  # the dashboard shows the error as a page
            else:
                await self._reject(error, closes=False)
            return
        self._added += admission.headers
        if self._gate.cross_origin.is_preflight(self._head):
            await self._respond(_no_content(preflight_headers()))
        else:
            await self._serve(admission.caller)

    def _is_for_browser(self) -> bool:
        return is_page(self._head.path) and not _is_stream(self._head)

    def _has_error_page(self, error: Exception) -> bool:
        """Return whether the dashboard shows the error as a page."""
        if not self._is_for_browser():
            return False
        return isinstance(error, RateLimited) or (
            isinstance(error, Forbidden) and _is_form_of_browser(self._head)
        )

    async def _check_session(self, session_id: str | None) -> None:
        """Reject a session that was ended, on whichever node.

        Raises:
            Unauthorized: It was ended.
            StoreUnavailable: The store does not answer.
        """
        ended = self._gate.ended_sessions
        if session_id is None or ended is None:
            return
        with problems.store_timeout():
            if await ended.is_session_ended(session_id):
                raise Unauthorized("this session was ended; sign in again")

    async def _serve(self, caller: Caller) -> None:
        self._scope = {**self._scope, "path": self._head.path, CALLER: caller}
        self._caller = caller
        try:
            # A scope takes several microseconds: requests without a key have none.
            with self._serving if caller.key is not None else contextlib.nullcontext():
                await self._app(self._scope, self._receive, self._send)
        except Exception as error:
            # Quart does not handle errors before it matches the route.
            if self._has_started:
                raise
            await self._reject(error, closes=True)

    def _end_if_key_is_gone(self) -> None:
        """End a response whose key was removed or changed: the connection breaks off."""
        if self._has_started and not self._gate.is_admitted(self._caller):
            self._serving.cancel()

    async def _receive(self) -> Message:
        self._receivers += 1
        try:
            message = await self._receive_next()
        finally:
            self._receivers -= 1
        if not self._gate.is_admitted(self._caller):
            message = {"type": "http.disconnect"}
        if not message.get("more_body", False):  # the end of the body, or a disconnect
            self._is_read.set()
        return message

    async def _send(self, message: Message) -> None:
        if is_last(message):
            await self._read_to_end()
        else:
            self._end_if_key_is_gone()
            self._has_started = True
        await self._send_next(message)

    async def _reject(self, error: Exception, *, closes: bool) -> None:
        """Respond with a problem, without Quart.

        Args:
            error: The reason.
            closes: Whether to close the connection, because its next bytes cannot be trusted.
        """
        response = await problems.response_to(error)
        if closes and self._scope["http_version"].startswith("1"):
            response.headers["Connection"] = "close"
        await self._respond(response)

    async def _respond(self, response: Response) -> None:
        """Send a response that is not from Quart, and wait for the end of the request."""
        start, body = await _messages_of(response)
        await self._send_next({"type": "http.response.start", **start})
        await self._send_next({"type": "http.response.body", **body, "more_body": True})
        await self._read_to_end()
        await self._send_next({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read_to_end(self) -> None:
        """Discard what is left of the request, for a bounded time.

        A response may be complete before its request is; a connection that is closed with unread
        data is reset, and the client may lose the response.
        """
        if self._is_read.is_set():
            return
        with trio.move_on_after(LINGER_SECONDS):
            while not self._is_read.is_set():
                # Quart may be receiving: then the end of the request comes to it, not to this.
                await (self._is_read.wait() if self._receivers else self._receive())

    async def _send_next(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._metrics.answered(
                self._head.method,
                self._scope.get(ROUTE, NO_ROUTE),
                message["status"],
                trio.current_time() - self._began,
            )
            headers = with_security_headers([*message["headers"], *self._added])
            message = {**message, "headers": headers}
        await self._send_on(message)


def is_last(message: Message) -> bool:
    """Return whether a message ends a response."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


def check_head(scope: Message) -> None:
    """Reject a head that is too long, or whose meaning is in doubt.

    Raises:
        HTTPException: It is too long.
        BadRequest: It is ambiguous.
    """
    query: bytes = scope["query_string"]
    if len(scope["raw_path"]) + len(query) > MAX_TARGET_BYTES:
        raise RequestURITooLarge(f"the target is longer than {MAX_TARGET_BYTES} bytes")
    if not query.isascii():
        raise BadRequest("the query has non-ASCII bytes; percent-encode them")
    check_headers(scope["headers"])
    check_authority(scope)


def check_headers(headers: Headers) -> None:
    """Reject headers that are too many or too long, or that ask for a WebSocket.

    Raises:
        HTTPException: There are too many, or they are too long.
        BadRequest: They ask for a WebSocket.
    """
    sizes = [len(name) + len(value) for name, value in headers]
    if max(sizes, default=0) > MAX_HEADER_BYTES or sum(sizes) > MAX_HEADERS_BYTES:
        raise RequestHeaderFieldsTooLarge(
            f"a header is longer than {MAX_HEADER_BYTES} bytes, or all headers together are longer "
            f"than {MAX_HEADERS_BYTES} bytes"
        )
    if len(sizes) > MAX_HEADERS:
        raise RequestHeaderFieldsTooLarge(f"there are more than {MAX_HEADERS} header fields")
    if any(name == b"upgrade" and b"websocket" in value.lower() for name, value in headers):
        raise BadRequest(_NO_WEB_SOCKET)


def check_authority(scope: Message) -> None:
    """Reject a target in absolute form whose server is not that in ``Host``.

    Raises:
        BadRequest: They differ, so the rules for hosts would check the wrong one.
    """
    target = _ABSOLUTE.match(scope["raw_path"])
    hosts = [value.lower() for name, value in scope["headers"] if name == b"host"]
    if target and target["authority"].lower() not in hosts:
        raise BadRequest("the target and Host name different servers; send the same in both")


def path_of(target: bytes) -> str:
    """Return the path of a request target in origin or absolute form (RFC 9112)."""
    path = target if target.startswith(b"/") else _ABSOLUTE.sub(b"", target, count=1)
    if target and not path:
        return "/"
    decoded = unquote(path.decode("latin-1"))
    # Werkzeug would merge slashes at the start.
    is_path = path.startswith(b"/") and not decoded.startswith("//")
    return decoded if is_path else _NO_PATH


async def _reject_web_socket(send: Send) -> None:
    """Reject the handshake; Quart's own rejection fails if ``Host`` is malformed."""
    response = await problems.response_to(BadRequest(_NO_WEB_SOCKET))
    start, body = await _messages_of(response)
    start["headers"] = with_security_headers(start["headers"])
    await send({"type": "websocket.http.response.start", **start})
    await send({"type": "websocket.http.response.body", **body})


def _is_stream(head: RequestHead) -> bool:
    """Return whether a script asks for events: it does not follow a redirect to a page."""
    return "text/event-stream" in head.headers.get("accept", "")


def _is_form_of_browser(head: RequestHead) -> bool:
    """Return whether a browser sends a form, and shows the response as the next page."""
    return head.method == "POST" and "text/html" in head.headers.get("accept", "")


def _redirect_to_sign_in(scope: Message) -> Response:
    """Redirect to the sign-in, and from there back to the requested page."""
    wanted = scope["raw_path"].decode("latin-1")
    if query := scope["query_string"].decode("latin-1"):
        wanted += f"?{query}"
    where = f"?{urlencode({'next': wanted})}" if scope["method"] == "GET" else ""
    return Response(b"", HTTPStatus.SEE_OTHER, {"Location": SIGN_IN_PATH + where})


def _no_content(headers: dict[str, str]) -> Response:
    response = Response(b"", HTTPStatus.NO_CONTENT, headers)
    for name in ("Content-Length", "Content-Type"):  # there is no body
        response.headers.pop(name, None)
    return response


async def _messages_of(response: Response) -> tuple[Message, Message]:
    """Return the ASGI messages of a response, without their types."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
    ]
    start = {"status": response.status_code, "headers": headers}
    return start, {"body": await response.get_data(as_text=False)}
