"""Faults of ours end the process, faults of one connection end that connection alone."""

from __future__ import annotations

import socket

import pytest

from tests.service.database import COMPLETED
from tests.service.processes import running

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
def test_an_engine_that_fails_ends_the_process(tmp_path, tasks, name):
    """When what it works on is gone it ends, non-zero, and says why in its log."""
    with running(name, tmp_path, DATABASE_URL=tasks.url, TASKFLOW_POLL_SECONDS=0.1) as service:
        tasks.execute("ALTER TABLE taskflow_tasks RENAME COLUMN run_at TO something_else")
        ended = service.wait_for_end(within=10)
    assert ended.code != 0
    assert "crashed" in ended.stderr
    assert "column t.run_at does not exist" in ended.stderr
    if name in {"serve", "worker"}:
        assert ended.code == 1
        assert "Traceback" in ended.stderr


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_one_connection_ends_no_other(tmp_path, tasks, target, name):
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


def ask_for_life(connection: socket.socket) -> None:
    """Use a connection that is kept open once more."""
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while b"ok\n" not in answer:
        received = connection.recv(1000)
        assert received, answer
        answer += received
