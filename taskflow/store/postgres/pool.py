"""The pool of connections, and the limits of the calls that use it."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import psycopg
import psycopg_pool
import trio
from psycopg.pq import ConnStatus

from taskflow.model.errors import TooManySearches
from taskflow.store.postgres.session import OwnConnection, PooledConnection

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]
Pooler: TypeAlias = Literal["none", "transaction"]

CONNECTION_CLASSES: Final = {"none": OwnConnection, "transaction": PooledConnection}
# Timeout of a connection attempt, which takes milliseconds: after a hanging one, on a path that
# froze, the next may succeed. The minimum of libpq.
CONNECT_SECONDS: Final = 2
_WAIT_SECONDS: Final = 2.0

MAX_WAITING_READS: Final = 50
# Clients are promised an answer within 5 s, and the read itself needs some of that.
WAIT_SECONDS: Final = 2.0


class Pool(psycopg_pool.ConnectionPool[OwnConnection]):
    """psycopg's pool, but one that forgets those who gave up waiting.

    By itself it keeps them in its queue until a connection comes. Each of them holds on to the
    frames of its call, with all that was to be written: a leak, in an outage. And with a bound
    on those who wait the pool would refuse all before it tried to connect again, for good.
    """

    def getconn(self, timeout: float | None = None) -> OwnConnection:
        """Wait for a connection, and leave nothing behind if there is none in time."""
        try:
            return super().getconn(timeout)
        except psycopg_pool.PoolTimeout:
            with self._lock:
                waiting = [one for one in self._waiting if one.error is None]
                self._waiting.clear()
                self._waiting.extend(waiting)
            raise

    def close_idle(self) -> None:
        """Close the connections that nobody uses; each is replaced when its turn comes."""
        with self._lock:
            idle = list(self._pool)
        for connection in idle:
            connection.close()


def make_pool(
    conninfo: str,
    options: dict[str, object],
    *,
    pooler: Pooler,
    connections: int,
    timeout_seconds: float,
) -> Pool:
    """Return a pool that is not open yet."""
    return Pool(
        conninfo,
        connection_class=CONNECTION_CLASSES[pooler],
        kwargs=options | {"connect_timeout": CONNECT_SECONDS},
        # Connections are set up by their first message and looked at by Database: a round
        # trip in one of these would hang on a frozen path, where nothing watches it.
        configure=None,
        check=None,
        reset=None,
        # All from the start: a burst waits for no connecting, and there is no shrinking, so
        # that max_idle means nothing.
        min_size=connections,
        max_size=connections,
        # By its owner, in the block that closes it.
        open=False,
        # A connection that is closed is closed, and then replaced.
        close_returns=False,
        # Who gets none in this time is told soon.
        timeout=min(timeout_seconds, _WAIT_SECONDS),
        # The limiter of threads is the bound; see also Pool.
        max_waiting=0,
        # Now and then anew, so that what a server process has piled up is let go.
        max_lifetime=3600.0,
        # It tries again after 1, 2, 4 ... s. After this long it gives up, and the next caller
        # starts it anew: so a database that is back is found within about a second.
        reconnect_timeout=2.0,
        # While one of them hangs in connecting the other may get through.
        num_workers=2,
    )


def is_lost(connection: Connection) -> bool:
    """Whether an idle connection is broken, as far as can be told without a round trip.

    A server says nothing unasked but that it is about to close the connection.
    """
    if connection.pgconn.status == ConnStatus.BAD:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


class SlowReads:
    """A limiter in front of that of all connections: half of them at most are for slow reads.

    ``trio.to_thread.run_sync`` takes it for a ``CapacityLimiter``: a read that was given up keeps
    its place for as long as its thread keeps a connection. With a single connection one slow read
    is in the queue for it at a time, so that a submission waits for one at most.

    Args:
        connections: The limiter of all connections.
    """

    def __init__(self, connections: trio.CapacityLimiter) -> None:
        self._connections: Final = connections
        self._places: Final = trio.CapacityLimiter(max(1, int(connections.total_tokens) // 2))

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a place, and then for a connection.

        Raises:
            TooManySearches: Too many reads wait already, or there was no place in time.
        """
        if self._places.statistics().tasks_waiting >= MAX_WAITING_READS:
            raise TooManySearches
        with trio.move_on_after(WAIT_SECONDS) as waiting:
            await self._places.acquire_on_behalf_of(borrower)
        if waiting.cancelled_caught:
            raise TooManySearches
        try:
            await self._connections.acquire_on_behalf_of(borrower)
        except BaseException:
            self._places.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give the connection and the place back."""
        self._connections.release_on_behalf_of(borrower)
        self._places.release_on_behalf_of(borrower)


class Watchdog:
    """Cuts the connections of calls that outlast their time.

    A path may freeze: a proxy acknowledges what it gets and hands on nothing. Then no timeout
    of TCP's, libpq's or the server's ends a call of psycopg's, and neither does a cancel
    request, which takes the same path. Shutting down its socket from outside does.

    Args:
        seconds: How long a call may have its connection.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._deadlines: dict[int, float] = {}

    @contextlib.contextmanager
    def watch(self, connection: Connection) -> Iterator[None]:
        """Let the block, in whatever thread, have this connection for its time and no longer."""
        # A duplicate: libpq may close its own at any moment, and the number may be another
        # file's the moment after.
        file = os.dup(connection.pgconn.socket)
        with self._lock:
            self._deadlines[file] = time.monotonic() + self._seconds
        try:
            yield
        finally:
            # From here on nobody cuts it: the connection may be another call's in a moment.
            with self._lock:
                self._deadlines.pop(file, None)
            os.close(file)

    async def run(self) -> None:
        """Cut what is overdue, until cancelled."""
        while True:
            # A call that begins meanwhile is due after those that are there, and after a
            # whole turn if there are none: it need not wake anybody.
            seconds = self._cut_overdue()
            await trio.sleep(seconds)

    def cut_all(self) -> None:
        """Cut every connection that is watched: nobody waits for those calls any more."""
        with self._lock:
            self._cut(list(self._deadlines))

    def _cut_overdue(self) -> float:
        """Cut what is overdue, and say in how many seconds to look again."""
        with self._lock:
            now = time.monotonic()
            self._cut([file for file, deadline in self._deadlines.items() if deadline <= now])
            return min(self._deadlines.values(), default=now + self._seconds) - now

    def _cut(self, files: list[int]) -> None:
        for file in files:
            del self._deadlines[file]
            _shut_down(file)


def _shut_down(file: int) -> None:
    """Shut down the socket behind an open file, and leave the file open."""
    # Of what family it really is makes no difference. No second duplicate: it must work
    # with no file to spare.
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM, fileno=file)
    try:
        with contextlib.suppress(OSError):  # it has come to its end already
            socket.shutdown(trio.socket.SHUT_RDWR)
    finally:
        socket.detach()
