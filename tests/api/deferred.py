"""Targets that answer 202 and report outcomes later, and tasks that wait for these."""

from __future__ import annotations

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from taskflow.model.completion import COMPLETION_URL_HEADER
from tests.api.client import Answer
from tests.api.conftest import PUBLIC_URL
from tests.api.live import LiveServer

PATIENCE_SECONDS = 60.0
CALLBACK = {"mode": "callback", "within_seconds": 3600}


class Worker:
    """A target that answers 202, and has the completion URLs of its requests."""

    def __init__(self) -> None:
        self.urls: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.may_answer = threading.Event()
        self.polls = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def path(self) -> str:
        """The path of the next completion URL that it gets."""
        url = self.urls.get(timeout=PATIENCE_SECONDS)
        assert url.startswith(f"{PUBLIC_URL}/completions/"), url
        return urlsplit(url).path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        worker = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 60

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                worker.urls.put(self.headers[COMPLETION_URL_HEADER] or "")
                if self.path == "/later":
                    worker.may_answer.wait(PATIENCE_SECONDS)
                self.answer(200 if self.path == "/short" else 202, b"short")

            def do_GET(self) -> None:
                worker.polls += 1
                self.answer(200 if worker.polls > 1 else 202, b"polled")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "/jobs/1")
                self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class Parked:
    """A task whose target has answered 202.

    Args:
        server: The service.
        worker: The target.
        where: The path there.
        options: Of the task.
    """

    def __init__(
        self, server: LiveServer, worker: Worker, where: str = "/accept", **options: Any
    ) -> None:
        self.server = server
        payload = {"url": worker.url + where, "method": "POST"}
        document = {"payload": payload, "completion": CALLBACK, **options}
        answer = server.post(json.dumps(document).encode())
        assert answer.status == 201, answer
        self.id: str = answer.json["id"]
        self.path = worker.path()

    def wait(self) -> dict[str, Any]:
        """Return the task when it waits for its completion."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (task := self.server.show(self.id))["waiting_for"] is None:
            assert time.monotonic() < deadline, task
            time.sleep(0.01)
        return task

    def report(self, what: str = "", body: bytes | None = b"", headers=None) -> Answer:
        return self.server.ask("POST", self.path + what, body, headers)
