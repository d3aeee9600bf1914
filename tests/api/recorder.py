"""A web server that keeps what it is sent, to the byte, and answers as the path says."""

from __future__ import annotations

import re
import socketserver
import threading
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit


class Recorder:
    """The server, in a thread of its own.

    ``/anything?status=404&body=gone&seconds=0.5&location=/there&header=X-A:+1`` answers so.
    """

    def __init__(self) -> None:
        self._received: dict[str, list[bytes]] = defaultdict(list)
        self._going = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def received(self, path: str) -> list[bytes]:
        """The requests for this path, whole and in order."""
        return list(self._received[path])

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        recorder = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(self) -> None:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = self.rfile.readline()
                    if not line:
                        return
                    head += line
                length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
                body = self.rfile.read(int(length[1])) if length else b""
                method, target, _ = head.split(b" ", 2)
                parts = urlsplit(target.decode())
                recorder._received[parts.path].append(head + body)
                wish = {name: value for name, [value] in parse_qs(parts.query).items()}
                recorder._going.wait(float(wish.get("seconds", 0)))
                output = wish.get("body", "done").encode()
                fields = [f"HTTP/1.1 {wish.get('status', 200)} So", "Connection: close"]
                fields += [f"Content-Length: {len(output)}", "Content-Type: text/plain"]
                fields += [f"Location: {wish['location']}"] if "location" in wish else []
                fields += [wish["header"]] if "header" in wish else []
                answer = "\r\n".join([*fields, "", ""]).encode()
                self.wfile.write(answer + (b"" if method == b"HEAD" else output))

        return Handler


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    allow_reuse_address = True
    request_queue_size = 64
