"""A web server for TaskFlow to fetch from: each path is an answer, and hits are counted."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.service.targets import SocketServer

BIG = b'"' + b"x" * (2**20 - 2) + b'"'

ANSWERS = {
    "/json": (200, "application/json", b'{"b": 1.50, "a": [1e400, "\\u0000"]}'),
    "/text": (200, "text/plain; charset=utf-8", "h\xe9llo".encode()),
    "/binary": (200, "application/octet-stream", b"\x89PNG\x00\xff"),
    "/nul": (200, "text/plain", b"a\x00b"),
    "/surrogate": (200, "application/json", b'"\\ud800"'),
    "/deep": (200, "application/json", b"[" * 5000 + b"]" * 5000),
    "/big": (200, "application/json", BIG),
    "/spaced": (200, "application/json", b' {"a" :\t[ 1e400, -0.0 ,1.50]}\n'),
    "/latin": (200, "text/html; charset=ISO-8859-1; x=1", "<b>h\xe9llo</b>".encode("latin-1")),
    "/empty": (200, "text/plain", b""),
    "/svg": (200, "image/svg+xml", b"<svg onload='alert(1)'/>"),
    "/untyped": (200, None, b"\xff\x00"),
    "/quoted": (200, 'text/html"; filename="x', b"<b>"),
    "/open": (200, 'text/html; a="', b"<b>"),
    "/cut": (200, 'text/html; a="; charset=x"', b"<b>"),
    "/overlong": (200, "text/" + "x" * 300, b"<b>"),
    "/foreign": (200, "text/h\xe9ml", b"<b>"),
    "/parts": (200, "Multipart/x-mixed-replace; boundary=b", b"--b\r\n\r\n<b>\r\n--b--"),
    "/br": (200, "text/html", b"\x0b\x02\x80<b>\x03\xff"),
    "/utf-8": (200, "text/html", b"<b>"),
    "/204": (204, None, b""),
    "/404": (404, "text/plain", b"no such thing"),
    "/500": (500, "text/plain", b"a\x00fault"),
}

CODINGS = {"/br": "br", "/utf-8": "utf-8"}


class Target:
    """The server, in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.hits: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> Target:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, path: str, seconds: float = 90.0) -> bool:
        """Whether the path is fetched within this time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.hits[path] > 0, seconds)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        target = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 60

            def do_GET(self) -> None:
                with target._changed:
                    target.hits[self.path] += 1
                    target._changed.notify_all()
                path = "/text" if self.path.startswith("/once/") else self.path.partition("?")[0]
                status, content_type, body = ANSWERS[path]
                self.send_response(status)
                if content_type is not None:
                    self.send_header("Content-Type", content_type)
                if path in CODINGS:
                    self.send_header("Content-Encoding", CODINGS[path])
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64


class RawTarget(SocketServer):
    """A web server that answers with given bytes, and ends the connection."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        super().__init__(socket.create_server(("127.0.0.1", 0)))
        self._answers = answers
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self, connection: socket.socket) -> None:
        """Answer one request, and wait until the client has closed the connection."""
        with connection.makefile("rb") as received:
            if not (first := received.readline()):
                return
            _, target, _ = first.split(b" ")
            length = 0
            while (line := received.readline()) not in (b"\r\n", b""):
                name, _, value = line.lower().partition(b":")
                length = int(value) if name == b"content-length" else length
            received.read(length)
            connection.sendall(self._answers[target.decode().partition("?")[0]])
            connection.shutdown(socket.SHUT_WR)
            received.read()
