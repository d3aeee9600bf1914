"""The server over streamable HTTP: each client sends the API key that its calls are made with.

The requests that reach the service come from this process. So a service that requires no key
would trust any client of this server as a local one: a server that others can reach serves only
requests with a key, and only as long as the service requires keys.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from taskflow.client.asynchronous.client import Client
from taskflow.mcp_server.binding import Binding, KeyRequirement
from taskflow.mcp_server.sdk.tool_server import make_server
from taskflow.mcp_server.toolbox import Caller, Writes
from taskflow.model.errors import CannotListen
from taskflow.model.hostname import bracketed

PATH: Final = "/mcp"
DRAIN_SECONDS: Final = 5
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_BEARER: Final = re.compile(r"bearer +(?P<key>\S+)", re.IGNORECASE)
_UNAUTHORIZED: Final = b'{"error": "an API key of TaskFlow is required as Authorization: Bearer"}'

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class HttpServer:
    """What is served, and to whom.

    Args:
        url: The address of the service.
        binding: The address to listen on, and the names of the server.
        writes: Which callers are offered the tools that change something.
        timeout_seconds: How long a call is retried while the service does not answer.
    """

    def __init__(
        self, url: str, binding: Binding, writes: Writes, *, timeout_seconds: float
    ) -> None:
        self._url = url
        self._binding = binding
        self._writes = writes
        self._timeout_seconds = timeout_seconds
        self._requirement = KeyRequirement(url, timeout_seconds)

    def run(self, report: Callable[[str], None]) -> None:
        """Serve until SIGTERM or Ctrl+C.

        Args:
            report: Called with the URL once clients may connect.

        Raises:
            CannotListen: The address is not available.
        """
        config = uvicorn.Config(
            self._app(),
            http="h11",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        with self._listener(config.backlog) as listener:
            report(self._binding.url_of(listener.getsockname()[1]) + PATH)
            uvicorn.Server(config).run(sockets=[listener])

    def _listener(self, backlog: int) -> socket.socket:
        host, port = self._binding.host, self._binding.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=backlog)
        except OSError as error:
            reason = str(error.strerror or error).partition(" (")[0]  # Python adds the address
            raise CannotListen(f"cannot listen on {bracketed(host)}:{port}: {reason}") from None

    def _app(self) -> App:
        server = make_server(self._caller_of, self._writes)
        # Stateless: each request has the key that it is made with, and any process can answer it.
        app: App = server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            transport_security=self._security(),
        )
        return _with_key_only(app) if self._binding.is_exposed else app

    @asynccontextmanager
    async def _caller_of(self, request: Any) -> AsyncIterator[Caller]:
        if self._binding.is_exposed:
            await self._requirement.check()
        key = key_in(request.headers.get("authorization", ""))
        async with Client(self._url, api_key=key, timeout_seconds=self._timeout_seconds) as client:
            yield Caller(client, has_key=key is not None)

    def _security(self) -> TransportSecuritySettings:
        names = (*_LOOPBACK, *self._binding.names)
        origins = [f"http://{name}" for name in _LOOPBACK]
        origins += [f"https://{name}" for name in self._binding.names]
        return TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=[*names, *(f"{name}:*" for name in names)],
            allowed_origins=[*origins, *(f"{origin}:*" for origin in origins)],
        )


def key_in(authorization: str) -> str | None:
    """Return the API key in a header; ``None`` if there is none."""
    found = _BEARER.fullmatch(authorization.strip())
    return found["key"] if found else None


def _with_key_only(app: App) -> App:
    """Return an app that answers 401 to requests without a key."""

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not _has_key(scope["headers"]):
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _UNAUTHORIZED})
            return
        await app(scope, receive, send)

    return checked


def _has_key(headers: Any) -> bool:
    return any(
        name == b"authorization" and key_in(value.decode("latin-1")) for name, value in headers
    )
