"""Six requests at once against a real server, as the Go program's script sent them.

    python tests/smoke.py        starts a server with a PostgreSQL of its own, and stops it
    python tests/smoke.py URL    sends them to a server that runs
    python tests/smoke.py --start PYTHON
                                 starts a server with this Python, runs one task, and stops it

The targets are the routes of an httpbin that is started on this machine, unless
TASKFLOW_SMOKE_HTTPBIN holds the URL of one. The server must be able to reach them, and be
allowed to: TASKFLOW_ALLOW_NETWORKS=127.0.0.0/8,::1/128 opens this machine to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

REPOSITORY = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
END_SECONDS = 20.0
STOP_SECONDS = 15.0
PAUSE_SECONDS = 0.05
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SmokeError(Exception):
    """Something else than one of the six answers is wrong."""


@dataclass
class Request:
    """One of the six: what is sent, what must come of it, and what came."""

    name: str
    body: str
    answer: int = 201
    status: str | None = None
    error_types: tuple[str | None, ...] = (None,)
    error: str = ""
    got_answer: str = ""
    got: dict[str, Any] = field(default_factory=dict)

    @property
    def is_at_end(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status is None or self.got.get("status") not in {None, "PENDING", "RUNNING"}

    @property
    def is_as_expected(self) -> bool:
        """Whether all that came is right."""
        if self.status is None:
            return self.got_answer == f"{self.answer} application/problem+json"
        return (
            self.got_answer == f"{self.answer} application/json"
            and self.got.get("status") == self.status
            and self.got.get("error_type") in self.error_types
            and str(self.got.get("error") or "").startswith(self.error)
        )


def six_requests(httpbin: str) -> list[Request]:
    """What the Go program's script sends, and what comes of it here."""

    def task(name: str, payload: object, *error_types: str, error: str = "") -> Request:
        return Request(
            name=name,
            body=json.dumps({"payload": payload}),
            status="FAILED" if error_types else "COMPLETED",
            error_types=error_types or (None,),
            error=error,
        )

    return [
        task("slow but in time", f"{httpbin}/delay/2"),
        task("slower than 5 s", f"{httpbin}/delay/10", "timeout"),
        task(
            "an error status",
            f"{httpbin}/status/404",
            "http_status",
            error="http error: status: 404 Not Found",
        ),
        # Where no name server answers, the bound ends the wait for one.
        task("an unknown host", "http://does-not-resolve.invalid/", "dns", "timeout"),
        task("no URL", 12345, "invalid_url", error="invalid url"),
        Request(name="broken JSON", body='{"payload": "http', answer=400),
    ]


def main() -> int:
    """Send them, say what came of each, and return the exit status."""
    if sys.argv[1:2] == ["--start"]:
        return check_start(sys.argv[2])
    if shutil.which("curl") is None:
        raise SmokeError("curl is not installed")
    with contextlib.ExitStack() as stack:
        httpbin = os.environ.get("TASKFLOW_SMOKE_HTTPBIN") or stack.enter_context(local_httpbin())
        server = sys.argv[1] if sys.argv[1:] else stack.enter_context(local_server())
        requests = six_requests(httpbin.rstrip("/"))
        began = time.monotonic()
        send(requests, f"{server.rstrip('/')}/tasks")
        follow(requests, f"{server.rstrip('/')}/tasks")
        show(requests, time.monotonic() - began)
    return 0 if all(request.is_as_expected for request in requests) else 1


def check_start(python: str) -> int:
    """Start a server with this Python, run a task to its end, and read the OpenAPI document."""
    with local_httpbin() as httpbin, local_server(python) as server:
        body = json.dumps({"payload": f"{httpbin}/status/200"}).encode()
        request = urllib.request.Request(f"{server}/tasks", body)
        with DIRECT.open(request, timeout=10) as answer:
            task_id = json.load(answer)["id"]
        task = read(f"{server}/tasks/{task_id}?wait=30")
        document = read(f"{server}/openapi.json")
    click.echo(f"smoke: {python}: {task['status']}, OpenAPI {document['openapi']}")
    return 0 if task["status"] == "COMPLETED" else 1


def send(requests: list[Request], url: str) -> None:
    """Post all of them at once, each by a curl of its own."""
    curl = ["curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*"]
    curl += ["--header", "Content-Type: application/json"]
    curl += ["--write-out", "\n%{http_code} %{content_type}"]
    sent = [
        subprocess.Popen(
            [*curl, "--data-binary", request.body, url], stdout=subprocess.PIPE, text=True
        )
        for request in requests
    ]
    for request, process in zip(requests, sent, strict=True):
        body, _, request.got_answer = process.communicate()[0].rpartition("\n")
        with contextlib.suppress(json.JSONDecodeError):
            request.got = json.loads(body)


