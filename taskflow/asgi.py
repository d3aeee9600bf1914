"""The app for ``hypercorn -k trio taskflow.asgi:app``.

Importing this starts nothing: the service lives inside the ASGI lifespan, in a nursery of
its own around the Quart app, so that its end is awaited before Hypercorn hears that the
shutdown is complete.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import trio
from hypercorn.utils import LifespanFailureError

from taskflow import telemetry
from taskflow.metrics import Metrics
from taskflow.metrics.sharing import shared
from taskflow.model.errors import expected_message
from taskflow.service import configured_settings, open_service, raise_file_limit
from taskflow.serving import process_tuning
from taskflow.serving.server import (
    adopt_hypercorn,
    fail_hypercorn,
    hypercorn_main,
    is_hypercorn_ending,
    shutdown_of_orphan,
)
from taskflow.serving.shutdown import shutdown_on_signals
from taskflow.telemetry import Event

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


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
        raise_file_limit()
        is_started = False
        try:
            settings, metrics = configured_settings(), Metrics()
            # SIGTERM hurries nobody here: Hypercorn's main process sends it to workers that
            # are still draining when the first one is done. By default it would kill them.
            async with (
                shutdown_on_signals(signal.SIGINT) as shutdown,
                shutdown_of_orphan(shutdown),
                _sharing(metrics) as share_metrics,
                open_service(settings, shutdown, metrics) as self._app,
            ):
                share_metrics()
                adopt_hypercorn(shutdown, settings)
                process_tuning.tune()
                await send({"type": "lifespan.startup.complete"})
                is_started = True
                await receive()
        except Exception as error:  # noqa: BLE001 - told to Hypercorn in its own terms
            if not is_started:
                await _refuse_start(error, send)
                return
            telemetry.emit(Event.CRASHED, error=error)
            fail_hypercorn()
            raise LifespanFailureError("running", "TaskFlow crashed; its log says why") from None
        telemetry.emit(Event.STOPPED)
        await send({"type": "lifespan.shutdown.complete"})


app: Final = HypercornApp()


@contextlib.asynccontextmanager
async def _sharing(metrics: Metrics) -> AsyncIterator[Callable[[], None]]:
    """Have these metrics told together with those of Hypercorn's other processes.

    Yields what begins that, to be called once the service is there: only then is it known what it
    counts. It ends after the service has, which counts to its end.
    """
    async with trio.open_nursery() as nursery:
        with contextlib.ExitStack() as stack:

            def begin() -> None:
                if (main := hypercorn_main()) is None:
                    return
                try:
                    stack.enter_context(shared(metrics.board, main, is_hypercorn_ending))
                except OSError as error:
                    telemetry.emit(Event.METRICS_NOT_SHARED, reason=str(error))
                else:
                    nursery.start_soon(metrics.keep_current)

            yield begin
            nursery.cancel_scope.cancel()


async def _refuse_start(error: Exception, send: Send) -> None:
    """Say why in one line; a worker process of Hypercorn's then ends without a traceback."""
    message = expected_message(error)
    if message is None:
        telemetry.emit(Event.CRASHED, error=error)
    else:
        sys.stderr.write(f"taskflow: {message}\n")
        sys.stderr.flush()
    # Everything of ours is closed; Hypercorn would only add its own traceback.
    fail_hypercorn()
    await send({"type": "lifespan.startup.failed", "message": message or str(error)})
