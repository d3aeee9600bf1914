"""What is ours to see to under Hypercorn: who ends with whom, and what is spoken."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.service.database import COMPLETED
from tests.service.processes import PATIENCE_SECONDS, running, wait_until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
UPGRADE = (
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
)


@pytest.mark.parametrize("name", ["serve", "hypercorn"])
def test_http2_is_for_tls(tmp_path, name):
    """On a plain port its preface is refused, and the offer to upgrade is passed over."""
    with running(name, tmp_path, DATABASE_URL="memory://") as service:
        for request, status in ((PREFACE, b"505"), (UPGRADE, b"200")):
            with service.connect() as client:
                client.sendall(request)
                assert client.recv(1000).startswith(b"HTTP/1.1 " + status)
        assert service.end().code == 0


def test_workers_end_with_their_main_process(tmp_path, tasks, target):
    """When that is killed they end in order, too: else they would keep the port for ever."""
    with running("hypercorn-w2", tmp_path, DATABASE_URL=tasks.url) as service:
        task_id = service.post(f"{target.url}/held")
        target.wait_for("/held")
        workers = service.node_processes()
        try:
            service.process.kill()
            service.wait_for_log("shutting down", times=2)
            target.release()
            gone, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
            assert (len(gone), alive) == (2, [])
        finally:
            for worker in workers:
                if worker.is_running():
                    worker.kill()
        with pytest.raises(ConnectionRefusedError):
            service.connect()
    assert tasks.row(task_id) == COMPLETED
    assert tasks.nodes() == 0


def test_a_worker_that_is_told_to_end_is_replaced(tmp_path, tasks, target):
    """A SIGTERM to one worker process ends it in order, and Hypercorn starts another."""
    with running("hypercorn-w2", tmp_path, DATABASE_URL=tasks.url) as service:
        held = [service.post(f"{target.url}/held") for _ in range(2)]
        target.wait_for("/held", times=2)
        told, other = service.node_processes()
        told.send_signal(signal.SIGTERM)
        service.wait_for_log("shutting down")
        target.release()
        service.wait_for_log("workers started", times=3)
        now = {process.pid for process in service.node_processes()}
        assert other.pid in now
        assert told.pid not in now
        wait_until(lambda: all(tasks.row(task_id) == COMPLETED for task_id in held))
        ended = service.end()
    assert ended.code == 0
    assert "Traceback" not in ended.stderr
    assert tasks.nodes() == 0
