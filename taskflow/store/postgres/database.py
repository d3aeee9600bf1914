"""psycopg from Trio: each call runs in a thread on a pooled connection, within limits of time."""

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
    StatementRejected,
    StoreError,
    StoreRejectsTasks,
    StoreUnavailable,
    StoreUnusable,
)
from taskflow.store.base.store import PoolStatistics
from taskflow.store.postgres.address import DatabaseAddress, address_of, failures_of
from taskflow.store.postgres.announcer import announce
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
    PLANS,
    TRANSACTION_TIMEOUT,
    OwnConnection,
    announcing_later,
    for_distributed_schema,
    startup_options,
    utc_adapters,
)

T = TypeVar("T")

# Errors that may pass: SQLSTATE classes 08 (connection), 53 (resources), 57 (operator intervention)
# and 58 (system), the server's timeouts of transactions, and objects or privileges that a GRANT or
# a restore may bring back.
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
    OSError,  # no file descriptor for the watchdog
)

# Errors of the statement itself: an invalid value, or an exception in a trigger.
REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.InternalError,
    psycopg.NotSupportedError,
    psycopg.ProgrammingError,
)

_GRACE_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 0.2
_CLOSE_IDLE_SECONDS: Final = 1.0  # minimum interval, while all writes are refused


class Database:
    """A pool of connections, and the threads that use them.

    Args:
        pool: The pool, opened and closed by its owner.
        watchdog: Run by its owner.
        address: The address of its connections.
        connections: Maximum number of threads.
        call_seconds: Timeout of a call, including the wait for a connection.
    """

    def __init__(
        self,
        pool: Pool,
        watchdog: Watchdog,
        address: DatabaseAddress,
        *,
        connections: int,
        call_seconds: float,
    ) -> None:
        self.address: Final = address
        self._pool = pool
        self._watchdog = watchdog
        self._threads = trio.CapacityLimiter(connections)
        self._slow_reads = cast("trio.CapacityLimiter", SlowReads(self._threads))
        self._call_seconds = call_seconds
        self._closed_idle_at = -math.inf

    def statistics(self, name: str) -> PoolStatistics:
        """Return the state of the pool, under a name.

        Abandoned calls count as long as their threads run.
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

        Cancelling abandons the thread, which returns its connection when the database responds or
        the watchdog cuts it; until then it counts against the limit. If it has not begun the work
        by then it never will.

        Raises:
            StoreUnavailable: The database could not be reached, or did not respond in time.
            StatementRejected: It rejected the statement.
        """
        return await self._run(work, self._threads)

    async def run_slow_read(self, work: Callable[[Connection], T]) -> T:
        """Like ``run``, for slow reads, which leave connections for other calls.

        Raises:
            StoreUnavailable: The database could not be reached, or did not respond in time.
            TooManySearches: Too many slow reads are running.
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
        raise StoreUnavailable("PostgreSQL: no response in time")

    def _call(self, work: Callable[[Connection], T], is_abandoned: threading.Event) -> T:
        with mapped_errors(), self._connection() as connection:
            if is_abandoned.is_set():
                raise StoreUnavailable
            connection.pin()
            connection.commits.forget()
            try:
                result = work(connection)
            finally:  # of several transactions, some may have committed
                announce(connection)
            connection.commits.check()
            return result

    @contextlib.contextmanager
    def _connection(self) -> Iterator[OwnConnection]:
        """Take a connection of the pool, watched by the watchdog."""
        connection = self._take()
        try:
            with self._watchdog.watch(connection), connection:
                yield connection
        except psycopg.errors.ReadOnlySqlTransaction:
            # The server is a standby now, or its owner forbids writes. The pool reconnects: to the
            # new primary, if the address has several hosts, or with a session in which writes are
            # allowed again. The other connections have the same problem.
            connection.close()
            self._close_idle_throttled()
            raise
        except psycopg.errors.FeatureNotSupported:
            # Its prepared statements are for the tables before an ALTER TABLE.
            connection.close()
            raise
        finally:
            self._pool.putconn(connection)

    def _close_idle_throttled(self) -> None:
        now = time.monotonic()
        if now - self._closed_idle_at >= _CLOSE_IDLE_SECONDS:
            self._closed_idle_at = now
            self._pool.close_idle()

    def _take(self) -> OwnConnection:
        """Return the next connection that is not known to be lost; the pool replaces the others.

        A connection to another host than the latest one is lost, or will be.
        """
        deadline = time.monotonic() + self._pool.timeout
        while True:
            connection = self._pool.getconn(deadline - time.monotonic())
            if not is_lost(connection) and self.address.is_current(connection):
                return connection
            connection.close()
            self._pool.putconn(connection)


@contextlib.asynccontextmanager
async def open_database(  # noqa: PLR0913 - all that a session depends on
    conninfo: str | DatabaseAddress,
    *,
    connections: int,
    timeout_seconds: float,
    pooler: Pooler = "none",
    schemas: Sequence[str] | None = None,
    server_version: int = 0,
    is_distributed: bool = False,
) -> AsyncIterator[Database]:
    """Open a pool of connections; no call takes much longer than the timeout.

    The database need not be reachable yet: calls fail until it is.
    """
    address = address_of(conninfo)
    hold_seconds = timeout_seconds + _GRACE_SECONDS  # the server's own timeout comes first
    watchdog = Watchdog(hold_seconds, address.suspect)
    options = connection_options(
        address.conninfo(),
        timeout_seconds=timeout_seconds,
        pooler=pooler,
        schemas=schemas,
        server_version=server_version,
    )
    options = announcing_later(options)
    if is_distributed:
        options = for_distributed_schema(options)
    pool = make_pool(
        address, options, pooler=pooler, connections=connections, timeout_seconds=timeout_seconds
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.run)
        pool.open(wait=False)
        try:
            yield Database(
                pool,
                watchdog,
                address,
                connections=connections,
                call_seconds=pool.timeout + hold_seconds,
            )
        finally:
            # In a thread and with a timeout: a thread of the pool may hang on a database that does
            # not respond; then it is abandoned (they are daemons).
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
    """Return the parameters of a connection to ``conninfo``; see ``session``.

    Args:
        conninfo: The address.
        timeout_seconds: Timeout of connecting to each host, and of each statement.
        pooler: The pooler in between, if any.
        has_statement_timeout: Whether the server limits the time of statements.
        schemas: The search path; by default the role's.
        server_version: Version of PostgreSQL, as libpq has it; 0 if unknown.
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
        # Prepare each statement at its second execution: planning one costs as much as it does for
        # dozens of tasks. Of one that always fails, each preparation would remain on the server.
        "prepare_threshold": 1,
    }
    if pooler == "transaction":
        # The next transaction may use another server connection, without what was prepared or set
        # before. PgBouncer rejects startup options, too.
        return options | {"prepare_threshold": None, "context": utc_adapters()}
    bounds = {TRANSACTION_TIMEOUT: "0"} if server_version >= HAS_TRANSACTION_TIMEOUT else {}
    if has_statement_timeout:
        milliseconds = str(round(timeout_seconds * 1000))
        bounds |= PLANS | dict.fromkeys(
            ("statement_timeout", "idle_in_transaction_session_timeout"), milliseconds
        )
    return options | {"options": startup_options(conninfo, bounds, schemas)}


