"""psycopg from Trio: every call in a thread, on a pool, errors mapped, nothing unbounded."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, TypeVar, cast

import psycopg
import psycopg_pool
import trio

from taskflow.model.errors import (
    StatementRefused,
    StoreError,
    StoreRefusesTasks,
    StoreUnavailable,
    StoreUnusable,
)
from taskflow.store.base.tasks import PoolStatistics
from taskflow.store.postgres.pool import (
    CONNECT_SECONDS,
    CONNECTION_CLASSES,
    Connection,
    Pool,
    Pooler,
    SlowReads,
    Watchdog,
    is_lost,
    make_pool,
)
from taskflow.store.postgres.requirements import advised
from taskflow.store.postgres.session import (
    ENCODING,
    HAS_TRANSACTION_TIMEOUT,
    TRANSACTION_TIMEOUT,
    OwnConnection,
    startup_options,
    utc_adapters,
)

T = TypeVar("T")

# What says "not now" rather than "not like this": SQLSTATE classes 08 (connection), 53
# (resources), 57 (operator intervention), 58 (system), the server's bounds for transactions, and
# what a REVOKE, a DROP or a RENAME took away and a GRANT or a restore may bring back.
_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.FeatureNotSupported,  # a prepared statement after an ALTER TABLE
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg_pool.PoolTimeout,
    psycopg_pool.PoolClosed,
    psycopg_pool.TooManyRequests,
    OSError,  # no file to spare for the watchdog
)

# What says "not like this": a value, or what a trigger of somebody else's raises.
REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.InternalError,
    psycopg.NotSupportedError,
    psycopg.ProgrammingError,
)

_GRACE_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 0.2
_CLOSE_IDLE_SECONDS: Final = 1.0  # no more often, while all writes are refused


class Database:
    """A bounded pool of connections, and a bounded number of threads that use them.

    Args:
        pool: Opened; closed by its owner.
        watchdog: Run by its owner.
        connections: How many there may be.
        call_seconds: How long a call may take in all, the wait for its turn included.
    """

    def __init__(
        self, pool: Pool, watchdog: Watchdog, *, connections: int, call_seconds: float
    ) -> None:
        self._pool = pool
        self._watchdog = watchdog
        self._threads = trio.CapacityLimiter(connections)
        self._slow_reads = cast("trio.CapacityLimiter", SlowReads(self._threads))
        self._call_seconds = call_seconds
        self._closed_idle_at = -math.inf

    def statistics(self, name: str) -> PoolStatistics:
        """How its connections stand, under a name for them.

        Calls that were given up count as long as their threads hang.
        """
        now = self._threads.statistics()
        return PoolStatistics(
            name,
            used=now.borrowed_tokens,
            free=int(now.total_tokens) - now.borrowed_tokens,
            waiting=now.tasks_waiting,
        )

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Call ``work`` with a connection in a thread, and return what it returns.

        Cancelling abandons the thread, which gives its connection back when the database
        answers or the watchdog cuts it; until then it counts against the bound. If it has
        not begun with the work by then it never will.

        Raises:
            StoreUnavailable: The database could not be reached or did not answer in time, or, as a
                StatementRefused, it does not do this.
        """
        return await self._run(work, self._threads)

    async def run_slow_read(self, work: Callable[[Connection], T]) -> T:
        """Like ``run``, for reads that may take long: they leave connections to all others.

        Raises:
            StoreUnavailable: The database could not be reached or did not answer in time.
            TooManySearches: Too many of them are under way.
        """
        return await self._run(work, self._slow_reads)

    async def _run(self, work: Callable[[Connection], T], limiter: trio.CapacityLimiter) -> T:
        is_abandoned = threading.Event()
        try:
            with trio.move_on_after(self._call_seconds):
                return await trio.to_thread.run_sync(
                    functools.partial(self._call, work, is_abandoned),
                    abandon_on_cancel=True,
                    limiter=limiter,
                )
        finally:
            is_abandoned.set()
        raise StoreUnavailable("PostgreSQL: there was no answer in time")

    def _call(self, work: Callable[[Connection], T], is_abandoned: threading.Event) -> T:
        with mapped_errors(), self._connection() as connection:
            if is_abandoned.is_set():
                raise StoreUnavailable
            connection.pin()
            result = work(connection)
            connection.commits.check()
            return result

    @contextlib.contextmanager
    def _connection(self) -> Iterator[OwnConnection]:
        """A connection of the pool's, under the watchdog's eyes."""
        connection = self._take()
        try:
            with self._watchdog.watch(connection), connection:
                yield connection
        except psycopg.errors.ReadOnlySqlTransaction:
            # The server is a standby now, or its owner wants no writes. The pool connects anew,
            # which leads to the new primary if the address has several hosts, and to a session
            # of its own where writes are allowed again. The others are no better.
            connection.close()
            self._close_idle_seldom()
            raise
        except psycopg.errors.FeatureNotSupported:
            # What is prepared there is for tables as they were before an ALTER TABLE.
            connection.close()
            raise
        finally:
            self._pool.putconn(connection)

    def _close_idle_seldom(self) -> None:
        now = time.monotonic()
        if now - self._closed_idle_at >= _CLOSE_IDLE_SECONDS:
            self._closed_idle_at = now
            self._pool.close_idle()

    def _take(self) -> OwnConnection:
        """The next connection that is not known to be lost; the pool replaces the others."""
        deadline = time.monotonic() + self._pool.timeout
        while True:
            connection = self._pool.getconn(deadline - time.monotonic())
            if not is_lost(connection):
                return connection
            connection.close()
            self._pool.putconn(connection)


