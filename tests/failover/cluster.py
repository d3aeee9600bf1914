"""Three PostgreSQL servers of Patroni, and the etcd in which it keeps who is the primary.

The configuration is the documented one (``docs/deploy/ha/patroni.yml``), except for addresses,
passwords and timings. Each server has an address of its own in 127.0.0.0/8, so all have the same
ports, which no outgoing connection takes while a server is down.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path as Folder
from typing import Any

import psutil
import yaml

from taskflow.store.embedded.account import Account, account_for
from taskflow.store.embedded.binaries import locate_binaries
from tests import debian
from tests.databases import create_migrated
from tests.failover.paths import Path
from tests.service.processes import REPOSITORY, START_SECONDS, wait_until

USER = "taskflow"
SIZE = 3
MIN_TTL = 20  # Patroni replaces a lower one
POSTGRES, REST, ETCD = 25432, 28008, 22379
DOCUMENTED = REPOSITORY / "docs/deploy/ha/patroni.yml"
PATRONI = ["-m", "patroni"]
PATRONI_WITH_ANY_TIMINGS = ["-P", str(Folder(__file__).with_name("member.py"))]
# Less memory to map, no processes that wait for input and output, and nothing that a killed server
# leaves behind outside its folder.
PARAMETERS = {
    "shared_buffers": "16MB",
    "io_method": "sync",
    "dynamic_shared_memory_type": "mmap",
}
# etcd 3.4 starts on this processor only if told so.
ENVIRON = {"LC_ALL": "C.UTF-8", "ETCD_UNSUPPORTED_ARCH": "arm64"}
# A capability that Patroni keeps besides the user that it runs as. Root's Python and its packages
# may be in a folder that nobody else can enter.
KEPT = "+dac_override"


def missing_tool() -> str | None:
    """Return the name of a tool that is not there, without which no cluster can run."""
    if not debian.find("usr/bin/etcd"):
        return "etcd"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "setpriv"
    return None


class Process:
    """A process of a cluster, with a log."""

    def __init__(self, command: list[str], folder: Folder, account: Account) -> None:
        self.log = folder / "log"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                _as(account, command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=ENVIRON | {"PATH": os.environ["PATH"], "HOME": str(folder)},
            )

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it with a signal."""
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)


