"""A server that sends the responses of the vectors in ``clients/conformance``, over real sockets.

A client uses the address ``<url>/play/<client>/<file>/<number>``, and ``<url>/received/...`` has
the requests that came to it, as JSON.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.clients.vectors import vectors

_PARTS_OF_PLACE = 4  # of /play/<client>/<file>/<number>


class ScriptedServer:
    """The server; ``with`` starts and stops it."""

    def __init__(self) -> None:
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=[0.05])
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def address(self, client: str, place: str) -> str:
        """Return where a client plays a vector."""
        return f"{self.url}/play/{client}/{place}"

    def received(self, client: str, place: str) -> list[dict[str, Any]]:
        """Return the requests of a client for a vector."""
        return self._http.received[f"/play/{client}/{place}"]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # clients play many vectors at once

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.vectors = vectors()
        self.received: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: each connection has one request."""

    server: _Server

    def log_message(self, *_: object) -> None:
        """Be silent."""

    def _serve(self) -> None:
        parts = self.path.split("/", _PARTS_OF_PLACE + 1)
        place = "/".join(parts[: _PARTS_OF_PLACE + 1])
        if parts[1] == "received":
            found = self.server.received[place.replace("/received/", "/play/")]
            self._send(200, {}, json.dumps(found).encode())
            return
        received = self.server.received[place]
        received.append(self._request("/" + parts[-1]))
        responses = self.server.vectors["/".join(parts[3:5])]["responses"]
        if len(received) > len(responses):
            self._send(599, {}, b'{"detail": "no more requests were expected"}')
            return
        self._play(responses[len(received) - 1])

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - as its base wants it

    def _request(self, target: str) -> dict[str, Any]:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        is_json = self.headers.get("content-type") == "application/json" and body
        return {
            "method": self.command,
            "target": target,
            "query": [list(pair) for pair in parse_qsl(urlsplit(target).query, True)],
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body,
            "json": json.loads(body) if is_json else None,
        }

    def _play(self, response: dict[str, Any]) -> None:
        if response.get("lost"):
            return
        if "stream" in response:
            text = "".join(map(_event, response["stream"]))
            self._send(200, {"Content-Type": "text/event-stream"}, text.encode(), is_open=True)
            return
        text = json.dumps(response["body"]) if "body" in response else response["text"]
        self._send(response["status"], response.get("headers", {}), text.encode())

    def _send(
        self, status: int, headers: dict[str, str], body: bytes, *, is_open: bool = False
    ) -> None:
        self.send_response(status)
        if not is_open:  # otherwise the end of the connection is the end of the body
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _event(part: dict[str, Any]) -> str:
    if "event" in part:
        event = part["event"]
        return f"id: {event['id']}\ndata: {json.dumps(event)}\n\n"
    if "name" in part:
        return f"event: {part['name']}\ndata: {{}}\n\n"
    return str(part["text"])