def follow(requests: list[Request], url: str) -> None:
    """Poll each task until it is finished; fail after the timeout."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        open_ones = [one for one in requests if one.got.get("id") and not one.is_at_end]
        if not open_ones:
            return
        for request in open_ones:
            request.got = read(f"{url}/{request.got['id']}")
        time.sleep(PAUSE_SECONDS)


def read(url: str) -> dict[str, Any]:
    """The task, or the document, at this URL."""
    try:
        with DIRECT.open(url, timeout=60) as answer:
            return json.load(answer)
    except OSError as error:
        raise SmokeError(f"GET {url}: {error}") from None


def show(requests: list[Request], seconds: float) -> None:
    """Print a line for each."""
    lines = [("", "REQUEST", "ANSWER", "STATUS", "ERROR")]
    for request in requests:
        mark = "ok" if request.is_as_expected else "WRONG"
        reported = request.got if request.status else {"error": request.got.get("detail")}
        error = reported.get("error") or ""
        if reported.get("error_type"):
            error = f"{reported['error_type']}: {error}"
        code = request.got_answer.partition(" ")[0]
        lines.append((mark, request.name, code, reported.get("status") or "-", error))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())
    good = sum(request.is_as_expected for request in requests)
    click.echo(f"smoke: {good} of {len(requests)} as expected, in {seconds:.1f} s")


@contextlib.contextmanager
def local_httpbin() -> Iterator[str]:
    """An httpbin on a free port of this machine."""
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "httpbin:app", "run", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running("httpbin", command, f"{url}/status/200", dict(os.environ)) as process:
        yield url
        process.terminate()


@contextlib.contextmanager
def local_server(python: str = sys.executable) -> Iterator[str]:
    """A TaskFlow under Hypercorn, with a data folder of its own; it must end in order."""
    port = free_port()
    command = [python, "-m", "hypercorn", "-k", "trio", "taskflow.asgi:app"]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="taskflow-smoke-") as folder:
        # PostgreSQL runs as another user where this runs as root, and must reach its data.
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        environ = {
            **os.environ,
            "DATABASE_URL": "",
            "TASKFLOW_DATA_DIR": str(data),
            "TASKFLOW_ALLOW_NETWORKS": "127.0.0.0/8,::1/128",
        }
        command += ["--bind", f"127.0.0.1:{port}"]
        with running("taskflow", command, f"{url}/readyz", environ) as process:
            yield url
            process.send_signal(signal.SIGTERM)
            check_end(process, data)


def check_end(process: subprocess.Popen[bytes], data: Path) -> None:
    """Wait for the server, and for its PostgreSQL, to have ended well."""
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise SmokeError(f"taskflow still runs {STOP_SECONDS:g} s after SIGTERM") from None
    if code != 0:
        raise SmokeError(f"taskflow ended with exit status {code} after SIGTERM")
    deadline = time.monotonic() + STOP_SECONDS
    while (data / "pgdata" / "postmaster.pid").exists():
        if time.monotonic() > deadline:
            raise SmokeError("taskflow left its PostgreSQL running")
        time.sleep(PAUSE_SECONDS)
    click.echo("smoke: SIGTERM ended the server with exit status 0")


@contextlib.contextmanager
def running(
    name: str, command: list[str], probe: str, environ: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers at ``probe``; what it printed is shown if something goes wrong."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=REPOSITORY, env=environ
        )
        try:
            wait_until_answers(name, process, probe)
            yield process
        except BaseException:
            output.seek(0)
            click.echo(f"--- what {name} printed\n{output.read().decode(errors='replace')}---")
            raise
        finally:
            end(process)


def wait_until_answers(name: str, process: subprocess.Popen[bytes], probe: str) -> None:
    """Ask until there is a good answer."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SmokeError(f"{name} ended with exit status {process.returncode} at its start")
        with contextlib.suppress(OSError), DIRECT.open(probe, timeout=5):
            return
        time.sleep(PAUSE_SECONDS)
    raise SmokeError(f"{name} does not answer after {START_SECONDS:g} s")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours that may still run, first kindly."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port on which no program listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SmokeError as error:
        sys.exit(f"smoke: {error}")
