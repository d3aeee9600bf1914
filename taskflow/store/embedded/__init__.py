"""The PostgreSQL that TaskFlow runs itself when it is given no other.

All TaskFlow processes of a machine that use the same data folder share one server. The
first starts it, the last stops it, and a ``kill -9`` of any of them does no harm:

- each process holds a *shared* lock on ``users.lock`` for as long as it uses the server,
  which the kernel releases however the process ends;
- starting and stopping happen under the *exclusive* lock on ``startstop.lock``;
- whoever leaves, and then gets ``users.lock`` exclusively, was the last.

A server that nobody was left to stop is simply used by the next process, and one that ends
while it is used is started again by one of its users. In the folder::

    users.lock startstop.lock  never removed: a lock on a removed file keeps nobody out
    pgdata/                    the data, of the user that PostgreSQL runs as
    socket/                    the way in, for that user alone
    postgresql.log             what PostgreSQL says
    postgresql-18-.../         its programs, only where their own place cannot be reached
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec
import platformdirs
import trio

from taskflow import telemetry
from taskflow.model.errors import StoreUnusable
from taskflow.store.embedded.account import account_for, first_unreachable, make_folder
from taskflow.store.embedded.binaries import Binaries
from taskflow.store.embedded.cluster import Cluster
from taskflow.store.embedded.process import Patience, wait_for_exit
from taskflow.telemetry import Event

__all__ = ["EmbeddedServer", "default_data_dir", "embedded_postgres"]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 0.5
_ROOT_DATA_DIR: Final = Path("/var/lib/taskflow")
_OVERRUN_SECONDS: Final = 0.25
# A server that ends again soon after its start is started again after growing pauses.
_SOON_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0


class EmbeddedServer(msgspec.Struct, frozen=True):
    """A PostgreSQL server of our own that answers.

    Attributes:
        conninfo: How psycopg connects to it: database and user ``taskflow``.
        data_dir: The folder that it was asked for in, made absolute.
        version: Its version, such as ``18.4``.
        was_running: Whether another process had started it.
    """

    conninfo: str
    data_dir: Path
    version: str
    was_running: bool


def default_data_dir() -> Path:
    """Where the data is when no setting says so: root's or the user's own place for data."""
    if os.geteuid() == 0:
        return _ROOT_DATA_DIR
    return platformdirs.user_data_path("taskflow", appauthor=False)


@contextlib.asynccontextmanager
async def embedded_postgres(
    data_dir: Path,
    *,
    start_seconds: float = START_SECONDS,
    stop_seconds: float = STOP_SECONDS,
    binaries: Binaries | None = None,
) -> AsyncIterator[EmbeddedServer]:
    """Use the PostgreSQL server in ``data_dir``: start it, or share one that runs.

    If it ends by itself meanwhile (killed, out of memory) it is started again.

    Args:
        data_dir: Its folder, made if missing.
        start_seconds: How long it may take until the server answers, each time.
        stop_seconds: How long the last user waits at exit for the server to stop. After
            that it ends by itself; the next start waits for it.
        binaries: The programs; those of the installed package if not given.

    Raises:
        StoreUnusable: There can be no server; one line says why.
    """
    # A limiter of its own: names that do not resolve may hold all of trio's threads.
    limiter = trio.CapacityLimiter(1)
    seat, server = await trio.to_thread.run_sync(
        _join, data_dir, start_seconds, binaries, limiter=limiter
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_running, seat, start_seconds, limiter)
            yield server
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(stop_seconds + _OVERRUN_SECONDS, shield=True):
            await trio.to_thread.run_sync(
                seat.leave, stop_seconds, limiter=limiter, abandon_on_cancel=True
            )


class Seat:
    """A process's share of the server, from taking its lock to leaving."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._users = _open_lock(cluster.data_dir / "users.lock")
        self._startstop = _open_lock(cluster.data_dir / "startstop.lock")
        self._is_user = False
        self._version = "unknown"
        self._process_number: int | None = None

    def take(self, patience: Patience) -> EmbeddedServer:
        """Become a user of the server, and have it run. May be done again."""
        if not _lock(self._startstop, fcntl.LOCK_EX, patience):
            raise StoreUnusable(
                f"another TaskFlow is still starting the PostgreSQL in {self._cluster.data_dir}; "
                f"see {self._cluster.log.path}"
            )
        # Nobody keeps us from this one: it is held exclusively only under the other.
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._is_user = True
        try:
            was_running = self._start(patience)
        finally:
            fcntl.flock(self._startstop, fcntl.LOCK_UN)
        return EmbeddedServer(
            conninfo=self._cluster.conninfo(),
            data_dir=self._cluster.data_dir,
            version=self._version,
            was_running=was_running,
        )

    def _start(self, patience: Patience) -> bool:
        while True:
            self._version, was_running = self._cluster.start(patience)
            self._process_number = self._cluster.process_number()
            if self._process_number is not None or self._cluster.is_alive():
                return was_running

    async def wait_for_end(self) -> None:
        """Return when the server is gone, if it is one whose process can be seen."""
        if self._process_number is None:
            await trio.sleep_forever()
        else:
            await wait_for_exit(self._process_number)

    def leave(self, seconds: float) -> None:
        """Use the server no longer; stop it if nobody else does. Takes ``seconds`` at most."""
        patience = Patience(seconds, is_cancellable=False)
        try:
            # Whoever holds that lock for longer is a user, and will see to the stopping.
            if self._is_user and _lock(self._startstop, fcntl.LOCK_EX, patience):
                self._stop_if_last(patience)
        finally:
            os.close(self._users)
            os.close(self._startstop)

    def _stop_if_last(self, patience: Patience) -> None:
        fcntl.flock(self._users, fcntl.LOCK_UN)
        is_last = _lock(self._users, fcntl.LOCK_EX, Patience(0, is_cancellable=False))
        if is_last and self._cluster.is_alive():
            self._stop(patience)

    def _stop(self, patience: Patience) -> None:
        # If that takes too long it goes on by itself, and the next start waits for it.
        is_closed = self._cluster.stop(patience)
        data = str(self._cluster.data_dir)
        event = Event.POSTGRES_STOPPED if is_closed else Event.POSTGRES_STOPPING
        telemetry.emit(event, data=data, version=self._version)


