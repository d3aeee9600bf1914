"""Where a page is run: a folder like a fresh checkout, free ports, and what the page needs."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import psycopg

from tests.api.live import LiveServer
from tests.clients.npm import built_client
from tests.folders import open_folder
from tests.forking import MODULES
from tests.loopback import OPEN_ENVIRON
from tests.pages import REPOSITORY
from tests.pages.programs import open_programs, write_program
from tests.pages.shapes import ID, KEY, SECRET
from tests.smoke import free_port

# What pages say, and what stands for it in a run.
SERVICE, HTTPBIN = "8080", "8081"
DATA = "/home/ada/.local/share/taskflow"
CHECKOUT = "/home/ada/taskflow"
DATABASE = "postgresql://localhost/tasks"
PORT = re.compile(r"\b80[89]\d\b")

NEEDS = {"service", "httpbin", "database", "typescript"}


class Place:
    """The folder, and the translation between names in a page and names in its run."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.checkout = folder / "checkout"
        self.data = folder / "data"
        self._folder = folder
        self._database_url = database_url
        self._ports: dict[str, str] = {}
        self._nodes: Iterator[str] = iter(())
        self._has_nodes = False
        self._tokens: dict[str, str] = {}

    def serve_at(self, ports: list[str]) -> None:
        """The service has these ports, and is asked at each of them in turn."""
        self._nodes = itertools.cycle(ports)
        self._has_nodes = True

    def fetch_from(self, port: str) -> None:
        """This is where the page's target is."""
        self._ports[HTTPBIN] = port

    def real(self, text: str) -> str:
        """What stands on the page, with the names of this run."""
        if self._has_nodes:
            self._ports[SERVICE] = next(self._nodes)
        text = PORT.sub(lambda found: self._port(found[0]), text)
        text = text.replace(DATA, str(self.data)).replace(CHECKOUT, str(self.checkout))
        if self._database_url:
            text = text.replace(DATABASE, self._database_url)
        for output, real in self._tokens.items():
            text = text.replace(output, real)
        return text

    def said(self, text: str) -> str:
        """What was printed, with the names of the page."""
        for output, real in self._ports.items():
            text = re.sub(rf"\b{real}\b", output, text)
        text = text.replace(str(self.data), DATA).replace(str(self.checkout), CHECKOUT)
        for output, real in self._tokens.items():
            text = text.replace(real, output)
        return text

    def learn(self, said: str, printed: str) -> None:
        """Map the ids, keys and secrets of the page to the ones of this run, in their order."""
        for pattern in (ID, KEY, SECRET):
            ours, theirs = self._unknown(pattern, said), self._unknown(pattern, printed)
            self._tokens |= dict(zip(ours, theirs, strict=False))

    def execute(self, statements: str) -> str:
        """Execute SQL in the database of the page; return its error, as ``psql`` shows it."""
        assert self._database_url, "a page with SQL needs a database"
        try:
            with psycopg.connect(self._database_url, autocommit=True) as connection:
                connection.execute(self.real(statements).encode())
        except psycopg.Error as error:
            return f"{error.sqlstate}: {error.diag.message_primary}"
        return ""

    def environ(self) -> dict[str, str]:
        """What commands get: nothing of TaskFlow's but where it is here."""
        own = {name: value for name, value in os.environ.items() if not _is_ours(name)}
        path = [self._folder / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        return own | {
            "PATH": ":".join(str(one) for one in path),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self._folder / "home"),
            "CURL_HOME": str(self._folder),
            "NO_PROXY": "*",
            "no_proxy": "*",
            "TASKFLOW_LOG_FORMAT": "console",  # as on a reader's terminal
            "TASKFLOW_DATA_DIR": str(self.data),
            "TASKFLOW_BIND": f"127.0.0.1:{self._port(SERVICE)}",
            "TASKFLOW_ALLOW_PORTS": OPEN_ENVIRON["TASKFLOW_ALLOW_PORTS"],
            **self._of_clients(),
        }

    def _of_clients(self) -> dict[str, str]:
        """What clients read; a service that a page starts warns of it."""
        if not self._has_nodes:
            return {}
        return {"TASKFLOW_URL": f"http://127.0.0.1:{self._port(SERVICE)}"}

    def _unknown(self, pattern: re.Pattern[str], text: str) -> list[str]:
        """What the pattern finds that has no counterpart yet, each once."""
        return [one for one in dict.fromkeys(pattern.findall(text)) if one not in self._tokens]

    def _port(self, said: str) -> str:
        if said not in self._ports:
            self._ports[said] = str(free_port())
        return self._ports[said]


@contextlib.contextmanager
def open_place(
    needs: AbstractSet[str], database_url: str | None = None, httpbin: str = ""
) -> Iterator[Place]:
    """A place with what a page needs; ended with all that the page started.

    Args:
        needs: Of ``NEEDS``.
        database_url: Where the service keeps its tasks, and what pages call ``DATABASE``.
        httpbin: The URL of a target, if one is needed.
    """
    if unknown := needs - NEEDS:
        raise ValueError(f"a page may not need {unknown}")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        place = Place(folder, database_url)
        stack.callback(_end_postgres, place.data)
        programs = folder / "programs"
        stack.enter_context(open_programs(programs))
        _make_checkout(place.checkout, programs)
        _make_programs(folder, programs)
        if "typescript" in needs:
            _install_client(place.checkout)
        if "httpbin" in needs:
            place.fetch_from(httpbin.rpartition(":")[2])
        if "service" in needs:
            servers = [LiveServer(database_url=database_url) for _ in range(2)]
            urls = [stack.enter_context(server).url for server in servers]
            place.serve_at([url.rpartition(":")[2] for url in urls])
        yield place


def _is_ours(name: str) -> bool:
    return name.startswith("TASKFLOW_") or name == "DATABASE_URL"


def _make_checkout(checkout: Path, programs: Path) -> None:
    """What there is after ``git clone``, and both environments as they are set up later."""
    checkout.mkdir()
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith((".", "run")):
            (checkout / entry.name).symlink_to(entry)
    for script, environment, lock in (
        ("run.sh", ".venv", "requirements.lock"),
        ("run_tests.sh", ".venv-dev", "requirements-dev.lock"),
    ):
        (checkout / script).symlink_to(REPOSITORY / script)
        _make_environment(checkout / environment, REPOSITORY / lock, programs)


def _make_environment(venv: Path, lock: Path, programs: Path) -> None:
    """An environment with the stamp of the lock, whose Python is the one of this run."""
    (venv / "bin").mkdir(parents=True)
    write_program(venv / "bin" / "python", programs)
    with lock.open("rb") as locked:
        stamp = subprocess.run(["cksum"], stdin=locked, capture_output=True, check=True).stdout
    (venv / "stamp").write_bytes(stamp)


def _make_programs(folder: Path, programs: Path) -> None:
    """What an installation puts on the PATH, and a curl that shows no progress."""
    (folder / "bin").mkdir()
    (folder / "home").mkdir()
    (folder / ".curlrc").write_text("silent\nshow-error\n", "utf-8")
    for program in MODULES:
        write_program(folder / "bin" / program, programs, program)


def _install_client(checkout: Path) -> None:
    """The TypeScript client, as ``npm install`` links a folder."""
    packages = checkout / "node_modules"
    packages.mkdir()
    (packages / "taskflow-http").symlink_to(built_client().parent)


def _end_postgres(data: Path) -> None:
    """End the PostgreSQL of a service that was killed, and so could not."""
    file = data / "pgdata" / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(file.read_text("utf-8").split()[0]), signal.SIGQUIT)
