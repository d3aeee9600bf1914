"""Faults of ours end the process, faults of one connection end that connection alone."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.service import faulty
from tests.service.database import COMPLETED
from tests.service.processes import PATIENCE_SECONDS, REPOSITORY, running, wait_until

SERVERS = ["serve", "hypercorn", "hypercorn-w2"]

UPGRADE = (
    b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
H2C = (
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: !!!\r\n\r\n"
)
HOSTILE = {
    # https://github.com/pgjones/hypercorn/issues/225
    "a websocket upgrade with a byte behind it": UPGRADE + b"\x81",
    "a websocket upgrade": UPGRADE,
    "the preface of HTTP/2, then garbage": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"x" * 99,
    "an upgrade to h2c": H2C,
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
}


@pytest.mark.parametrize("name", [*SERVERS, "worker"])
def test_a_missing_column_ends_no_process(tmp_path, tasks, name):
    """The log names it, and the service continues once the column is back."""
    with running(name, tmp_path, DATABASE_URL=tasks.url, TASKFLOW_POLL_SECONDS=0.1) as service:
        tasks.execute("ALTER TABLE taskflow_tasks RENAME COLUMN run_at TO something_else")
        service.wait_for_log("column t.run_at does not exist")
        tasks.execute("ALTER TABLE taskflow_tasks RENAME COLUMN something_else TO run_at")
        service.wait_for_log("store available again")
        ended = service.end()
    assert ended.code == 0
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_one_connection_affects_no_other(tmp_path, tasks, target, name):
    """Whatever a client sends, others that are connected are served, and new ones too."""
    with running(name, tmp_path, DATABASE_URL=tasks.url) as service, service.connect() as other:
        ask_for_life(other)
        for what, data in HOSTILE.items():
            with service.connect() as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            ask_for_life(other)
            assert service.ask("GET", "/livez").status == 200, what
        tasks.wait_for(service.post(f"{target.url}/now"), COMPLETED)
        assert service.end().code == 0


FAULTS = ["receive", "read", "send", "send response", "send data", "send endofmessage"]


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_an_error_in_a_connection_ends_that_connection(tmp_path, name):
    """Wherever its handling fails, others that are connected go on, and the log has the fault."""
    (tmp_path / "sitecustomize.py").write_bytes(Path(faulty.__file__).read_bytes())
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    settings = {"DATABASE_URL": "memory://", "PYTHONPATH": path}
    with running(name, tmp_path, **settings) as service, service.connect() as other:
        for where in [*FAULTS, *(f"group {where}" for where in FAULTS)]:
            ask_for_life(other)
            errors = service.log.count("internal error in a ")
            with service.connect() as client:
                client.sendall(
                    f"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Fault: {where}\r\n\r\n".encode()
                )
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(65536):
                        pass
            service.wait_for_log("internal error in a ", times=errors + 1)
        ask_for_life(other)
        assert service.ask("GET", "/livez").status == 200
        ended = service.end()
    assert ended.code == 0


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_no_files_left(tmp_path, name):
    """While new connections cannot be taken it rests, says so once, and then takes them."""
    with running(name, tmp_path, DATABASE_URL="memory://") as service, service.connect() as other:
        ask_for_life(other)
        [process] = service.node_processes()
        # A connection that is still being closed would leave a file a moment later.
        wait_until(lambda: open_connections(process) == 1)
        with no_files_left(process), service.connect() as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            service.wait_for_log("cannot accept new connections")
            before = sum(process.cpu_times()[:2])
            time.sleep(1.0)
            assert sum(process.cpu_times()[:2]) - before < 0.3
            ask_for_life(other)
            assert service.log.count("cannot accept new connections") == 1
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.recv(1000)
            let_open_files(process)
            client.settimeout(PATIENCE_SECONDS)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        ended = service.end()
    assert ended.code == 0
    assert "Traceback" not in ended.stderr


def open_connections(process: psutil.Process) -> int:
    connections = process.net_connections("tcp")
    return sum(one.status != psutil.CONN_LISTEN for one in connections)


@contextlib.contextmanager
def no_files_left(process: psutil.Process) -> Iterator[None]:
    """Let a process open no file that it has not open already."""
    numbers = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    first_free = next(number for number in itertools.count() if number not in numbers)
    let_open_files(process, first_free)
    try:
        yield
    finally:
        let_open_files(process)


def let_open_files(process: psutil.Process, most: int | None = None) -> None:
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most or hard, hard))


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_clients_leave_files_for_the_work(tmp_path, target, name):
    """With 64 files and more clients than that, who never go, tasks are fetched all the same."""
    (tmp_path / "sitecustomize.py").write_text(
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    settings = {"TASKFLOW_MAX_CONNECTIONS": 500, "TASKFLOW_KEEP_ALIVE_SECONDS": 60}
    with (
        running(name, tmp_path, DATABASE_URL="memory://", PYTHONPATH=path, **settings) as service,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(service.connect()) for _ in range(150)]
        service.wait_for_log("connection limit reached")
        body = json.dumps({"payload": f"{target.url}/now"})
        head = f"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        clients[0].sendall((head + body).encode())
        assert clients[0].recv(1000).startswith(b"HTTP/1.1 201")
        target.wait_for("/now")
        stack.close()
        wait_until(lambda: "COMPLETED" in json.dumps(service.ask("GET", "/tasks").body))
        ended = service.end()
    assert ended.code == 0
    assert "Traceback" not in ended.stderr


def ask_for_life(connection: socket.socket) -> None:
    """Use a connection that is kept open once more."""
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while b"ok\n" not in answer:
        received = connection.recv(1000)
        assert received, answer
        answer += received
