"""TaskFlow over real sockets, composed as ``taskflow serve`` does, in a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio
from quart_trio import QuartTrio

from taskflow.service import MEMORY_URL, open_service
from taskflow.serving.server import listening, serve_http
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings
from tests.api.client import Answer, Connection, ask
from tests.loopback import ENCRYPTION_KEY, OPEN, SECRET

START_SECONDS = 120.0
END_SECONDS = 120.0


class LiveServer:
    """A server; ``with`` starts and stops it.

    Args:
        settings: Its settings, in place of the default ones of tests.
        configure: Called with its Quart app before it serves.
        open_app: Makes the app, with all that runs behind it.
        key: If given the server wants it, and ``ask`` sends it.
    """

    def __init__(
        self,
        *,
        configure: Callable[[Any], None] = lambda app: None,
        open_app: Callable[
            [Settings, Shutdown], AbstractAsyncContextManager[QuartTrio]
        ] = open_service,
        key: str | None = None,
        **settings: object,
    ) -> None:
        # Most tests care for no Host, and send any.
        settings = {
            "allowed_hosts": ("*",),
            "api_keys": f"tests:admin:{key}" if key else "",
            "webhook_secrets": SECRET,
            "encryption_keys": ENCRYPTION_KEY,
            "smtp_url": "smtp://127.0.0.1:9?tls=none",
            "smtp_from": "taskflow@example.com",
            "bind": "127.0.0.1:0",
            "fetch_timeout_seconds": 60.0,
            "database_timeout_seconds": 60.0,
            **settings,
        }
        self._settings = Settings(drain_seconds=0.2, **OPEN, **settings)
        self._credentials = {"authorization": f"Bearer {key}"} if key else {}
        self._configure = configure
        self._open_app = open_app
        self._started: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work)
        self._stop: Callable[[], None] = lambda: None

    @property
    def is_in_memory(self) -> bool:
        """Whether its tasks are gone when it ends."""
        return self._settings.database_url == MEMORY_URL

    def __enter__(self) -> LiveServer:
        self._thread.start()
        started = self._started.get(timeout=START_SECONDS)
        if isinstance(started, BaseException):
            self._thread.join()
            raise started
        self.url, self._stop = started
        return self

    def __exit__(self, *_: object) -> None:
        if not self._started.empty():  # it crashed meanwhile
            crash = self._started.get()
            assert isinstance(crash, BaseException)
            raise crash
        self._stop()
        self._thread.join(END_SECONDS)
        assert not self._thread.is_alive(), "the server did not end in time"

    def connect(self) -> Connection:
        return Connection(self.url)

    def ask(self, method: str, target: str, body: bytes | None = None, headers=None) -> Answer:
        """One request on a connection of its own."""
        return ask(self.url, method, target, body, {**self._credentials, **(headers or {})})

    def post(self, body: bytes) -> Answer:
        return self.ask("POST", "/tasks", body, {"content-type": "application/json"})

    def add(self, payload: bytes) -> str:
        """Hand a task in, and return its id."""
        answer = self.post(b'{"payload": ' + payload + b"}")
        assert answer.status == 201, answer
        return answer.json["id"]

    def show(self, task_id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/tasks/{task_id}")
        assert answer.status == 200, answer
        return answer.json

    def wait(self, task_id: str, seconds: float = 120.0) -> dict[str, Any]:
        """Poll the task until it is finished; fail after the timeout."""
        with self.connect() as connection:
            deadline = time.monotonic() + seconds
            while True:
                task = connection.ask("GET", f"/tasks/{task_id}").json
                if task["status"] not in ("PENDING", "RUNNING"):
                    return task
                assert time.monotonic() < deadline, task
                time.sleep(0.01)

    def run(self, payload: bytes) -> dict[str, Any]:
        """Hand a task in, and return it at its end."""
        return self.wait(self.add(payload))

    def check_serves(self) -> None:
        """It still takes tasks and lists them."""
        assert self.post(b'{"payload": 1}').status == 201
        assert self.ask("GET", "/tasks?limit=5").status == 200

    def _work(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:  # noqa: BLE001 - shown by the test that waits
            self._started.put(error)

    async def _run(self) -> None:
        shutdown = Shutdown()
        token = trio.lowlevel.current_trio_token()
        with listening(self._settings) as ([url], accept):
            async with self._open_app(self._settings, shutdown) as app:
                self._configure(app)
                stop = partial(token.run_sync_soon, shutdown.force)
                await serve_http(
                    app, self._settings, shutdown, accept, lambda: self._started.put((url, stop))
                )
