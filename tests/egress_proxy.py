"""A proxy for CONNECT and for http URLs; ``python -m tests.egress_proxy PORT`` is a process."""

from __future__ import annotations

import base64
import contextlib
import ssl
import sys
from urllib.parse import urlsplit

import trio

PASSWORD = "p@ss:word/ü"
USERINFO = "worker:p%40ss%3Aword%2F%C3%BC"
AUTHORIZATION = f"Basic {base64.b64encode(f'worker:{PASSWORD}'.encode()).decode()}"


class EgressProxy:
    """Connects to this machine, whatever the name of the target is.

    Attributes:
        requests: The request lines, in order.
        heads: The request heads.
        connections: Number of connections.
        url: Its URL, without credentials.
    """

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, has_password: bool = False
    ) -> None:
        self._ssl_context = ssl_context
        self._has_password = has_password
        self.heads: list[str] = []
        self.connections = 0
        self.port = 0
        self._running = trio.CancelScope()

    @property
    def requests(self) -> list[str]:
        return [head.partition("\r\n")[0] for head in self.heads]

    @property
    def url(self) -> str:
        scheme = "https" if self._ssl_context else "http"
        return f"{scheme}://localhost:{self.port}"

    async def run(self, port: int = 0, *, task_status=trio.TASK_STATUS_IGNORED):
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started(self)
        with self._running:
            await trio.serve_listeners(self._serve, [listener])

    def die(self) -> None:
        """Close all connections, and accept no more."""
        self._running.cancel()

    async def _serve(self, stream):
        self.connections += 1
        if self._ssl_context:
            stream = trio.SSLStream(
                stream, self._ssl_context, server_side=True, https_compatible=True
            )
        with contextlib.suppress(trio.BrokenResourceError, OSError, ssl.SSLError):
            try:
                while await self._serve_one(stream):
                    pass
            finally:
                await trio.aclose_forcefully(stream)

    async def _serve_one(self, stream) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            data = await stream.receive_some()
            if not data:
                return False
            received += data
        head, _, body = received.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        self.heads.append(text)
        if self._has_password and f"Proxy-Authorization: {AUTHORIZATION}" not in text:
            await stream.send_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            return True
        method, url, _ = text.partition("\r\n")[0].split(" ")
        if method == "CONNECT":
            await self._tunnel(stream, int(url.rpartition(":")[2]))
            return False
        return await self._forward(stream, method, url, text, body)

    async def _tunnel(self, stream, port):
        target = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with target, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, target, stream, nursery.cancel_scope)
            await self._copy(stream, target, nursery.cancel_scope)

    async def _copy(self, source, sink, scope):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some():
                await sink.send_all(data)
        scope.cancel()

    async def _forward(self, stream, method, url, text, body):
        parts = urlsplit(url)
        assert parts.scheme == "http", url
        path = url.partition("://")[2].partition("/")[2]
        lines = [
            line
            for line in text.split("\r\n")[1:]
            if not line.lower().startswith(("proxy-", "connection"))
        ]
        head = "\r\n".join([f"{method} /{path} HTTP/1.1", *lines, "Connection: close"])
        async with await trio.open_tcp_stream("127.0.0.1", parts.port or 80) as target:
            await target.send_all(head.encode("latin-1") + b"\r\n\r\n" + body)
            received = b""
            while data := await target.receive_some():
                received += data
                if _is_whole(received):
                    break
        await stream.send_all(received)
        return _is_whole(received)


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end and lengths) and len(body) >= int(lengths[0].partition(b":")[2])


if __name__ == "__main__":
    trio.run(EgressProxy(has_password=True).run, int(sys.argv[1]))
