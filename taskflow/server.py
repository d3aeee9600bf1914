"""Hypercorn, made safe to run for long: the one place that knows its insides.

Two names in ``hypercorn.trio.run`` are replaced, at start-up and not at import:

- ``TCPServer``, because one connection with an exception ends them all, and a client that
  does not read its answer holds up the shutdown for ever (measured with Hypercorn 0.18,
  to which the project is pinned);
- ``raise_shutdown``, because under the ``hypercorn`` command nothing else tells the app
  that the shutdown has begun before all connections are closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import hypercorn.logging
import hypercorn.trio
import hypercorn.trio.run
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.utils import raise_shutdown

from taskflow import telemetry
from taskflow.model.errors import CannotListen
from taskflow.settings import Settings

# Requests in flight may go on so long at shutdown, or as long as fetches may if that is less.
LONGEST_GRACE_SECONDS: Final = 3.0


class ContainedServer(TCPServer):
    """One connection, whose faults are its own."""

    async def run(self) -> None:
        """Serve the connection to its end; never raise but ``Cancelled``."""
        try:
            await super().run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends this connection alone
            telemetry.emit(telemetry.Event.CONNECTION_FAULT, error=error)
        except BaseExceptionGroup as group:
            faults, rest = group.split(Exception)
            if faults is not None:
                telemetry.emit(telemetry.Event.CONNECTION_FAULT, error=faults)
            if rest is not None:
                raise rest from None
        finally:
            await trio.aclose_forcefully(self.stream)

    async def protocol_send(self, event: Event) -> None:
        """Send, but let a cancellation through: a client need not read.

        What is cut off half-way leaves the connection unusable, so it is closed.
        """
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self.protocol.handle(Closed())
            except trio.Cancelled:
                await trio.aclose_forcefully(self.stream)
                raise


def adopt_hypercorn(on_shutdown: Callable[[], None] | None = None) -> None:
    """Have Hypercorn contain connections, and say when its shutdown begins.

    Args:
        on_shutdown: Called once when Hypercorn starts to shut down.
    """

    async def raise_shutdown_and_tell(trigger: Callable[..., Awaitable[None]]) -> None:
        try:
            await raise_shutdown(trigger)
        finally:
            if on_shutdown is not None:
                on_shutdown()

    replaced: Any = hypercorn.trio.run
    replaced.TCPServer = ContainedServer
    replaced.raise_shutdown = raise_shutdown_and_tell


async def serve_http(
    app: Any,
    settings: Settings,
    *,
    shutdown_trigger: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the app on ``settings.bind`` until the trigger returns.

    Reports as started with the URLs it listens on.

    Raises:
        CannotListen: The address cannot be had.
    """
    adopt_hypercorn()
    try:
        await hypercorn.trio.serve(
            app,
            _config(settings),
            shutdown_trigger=shutdown_trigger,
            task_status=task_status,
            mode="asgi",
        )
    except* OSError as group:
        reason = _first_leaf(group)
        raise CannotListen(f"cannot listen on {settings.bind}: {reason}") from None


def _config(settings: Settings) -> Config:
    config = Config()
    config.bind = [settings.bind]
    config.logger_class = _Log
    config.graceful_timeout = min(LONGEST_GRACE_SECONDS, settings.drain_deadline_seconds + 0.5)
    config.include_server_header = False
    return config


class _Log(hypercorn.logging.Logger):
    """Hypercorn's words as events of ours: faults only, the rest we say ourselves."""

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        telemetry.emit(telemetry.Event.REQUEST_FAULT, reason=message, exc_info=True)

    async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
        pass


def _first_leaf(group: BaseExceptionGroup[OSError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