def connect(
    conninfo: str | DatabaseAddress, *, timeout_seconds: float, pooler: Pooler = "none"
) -> OwnConnection:
    """Open a single connection, in this thread, without a statement timeout.

    Raises:
        StoreUnavailable: The database could not be reached.
        StoreUnusable: The address is invalid.
    """
    with mapped_errors():
        try:
            connection = _connected(address_of(conninfo), timeout_seconds, pooler)
        except psycopg.OperationalError as error:
            reason = failures_of(error) or one_line(error)
            raise StoreUnavailable(f"PostgreSQL: {advised(reason)}") from error
        except psycopg.ProgrammingError as error:
            # libpq quotes what it could not parse, which may be a password.
            reason = one_line(error).partition(': "')[0]
            raise StoreUnusable(f"DATABASE_URL cannot be used: {reason}") from None
        connection.pin()
        return connection


def _connected(address: DatabaseAddress, timeout_seconds: float, pooler: Pooler) -> OwnConnection:
    """Connect to a server of any version: an older one rejects a setting, and is tried again."""
    try:
        return _connected_to(HAS_TRANSACTION_TIMEOUT, address, timeout_seconds, pooler)
    except psycopg.OperationalError as error:
        if f'"{TRANSACTION_TIMEOUT}"' not in str(error):  # the rest of the message is translated
            raise
        return _connected_to(0, address, timeout_seconds, pooler)


def _connected_to(
    server_version: int, address: DatabaseAddress, timeout_seconds: float, pooler: Pooler
) -> OwnConnection:
    conninfo = address.conninfo()
    options = connection_options(
        conninfo,
        timeout_seconds=timeout_seconds,
        pooler=pooler,
        has_statement_timeout=False,
        server_version=server_version,
    )
    connection = CONNECTION_CLASSES[pooler].connect(conninfo, **options)  # type: ignore[arg-type]
    address.note(connection)
    return connection


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Map exceptions of psycopg to the errors of the store."""
    try:
        yield
    except StoreError:
        raise
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise StoreRejectsTasks(f"PostgreSQL: {one_line(error)}") from error
    except _UNAVAILABLE as error:
        raise StoreUnavailable(f"PostgreSQL: {one_line(error)}") from error
    except psycopg.Error as error:
        raise StatementRejected(f"PostgreSQL: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return the first line of an error of PostgreSQL."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
