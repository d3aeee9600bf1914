"""The measured processes: TaskFlow's entry points, references and peers."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.clients import Submission
from taskflow.serving.process_tuning import usable_cpus
from taskflow.settings import Settings

REPOSITORY = Path(__file__).parents[1]
# As --processes auto counts them.
CORES = usable_cpus()
_START_SECONDS = 60.0
_PAUSE_SECONDS = 0.002
# Loopback addresses are blocked by default, and the target's port may be any.
_OPEN = {"TASKFLOW_ALLOW_NETWORKS": "127.0.0.0/8", "TASKFLOW_ALLOW_PORTS": "1-65535"}


class Service:
    """A process that serves or works.

    Attributes:
        process: As psutil sees it.
        port: Where it serves, if it does.
        submission: How it accepts a task, if it does.
        start_seconds: From its start to its first answer, or to its workers' start.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = psutil.Process(process.pid)
        self.port = port
        self.submission = Submission()
        self.start_seconds = 0.0
        self._popen = process
        self._log = log
        self._began = time.monotonic()

    def wait_for_answer(self) -> None:
        """Wait until it answers HTTP."""
        while not answers(self.port):
            self._wait_a_moment()
        self.start_seconds = time.monotonic() - self._began

    def wait_for_words(self, words: str, *, times: int = 1) -> None:
        """Wait until it has logged this text that many times."""
        while self._said().count(words) < times:
            self._wait_a_moment()
        self.start_seconds = self.start_seconds or time.monotonic() - self._began

    def stop_seconds(self) -> float:
        """End it by SIGTERM, and return how long that took."""
        began = time.monotonic()
        self._popen.send_signal(signal.SIGTERM)
        self._popen.wait(_START_SECONDS)
        return time.monotonic() - began

    def resident_mib(self) -> float:
        """Return its resident size, in MiB."""
        return float(self.process.memory_info().rss) / 2**20

    def _said(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    def _wait_a_moment(self) -> None:
        assert self._popen.poll() is None, f"it ended at its start:\n{self._said()}"
        assert time.monotonic() - self._began < _START_SECONDS, f"no start:\n{self._said()}"
        time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def started(
    command: Sequence[str], folder: Path, *, port: int = 0, **environ: str
) -> Iterator[Service]:
    """Start a process that logs to a file; it is killed at the end."""
    log = folder / f"{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=clean_environ(environ),
        )
    try:
        yield Service(process, port, log)
    finally:
        kill(process)


@contextlib.contextmanager
def taskflow(
    folder: Path,
    url: str,
    *,
    processes: int = 1,
    serves: bool = True,
    repository: Path = REPOSITORY,
    **settings: object,
) -> Iterator[Service]:
    """Start ``taskflow serve`` or ``taskflow worker``, and wait until it is ready.

    Args:
        folder: Where it works and writes its log.
        url: Of the database.
        processes: Number of processes of ``taskflow serve``.
        serves: Whether it is to serve HTTP.
        repository: Folder of its code.
        settings: Fields of ``Settings``.
    """
    assert settings.keys() <= set(Settings.__struct_fields__)
    port = free_port()
    named = {f"TASKFLOW_{name.upper()}": str(value) for name, value in settings.items()}
    command = ["-m", "taskflow", "serve" if serves else "worker"]
    if serves:
        command += ["--bind", f"127.0.0.1:{port}"]
    if processes > 1:
        command += ["--processes", str(processes)]
    with started(
        [sys.executable, *command],
        folder,
        port=port,
        DATABASE_URL=url,
        PYTHONPATH=str(repository),
        **_OPEN,
        **named,
    ) as service:
        if serves:
            service.wait_for_answer()
        service.wait_for_words("workers started", times=processes)
        yield service


@contextlib.contextmanager
def reference(folder: Path, name: str) -> Iterator[Service]:
    """Start a server of ``benchmarks.references``, and wait until it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.references", name, str(port)]
    with started(command, folder, port=port) as service:
        service.wait_for_answer()
        yield service


@contextlib.contextmanager
def target() -> Iterator[str]:
    """Start a target, and return its address: ``http://127.0.0.1:PORT``."""
    command = [sys.executable, "-m", "benchmarks.target"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=clean_environ({})
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with these variables, and without others of TaskFlow."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TASKFLOW_") and name != "DATABASE_URL"
    }
    return {**inherited, "PYTHONPATH": str(REPOSITORY), **environ}


def free_port() -> int:
    """Return a port of the loopback address that is free at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether a server responds on this port, with any status."""
    try:
        get(port, "/livez")
    except OSError:
        return False
    return True


def get(port: int, path: str) -> bytes:
    """Return the body of a response, over a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("GET", path)
        return client.getresponse().read()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, if they still run."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(_START_SECONDS)
