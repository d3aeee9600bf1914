"""Notifications from other nodes: LISTEN on a connection of its own.

Only this module uses psycopg's asyncio connection, under trio-asyncio: a wait for a notification in
a thread could not be cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import psycopg
import psycopg.waiting
import trio
import trio_asyncio

from taskflow.store.postgres.address import DatabaseAddress, address_of
from taskflow.store.postgres.database import connection_options, one_line
from taskflow.telemetry import Event, emit

EVENTS_CHANNEL: Final = "taskflow_events"
_FIRST_PAUSE_SECONDS: Final = 0.5
_MAX_PAUSE_SECONDS: Final = 2.0
# Interval at which an idle connection is compared to the host in use, if there are several.
_CHECK_HOST_SECONDS: Final = 5.0


class Report(Protocol):
    """Accepts the state of the listener."""

    def __call__(self, *, is_listening: bool) -> None:
        """Accept it."""


async def listen(
    conninfo: str | DatabaseAddress,
    *,
    timeout_seconds: float,
    receivers: Mapping[str, Callable[[str], None]],
    report: Report,
    server_version: int = 0,
) -> None:
    """Call a channel's receiver with each notification, until cancelled.

    While the database cannot be reached it reconnects with growing pauses. After each connection
    all receivers are called with an empty payload, for the notifications that were missed.

    Args:
        conninfo: The database.
        timeout_seconds: Timeout for connecting to each host.
        receivers: By channel; they get the payload. Must not block.
        report: Called with whether it listens, when that changes.
        server_version: PostgreSQL's, as libpq has it; 0 if it is not known.
    """
    # trio-asyncio replaces this function of asyncio's when it is imported; psycopg, if it was
    # imported earlier, still has the original.
    psycopg.waiting.get_running_loop = asyncio.get_running_loop  # type: ignore[attr-defined]
    address = address_of(conninfo)
    options = connection_options(
        address.conninfo(), timeout_seconds=timeout_seconds, server_version=server_version
    )
    pause_seconds = _FIRST_PAUSE_SECONDS
    was_lost = False

    def connected() -> None:
        nonlocal pause_seconds, was_lost
        if was_lost:
            emit(Event.LISTENER_BACK)
        pause_seconds, was_lost = _FIRST_PAUSE_SECONDS, False
        report(is_listening=True)
        for receive in receivers.values():
            receive("")

    while True:
        try:
            async with trio_asyncio.open_loop():
                await trio_asyncio.aio_as_trio(_receive)(address, options, connected, receivers)
        except* (psycopg.Error, OSError) as group:
            if not was_lost:
                emit(Event.LISTENER_LOST, reason=one_line(_first(group)))
            was_lost = True
        report(is_listening=False)
        await trio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, _MAX_PAUSE_SECONDS)


async def _receive(
    address: DatabaseAddress,
    options: dict[str, Any],
    connected: Callable[[], None],
    receivers: Mapping[str, Callable[[str], None]],
) -> None:
    """Run in the asyncio loop: connect and listen until the connection breaks.

    Also ends once other connections are to another host: a server that hangs sends nothing.
    """
    seconds = _CHECK_HOST_SECONDS if address.number_of_hosts > 1 else None
    async with await psycopg.AsyncConnection.connect(address.conninfo(), **options) as connection:
        address.note(connection)
        await connection.execute("; ".join(f"LISTEN {channel}" for channel in receivers))
        connected()
        while address.is_current(connection):
            async for notification in connection.notifies(timeout=seconds):
                receivers[notification.channel](notification.payload)


def _first(group: ExceptionGroup[psycopg.Error | OSError]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
