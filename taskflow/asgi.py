"""The app for ``hypercorn -k trio taskflow.asgi:app``.

Importing this starts nothing: the service lives inside the ASGI lifespan, in a nursery of
its own around the Quart app, so that its end is awaited before Hypercorn hears that the
shutdown is complete.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import trio
from hypercorn.utils import LifespanFailureError

from taskflow import telemetry
from taskflow.model.errors import expected_message
from taskflow.server import adopt_hypercorn
from taskflow.service import Service, Shutdown, configured_settings, open_service
from taskflow.telemetry import Event

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

# After a SIGTERM straight to this process (and not to Hypercorn's main one alone) Hypercorn
# is usually told as well, and learns it by polling ten times a second.
_FOLLOW_UP_SECONDS: Final = 1.0


class HypercornApp:
    """An ASGI app whose lifespan is the service."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a connection, or live the life of the server process."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        is_started = False
        try:
            settings = configured_settings()
            async with _sigterm_begins() as shutdown, open_service(settings, shutdown) as service:
                self._app = service.app
                is_hypercorn_ending = trio.Event()
                adopt_hypercorn(on_shutdown=lambda: _end(shutdown, is_hypercorn_ending))
                await send({"type": "lifespan.startup.complete"})
                is_started = True
                await _wait_for_end(receive, service, is_hypercorn_ending)
        except Exception as error:  # noqa: BLE001 - told to Hypercorn in its own terms
            if not is_started:
                await _refuse_start(error, send)
                return
            telemetry.emit(Event.CRASHED, error=error)
            raise LifespanFailureError("running", "TaskFlow crashed; its log says why") from None
        telemetry.emit(Event.STOPPED)
        if not is_hypercorn_ending.is_set():
            _die_of_sigterm()
        await send({"type": "lifespan.shutdown.complete"})


app: Final = HypercornApp()


@contextlib.asynccontextmanager
async def _sigterm_begins() -> AsyncIterator[Shutdown]:
    """A shutdown that SIGTERM begins, and that further ones do not cut short.

    Hypercorn's main process sends SIGTERM to those of its workers that are still draining
    when the first one is done: by default that would kill them.
    """
    shutdown = Shutdown()

    async def obey(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                shutdown.begin()

    async with trio.open_nursery() as nursery:
        await nursery.start(obey)
        yield shutdown
        nursery.cancel_scope.cancel()


def _end(shutdown: Shutdown, is_hypercorn_ending: trio.Event) -> None:
    is_hypercorn_ending.set()
    shutdown.begin()


async def _wait_for_end(
    receive: Receive, service: Service, is_hypercorn_ending: trio.Event
) -> None:
    """Return when Hypercorn has closed its connections.

    If only this process was told to end, Hypercorn never asks; then it is enough that the
    engine is done.
    """
    async with trio.open_nursery() as nursery:

        async def wait_for_engine() -> None:
            await service.engine_ended.wait()
            with trio.move_on_after(_FOLLOW_UP_SECONDS):
                await is_hypercorn_ending.wait()
                return
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait_for_engine)
        await receive()
        nursery.cancel_scope.cancel()


async def _refuse_start(error: Exception, send: Send) -> None:
    """Say why in one line; a worker process of Hypercorn's then ends without a traceback."""
    message = expected_message(error)
    if message is None:
        telemetry.emit(Event.CRASHED, error=error)
    else:
        sys.stderr.write(f"taskflow: {message}\n")
        sys.stderr.flush()
        if multiprocessing.parent_process() is not None:
            # Everything of ours is closed; Hypercorn would only add its own traceback.
            os._exit(1)
    await send({"type": "lifespan.startup.failed", "message": message or str(error)})


def _die_of_sigterm() -> None:
    """End as a process does that SIGTERM ends, now that all is in order."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