@contextlib.asynccontextmanager
async def open_database(
    conninfo: str,
    *,
    connections: int,
    timeout_seconds: float,
    pooler: Pooler = "none",
    schemas: Sequence[str] | None = None,
    server_version: int = 0,
) -> AsyncIterator[Database]:
    """Open a pool of so many connections; no call takes much over the timeout.

    The database need not be there yet: calls fail until it is.
    """
    hold_seconds = timeout_seconds + _GRACE_SECONDS  # the server's own timeout goes first
    watchdog = Watchdog(hold_seconds)
    options = connection_options(
        conninfo,
        timeout_seconds=timeout_seconds,
        pooler=pooler,
        schemas=schemas,
        server_version=server_version,
    )
    pool = make_pool(
        conninfo, options, pooler=pooler, connections=connections, timeout_seconds=timeout_seconds
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.run)
        pool.open(wait=False)
        try:
            yield Database(
                pool,
                watchdog,
                connections=connections,
                call_seconds=pool.timeout + hold_seconds,
            )
        finally:
            # In a thread and bounded: a thread of the pool may hang on a database that does
            # not answer; then it is left behind (they are daemons).
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await trio.to_thread.run_sync(pool.close, _CLOSE_SECONDS, abandon_on_cancel=True)
            watchdog.cut_all()
        nursery.cancel_scope.cancel()


def connection_options(
    conninfo: str,
    *,
    timeout_seconds: float,
    pooler: Pooler = "none",
    has_statement_timeout: bool = True,
    schemas: Sequence[str] | None = None,
    server_version: int = 0,
) -> dict[str, object]:
    """What a connection of ours to ``conninfo`` is opened with; see ``session``.

    Args:
        conninfo: Where it leads.
        timeout_seconds: For connecting and for each statement.
        pooler: What is between.
        has_statement_timeout: Whether the server bounds statements.
        schemas: Where names are looked up; as the role has it if there are none.
        server_version: PostgreSQL's, as libpq has it; 0 if it is not known.
    """
    options: dict[str, object] = {
        "autocommit": True,
        "application_name": "taskflow",
        "client_encoding": ENCODING,
        "connect_timeout": max(CONNECT_SECONDS, round(timeout_seconds)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(timeout_seconds * 1000) * 2,
    }
    if pooler == "transaction":
        # The next transaction may be on another server connection: what was prepared or set
        # is not there. PgBouncer refuses options of the start-up as well.
        return options | {"prepare_threshold": None, "context": utc_adapters()}
    bounds = {TRANSACTION_TIMEOUT: "0"} if server_version >= HAS_TRANSACTION_TIMEOUT else {}
    if has_statement_timeout:
        milliseconds = str(round(timeout_seconds * 1000))
        bounds |= dict.fromkeys(
            ("statement_timeout", "idle_in_transaction_session_timeout"), milliseconds
        )
    return options | {"options": startup_options(conninfo, bounds, schemas)}


def connect(conninfo: str, *, timeout_seconds: float, pooler: Pooler = "none") -> OwnConnection:
    """One connection of its own, in this thread, whose statements may take their time.

    Raises:
        StoreUnavailable: The database could not be reached.
        StoreUnusable: The address makes no sense.
    """
    with mapped_errors():
        try:
            connection = _connected(conninfo, timeout_seconds, pooler)
        except psycopg.OperationalError as error:
            raise StoreUnavailable(f"PostgreSQL: {advised(one_line(error))}") from error
        except psycopg.ProgrammingError as error:
            # libpq quotes what it could not read, and that may be a password.
            reason = one_line(error).partition(': "')[0]
            raise StoreUnusable(f"DATABASE_URL cannot be used: {reason}") from None
        connection.pin()
        return connection


def _connected(conninfo: str, timeout_seconds: float, pooler: Pooler) -> OwnConnection:
    """Connect to a server of any version; one that is older says so, and is asked again."""
    try:
        return _connected_to(HAS_TRANSACTION_TIMEOUT, conninfo, timeout_seconds, pooler)
    except psycopg.OperationalError as error:
        if f'"{TRANSACTION_TIMEOUT}"' not in str(error):  # the rest is translated
            raise
        return _connected_to(0, conninfo, timeout_seconds, pooler)


def _connected_to(
    server_version: int, conninfo: str, timeout_seconds: float, pooler: Pooler
) -> OwnConnection:
    options = connection_options(
        conninfo,
        timeout_seconds=timeout_seconds,
        pooler=pooler,
        has_statement_timeout=False,
        server_version=server_version,
    )
    return CONNECTION_CLASSES[pooler].connect(conninfo, **options)  # type: ignore[arg-type]


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Let only exceptions of our own pass, faults of ours aside."""
    try:
        yield
    except StoreError:
        raise
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise StoreRefusesTasks(f"PostgreSQL: {one_line(error)}") from error
    except _UNAVAILABLE as error:
        raise StoreUnavailable(f"PostgreSQL: {one_line(error)}") from error
    except psycopg.Error as error:
        raise StatementRefused(f"PostgreSQL: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The first line of what PostgreSQL says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
