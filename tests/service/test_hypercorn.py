"""The service under Hypercorn: the protocol over TLS, and the replacement of workers."""

from __future__ import annotations

import signal
import ssl

import trustme

from tests.service.database import COMPLETED
from tests.service.processes import COMMANDS, running, started, wait_until


def test_tls_speaks_http_1_too(tmp_path, monkeypatch):
    """HTTP/2 is not offered there either: a client would have bounds of its own making."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    tls = ["--certfile", str(tmp_path / "pem"), "--keyfile", str(tmp_path / "pem")]
    monkeypatch.setitem(COMMANDS, "hypercorn-tls", [*COMMANDS["hypercorn"], *tls])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with started("hypercorn-tls", tmp_path, DATABASE_URL="memory://") as service:
        service.wait_for_log("workers started")
        with context.wrap_socket(service.connect(), server_hostname="localhost") as client:
            assert client.selected_alpn_protocol() == "http/1.1"
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert service.end().code == 0


def test_a_worker_that_is_terminated_is_replaced(tmp_path, tasks, target):
    """A SIGTERM to one worker process ends it in order, and Hypercorn starts another."""
    with running("hypercorn-w2", tmp_path, DATABASE_URL=tasks.url) as service:
        held = [service.post(f"{target.url}/held") for _ in range(2)]
        target.wait_for("/held", times=2)
        reported, other = service.node_processes()
        reported.send_signal(signal.SIGTERM)
        service.wait_for_log("shutting down")
        target.release()
        service.wait_for_log("workers started", times=3)
        now = {process.pid for process in service.node_processes()}
        assert other.pid in now
        assert reported.pid not in now
        wait_until(lambda: all(tasks.row(task_id) == COMPLETED for task_id in held))
        ended = service.end()
    assert ended.code == 0
    assert "Traceback" not in ended.stderr
    assert tasks.nodes() == 0
