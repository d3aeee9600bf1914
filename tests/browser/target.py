"""A web server with slow responses, which a test releases, and hostile ones."""

from __future__ import annotations

import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
HOSTILE_JSON = (
    b'{"<script>document.title=\'taken\'</script>": "</pre><img src=x onerror=alert(1)>"}'
)
ORDER = b'{"order": 4711, "total": 12.50, "items": [{"name": "tea", "count": 2}]}'


def png(width: int, height: int) -> bytes:
    """Return an image with a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(
        b"\0" + bytes(part for x in range(width) for part in (x % 256, y % 256, 160))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


IMAGE = png(160, 90)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title="taken"</script></svg>'
BODIES = {
    "/image": ("image/png", IMAGE),
    "/image-as-page": ("text/html", IMAGE),
    "/svg": ("image/png", SVG),
    "/bomb": ("image/png", IMAGE[:16] + struct.pack(">II", 60_000, 60_000) + IMAGE[24:]),
    "/no-image": ("image/png", b"\x00\xff" * 100),
}


class SlowTarget:
    """``/held`` responds when ``release`` is called; ``/hostile`` responds with markup.

    ``BODIES`` has images and bytes that are declared to be something else.
    """

    def __init__(self) -> None:
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.authority = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.authority}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> SlowTarget:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hold(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        target = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/held":
                    target._released.wait(10)
                status = 503 if path == "/down" else 200
                media_type, body = BODIES.get(path, ("application/json", ORDER))
                body = HOSTILE_JSON if path == "/hostile" else body
                self.send_response(status, HOSTILE if path == "/hostile" else None)
                self.send_header("Content-Type", media_type)
                if path == "/hostile":
                    self.send_header("X-Said", HOSTILE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
