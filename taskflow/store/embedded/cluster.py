"""A PostgreSQL cluster of our own: making its files, starting it, reaching it, stopping it.

Everything here blocks, and expects that one process at a time starts or stops: the lock
for that is its caller's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from taskflow.model.errors import StoreUnusable
from taskflow.store.embedded.account import Account, own_private_folder
from taskflow.store.embedded.binaries import (
    MAJOR,
    Binaries,
    locate_binaries,
    reachable_binaries,
    remove_old_copies,
)
from taskflow.store.embedded.process import LogFile, Patience, run

DATABASE: Final = "taskflow"
_PORT: Final = 5432  # only part of the socket's name
_SOCKET_PATH_BYTES: Final = 103 if sys.platform == "darwin" else 107
_CONNECT_SECONDS: Final = 2
_MAX_CONNECTIONS: Final = 200  # some thirty processes with the default settings
_SOCKET_LINE: Final = 4  # of postmaster.pid
_PARTIAL: Final = "pgdata.partial-"
_INITDB_OPTIONS: Final = (
    f"--username={DATABASE}",
    "--auth=trust",  # the folder of the socket lets nobody else in
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)
# What a server says for a moment after its predecessor was killed: that one's children
# are still on their way out.
_PASSING_REASONS: Final = ("shared memory block", "lock file")


class Cluster:
    """The cluster in a data folder, run as ``account``."""

    def __init__(self, data_dir: Path, account: Account, source: Binaries | None = None) -> None:
        self.data_dir = data_dir
        self.pgdata = data_dir / "pgdata"
        self.log = LogFile(data_dir / "postgresql.log")
        self._account = account
        self._source = source

    def __repr__(self) -> str:
        """Say where it is and whether it runs."""
        return f"<Cluster in {self.data_dir}, {'alive' if self.is_alive() else 'not running'}>"

    def start(self, patience: Patience) -> tuple[str, bool]:
        """Have a server that answers, and a database in it.

        A server that is starting or shutting down is waited for. One whose processes were
        killed is started again.

        Returns:
            Its version, and whether it was running already.

        Raises:
            StoreUnusable: It does not start; the message says why, or names the log.
        """
        # Before anything is said to whoever listens there: in a public folder for temporary
        # files it might be somebody else.
        own_private_folder(self._chosen_socket_folder(), self._account)
        was_running = True
        while True:
            try:
                return self._greet(), was_running
            except psycopg.OperationalError as error:
                if self.is_alive():
                    self._wait_a_moment(patience, str(error))
                    continue
            was_running = False
            self._launch(patience)

    def stop(self, patience: Patience) -> bool:
        """Ask the server to stop, and say whether it did so in time; else it still will."""
        if (postmaster := self._postmaster()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):  # psutil looks for reused numbers
                postmaster.send_signal(signal.SIGINT)  # a fast shutdown
        while self.is_alive():
            if not patience.wait_a_moment():
                return False
        return True

    def is_alive(self) -> bool:
        """Whether a server of this data exists, in whatever state.

        Whoever listens on its socket counts although no such process is seen: it may run
        in another container on the same volume.
        """
        return self._postmaster() is not None or _is_listening(self._socket_folder())

    def process_number(self) -> int | None:
        """Of the server's first process; ``None`` if it runs in another container or not at all."""
        postmaster = self._postmaster()
        return None if postmaster is None else postmaster.pid

    def conninfo(self, database: str = DATABASE) -> str:
        """How to connect to it."""
        return make_conninfo(
            host=str(self._socket_folder()), port=_PORT, user=DATABASE, dbname=database
        )

    def _greet(self) -> str:
        """The version of a server that answers, once it has our database."""
        with psycopg.connect(
            self.conninfo("postgres"), autocommit=True, connect_timeout=_CONNECT_SECONDS
        ) as connection:
            self._add_database(connection)
            return "{}.{}".format(*divmod(connection.info.server_version, 10_000))

    def _add_database(self, connection: psycopg.Connection) -> None:
        query = "SELECT FROM pg_database WHERE datname = %s"
        if not connection.execute(query, [DATABASE]).rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def _wait_a_moment(self, patience: Patience, reason: str) -> None:
        if not patience.wait_a_moment():
            raise StoreUnusable(
                f"the PostgreSQL in {self.data_dir} is not ready in time: "
                f"{' '.join(reason.split())} (see {self.log.path})"
            )

    def _launch(self, patience: Patience) -> None:
        binaries = reachable_binaries(
            self._source or locate_binaries(), self._account, self.data_dir
        )
        remove_old_copies(self.data_dir, binaries)
        self._remove_partials()
        if not self._has_data():
            self._init(binaries, patience)
        self._discard_misleading_pids()
        reason = self._run_pg_ctl(binaries, patience)
        if reason is None:
            return
        if not any(passing in reason for passing in _PASSING_REASONS):
            raise StoreUnusable(f"PostgreSQL does not start: {reason} (see {self.log.path})")
        self._wait_a_moment(patience, reason)

    def _run_pg_ctl(self, binaries: Binaries, patience: Patience) -> str | None:
        settings = {
            "listen_addresses": "",
            "port": str(_PORT),
            # A list, whose members may stand in double quotes.
            "unix_socket_directories": f'"{self._chosen_socket_folder()}"',
            "unix_socket_permissions": "0700",
            "max_connections": str(_MAX_CONNECTIONS),
            "cluster_name": DATABASE,
        }
        # pg_ctl hands these to a shell.
        options = " ".join(f"-c {shlex.quote(f'{k}={v}')}" for k, v in settings.items())
        seconds = f"--timeout={max(1, int(patience.seconds_left))}"
        command = [str(binaries.program("pg_ctl")), "start", "--wait", seconds, "-o", options]
        return run(command, self._account, self.log, patience, self.pgdata)

    def _has_data(self) -> bool:
        """Whether there is a cluster that can be started; not whether it is sound."""
        try:
            major = (self.pgdata / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            if self.pgdata.exists() and any(self.pgdata.iterdir()):
                raise StoreUnusable(
                    f"{self.pgdata} holds files but no PostgreSQL data; "
                    "move it away or set TASKFLOW_DATA_DIR to another folder"
                ) from None
            return False
        if major != str(MAJOR):
            raise StoreUnusable(
                f"{self.pgdata} was made by PostgreSQL {major} and TaskFlow runs {MAJOR}; "
                "bring it over with pg_upgrade, or set TASKFLOW_DATA_DIR to another folder"
            )
        return True

    def _init(self, binaries: Binaries, patience: Patience) -> None:
        """Make the files elsewhere first, so that ``pgdata`` is complete once it is there."""
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.data_dir))
        try:
            own_private_folder(partial, self._account)
            self._run_initdb(binaries, partial, patience)
            partial.rename(self.pgdata)
            _sync_folder(self.data_dir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _run_initdb(self, binaries: Binaries, folder: Path, patience: Patience) -> None:
        command = [str(binaries.program("initdb")), *_INITDB_OPTIONS]
        reason = run(command, self._account, self.log, patience, folder)
        if reason is not None:
            raise StoreUnusable(f"PostgreSQL cannot make {self.pgdata}: {reason}")

    def _remove_partials(self) -> None:
        for partial in self.data_dir.glob(_PARTIAL + "*"):
            # Errors are ignored: an initdb that outlived its TaskFlow may still write there.
            shutil.rmtree(partial, ignore_errors=True)

    def _discard_misleading_pids(self) -> None:
        """Remove the pid files of a server that is gone while some process has its number.

        PostgreSQL would take that process for the server, even a zombie that nobody reaps
        (as in a container without an init), and not start.
        """
        recorded = self._recorded()
        if recorded and psutil.pid_exists(int(recorded[0])):
            (self.pgdata / "postmaster.pid").unlink(missing_ok=True)
        socket_path = _socket_in(self._chosen_socket_folder())
        socket_path.with_name(f"{socket_path.name}.lock").unlink(missing_ok=True)

    def _postmaster(self) -> psutil.Process | None:
        """The server's first process, if it exists.

        A process that merely got the same number has another working directory.
        """
        recorded = self._recorded()
        if not recorded:
            return None
        try:
            process = psutil.Process(int(recorded[0]))
            is_ours = process.name() == "postgres" and process.cwd() == str(self.pgdata.resolve())
        except psutil.Error:
            return None
        return process if is_ours else None

    def _recorded(self) -> list[str]:
        """The lines of ``postmaster.pid``: number, data, time, port, socket's folder, ..."""
        try:
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
        return lines if lines and lines[0].strip().isdigit() else []

    def _socket_folder(self) -> Path:
        """Where the socket is: as recorded by a server that exists, since TMPDIR may differ."""
        recorded = self._recorded()
        if len(recorded) > _SOCKET_LINE and self._postmaster() is not None:
            return Path(recorded[_SOCKET_LINE])
        return self._chosen_socket_folder()

    def _chosen_socket_folder(self) -> Path:
        inside = self.data_dir / "socket"
        if _fits(inside):
            return inside
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        outside = Path(tempfile.gettempdir(), f"taskflow-{self._account.uid}-{name}")
        if _fits(outside):
            return outside
        raise StoreUnusable(
            f"{inside} is no path for a socket; set TASKFLOW_DATA_DIR to a shorter one"
        )


def _fits(folder: Path) -> bool:
    """Whether a socket can be there; in lists of hosts and folders some characters part them."""
    is_short = len(os.fsencode(_socket_in(folder))) <= _SOCKET_PATH_BYTES
    return is_short and not set(',"\n') & set(str(folder))


def _socket_in(folder: Path) -> Path:
    return folder / f".s.PGSQL.{_PORT}"


def _is_listening(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(_socket_in(folder)))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:  # it exists and does not answer: a full backlog, say
            return True
    return True


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
