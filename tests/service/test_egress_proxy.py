"""A node whose egress proxy, a process of its own, is killed in the middle of a load."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.egress_proxy import USERINFO
from tests.service.processes import REPOSITORY, running, wait_until
from tests.service.targets import ANSWER, SocketServer
from tests.smoke import free_port

TASKS = 60


class TlsTarget(SocketServer):
    """Answers requests over TLS; every third is left half answered until the test says so."""

    def __init__(self, authority: trustme.CA) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.port = listener.getsockname()[1]
        self.requests = 0
        self.is_slow = True
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("target.example").configure_cert(self._context)

    def serve(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as stream:
            while stream.recv(65_536):
                self.requests += 1
                if self.is_slow and self.requests % 3 == 0:
                    stream.sendall(ANSWER[:-2])
                    stream.recv(1)  # until the proxy dies
                    return
                stream.sendall(ANSWER)


@contextlib.contextmanager
def proxy_process(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the proxy on a port; it listens when the block begins."""
    arguments = [sys.executable, "-m", "tests.egress_proxy", str(port)]
    with subprocess.Popen(arguments, cwd=REPOSITORY) as process:
        try:
            wait_until(lambda: is_listening(port))
            yield process
        finally:
            process.kill()


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "authority.pem")
    return made


def test_a_killed_proxy_costs_no_attempt(tmp_path, tasks, authority):
    """Its tasks wait, are fetched when it is back, and none has failed or used up an attempt."""
    port = free_port()
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_WORKERS": 10,
        "TASKFLOW_BREAKER_FAILURES": 1,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": 600,
        "TASKFLOW_EGRESS_PROXY": f"http://{USERINFO}@localhost:{port}",
        "SSL_CERT_FILE": tmp_path / "authority.pem",
    }
    with TlsTarget(authority) as target, running("serve", tmp_path, **settings) as node:
        with proxy_process(port) as proxy:
            url = f"https://target.example:{target.port}/"
            answer = node.ask("POST", "/tasks", [{"payload": url}] * TASKS)
            assert answer.status == 201
            wait_until(lambda: target.requests >= TASKS // 4)
            proxy.kill()
            node.wait_for_log("egress proxy failed")
            waiting = "/tasks?status=PENDING&error_type=proxy"
            wait_until(lambda: len(node.ask("GET", waiting).body) > 1)
            assert {task["attempt"] for task in node.ask("GET", waiting).body} == {0}
            target.is_slow = False
        with proxy_process(port):
            unfinished = "/tasks?status=PENDING,RUNNING"
            wait_until(lambda: not node.ask("GET", unfinished).body)
        assert "circuit breaker opened" not in node.log
        page = node.ask("GET", "/tasks?limit=100").body
        ends = {(task["status"], task["attempt"], task["error"]) for task in page}
        assert ends == {("COMPLETED", 1, "")}
        assert len(page) == TASKS
        node.wait_for_log("egress proxy works again")
        assert "p%40ss" not in node.log
