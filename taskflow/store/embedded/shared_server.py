"""The embedded server: one PostgreSQL for all TaskFlow processes that use a data folder.

The first process starts it, the last one stops it, and a ``kill -9`` of any of them does no harm:

- each process holds a *shared* lock on ``users.lock`` while it uses the server; the kernel releases
  it however the process ends;
- starting and stopping happen under the *exclusive* lock on ``startstop.lock``;
- a process that leaves, and then gets ``users.lock`` exclusively, was the last one.

A server that no process was left to stop is used by the next process, and one that ends while it is
used is started again by one of its users. The data folder contains::

    users.lock startstop.lock  never removed: a lock on a removed file excludes no one
    pgdata/                    the data, owned by the user that PostgreSQL runs as
    socket/                    the socket, for that user alone
    postgresql.log             the log of PostgreSQL
    postgresql-18-.../         its programs, if it cannot run them where they are installed
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec
import platformdirs
import trio

from taskflow import telemetry
from taskflow.model.errors import StoreUnusable
from taskflow.store.embedded.account import Account, account_for, first_unreachable, make_folder
from taskflow.store.embedded.binaries import Binaries
from taskflow.store.embedded.cluster import Cluster
from taskflow.store.embedded.process import Deadline, wait_for_exit
from taskflow.telemetry import Event

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 0.5
_ROOT_DATA_DIR: Final = Path("/var/lib/taskflow")
_OVERRUN_SECONDS: Final = 0.25
# A server that ends within this time after its start is restarted after growing pauses.
_UNSTABLE_SECONDS: Final = 60.0
_MIN_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 30.0


class EmbeddedServer(msgspec.Struct, frozen=True):
    """A running embedded server.

    Attributes:
        conninfo: Its address, with database and user ``taskflow``.
        data_dir: The data folder, as an absolute path.
        version: Its version, such as ``18.4``.
        was_running: True if another process had started it.
    """

    conninfo: str
    data_dir: Path
    version: str
    was_running: bool


def default_data_dir() -> Path:
    """Return the default data folder of root, or of the user."""
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
    """Use the PostgreSQL server in ``data_dir``: start it, or share one that is running.

    If it ends meanwhile (killed, out of memory) it is started again.

    Args:
        data_dir: The data folder, created if missing.
        start_seconds: Timeout until the server answers, for each start.
        stop_seconds: Time that the last user waits at exit for the server to stop. After that it
            stops by itself; the next start waits for it.
        binaries: The programs; by default from the installed package.

    Raises:
        StoreUnusable: The server cannot be started; the message is one line.
    """
    # A limiter of its own: names that do not resolve may use all threads of the default one.
    limiter = trio.CapacityLimiter(1)
    membership, server = await trio.to_thread.run_sync(
        _join, data_dir, start_seconds, binaries, limiter=limiter
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_running, membership, start_seconds, limiter)
            yield server
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(stop_seconds + _OVERRUN_SECONDS, shield=True):
            await trio.to_thread.run_sync(
                membership.leave, stop_seconds, limiter=limiter, abandon_on_cancel=True
            )


class Membership:
    """This process as a user of the server, from ``join`` to ``leave``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._users = _open_lock(cluster.data_dir / "users.lock")
        self._startstop = _open_lock(cluster.data_dir / "startstop.lock")
        self._is_user = False
        self._version = "unknown"
        self._process_number: int | None = None

    def join(self, deadline: Deadline) -> EmbeddedServer:
        """Become a user of the server, and start it if it is not running. May be called again."""
        if not _lock(self._startstop, fcntl.LOCK_EX, deadline):
            raise StoreUnusable(
                f"another TaskFlow is still starting the PostgreSQL in {self._cluster.data_dir}; "
                f"see {self._cluster.log.path}"
            )
        # This never waits: an exclusive lock on this file is held only under the other lock.
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._is_user = True
        try:
            was_running = self._start(deadline)
        finally:
            fcntl.flock(self._startstop, fcntl.LOCK_UN)
        return EmbeddedServer(
            conninfo=self._cluster.conninfo(),
            data_dir=self._cluster.data_dir,
            version=self._version,
            was_running=was_running,
        )

    def _start(self, deadline: Deadline) -> bool:
        while True:
            self._version, was_running = self._cluster.start(deadline)
            self._process_number = self._cluster.process_number()
            if self._process_number is not None or self._cluster.is_alive():
                return was_running

    async def wait_for_end(self) -> None:
        """Return when the server has ended, if its process is visible."""
        if self._process_number is None:
            await trio.sleep_forever()
        else:
            await wait_for_exit(self._process_number)

    def leave(self, seconds: float) -> None:
        """Leave the server, and stop it if this was the last user; takes at most ``seconds``."""
        deadline = Deadline(seconds, is_cancellable=False)
        try:
            # A process that holds that lock for longer is a user, and will stop the server.
            if self._is_user and _lock(self._startstop, fcntl.LOCK_EX, deadline):
                self._stop_if_last(deadline)
        finally:
            os.close(self._users)
            os.close(self._startstop)

    def _stop_if_last(self, deadline: Deadline) -> None:
        fcntl.flock(self._users, fcntl.LOCK_UN)
        is_last = _lock(self._users, fcntl.LOCK_EX, Deadline(0, is_cancellable=False))
        if is_last and self._cluster.is_alive():
            self._stop(deadline)

    def _stop(self, deadline: Deadline) -> None:
        # If that takes too long it continues by itself, and the next start waits for it.
        is_closed = self._cluster.stop(deadline)
        data = str(self._cluster.data_dir)
        event = Event.POSTGRES_STOPPED if is_closed else Event.POSTGRES_STOPPING
        telemetry.emit(event, data=data, version=self._version)


