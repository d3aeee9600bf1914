"""The wish to end, and the signals that say it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Final

import trio

from taskflow.telemetry import Event, emit


class Shutdown:
    """The wish to end: first in order, then, if it is repeated, at once."""

    def __init__(self) -> None:
        self.is_begun: Final = trio.Event()
        self.is_hurried: Final = trio.Event()

    def begin(self) -> None:
        """End in order: what is in flight may finish within its deadline."""
        if not self.is_begun.is_set():
            self.is_begun.set()
            emit(Event.SHUTDOWN_STARTED)

    def hurry(self) -> None:
        """End at once: what is in flight is released."""
        self.begin()
        if not self.is_hurried.is_set():
            self.is_hurried.set()
            emit(Event.SHUTDOWN_FORCED)


@contextlib.asynccontextmanager
async def shutdown_on_signals(*hurrying: signal.Signals) -> AsyncIterator[Shutdown]:
    """A shutdown that the first SIGTERM or SIGINT begins.

    Args:
        hurrying: Those that hurry it when they come after that.
    """
    shutdown = Shutdown()

    async def obey(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if shutdown.is_begun.is_set() and number in hurrying:
                    shutdown.hurry()
                shutdown.begin()

    async with trio.open_nursery() as nursery:
        await nursery.start(obey)
        yield shutdown
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def start_called_off(shutdown: Shutdown) -> AsyncIterator[trio.Event]:
    """Cancel the block if the shutdown begins before the event that is yielded is set.

    Until then there is nothing to end in order, and a start may take long: a database that
    does not answer, or an embedded one that recovers.
    """
    has_started = trio.Event()

    async def call_off() -> None:
        await shutdown.is_begun.wait()
        if not has_started.is_set():
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call_off)
        yield has_started
        nursery.cancel_scope.cancel()
