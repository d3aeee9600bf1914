"""PostgreSQL servers on ports of the loopback address: a primary, standbys, restored copies.

They are real servers with data of their own, and lose it when their folder is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg

from taskflow.store.embedded.account import account_for, make_folder
from taskflow.store.embedded.binaries import locate_binaries, reachable_binaries
from tests.service.processes import START_SECONDS, wait_until
from tests.service.targets import SocketServer

USER = "taskflow"
# As in ``databases.QUICK``; pages are written in full, as a base backup needs them.
QUICK = {"fsync": "off", "shared_buffers": "16MB", "io_method": "sync", "max_connections": "100"}


class Server:
    """A PostgreSQL server with data of its own.

    Args:
        folder: The folder of several servers, which all may enter.
        name: Its name, also as a standby.
        user: Its superuser.
    """

    def __init__(self, folder: Path, name: str, user: str = USER) -> None:
        self.folder = folder / name
        self.name = name
        self.user = user
        self.data = self.folder / "pgdata"
        self._account = account_for(self.data)
        make_folder(self.folder)
        shutil.chown(self.folder, self._account.uid, self._account.gid)
        # One copy for all servers of the folder, if one is needed.
        self._binaries = reachable_binaries(locate_binaries(), self._account, folder)
        self.port = free_port()

    @property
    def conninfo(self) -> str:
        """The conninfo of its database ``postgres``, of which the user owns all."""
        return self.conninfo_of("postgres")

    def conninfo_of(self, database: str) -> str:
        """The conninfo of one of its databases."""
        return f"host=127.0.0.1 port={self.port} user={self.user} dbname={database}"

    def init(self) -> None:
        """Create the data."""
        self.run("initdb", "-A", "trust", "-U", self.user, "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self, **settings: str) -> None:
        """Start the server with some settings, and wait until it answers."""
        values = {**QUICK, "cluster_name": self.name, **settings}
        options = " ".join(f"-c {name}='{value}'" for name, value in values.items())
        place = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        log = f"--log={self.folder / 'log'}"
        self.run("pg_ctl", "start", "--wait", "--silent", log, "-o", f"{place} {options}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` is a crash."""
        self.run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def promote(self) -> None:
        """Make a standby the primary, and wait until it accepts writes."""
        self.run("pg_ctl", "promote", "--wait", "--silent")

    def freeze(self) -> None:
        """Stop all its processes: the kernel accepts connections, and nothing answers."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its processes go on."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all its processes, if there are any, as a power cut would."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        wait_until(lambda: not self._processes())

    def back_up(self, target: Server, *arguments: str) -> None:
        """Make a base backup, as the data of another server."""
        program = locate_binaries().program("pg_basebackup")
        command = [program, "-d", self.conninfo, "-D", target.data, "--checkpoint=fast", *arguments]
        subprocess.run([*command, "--no-sync"], check=True, capture_output=True)
        target.own()

    def own(self) -> None:
        """Give its data to the user that it runs as."""
        self.data.chmod(0o700)
        for folder, folders, files in os.walk(self.data):
            for one in [Path(folder), *(Path(folder, name) for name in folders + files)]:
                shutil.chown(one, self._account.uid, self._account.gid)

    def write(self, name: str, text: str) -> None:
        """Append to a file of its data."""
        with (self.data / name).open("a") as file:
            file.write(text)
        self.own()

    def run(self, program: str, *arguments: str) -> None:
        """Run a program on its data."""
        result = subprocess.run(
            [self._binaries.program(program), "-D", self.data, *arguments],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=START_SECONDS,
            cwd=self.folder,
            **self._account.process_arguments(),
        )
        log = self.folder / "log"
        assert result.returncode == 0, (result.stderr, log.exists() and log.read_text())

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(FileNotFoundError, IndexError, psutil.NoSuchProcess):
            first = int((self.data / "postmaster.pid").read_text().split()[0])
            postmaster = psutil.Process(first)
            if postmaster.name() == "postgres":
                return [postmaster, *postmaster.children()]
        return []


class Silent(SocketServer):
    """A host that accepts connections and never answers.

    Attributes:
        accepted: How many connections it has accepted.
    """

    def __init__(self) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.port = listener.getsockname()[1]
        self.accepted = 0

    def serve(self, connection: socket.socket) -> None:
        self.accepted += 1
        while connection.recv(65536):
            pass


@contextlib.contextmanager
def primary_in(
    folder: Path, name: str = "first", user: str = USER, **settings: str
) -> Iterator[Server]:
    """A new server; it is gone at the end, whatever its state is then."""
    server = Server(folder, name, user)
    server.init()
    server.start(**settings)
    with server_gone_afterwards(server):
        yield server


@contextlib.contextmanager
def standby_of(primary: Server, name: str = "second") -> Iterator[Server]:
    """A standby that streams from a primary; it is gone at the end."""
    standby = Server(primary.folder.parent, name)
    primary.back_up(standby, "--write-recovery-conf")
    standby.start()
    with server_gone_afterwards(standby):
        wait_until(lambda: name in standbys_of(primary))
        yield standby


@contextlib.contextmanager
def server_gone_afterwards(server: Server) -> Iterator[None]:
    """Kill the server at the end of the block, also if it is frozen."""
    try:
        yield
    finally:
        server.kill()


def standbys_of(primary: Server) -> dict[str, str]:
    """The standbys that stream from a primary, with their state: ``sync``, ``async``, ..."""
    query = "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming'"
    with psycopg.connect(primary.conninfo) as connection:
        return dict(connection.execute(query).fetchall())


def make_synchronous(primary: Server, names: str) -> None:
    """Let commits wait for a standby, and wait until one is synchronous.

    The setting is in a file of the primary, which a later standby would copy.
    """
    with psycopg.connect(primary.conninfo, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        connection.execute("SELECT pg_reload_conf()")
    wait_until(lambda: {"sync", "quorum"} & set(standbys_of(primary).values()))


def url_of_hosts(database: str, *ports: int, **parameters: str) -> str:
    """A URL with several hosts: ports of the loopback address."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql://{USER}@{hosts}/{database}" + (f"?{query}" if query else "")


def free_port() -> int:
    """A port of the loopback address that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