def _join(
    data_dir: Path, start_seconds: float, binaries: Binaries | None
) -> tuple[Seat, EmbeddedServer]:
    path = data_dir.expanduser().resolve()
    with _failures_in_one_line(path):
        make_folder(path)
        account = account_for(path / "pgdata")
        if folder := first_unreachable(account, [path]):
            raise StoreUnusable(
                f"{folder} is closed to the user {account.name} that PostgreSQL runs as; "
                "set TASKFLOW_DATA_DIR to a folder that it can reach"
            )
        seat = Seat(Cluster(path, account, binaries))
        try:
            server = seat.take(Patience(start_seconds))
        except BaseException:
            seat.leave(STOP_SECONDS)
            raise
    _tell(server)
    return seat, server


async def _keep_running(seat: Seat, start_seconds: float, limiter: trio.CapacityLimiter) -> None:
    """Start the server again whenever it ends, until cancelled."""
    pause_seconds, started_at = 0.0, -math.inf
    while True:
        await seat.wait_for_end()
        telemetry.emit(Event.POSTGRES_EXITED)
        if trio.current_time() - started_at > _SOON_SECONDS:
            pause_seconds = 0.0
        while True:
            await trio.sleep(pause_seconds)
            pause_seconds = min(
                max(2 * pause_seconds, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS
            )
            try:
                server = await trio.to_thread.run_sync(
                    seat.take, Patience(start_seconds), limiter=limiter
                )
            except StoreUnusable as error:
                telemetry.emit(Event.POSTGRES_FAILED, reason=str(error))
            else:
                break
        started_at = trio.current_time()
        _tell(server)


def _tell(server: EmbeddedServer) -> None:
    event = Event.POSTGRES_ALREADY_RUNNING if server.was_running else Event.POSTGRES_STARTED
    telemetry.emit(event, data=str(server.data_dir), version=server.version)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _lock(file: int, kind: int, patience: Patience) -> bool:
    """Lock a file, and say whether it worked out; a thread inside flock could not be called off."""
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not patience.wait_a_moment():
                return False
        else:
            return True


@contextlib.contextmanager
def _failures_in_one_line(data_dir: Path) -> Iterator[None]:
    """Put what the system refuses into words for an operator."""
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise StoreUnusable(
            f"no PostgreSQL can run in {data_dir}: {error.strerror or error}{where}; "
            "see to it, or set TASKFLOW_DATA_DIR to another folder"
        ) from error
