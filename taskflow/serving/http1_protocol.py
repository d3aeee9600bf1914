"""HTTP/1.1 on one connection of a client: its requests, one after the other.

The responses to what is not valid HTTP are problem documents.
"""

from __future__ import annotations

import functools
import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import trio
from hypercorn.utils import valid_server_name

from taskflow.api.access.browser import SECURITY_HEADERS
from taskflow.api.problems import MEDIA_TYPE, document_for
from taskflow.http1.errors import ProtocolError
from taskflow.http1.events import Headers, RequestHead
from taskflow.http1.readers import RequestReader
from taskflow.http1.writing import CONTINUE, ResponseWriter
from taskflow.model.problem_types import type_for
from taskflow.serving.asgi_exchange import AsgiExchange, Client

# Problems whose example in the documentation is the detail of every such response.
_FIXED_DETAILS: Final = (
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
)


class Http1Protocol:
    """Reads the requests of a connection, and runs the ASGI app for each of them.

    The app runs in the task of the connection: what it receives is read from the connection then.

    Args:
        client: The connection.
        app: Hypercorn's wrapper of the ASGI app.
        config: Hypercorn's configuration.
        context: Hypercorn's state of the process.
        scope: What the ASGI scopes of all requests of the connection have in common.
    """

    def __init__(
        self, client: Client, app: Any, config: Any, context: Any, scope: dict[str, Any]
    ) -> None:
        self._client = client
        self._app = app
        self._config = config
        self._context = context
        self._scope = scope
        self._reader = RequestReader()
        self._requests = 0

    async def serve(self) -> None:
        """Serve requests until the last one; the caller closes the connection."""
        may_go_on = True
        while may_go_on:
            try:
                head = await self._next_head()
            except ProtocolError as error:
                await self._client.send(self._error_response(error))
                return
            may_go_on = head is not None and await self._respond(head)

    async def _next_head(self) -> RequestHead | None:
        """Return the head of the next request; ``None`` if the client has closed the connection.

        Raises:
            ProtocolError: It is not valid HTTP.
        """
        while True:
            event = self._reader.next_event()
            if isinstance(event, RequestHead):
                return event
            if self._reader.is_over:
                return None
            if self._reader.has_data:
                self._client.head_began()
            self._reader.feed(await self._client.receive())

    async def _respond(self, head: RequestHead) -> bool:
        """Run the app for a request; return whether another request may follow."""
        self._client.request_began()
        self._requests += 1
        is_last = self._requests >= self._config.keep_alive_max_requests
        writer = ResponseWriter(
            head.method, head.version, keeps_alive=head.keeps_alive and not is_last
        )
        exchange = AsgiExchange(
            self._client,
            self._reader,
            writer,
            self._error_response,
            self._config.response_headers("h11"),
        )
        await self._context.mark_request()
        if head.expects_continue and not self._reader.has_data:
            await self._client.send(CONTINUE)
        await self._run_app(head, exchange)
        if not exchange.end() or self._context.terminated.is_set():
            return False
        self._reader.start_next()
        self._client.request_ended()
        return True

    async def _run_app(self, head: RequestHead, exchange: AsgiExchange) -> None:
        scope, began = self._scope_of(head), time.time()
        named: Any = head
        if not valid_server_name(self._config, named):
            await exchange.fail(HTTPStatus.NOT_FOUND)
        else:
            try:
                await self._app(
                    scope,
                    exchange.receive,
                    exchange.send,
                    trio.to_thread.run_sync,
                    trio.from_thread.run,
                )
            except Exception:  # noqa: BLE001 - whatever it is, it ends this request only
                await self._config.log.exception("Error in ASGI Framework")
            await exchange.fail(HTTPStatus.INTERNAL_SERVER_ERROR)
        await self._config.log.access(scope, exchange.response, time.time() - began)

    def _scope_of(self, head: RequestHead) -> dict[str, Any]:
        path, _, query = head.target.partition(b"?")
        return {
            **self._scope,
            "http_version": head.version,
            "method": head.method,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "headers": head.headers,
            "state": self._scope["state"].copy(),
            "extensions": {},
        }

    def _error_response(self, error: ProtocolError) -> bytes:
        headers, body = error_response(error.status, str(error))
        headers += self._config.response_headers("h11")
        return ResponseWriter("GET", "1.1", keeps_alive=False).head(error.status, headers) + body


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
