"""The app for ``hypercorn -k trio taskflow.asgi:app``.

Importing it starts nothing. The ASGI lifespan runs the service, so Hypercorn reports the shutdown
as complete only when the service has ended.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from hypercorn.utils import LifespanFailureError

from taskflow import telemetry
from taskflow.metrics import Metrics
from taskflow.model.errors import expected_message
from taskflow.service import configured_settings, metrics_sharing, open_service
from taskflow.serving.hypercorn_command import (
    exit_with_failure,
    is_main_ending,
    main_pid,
    shutdown_with_main,
)
from taskflow.serving.process_tuning import raise_file_limit, tune_process
from taskflow.serving.server import patch_hypercorn
from taskflow.serving.shutdown import shutdown_on_signals
from taskflow.telemetry import Event

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class HypercornApp:
    """An ASGI app that runs the service in its lifespan."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request, or run the lifespan of the process."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            await self._app(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        raise_file_limit()
        is_started = False
        try:
            settings, metrics = configured_settings(), Metrics()
            # A second SIGTERM does not force the shutdown here: when the first worker has finished,
            # Hypercorn's main process sends one to the workers that are still draining.
            async with (
                shutdown_on_signals(
                    signal.SIGINT, has_hang_up=bool(settings.api_keys_file)
                ) as shutdown,
                shutdown_with_main(shutdown),
                metrics_sharing(metrics, main_pid(), is_main_ending) as share_metrics,
                open_service(settings, shutdown, metrics) as self._app,
            ):
                share_metrics()
                patch_hypercorn(shutdown, settings)
                tune_process()
                await send({"type": "lifespan.startup.complete"})
                is_started = True
                await receive()
        except Exception as error:  # noqa: BLE001 - reported to Hypercorn
            if not is_started:
                await _report_failed_start(error, send)
                return
            telemetry.emit(Event.CRASHED, error=error)
            exit_with_failure()
            raise LifespanFailureError("running", "TaskFlow crashed; its log says why") from None
        telemetry.emit(Event.STOPPED)
        await send({"type": "lifespan.shutdown.complete"})


app: Final = HypercornApp()


async def _report_failed_start(error: Exception, send: Send) -> None:
    """Write one line, and end a worker process of Hypercorn without its traceback."""
    message = expected_message(error)
    if message is None:
        telemetry.emit(Event.CRASHED, error=error)
    else:
        sys.stderr.write(f"taskflow: {message}\n")
        sys.stderr.flush()
    exit_with_failure()
    await send({"type": "lifespan.startup.failed", "message": message or str(error)})
