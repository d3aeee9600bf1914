"""Without keys no other machine is served, however TaskFlow is started."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess

import psutil
import pytest

from tests import forking
from tests.service.processes import clean_environ, running, started

KEY = "a-key-that-must-not-be-seen"


def own_address() -> str:
    """An address of this machine that others may reach it at."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                return address.address
    pytest.skip("this machine has the loopback address only")


def ask(address: str, port: int, path: str, **headers: str) -> tuple[int, object]:
    with contextlib.closing(http.client.HTTPConnection(address, port, timeout=20)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        output = answer.read()
        is_json = "json" in (answer.headers["Content-Type"] or "")
        return answer.status, json.loads(output) if is_json else output


def serve(folder, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Start ``taskflow serve``, which is to end by itself."""
    return forking.run(
        [*forking.ARGUMENTS, "serve", *arguments],
        text=True,
        cwd=folder,
        env=clean_environ(DATABASE_URL="memory://", **settings),
        timeout=30,
    )


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "taskflow.example:0"])
def test_an_address_that_others_reach(tmp_path, bind):
    """``taskflow serve`` does not start, and says in one line what to set."""
    ended = serve(tmp_path, "--bind", bind)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(
        "taskflow: without API keys TaskFlow serves on the loopback address only"
    )
    assert bind in line
    for variable in ("TASKFLOW_API_KEYS", "TASKFLOW_API_KEYS_FILE", "TASKFLOW_ALLOW_ANONYMOUS=1"):
        assert variable in line


@pytest.mark.parametrize("name", ["serve", "worker", "hypercorn"])
def test_a_key_that_cannot_be_used(tmp_path, name):
    """One line, before anything is started, and the key is not in it."""
    settings = {"DATABASE_URL": "memory://", "TASKFLOW_API_KEYS": f"ci:owner:{KEY}"}
    with started(name, tmp_path, **settings) as service:
        ended = service.wait_for_end()
    assert ended.code == 2 if name in {"serve", "worker"} else ended.code != 0
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("taskflow: ")]
    assert line.startswith("taskflow: TASKFLOW_API_KEYS, entry 1: must be name:key or name:role:")
    assert "starting" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert KEY not in ended.stderr


def test_with_keys(tmp_path):
    """Any address will do, keys are asked for from afar and from near, and none is logged."""
    settings = {"DATABASE_URL": "memory://", "TASKFLOW_BIND": "0.0.0.0:0"}
    with started("serve", tmp_path, TASKFLOW_API_KEYS=f"ci:{KEY}", **settings) as service:
        service.wait_for_log("listening")
        [port] = [
            connection.laddr.port
            for connection in psutil.Process(service.process.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        for address in ("127.0.0.1", own_address()):
            assert ask(address, port, "/tasks")[0] == 401
            assert ask(address, port, "/tasks", Authorization=f"Bearer {KEY}")[0] == 200
            assert ask(address, port, "/livez")[0] == 200
        ended = service.end()
    assert ended.code == 0
    assert "API keys loaded" in ended.stderr
    assert "ci (write)" in ended.stderr
    assert KEY not in ended.stderr


def test_anonymous_by_wish(tmp_path):
    """With TASKFLOW_ALLOW_ANONYMOUS=1 it serves everywhere, and warns."""
    settings = {"TASKFLOW_BIND": "0.0.0.0:0", "TASKFLOW_ALLOW_ANONYMOUS": "1"}
    with started("serve", tmp_path, DATABASE_URL="memory://", **settings) as service:
        service.wait_for_log("listening")
        assert service.end().code == 0
        assert "no API keys: every client that can connect has full access" in service.log


def test_a_socket_in_the_file_system(tmp_path, shared_folder):
    """Who may open it is for the file system to say: without keys it is served."""
    path = shared_folder / "taskflow.sock"
    with started(
        "serve", tmp_path, DATABASE_URL="memory://", TASKFLOW_BIND=f"unix:{path}"
    ) as service:
        service.wait_for_log("listening")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert service.end().code == 0


@pytest.mark.parametrize(("anonymous", "status"), [("0", 403), ("1", 200)])
def test_under_hypercorn(tmp_path, anonymous, status):
    """What came to another address than the loopback is refused there, request by request."""
    address = own_address()
    settings = {"DATABASE_URL": "memory://", "TASKFLOW_ALLOW_ANONYMOUS": anonymous}
    with running("hypercorn", tmp_path, host="0.0.0.0", **settings) as service:
        assert ask("127.0.0.1", service.port, "/tasks") == (200, [])
        assert ask(address, service.port, "/livez") == (200, b"ok\n")
        reported, output = ask(address, service.port, "/tasks")
        assert service.end().code == 0
    assert reported == status
    assert reported == 200 or "TASKFLOW_API_KEYS" in output["detail"]
