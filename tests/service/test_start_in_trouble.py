"""Starts that fail or are canceled by a signal."""

from __future__ import annotations

import signal
import socket
import struct

import pytest

from tests.service.database import PENDING
from tests.service.processes import running, started, wait_until
from tests.service.targets import SocketServer


class Postgres(SocketServer):
    """Takes connections as PostgreSQL does; says nothing at all, or why not."""

    def __init__(self, refusal: dict[bytes, bytes] | None = None) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"postgresql://me:secret@127.0.0.1:{listener.getsockname()[1]}/tasks"
        self.connections = 0
        self._refusal = refusal

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        while (data := connection.recv(65536)) and self._refusal is not None:
            if data.startswith(struct.pack("!ii", 8, 80877103)):  # asks for TLS
                connection.sendall(b"N")
                continue
            fields = b"".join(key + text + b"\0" for key, text in self._refusal.items()) + b"\0"
            connection.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            return
        connection.recv(65536)


@pytest.mark.parametrize("name", ["serve", "worker"])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_is_called_off(tmp_path, name, signal_number):
    """While the database does not answer a signal ends it at once, with exit status 0."""
    with Postgres() as silent, started(name, tmp_path, DATABASE_URL=silent.url) as service:
        wait_until(lambda: silent.connections)
        ended = service.end(signal_number)
    assert ended.code == 0
    assert "Traceback" not in ended.stderr


def test_making_a_postgresql_is_called_off(tmp_path, shared_folder):
    """A signal during the very first start leaves nothing half-made; the next start works."""
    data = shared_folder / "data"
    with started("serve", tmp_path, TASKFLOW_DATA_DIR=data) as service:
        wait_until(lambda: list(data.glob("pgdata.partial-*")))
        ended = service.end()
    assert ended.code == 0
    assert not list(data.glob("pgdata*"))
    with running("serve", tmp_path, TASKFLOW_DATA_DIR=data) as service:
        assert service.end().code == 0
    wait_until(lambda: not (data / "pgdata" / "postmaster.pid").exists())


@pytest.mark.parametrize("name", ["serve", "worker", "hypercorn"])
def test_a_wrong_password(tmp_path, name):
    """PostgreSQL's reason is said in one line, and what was wrong with it is not shown."""
    refusal = {b"S": b"FATAL", b"C": b"28P01", b"M": b'password authentication failed for "me"'}
    with (
        Postgres(refusal) as server,
        started(name, tmp_path, DATABASE_URL=server.url) as service,
    ):
        ended = service.wait_for_end()
    assert ended.code != 0
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("taskflow: ")]
    assert 'password authentication failed for "me"' in line


def test_a_port_in_use_starts_no_tasks(tmp_path, tasks, target):
    """Who cannot have the address does not begin fetches only to break them off."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WORKERS": 1}
    with running("serve", tmp_path, **settings) as first:
        first.post(f"{target.url}/held")
        target.wait_for("/held")
        waiting = first.post(f"{target.url}/now")
        bind = f"127.0.0.1:{first.port}"
        with started("serve", tmp_path, TASKFLOW_BIND=bind, **settings) as second:
            ended = second.wait_for_end()
        assert ended.code == 1
        assert f"taskflow: cannot listen on {bind}: " in ended.stderr
        assert "workers started" not in ended.stderr
        assert tasks.row(waiting) == PENDING
        target.release()
        assert first.end().code == 0