def _as(account: Account, command: list[str]) -> list[str]:
    if not account.is_another:
        return command
    user = [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    return ["setpriv", *user, f"--inh-caps={KEPT}", f"--ambient-caps={KEPT}", *command]


class Member:
    """A PostgreSQL server and its Patroni.

    Attributes:
        name: Its name in Patroni.
        host: Its address.
        to_etcd: The path that it takes to etcd.
        to_server: The path that the standbys and ``pg_rewind`` take to it. Clients take another.
    """

    def __init__(
        self,
        name: str,
        host: str,
        folder: Folder,
        paths: tuple[Path, Path],
        config: dict[str, Any],
    ) -> None:
        self.name, self.host = name, host
        self.to_etcd, self.to_server = paths
        self._folder = folder
        self._data = folder / "data"
        self._account = account_for(self._data)
        folder.mkdir()
        path = folder / "patroni.yml"
        path.write_text(json.dumps(config))
        for one in (folder, path):
            shutil.chown(one, self._account.uid, self._account.gid)
        is_usual = config["bootstrap"]["dcs"]["ttl"] >= MIN_TTL
        self._program = PATRONI if is_usual else PATRONI_WITH_ANY_TIMINGS
        self._patroni: Process | None = None

    def start(self) -> None:
        """Start it, unless it runs; Patroni starts PostgreSQL."""
        if self._patroni is None:
            command = [sys.executable, *self._program, str(self._folder / "patroni.yml")]
            self._patroni = Process(command, self._folder, self._account)

    def kill(self) -> None:
        """End Patroni and PostgreSQL with SIGKILL, as a power cut would; they may be frozen."""
        if self._patroni is not None:
            self._patroni.end()
            self._patroni = None
        while found := self._postgres():
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found)

    def freeze(self) -> None:
        """Stop all its processes: the kernel accepts connections, and nothing answers."""
        self.freeze_patroni()
        self._signal_postgres(signal.SIGSTOP)

    def freeze_patroni(self) -> None:
        """Stop Patroni, while PostgreSQL goes on."""
        assert self._patroni is not None
        self._patroni.send(signal.SIGSTOP)

    def wake_postgres(self) -> None:
        """Let PostgreSQL go on after ``freeze``, but not Patroni."""
        self._signal_postgres(signal.SIGCONT)

    def wake_patroni(self) -> None:
        """Let Patroni go on after ``freeze``."""
        assert self._patroni is not None
        self._patroni.send(signal.SIGCONT)

    def _signal_postgres(self, number: int) -> None:
        for process in self._postgres():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _postgres(self) -> list[psutil.Process]:
        """Return its processes of PostgreSQL, which Patroni starts so that they outlive it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.name() == "postgres" and process.cwd() == str(self._data):
                    found.append(process)
        return found

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return the status and the body of an answer of Patroni; 0 if there is none."""
        text = None if body is None else json.dumps(body)
        with contextlib.closing(
            http.client.HTTPConnection(self.host, REST, timeout=START_SECONDS if body else 1.0)
        ) as connection:
            try:
                connection.request(method, path, text)
                answer = connection.getresponse()
                output = answer.read()
            except (OSError, http.client.HTTPException):
                return 0, None
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(output)
        return answer.status, output.decode(errors="replace")

    def is_leader(self) -> bool:
        """Return whether it is the primary, and Patroni has its lock."""
        return self.ask("GET", "/primary")[0] == 200

    @property
    def log(self) -> str:
        """What its Patroni and PostgreSQL have logged."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""


class Cluster:
    """The members, of which one is the primary.

    Attributes:
        conninfo: Of the database of the scenario, at whichever member is the primary.
    """

    def __init__(self, folder: Folder, timings: Mapping[str, int]) -> None:
        rng = random.SystemRandom()
        self._network = f"127.{rng.randrange(1, 255)}.{rng.randrange(256)}"
        self._folder = folder
        self._timings = timings
        self._stack = contextlib.ExitStack()
        self.members: list[Member] = []
        hosts = [self._host(number) for number in range(1, SIZE + 1)]
        self._server = (
            f"host={','.join(hosts)} port={POSTGRES} user={USER} dbname=postgres "
            "target_session_attrs=read-write connect_timeout=2"
        )
        self.conninfo = self._server

    def __enter__(self) -> Cluster:
        with contextlib.ExitStack() as stack:
            self._start_etcd(stack)
            for number in range(1, SIZE + 1):
                self.members.append(self._member(number, stack))
                stack.callback(self.members[-1].kill)
            self._stack = stack.pop_all()
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            self.repair()
            stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.__exit__(*exc)

    def _host(self, number: int) -> str:
        return f"{self._network}.{number}"

    def _start_etcd(self, stack: contextlib.ExitStack) -> None:
        folder = self._folder / "etcd"
        folder.mkdir()
        account = account_for(folder / "data")
        shutil.chown(folder, account.uid, account.gid)
        [program] = debian.find("usr/bin/etcd")
        url, peer = f"http://{self._host(30)}:{ETCD}", f"http://{self._host(30)}:{ETCD + 1}"
        options = {
            "data-dir": folder / "data",
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
        command = [str(program), *(f"--{name}={value}" for name, value in options.items())]
        stack.callback(Process(command, folder, account).end)

    def _member(self, number: int, stack: contextlib.ExitStack) -> Member:
        host = self._host(number)
        to_etcd = Path((self._host(20 + number), ETCD), (self._host(30), ETCD))
        to_server = Path((self._host(10 + number), POSTGRES), (host, POSTGRES))
        paths = (stack.enter_context(to_etcd), stack.enter_context(to_server))
        folder = self._folder / f"db{number}"
        return Member(folder.name, host, folder, paths, self._config(number, folder))

    def _config(self, number: int, folder: Folder) -> dict[str, Any]:
        """Return the documented configuration with what is different here."""
        config: dict[str, Any] = yaml.safe_load(DOCUMENTED.read_text())
        host, network = self._host(number), "127.0.0.0/8"
        rest = f"{host}:{REST}"
        config["name"] = folder.name
        config["etcd3"] = {"hosts": [f"{self._host(20 + number)}:{ETCD}"], "use_proxies": True}
        config["restapi"] = {"listen": rest, "connect_address": rest}
        config["bootstrap"].pop("post_bootstrap")
        config["bootstrap"]["dcs"].update(self._timings)
        config["postgresql"] |= {
            "listen": f"{host}:{POSTGRES}",
            "connect_address": f"{self._host(10 + number)}:{POSTGRES}",
            "data_dir": str(folder / "data"),
            "bin_dir": str(locate_binaries().prefix / "bin"),
            "use_unix_socket": True,
            "authentication": {
                "superuser": {"username": USER},
                "replication": {"username": "replicator"},
            },
            "parameters": {**PARAMETERS, "unix_socket_directories": str(folder)},
            "basebackup": [{"checkpoint": "fast"}, "no-sync"],
            "pg_hba": ["local all all trust"]
            + [f"host {database} all {network} trust" for database in ("all", "replication")],
        }
        return config

    def leader(self) -> Member | None:
        """Return the primary, if there is one."""
        return next((member for member in self.members if member.is_leader()), None)

    def wait_for_leader(self, *others: Member) -> Member:
        """Wait until there is a primary that is none of these members, and return it."""

        def find() -> Member | None:
            candidates = [member for member in self.members if member not in others]
            return next((member for member in candidates if member.is_leader()), None)

        return wait_until(find, START_SECONDS)

    def standbys(self) -> list[Member]:
        """Return the members that are not the primary."""
        leader = self.wait_for_leader()
        return [member for member in self.members if member is not leader]

    def repair(self) -> None:
        """Mend all paths, start all members, and wait until each standby follows the primary."""
        for member in self.members:
            member.to_etcd.mend()
            member.to_server.mend()
            member.start()
        wait_until(self._is_whole, START_SECONDS)

    def configure(self, **settings: object) -> None:
        """Change the settings of the cluster, and wait until they are in effect."""
        status, answer = self.wait_for_leader().ask("PATCH", "/config", settings)
        assert status == 200, answer
        wait_until(self._is_whole, START_SECONDS)

    def switch_over(self) -> Member:
        """Have Patroni make another member the primary, and return that."""
        leader = self.wait_for_leader()
        status, answer = leader.ask("POST", "/switchover", {"leader": leader.name})
        assert status == 200, answer
        return self.wait_for_leader(leader)

    def change_database(self) -> None:
        """Be known by another database from now on: a new one, with all tables."""
        self.conninfo = create_migrated(self._server)

    def url(self) -> str:
        """Return the DATABASE_URL of the nodes, which names all members."""
        hosts = ",".join(f"{member.host}:{POSTGRES}" for member in self.members)
        return f"postgresql://{USER}@{hosts}/{self.conninfo.rpartition('dbname=')[2].split()[0]}"

    def logs(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the log of each member."""
        for member in self.members:
            yield member.name, member.log

    def _is_whole(self) -> bool:
        leader = self.leader()
        if leader is None:
            return False
        _, config = leader.ask("GET", "/config")
        _, seen = leader.ask("GET", "/cluster")
        if not isinstance(config, dict) or not isinstance(seen, dict):
            return False
        wanted = "quorum_standby" if config.get("synchronous_mode") == "quorum" else "replica"
        states = [
            (one["role"], one["state"]) for one in seen["members"] if one["name"] != leader.name
        ]
        return states == [(wanted, "streaming")] * (SIZE - 1)
