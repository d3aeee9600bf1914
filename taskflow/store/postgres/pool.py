"""The pool of connections, and the limits of the calls that use it."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

import psycopg
import psycopg_pool
import trio
from psycopg.pq import ConnStatus

from taskflow.model.errors import TooManySearches
from taskflow.store.postgres.address import DatabaseAddress
from taskflow.store.postgres.session import OwnConnection, PooledConnection

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]
Pooler: TypeAlias = Literal["none", "transaction"]

CONNECTION_CLASSES: Final = {"none": OwnConnection, "transaction": PooledConnection}
# Timeout of an attempt to connect to a host, which takes milliseconds: after a hanging one, on a
# path that froze, the next may succeed. The minimum of libpq.
CONNECT_SECONDS: Final = 2
_WAIT_SECONDS: Final = 2.0

MAX_WAITING_READS: Final = 50
# Clients get a response within 5 s, and the read itself needs some of that.
WAIT_SECONDS: Final = 2.0


class Pool(psycopg_pool.ConnectionPool[OwnConnection]):
    """psycopg's pool, which also removes callers that timed out from its queue.

    psycopg keeps them in the queue until a connection is available. Each of them references the
    frames of its call, with everything that was to be written: a leak, during an outage. And with a
    limit of waiting callers the pool would reject all before it tried to reconnect, for ever.
    """

    def getconn(self, timeout: float | None = None) -> OwnConnection:
        """Wait for a connection; after a timeout, leave the queue."""
        try:
            return super().getconn(timeout)
        except psycopg_pool.PoolTimeout:
            with self._lock:
                waiting = [one for one in self._waiting if one.error is None]
                self._waiting.clear()
                self._waiting.extend(waiting)
            raise

    def close_idle(self) -> None:
        """Close the idle connections; each is replaced when it is needed."""
        with self._lock:
            idle = list(self._pool)
        for connection in idle:
            connection.close()


def make_pool(
    address: DatabaseAddress,
    options: dict[str, object],
    *,
    pooler: Pooler,
    connections: int,
    timeout_seconds: float,
) -> Pool:
    """Return a pool that is not open yet."""
    return Pool(
        address.conninfo,  # called for each connection
        connection_class=CONNECTION_CLASSES[pooler],
        kwargs=options | {"connect_timeout": CONNECT_SECONDS},
        # Connections are set up by their first message and checked by Database: a round trip in one
        # of these would hang on a frozen path, where nothing watches it.
        configure=address.note,
        check=None,
        reset=None,
        # All from the start: a burst need not wait for connections, and the pool never shrinks, so
        # that max_idle has no effect.
        min_size=connections,
        max_size=connections,
        # Opened by its owner, in the block that closes it.
        open=False,
        # close() closes the connection, and the pool replaces it.
        close_returns=False,
        # Callers without a connection fail after this time.
        timeout=min(timeout_seconds, _WAIT_SECONDS),
        # The limiter of threads is the limit; see also Pool.
        max_waiting=0,
        # Connections are replaced after this time, so that server processes release memory.
        max_lifetime=3600.0,
        # The pool retries after 1, 2, 4 ... s. After this time it gives up, and the next caller
        # starts it again: so a database that is back is found within about a second.
        reconnect_timeout=2.0,
        # While one of them hangs while connecting, the other may succeed.
        num_workers=2,
    )


def is_lost(connection: Connection) -> bool:
    """Return whether an idle connection is broken, as far as is visible without a round trip.

    A server sends nothing on an idle connection except that it is closing it.
    """
    if connection.pgconn.status == ConnStatus.BAD:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


class SlowReads:
    """A limiter of slow reads: they use at most half of all connections.

    ``trio.to_thread.run_sync`` uses it as a ``CapacityLimiter``: an abandoned read counts as long
    as its thread has a connection. With a single connection one slow read at a time is in the queue
    for it, so that a submission waits for at most one.
    """

    def __init__(self, connections: trio.CapacityLimiter) -> None:
        self._connections: Final = connections
        self._slots: Final = trio.CapacityLimiter(max(1, int(connections.total_tokens) // 2))

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait until a slow read may begin, and then for a connection.

        Raises:
            TooManySearches: Too many reads are waiting, or this one waited too long.
        """
        if self._slots.statistics().tasks_waiting >= MAX_WAITING_READS:
            raise TooManySearches
        with trio.move_on_after(WAIT_SECONDS) as waiting:
            await self._slots.acquire_on_behalf_of(borrower)
        if waiting.cancelled_caught:
            raise TooManySearches
        try:
            await self._connections.acquire_on_behalf_of(borrower)
        except BaseException:
            self._slots.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        """Release the connection, and let the next slow read begin."""
        self._connections.release_on_behalf_of(borrower)
        self._slots.release_on_behalf_of(borrower)


class Watchdog:
    """Shuts down the connections of calls that take too long.

    A network path may freeze: a proxy acknowledges what it receives and forwards nothing. Then no
    timeout of TCP, libpq or the server ends a call of psycopg, and neither does a cancel request,
    which takes the same path. Shutting down its socket does.

    Args:
        seconds: Maximum time for which a call may use a connection.
        on_overdue: Called with the connection of each overdue call, before it is shut down.
    """

    def __init__(self, seconds: float, on_overdue: Callable[[Connection], None]) -> None:
        self._seconds = seconds
        self._on_overdue = on_overdue
        self._lock = threading.Lock()
        self._deadlines: dict[int, tuple[float, Connection]] = {}

    @contextlib.contextmanager
    def watch(self, connection: Connection) -> Iterator[None]:
        """Let the block, in any thread, use this connection for the maximum time."""
        # A duplicate: libpq may close its own at any moment, and another file may get the number.
        file = os.dup(connection.pgconn.socket)
        with self._lock:
            self._deadlines[file] = (time.monotonic() + self._seconds, connection)
        try:
            yield
        finally:
            # From here on it is not shut down: another call may use the connection next.
            with self._lock:
                self._deadlines.pop(file, None)
            os.close(file)

    async def run(self) -> None:
        """Shut down overdue connections, until cancelled."""
        while True:
            # A call that begins meanwhile is due later than the present ones, and if there are
            # none, after the maximum time: it need not wake this task.
            seconds = self._cut_overdue()
            await trio.sleep(seconds)

    def cut_all(self) -> None:
        """Shut down all watched connections, whose calls have been abandoned."""
        with self._lock:
            self._cut(list(self._deadlines))

    def _cut_overdue(self) -> float:
        """Shut down overdue connections, and return the time until the next deadline."""
        with self._lock:
            now = time.monotonic()
            overdue = {
                file: connection
                for file, (deadline, connection) in self._deadlines.items()
                if deadline <= now
            }
            for connection in overdue.values():
                self._on_overdue(connection)
            self._cut(list(overdue))
            deadlines = (deadline for deadline, _ in self._deadlines.values())
            return min(deadlines, default=now + self._seconds) - now

    def _cut(self, files: list[int]) -> None:
        for file in files:
            del self._deadlines[file]
            _shut_down(file)


def _shut_down(file: int) -> None:
    """Shut down the socket of an open file, and leave the file open."""
    # Its real family makes no difference. No second duplicate: this must work without a free file
    # descriptor.
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM, fileno=file)
    try:
        with contextlib.suppress(OSError):  # it is closed already
            socket.shutdown(trio.socket.SHUT_RDWR)
    finally:
        socket.detach()
