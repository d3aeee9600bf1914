"""The shutdown of the process, and the signals that reach it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Final

import trio

from taskflow.telemetry import Event, emit
from taskflow.wakeup import WakeUp


class Shutdown:
    """The state of the shutdown: graceful at first, immediate if forced.

    Attributes:
        is_started: Set when the process should end.
        is_forced: Set when it should end without waiting for fetches.
        hang_up: Notified by each SIGHUP.
    """

    def __init__(self) -> None:
        self.is_started: Final = trio.Event()
        self.is_forced: Final = trio.Event()
        self.hang_up: Final = WakeUp()

    def start(self) -> None:
        """Shut down gracefully: fetches may finish until the drain deadline."""
        if not self.is_started.is_set():
            self.is_started.set()
            emit(Event.SHUTDOWN_STARTED)

    def force(self) -> None:
        """Shut down at once: running tasks are released."""
        self.start()
        if not self.is_forced.is_set():
            self.is_forced.set()
            emit(Event.SHUTDOWN_FORCED)


@contextlib.asynccontextmanager
async def shutdown_on_signals(
    *forcing: signal.Signals, has_hang_up: bool = False
) -> AsyncIterator[Shutdown]:
    """Yield a shutdown that the first SIGTERM or SIGINT starts.

    Args:
        forcing: Signals that force the shutdown once it has started.
        has_hang_up: Whether SIGHUP notifies ``hang_up``; if not, it ends the process at once.
    """
    shutdown = Shutdown()
    received = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if has_hang_up else [])]

    async def handle_signals(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*received) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    shutdown.hang_up.notify()
                    continue
                if shutdown.is_started.is_set() and number in forcing:
                    shutdown.force()
                shutdown.start()

    async with trio.open_nursery() as nursery:
        await nursery.start(handle_signals)
        yield shutdown
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def cancel_slow_start(shutdown: Shutdown) -> AsyncIterator[trio.Event]:
    """Cancel the block if the shutdown starts before the event that is yielded is set.

    Before that there is nothing to shut down in order, and a start may take long: a database that
    does not respond, or an embedded PostgreSQL that recovers.
    """
    has_started = trio.Event()

    async def cancel_at_shutdown() -> None:
        await shutdown.is_started.wait()
        if not has_started.is_set():
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_at_shutdown)
        yield has_started
        nursery.cancel_scope.cancel()
