"""Wake-ups from other nodes: LISTEN on a connection of its own.

This is the one place where psycopg's asyncio connection is used, under trio-asyncio:
waiting for a notification in a thread could not be cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import psycopg
import psycopg.waiting
import trio
import trio_asyncio

from taskflow.store.postgres.database import connection_options, one_line
from taskflow.telemetry import Event, emit

WORK_CHANNEL: Final = "taskflow_work"
EVENTS_CHANNEL: Final = "taskflow_events"
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 2.0


class Tell(Protocol):
    """Takes the word whether somebody listens."""

    def __call__(self, *, is_listening: bool) -> None:
        """Take it."""


async def listen(
    conninfo: str,
    *,
    timeout_seconds: float,
    hearers: Mapping[str, Callable[[str], None]],
    tell: Tell,
    server_version: int = 0,
) -> None:
    """Call a channel's hearer whenever a node says something there, until cancelled.

    While the database cannot be reached it tries again with growing pauses. After each
    connection all hearers are called too, with nothing, for what was said meanwhile.

    Args:
        conninfo: The database.
        timeout_seconds: How long connecting may take.
        hearers: By channel; they get what was said. Must not block.
        tell: Told whether it listens, when that changes.
        server_version: PostgreSQL's, as libpq has it; 0 if it is not known.
    """
    # trio-asyncio replaces this function of asyncio's when it is imported; psycopg, if that
    # was imported earlier, still holds the one that knows nothing of Trio.
    psycopg.waiting.get_running_loop = asyncio.get_running_loop  # type: ignore[attr-defined]
    options = connection_options(
        conninfo, timeout_seconds=timeout_seconds, server_version=server_version
    )
    pause_seconds = _FIRST_PAUSE_SECONDS
    was_lost = False

    def connected() -> None:
        nonlocal pause_seconds, was_lost
        if was_lost:
            emit(Event.LISTENER_BACK)
        pause_seconds, was_lost = _FIRST_PAUSE_SECONDS, False
        tell(is_listening=True)
        for hear in hearers.values():
            hear("")

    while True:
        try:
            async with trio_asyncio.open_loop():
                await trio_asyncio.aio_as_trio(_hear)(conninfo, options, connected, hearers)
        except* (psycopg.Error, OSError) as group:
            if not was_lost:
                emit(Event.LISTENER_LOST, reason=one_line(_first(group)))
            was_lost = True
        tell(is_listening=False)
        await trio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


async def _hear(
    conninfo: str,
    options: dict[str, Any],
    connected: Callable[[], None],
    hearers: Mapping[str, Callable[[str], None]],
) -> None:
    """Run in the asyncio loop: connect, listen, and report until the connection breaks."""
    async with await psycopg.AsyncConnection.connect(conninfo, **options) as connection:
        await connection.execute("; ".join(f"LISTEN {channel}" for channel in hearers))
        connected()
        async for notification in connection.notifies():
            hearers[notification.channel](notification.payload)


def _first(group: ExceptionGroup[psycopg.Error | OSError]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
