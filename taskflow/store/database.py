"""psycopg from Trio: every call in a thread, on a pool, errors mapped, nothing unbounded."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, TypeAlias, TypeVar

import psycopg
import psycopg_pool
import trio

from taskflow.model.errors import StoreError, StoreUnavailable, StoreUnusable

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]
T = TypeVar("T")

# What says "not now" rather than "not like this": SQLSTATE classes 08 (connection), 53
# (resources), 57 (operator intervention), 58 (system), and read-only after a failover.
_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg_pool.PoolTimeout,
    psycopg_pool.PoolClosed,
    psycopg_pool.TooManyRequests,
)

_CLOSE_SECONDS: Final = 0.2


class Database:
    """A bounded pool of connections, and a bounded number of threads that use them.

    Args:
        pool: Opened; closed by its owner.
        connections: How many there may be.
        call_seconds: How long a call may take in all, the wait for its turn included.
    """

    def __init__(
        self,
        pool: psycopg_pool.ConnectionPool[Connection],
        *,
        connections: int,
        call_seconds: float,
    ) -> None:
        self._pool = pool
        self._threads = trio.CapacityLimiter(connections)
        self._call_seconds = call_seconds

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Call ``work`` with a connection in a thread, and return what it returns.

        Cancelling abandons the thread, which gives its connection back when the database
        answers; until then it counts against the bound. If it has not begun with the work
        by then it never will.

        Raises:
            StoreUnavailable: The database could not be reached or did not answer in time.
        """
        is_abandoned = threading.Event()
        try:
            with trio.move_on_after(self._call_seconds):
                return await trio.to_thread.run_sync(
                    functools.partial(self._call, work, is_abandoned),
                    abandon_on_cancel=True,
                    limiter=self._threads,
                )
        finally:
            is_abandoned.set()
        raise StoreUnavailable("PostgreSQL: there was no answer in time")

    def _call(self, work: Callable[[Connection], T], is_abandoned: threading.Event) -> T:
        with mapped_errors(), self._pool.connection() as connection:
            if is_abandoned.is_set():
                raise StoreUnavailable
            return work(connection)


@contextlib.asynccontextmanager
async def open_database(
    conninfo: str, *, connections: int, timeout_seconds: float
) -> AsyncIterator[Database]:
    """Open a pool of up to so many connections; no call takes much over the timeout.

    Raises:
        StoreUnavailable: The database could not be reached.
    """
    pool = psycopg_pool.ConnectionPool(
        conninfo,
        kwargs=connection_options(timeout_seconds),
        configure=functools.partial(_configure, timeout_seconds=timeout_seconds),
        check=psycopg_pool.ConnectionPool.check_connection,
        min_size=1,
        max_size=connections,
        open=False,
        timeout=timeout_seconds,
        max_waiting=connections,
        max_lifetime=3600.0,
        max_idle=300.0,
        # It tries again with growing pauses; after this long the next caller starts it anew.
        reconnect_timeout=5.0,
        num_workers=2,
    )
    pool.open(wait=False)
    try:
        # Getting a connection and the statement each have the timeout.
        call_seconds = 2 * timeout_seconds + 1
        yield Database(pool, connections=connections, call_seconds=call_seconds)
    finally:
        # In a thread and bounded: a thread of the pool may hang on a database that does not
        # answer; then it is left behind (they are daemons).
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await trio.to_thread.run_sync(pool.close, _CLOSE_SECONDS, abandon_on_cancel=True)


def connection_options(timeout_seconds: float) -> dict[str, object]:
    """What every connection of ours is opened with."""
    return {
        "autocommit": True,
        "application_name": "taskflow",
        "connect_timeout": max(2, round(timeout_seconds)),  # libpq takes no less than 2
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(timeout_seconds * 1000) * 2,
    }


def connect(conninfo: str, *, timeout_seconds: float) -> Connection:
    """One connection of its own, in this thread.

    Raises:
        StoreUnavailable: The database could not be reached.
        StoreUnusable: The address makes no sense.
    """
    with mapped_errors():
        try:
            return psycopg.connect(conninfo, **connection_options(timeout_seconds))  # type: ignore[arg-type]
        except psycopg.ProgrammingError as error:
            # libpq quotes what it could not read, and that may be a password.
            reason = one_line(error).partition(': "')[0]
            raise StoreUnusable(f"DATABASE_URL cannot be used: {reason}") from None


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Let only exceptions of our own pass, faults of ours aside."""
    try:
        yield
    except StoreError:
        raise
    except _UNAVAILABLE as error:
        raise StoreUnavailable(f"PostgreSQL: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The first line of what PostgreSQL says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _configure(connection: Connection, *, timeout_seconds: float) -> None:
    milliseconds = round(timeout_seconds * 1000)
    connection.execute(
        "SELECT set_config('TimeZone', 'UTC', false),"
        " set_config('statement_timeout', %(ms)s, false),"
        " set_config('idle_in_transaction_session_timeout', %(ms)s, false)",
        {"ms": str(milliseconds)},
    )