def _join(
    data_dir: Path, start_seconds: float, binaries: Binaries | None
) -> tuple[Membership, EmbeddedServer]:
    path = data_dir.expanduser().resolve()
    with _failures_in_one_line(path):
        make_folder(path)
        account = account_for(path / "pgdata")
        if folder := first_unreachable(account, [path]):
            raise StoreUnusable(
                f"{folder} is closed to the user {account.name} that PostgreSQL runs as; "
                "set TASKFLOW_DATA_DIR to a folder that it can reach"
            )
        membership = Membership(Cluster(path, account, binaries))
        try:
            server = membership.join(Deadline(start_seconds))
        except BaseException:
            membership.leave(STOP_SECONDS)
            raise
    _report(server)
    return membership, server


async def _keep_running(
    membership: Membership, start_seconds: float, limiter: trio.CapacityLimiter
) -> None:
    """Start the server again whenever it ends, until cancelled."""
    pause_seconds, started_at = 0.0, -math.inf
    while True:
        await membership.wait_for_end()
        telemetry.emit(Event.POSTGRES_EXITED)
        if trio.current_time() - started_at > _UNSTABLE_SECONDS:
            pause_seconds = 0.0
        while True:
            await trio.sleep(pause_seconds)
            pause_seconds = min(max(2 * pause_seconds, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)
            try:
                server = await trio.to_thread.run_sync(
                    membership.join, Deadline(start_seconds), limiter=limiter
                )
            except StoreUnusable as error:
                telemetry.emit(Event.POSTGRES_FAILED, reason=str(error))
            else:
                break
        started_at = trio.current_time()
        _report(server)


def _report(server: EmbeddedServer) -> None:
    event = Event.POSTGRES_ALREADY_RUNNING if server.was_running else Event.POSTGRES_STARTED
    telemetry.emit(event, data=str(server.data_dir), version=server.version)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _lock(file: int, kind: int, deadline: Deadline) -> bool:
    """Lock a file, and return whether that succeeded; a thread inside flock cannot be canceled."""
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not deadline.pause():
                return False
        else:
            return True


@contextlib.contextmanager
def _failures_in_one_line(data_dir: Path) -> Iterator[None]:
    """Report an error of the operating system to operators in one line."""
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise StoreUnusable(
            f"no PostgreSQL can run in {data_dir}: {error.strerror or error}{where}; "
            "fix that, or set TASKFLOW_DATA_DIR to another folder"
        ) from error


class FoundServer(msgspec.Struct, frozen=True):
    """Content of a data folder.

    Attributes:
        data_dir: The folder.
        has_data: True if there is a cluster.
        conninfo: The address of its server, if that is running.
        free_bytes: Free space on its disk.
    """

    data_dir: Path
    has_data: bool
    conninfo: str | None
    free_bytes: int


def find_server(data_dir: Path) -> FoundServer:
    """Inspect a data folder.

    Raises:
        OSError: It cannot be read.
    """
    path = data_dir.expanduser().resolve()
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    free_bytes = shutil.disk_usage(nearest).free
    pgdata = path / "pgdata"
    if not pgdata.exists():
        return FoundServer(path, has_data=False, conninfo=None, free_bytes=free_bytes)
    status = pgdata.stat()
    cluster = Cluster(path, Account(str(status.st_uid), status.st_uid, status.st_gid))
    conninfo = cluster.conninfo() if cluster.is_alive() else None
    return FoundServer(path, has_data=True, conninfo=conninfo, free_bytes=free_bytes)
