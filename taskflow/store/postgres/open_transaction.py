"""A transaction that stays open between the calls of verbs.

One thread has the connection until the transaction ends, and executes what it is sent. So the
limits of ``Database.run`` hold for the transaction as a whole.
"""

from __future__ import annotations

import contextlib
import functools
import queue
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final, Generic, TypeVar

import psycopg
import trio

from taskflow.model.errors import StoreUnavailable
from taskflow.store.postgres.database import Database, mapped_errors
from taskflow.store.postgres.pool import Connection

T = TypeVar("T")

_COMMIT: Final = True
_ROLL_BACK: Final = False


class _Call(Generic[T]):
    """A call that the thread executes."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work: Final = work
        self._outcome: Final[Future[T]] = Future()
        self._done: Final = trio.Event()

    @property
    def is_failed(self) -> bool:
        """True after it was executed and failed."""
        return self._outcome.exception() is not None

    def execute(self, connection: Connection, token: trio.lowlevel.TrioToken) -> None:
        """Do the work, in the thread of the connection."""
        with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
            try:
                with mapped_errors():
                    self._outcome.set_result(self._work(connection))
            except Exception as error:  # noqa: BLE001 - the caller gets it
                self._outcome.set_exception(error)
        with contextlib.suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._done.set, trio_token=token)

    def fail(self, error: Exception) -> None:
        """End the wait for the outcome, in the thread of the event loop."""
        with contextlib.suppress(InvalidStateError):
            self._outcome.set_exception(error)
        self._done.set()

    async def result(self) -> T:
        """Wait for the outcome."""
        await self._done.wait()
        return self._outcome.result()


class OpenTransaction:
    """Takes the place of a ``Database``: its calls are parts of one transaction.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database: Final = database
        self._calls: Final[queue.SimpleQueue[_Call[Any] | bool]] = queue.SimpleQueue()
        self._last: _Call[Any] | None = None
        self.error: Exception | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Call ``work`` with the connection of the transaction; one call at a time.

        Raises:
            StoreUnavailable: The transaction has failed.
        """
        if self.error is not None:
            raise self.error
        self._last = call = _Call(work)
        self._calls.put(call)
        return await call.result()

    run_slow_read = run

    async def serve(self) -> None:
        """Execute calls until the end, and commit or roll back; an error is left in ``error``."""
        token = trio.lowlevel.current_trio_token()
        try:
            await self._database.run(functools.partial(self._execute, token))
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self.error = error
            if self._last is not None:
                self._last.fail(error)

    def end(self, *, commits: bool) -> None:
        """Commit or roll back, after the calls so far."""
        self._calls.put(_COMMIT if commits else _ROLL_BACK)

    def _execute(self, token: trio.lowlevel.TrioToken, connection: Connection) -> None:
        has_failed = False
        with connection.transaction():
            while isinstance(call := self._calls.get(), _Call):
                call.execute(connection, token)
                has_failed |= call.is_failed
            if call is _ROLL_BACK:
                raise psycopg.Rollback
            if has_failed:  # PostgreSQL would roll back, and not call that an error
                raise StoreUnavailable("a statement of the transaction failed")


async def in_open_transaction(
    database: Database, work: Callable[[OpenTransaction], Awaitable[T]]
) -> T:
    """Call ``work`` with an open transaction, which commits if it returns.

    Raises:
        StoreUnavailable: The database is unavailable; it is unknown whether it committed.
    """
    transaction = OpenTransaction(database)
    done: Future[T] = Future()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transaction.serve)
        commits = False
        try:
            done.set_result(await work(transaction))
            commits = True
        except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery
            done.set_exception(error)
        finally:
            transaction.end(commits=commits)
    result = done.result()
    if transaction.error is not None:
        raise transaction.error
    return result
