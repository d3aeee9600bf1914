"""A PostgreSQL cluster in a data folder: creates its files, starts it, and stops it.

Everything here blocks. One process at a time may start or stop it: the caller holds the lock for
that.
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
from taskflow.store.embedded.process import Deadline, LogFile, run

DATABASE: Final = "taskflow"
_PORT: Final = 5432  # only part of the socket's name
_SOCKET_PATH_BYTES: Final = 103 if sys.platform == "darwin" else 107
_CONNECT_SECONDS: Final = 2
_MAX_CONNECTIONS: Final = 200  # some thirty processes with the default settings
_SOCKET_LINE: Final = 4  # of postmaster.pid
_PARTIAL: Final = "pgdata.partial-"
_INITDB_OPTIONS: Final = (
    f"--username={DATABASE}",
    "--auth=trust",  # only this user may enter the folder of the socket
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)
# The server is TaskFlow's own: PGOPTIONS, PGHOSTADDR and others are meant for other servers.
_PINNED: Final = {
    "options": "-c default_transaction_read_only=off -c search_path=public",
    "client_encoding": "UTF8",
    "hostaddr": "",
    "target_session_attrs": "any",
    "require_auth": "",
    "channel_binding": "disable",
    "gssencmode": "disable",
    "sslmode": "disable",
}
_NO_TIMEOUTS: Final = "-c statement_timeout=0 -c transaction_timeout=0 -c lock_timeout=0"
# Errors that last for a moment after the previous server was killed, until its children have ended.
_TRANSIENT_ERRORS: Final = ("shared memory block", "lock file")


class Cluster:
    """The cluster in a data folder, run as ``account``."""

    def __init__(self, data_dir: Path, account: Account, source: Binaries | None = None) -> None:
        self.data_dir = data_dir
        self.pgdata = data_dir / "pgdata"
        self.log = LogFile(data_dir / "postgresql.log")
        self._account = account
        self._source = source

    def __repr__(self) -> str:
        """Show where it is, and whether it is running."""
        return f"<Cluster in {self.data_dir}, {'alive' if self.is_alive() else 'not running'}>"

    def start(self, deadline: Deadline) -> tuple[str, bool]:
        """Start the server, if it is not running, and create the database, if it is missing.

        Waits for a server that is starting or shutting down.

        Returns:
            Its version, and whether it was running already.

        Raises:
            StoreUnusable: It does not start; the message says why, or names the log.
        """
        # Before connecting: in a public folder for temporary files, the listener may belong to
        # another user.
        own_private_folder(self._chosen_socket_folder(), self._account)
        was_running = True
        while True:
            try:
                return self._connect(), was_running
            except psycopg.OperationalError as error:
                if self.is_alive():
                    self._pause(deadline, str(error))
                    continue
            was_running = False
            self._launch(deadline)

    def stop(self, deadline: Deadline) -> bool:
        """Stop the server; return whether it stopped in time (if not, it still will)."""
        if (postmaster := self._postmaster()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):  # psutil detects reused numbers
                postmaster.send_signal(signal.SIGINT)  # a fast shutdown
        while self.is_alive():
            if not deadline.pause():
                return False
        return True

    def is_alive(self) -> bool:
        """Return whether a server of this data exists, in any state.

        A listener on its socket counts even if its process is not visible: it may run in another
        container on the same volume.
        """
        return self._postmaster() is not None or _is_listening(self._socket_folder())

    def process_number(self) -> int | None:
        """Return the number of the server's first process; ``None`` if there is no visible one."""
        postmaster = self._postmaster()
        return None if postmaster is None else postmaster.pid

    def conninfo(self, database: str = DATABASE) -> str:
        """Return its address."""
        return make_conninfo(
            host=str(self._socket_folder()), port=_PORT, user=DATABASE, dbname=database, **_PINNED
        )

    def _connect(self) -> str:
        """Connect, create the database if it is missing, and return the version."""
        with psycopg.connect(
            self.conninfo("postgres"),
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            options=f"{_PINNED['options']} {_NO_TIMEOUTS}",
        ) as connection:
            self._add_database(connection)
            return "{}.{}".format(*divmod(connection.info.server_version, 10_000))

    def _add_database(self, connection: psycopg.Connection) -> None:
        query = "SELECT FROM pg_database WHERE datname = %s"
        if not connection.execute(query, [DATABASE]).rowcount:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def _pause(self, deadline: Deadline, reason: str) -> None:
        if not deadline.pause():
            raise StoreUnusable(
                f"the PostgreSQL in {self.data_dir} is not ready in time: "
                f"{' '.join(reason.split())} (see {self.log.path})"
            )

    def _launch(self, deadline: Deadline) -> None:
        binaries = reachable_binaries(
            self._source or locate_binaries(), self._account, self.data_dir
        )
        remove_old_copies(self.data_dir, binaries)
        self._remove_partials()
        if not self._has_data():
            self._init(binaries, deadline)
        self._discard_misleading_pids()
        reason = self._run_pg_ctl(binaries, deadline)
        if reason is None:
            return
        if not any(error in reason for error in _TRANSIENT_ERRORS):
            raise StoreUnusable(f"PostgreSQL does not start: {reason} (see {self.log.path})")
        self._pause(deadline, reason)

    def _run_pg_ctl(self, binaries: Binaries, deadline: Deadline) -> str | None:
        settings = {
            "listen_addresses": "",
            "port": str(_PORT),
            # A list, whose members may be quoted.
            "unix_socket_directories": f'"{self._chosen_socket_folder()}"',
            "unix_socket_permissions": "0700",
            "max_connections": str(_MAX_CONNECTIONS),
            "cluster_name": DATABASE,
        }
        # pg_ctl passes these to a shell.
        options = " ".join(f"-c {shlex.quote(f'{k}={v}')}" for k, v in settings.items())
        seconds = f"--timeout={max(1, int(deadline.seconds_left))}"
        command = [str(binaries.program("pg_ctl")), "start", "--wait", seconds, "-o", options]
        return run(command, self._account, self.log, deadline, self.pgdata)

    def _has_data(self) -> bool:
        """Return whether there is a cluster of this version; it may be damaged."""
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
                "upgrade it with pg_upgrade, or set TASKFLOW_DATA_DIR to another folder"
            )
        return True

    def _init(self, binaries: Binaries, deadline: Deadline) -> None:
        """Create the files elsewhere first, so that ``pgdata`` is complete once it exists."""
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.data_dir))
        try:
            own_private_folder(partial, self._account)
            self._run_initdb(binaries, partial, deadline)
            partial.rename(self.pgdata)
            _sync_folder(self.data_dir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _run_initdb(self, binaries: Binaries, folder: Path, deadline: Deadline) -> None:
        command = [str(binaries.program("initdb")), *_INITDB_OPTIONS]
        reason = run(command, self._account, self.log, deadline, folder)
        if reason is not None:
            raise StoreUnusable(f"PostgreSQL cannot make {self.pgdata}: {reason}")

    def _remove_partials(self) -> None:
        for partial in self.data_dir.glob(_PARTIAL + "*"):
            # Errors are ignored: an initdb of a process that was killed may still write there.
            shutil.rmtree(partial, ignore_errors=True)

    def _discard_misleading_pids(self) -> None:
        """Remove the pid files of a server that has ended, if another process has its number.

        PostgreSQL would mistake that process for the server, even a zombie that is never reaped (in
        a container without an init), and not start.
        """
        recorded = self._recorded()
        if recorded and psutil.pid_exists(int(recorded[0])):
            (self.pgdata / "postmaster.pid").unlink(missing_ok=True)
        socket_path = _socket_in(self._chosen_socket_folder())
        socket_path.with_name(f"{socket_path.name}.lock").unlink(missing_ok=True)

    def _postmaster(self) -> psutil.Process | None:
        """Return the server's first process, if it exists.

        Another process with the same number has another working directory.
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
        """Return the lines of ``postmaster.pid``: number, data, time, port, socket's folder, ..."""
        try:
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
        return lines if lines and lines[0].strip().isdigit() else []

    def _socket_folder(self) -> Path:
        """Return the folder of the socket of the running server, since TMPDIR may differ."""
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
    """Return whether a socket can be in this folder; some characters separate lists of folders."""
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
        except OSError:  # it exists and does not answer, because its backlog is full, say
            return True
    return True


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
