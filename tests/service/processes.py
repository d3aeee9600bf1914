"""TaskFlow's entry points as real processes: starts, calls, ends and inspects them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import psutil

from tests import forking
from tests.loopback import OPEN_ENVIRON

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
# Ends a test that hangs, and decides nothing else: what must not happen is set to take longer.
PATIENCE_SECONDS = 90.0
HOURS_SECONDS = 7200
"""For settings: longer than any test waits."""
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.005, 0.1

HYPERCORN = ["-m", "hypercorn", "-k", "trio", "taskflow.asgi:app"]
COMMANDS = {
    "serve": ["-m", "taskflow", "serve"],
    "serve-p2": ["-m", "taskflow", "serve", "--processes", "2"],
    "worker": ["-m", "taskflow", "worker"],
    "hypercorn": HYPERCORN,
    "hypercorn-w2": [*HYPERCORN, "-w", "2"],
    "hypercorn-w0": [*HYPERCORN, "-w", "0"],
}
# In how many processes each of them runs tasks.
NODES = {
    "serve": 1,
    "serve-p2": 2,
    "worker": 1,
    "hypercorn": 1,
    "hypercorn-w2": 2,
    "hypercorn-w0": 1,
}

T = TypeVar("T")


class ProcessResult(NamedTuple):
    """How a process ended, and how long after it was asked to."""

    code: int
    stderr: str
    seconds: float


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Running:
    """A process of TaskFlow's. ``running`` starts one."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int | None) -> None:
        self.process = process
        self._log = log
        self._port = port

    @property
    def log(self) -> str:
        """What it has said on standard error so far."""
        return self._log.read_text(errors="replace")

    @property
    def port(self) -> int:
        """The URL that it serves: configured, or as logged."""
        if self._port is None:
            [port] = re.findall(r"url\W+http://127\.0\.0\.1:(\d+)", self.log)
            self._port = int(port)
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self, name: str) -> None:
        """Wait until its workers run and, if it has one, its server answers."""

        def is_ready() -> bool:
            assert self.process.poll() is None, f"{name} ended at its start:\n{self.log}"
            is_listening = "serve" not in name or "listening" in self.log
            return self.log.count("workers started") >= NODES[name] and is_listening

        wait_until(is_ready, START_SECONDS)
        if name != "worker":
            assert self.ask("GET", "/livez").status == 200

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """Ask over a connection of its own."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        ) as connection:
            text = None if body is None else json.dumps(body)
            fields = {"Content-Type": "application/json", **headers}
            connection.request(method, path, text, fields)
            answer = connection.getresponse()
            output = answer.read()
            is_json = "json" in (answer.headers["Content-Type"] or "")
            return Answer(
                answer.status, dict(answer.headers), json.loads(output) if is_json else output
            )

    def post(self, payload: object) -> str:
        """Submit a task, and return its id."""
        answer = self.ask("POST", "/tasks", {"payload": payload})
        assert answer.status == 201, answer
        return answer.body["id"]

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        """A bare connection to it, with a receive buffer so small if wanted."""
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(PATIENCE_SECONDS)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return client

    def node_processes(self) -> list[psutil.Process]:
        """The processes in which tasks run: itself, or the processes that it started."""
        main = psutil.Process(self.process.pid)
        spawned = []
        for child in main.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                is_gone = child.status() == psutil.STATUS_ZOMBIE
                if not is_gone and not is_helper(child):
                    spawned.append(child)
        return spawned or [main]

    def wait_for_log(self, text: str, *, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times)

    def end(
        self, signal_number: int = signal.SIGTERM, *, within: float = PATIENCE_SECONDS
    ) -> ProcessResult:
        """Send it a signal and wait for its end."""
        self.process.send_signal(signal_number)
        return self.wait_for_end(within=within)

    def wait_for_end(self, *, within: float = PATIENCE_SECONDS) -> ProcessResult:
        began = time.monotonic()
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within:g} s:\n{self.log}") from None
        return ProcessResult(code, self.log, time.monotonic() - began)

    def kill(self) -> None:
        """End it and all its processes with SIGKILL, as a crash of the machine would."""
        kill_tree(self.process)


@contextlib.contextmanager
def running(
    name: str,
    folder: Path,
    *,
    host: str = "127.0.0.1",
    is_forked: bool = True,
    **settings: object,
) -> Iterator[Running]:
    """Start an entry point on a free port of the loopback; it is gone at the end.

    Args:
        name: One of ``COMMANDS``.
        folder: Where its log goes and where it works.
        host: The address that Hypercorn listens on.
        is_forked: If not, its interpreters are started anew.
        settings: Environment variables of its own.
    """
    with started(name, folder, host=host, is_forked=is_forked, **settings) as service:
        service.wait_until_ready(name)
        yield service


@contextlib.contextmanager
def started(
    name: str,
    folder: Path,
    *,
    host: str = "127.0.0.1",
    is_forked: bool = True,
    **settings: object,
) -> Iterator[Running]:
    """The same, without waiting until it is ready."""
    command, environ = list(COMMANDS[name]), clean_environ(**settings)
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    with socket.socket() as listener, log.open("wb") as output:
        port = None
        if "hypercorn" in name:
            # It gets the socket, since another process could take a free port in the meantime.
            listener.bind((host, 0))
            port = listener.getsockname()[1]
            command += ["--bind", f"fd://{listener.fileno()}"]
        elif "serve" in name:
            environ.setdefault("TASKFLOW_BIND", "127.0.0.1:0")
        process = (forking.Popen if is_forked else subprocess.Popen)(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environ,
            pass_fds=[listener.fileno()],
        )
    try:
        yield Running(process, log, port)
    finally:
        kill_tree(process)


def clean_environ(**settings: object) -> dict[str, str]:
    """An environment with the settings given and no others."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TASKFLOW_") and name != "DATABASE_URL"
    }
    return {
        **inherited,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONWARNINGS": "always::ResourceWarning",
        "TASKFLOW_LOG_FORMAT": "console",  # with tracebacks as everybody knows them
        **OPEN_ENVIRON,
        **{name: str(value) for name, value in settings.items()},
    }


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process of ours and all under it, if they still run."""
    with contextlib.suppress(psutil.NoSuchProcess):
        # The parent first, or it might see to its children's end or start others.
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                # This one removes what the others leave in /dev/shm, and ends by itself.
                if not any("resource_tracker" in part for part in child.cmdline()):
                    child.kill()
    process.wait(PATIENCE_SECONDS)


def is_helper(child: psutil.Process) -> bool:
    """True for a child of a main process that runs no tasks."""
    is_tracker = any("resource_tracker" in part for part in child.cmdline())
    return is_tracker or child.name() == forking.TEMPLATE_NAME


def wait_until(condition: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Check until it is so, more rarely with time, and return what was seen."""
    began = time.monotonic()
    while not (seen := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"not so after {seconds:g} s"
        time.sleep(min(max(waited / 20, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))
    return seen
