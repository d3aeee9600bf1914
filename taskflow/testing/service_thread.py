"""A service in a thread of a test: ``TestService``."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import queue
import threading
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import httpx
import trio
import trio.testing

from taskflow.client.asynchronous.client import Client
from taskflow.client.blocking.client import BlockingClient
from taskflow.model.errors import SettingsError
from taskflow.model.signature import new_secret
from taskflow.service import MEMORY_URL, open_service
from taskflow.serving.server import listening, serve_http
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings, validated
from taskflow.telemetry import muted_log
from taskflow.testing.handled import Answer, HandledTargets, Handler, checked
from taskflow.testing.stopped_clock import NEAR_SECONDS, StoppedClock

# What a node does by the clock is of no interest here: it is done once per hour of a test.
_HEARTBEAT_SECONDS: Final = 3600.0
_LEASE_SECONDS: Final = 86_400.0
# Each request that waits for ``respond`` occupies one.
_WORKERS: Final = 200


class TestService:
    """TaskFlow in this process, with tasks in memory; ``with`` starts and stops it.

    It listens on a free port of the loopback address. Its clock stands still: whatever has a delay
    happens in ``advance``. Tasks that are due run at once, and their requests go to the handler.

    Args:
        handler: Returns the response to a request of a task; called in a thread, for one request
            after the other, so it must not wait for another task. If it returns
            ``None``, and without a handler, a request waits for ``respond``. An error of httpx,
            such as ``httpx.ConnectError``, fails the attempt; ``httpx.ReadTimeout`` lets it wait
            for its timeout. Any other error is raised by the next call of the test.
        settings: Settings of the service, named as the fields of ``taskflow.settings.Settings``.

    Raises:
        ValueError: A setting is not valid.
        TypeError: There is no such setting, or the handler is asynchronous.

    Attributes:
        webhook_secret: The secret that signs callbacks.
    """

    __test__ = False  # pytest

    def __init__(self, handler: Handler | None = None, **settings: Any) -> None:
        self.webhook_secret: Final[str] = settings.pop("webhook_secrets", None) or new_secret()
        if "database_url" in settings:
            raise ValueError("tasks of a TestService are in memory: it has no database_url")
        defaults = {
            "database_url": MEMORY_URL,
            "bind": "127.0.0.1:0",
            "drain_seconds": 0.0,
            "heartbeat_seconds": _HEARTBEAT_SECONDS,
            "lease_seconds": _LEASE_SECONDS,
            "poll_seconds": _HEARTBEAT_SECONDS,
            "workers": _WORKERS,
        }
        try:
            values = {**defaults, **validated(settings)}
            self._settings = Settings(webhook_secrets=self.webhook_secret, **values)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        self._targets = HandledTargets(handler)
        self._clock = StoppedClock()
        self._started: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="taskflow.testing")
        self._token: trio.lowlevel.TrioToken | None = None
        self._shutdown: Shutdown | None = None
        self._epoch = dt.datetime.now(dt.UTC)
        self._url = ""

    def __enter__(self) -> Self:
        self._epoch = dt.datetime.now(dt.UTC)
        self._thread.start()
        if error := self._started.get():
            self._thread.join()
            raise error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if error is None:
            self._raise_crash()

    @property
    def url(self) -> str:
        """The address of the service, for TASKFLOW_URL."""
        return self._url

    @property
    def now(self) -> dt.datetime:
        """The time of the service."""
        return self._epoch + dt.timedelta(seconds=self._clock.current_time())

    @property
    def requests(self) -> list[httpx.Request]:
        """The requests that tasks sent so far, in order."""
        return [*self._targets.requests]

    def client(self, **options: Any) -> BlockingClient:
        """Return a blocking client of the service; ``options`` are its arguments."""
        return BlockingClient(self._url, **options)

    def async_client(self, **options: Any) -> Client:
        """Return a client of the service for asyncio and Trio; ``options`` are its arguments."""
        return Client(self._url, **options)

    def run_due(self) -> None:
        """Wait until all tasks that are due have run, as far as they are not for ``respond``.

        Like ``advance``, it blocks the thread that calls it; on an event loop, call it in another
        one: ``await asyncio.to_thread(service.run_due)``.
        """
        self.advance(0.0)

    def advance(self, seconds: float | dt.timedelta) -> None:
        """Let time pass: tasks, retries and schedules that become due run, one after the other.

        Args:
            seconds: How long, as a number or a ``timedelta``.

        Raises:
            ValueError: It is negative, or no finite number.
        """
        number = seconds.total_seconds() if isinstance(seconds, dt.timedelta) else seconds
        if not 0 <= number < math.inf:
            raise ValueError(f"seconds must be a finite number from 0 on, not {seconds!r}")
        self._call(self._advance, number)

    def respond(self, task_id: uuid.UUID | str, response: Answer) -> None:
        """Respond to the request of a task that waits for it, and let the task finish.

        Args:
            task_id: The id of the task.
            response: The response of the target, or an error of httpx in place of it.

        Raises:
            LookupError: The task has no request that waits for a response.
            TypeError: It is not a response.
        """
        checked(response)
        known = task_id if isinstance(task_id, uuid.UUID) else uuid.UUID(task_id)
        self._call(self._respond, known, response)

    def _call(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        if self._token is None:
            raise RuntimeError("the service does not run: use `with TestService() as service:`")
        if self._targets.is_in_handler:
            raise RuntimeError("the handler cannot let time pass: it is waited for")
        try:
            trio.from_thread.run(function, *args, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled):
            self._thread.join()
            self._raise_crash()
            raise RuntimeError("the service has ended") from None
        self._raise_crash()

    async def _advance(self, seconds: float) -> None:
        end = self._clock.current_time() + seconds
        while True:
            await self._wait_until_idle()
            left = end - self._clock.current_time()
            step = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if step > max(left, NEAR_SECONDS):
                self._clock.move(max(left, 0.0))
                return
            self._clock.move(max(step, 0.0))

    async def _wait_until_idle(self) -> None:
        while True:
            await self._targets.wait_until_idle()
            await trio.testing.wait_all_tasks_blocked()
            if self._targets.is_idle:
                return

    async def _respond(self, task_id: uuid.UUID, response: Answer) -> None:
        await self._wait_until_idle()
        if not self._targets.respond(task_id, response):
            raise LookupError(
                f"no request of task {task_id} waits for a response: is the task due, and does "
                "the handler return None for it?"
            )
        await self._advance(0.0)

    def _raise_crash(self) -> None:
        crash, self._targets.crash = self._targets.crash, None
        if crash is not None:
            raise crash

    def _stop(self) -> None:
        assert self._token is not None
        assert self._shutdown is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._shutdown.force)
        self._thread.join()

    def _work(self) -> None:
        try:
            with muted_log():
                trio.run(self._run, clock=self._clock)
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the test
            self._targets.crash = error
            self._started.put(error)

    async def _run(self) -> None:
        settings, dial = self._settings, self._targets.dial
        self._token, self._shutdown = trio.lowlevel.current_trio_token(), Shutdown()
        with listening(settings) as ([url], accept):
            self._url = url
            async with open_service(settings, self._shutdown, dial=dial) as app:
                is_served = partial(self._started.put, None)
                await serve_http(app, settings, self._shutdown, accept, is_served)
