"""A server that receives signed requests and callbacks, and keeps them as they came."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from tests.loopback import SECRET

ANSWERS = {"/gone": 410, "/moved": 307, "/broken": 500}


class Received(NamedTuple):
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def verified(self, secret: str = SECRET) -> Any:
        """What it says, if its signature is good; raises otherwise."""
        return Webhook(secret).verify(self.body, dict(self.headers))

    def check(self, secret: str = SECRET) -> None:
        """Raise if its signature is not good, whatever its body is."""
        Webhook(secret).verify(self.body, dict(self.headers), json_parse=False)

    @property
    def task(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """The server, in a thread of its own.

    ``/gone``, ``/moved`` (to ``/elsewhere``) and ``/broken`` answer as they are called, ``/held``
    when it is released; any other path is content.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._released = threading.Event()
        self.received: list[Received] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def release(self) -> None:
        """Answer what is held back, and hold back nothing any more."""
        self._released.set()

    def wait_for(self, path: str, *, times: int = 1, seconds: float = 20.0) -> list[Received]:
        """Wait until ``count`` requests have come to this path, and return them."""

        def came() -> list[Received]:
            return [one for one in self.received if one.path == path]

        with self._changed:
            assert self._changed.wait_for(lambda: len(came()) >= times, seconds), self.received
            return came()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._changed:
                    receiver.received.append(Received(self.path, headers, body))
                    receiver._changed.notify_all()
                if self.path == "/held":
                    receiver._released.wait(20)
                with contextlib.suppress(OSError):  # who asked may be gone
                    self._answer(ANSWERS.get(self.path, 200))

            do_GET = do_POST  # noqa: N815 - the name of the base class

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if self.path == "/moved":
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
