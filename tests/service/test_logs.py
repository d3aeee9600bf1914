"""The log of real processes: who reads it, what strangers cannot put there, how long it gets."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import re
import socket

import pytest

from tests import forking
from tests.service.processes import clean_environ, running, wait_until
from tests.service.targets import SocketServer

SECRET = "s3cr3t"
FORGED = "\n2026-01-01T00:00:00Z [error    ] forged\x1b[2J"


def hostile_payloads(target_url):
    port = target_url.rpartition(":")[2]
    return [
        f"http://ada:{SECRET}@127.0.0.1:{port}/",
        f"{target_url}/now?key={SECRET}",
        f"{target_url}/missing?key={SECRET}",
        f"http://localhost:1/?key={SECRET}",
        f"http://{SECRET}.invalid/",
        f"http://127.0.0.1:{port}/{FORGED}",
        f"http://{FORGED}.example/",
        FORGED,
        {"url": SECRET},
    ]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_hostile_urls(tmp_path, target, log_format):
    """At the most talkative level: no secret, no control character, one event a line."""
    settings = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_LOG_LEVEL": "debug",
        "TASKFLOW_LOG_FORMAT": log_format,
    }
    with running("serve", tmp_path, **settings) as service:
        payloads = hostile_payloads(target.url)
        for payload in payloads:
            service.post(payload)
        service.ask("GET", f"/tasks/%0A{SECRET}%1B")
        wait_until(lambda: service.log.count("task finished") == len(payloads))
        assert service.end().code == 0
        log = service.log
    assert SECRET not in log
    assert "forged" not in log
    assert not {c for c in log if not c.isprintable()} - {"\n"}
    if log_format == "json":
        assert all(json.loads(line)["event"] for line in log.splitlines())


def fields_of(line):
    """A line of JSON with what every line has."""
    fields = json.loads(line)
    assert list(fields)[:3] == ["timestamp", "level", "event"]
    assert dt.datetime.fromisoformat(fields["timestamp"]).utcoffset() == dt.timedelta(0)
    assert re.fullmatch(r"[^\s:]+:\d+", fields["node"])
    return fields


def test_a_pipe_gets_json(tmp_path, target):
    """Without being told: each line is an object, and says whose attempt it is about, and where."""
    settings = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_LOG_LEVEL": "debug",
        "TASKFLOW_LOG_FORMAT": "auto",
    }
    with running("serve", tmp_path, **settings) as service:
        task = service.post(f"{target.url}/now")
        service.wait_for_log("task finished")
        pid = service.process.pid
        lines = [fields_of(line) for line in service.end().stderr.splitlines()]
    [ended] = [line for line in lines if line["event"] == "task finished"]
    assert (ended["task"], ended["attempt"], ended["outcome"]) == (task, 1, "Fetched")
    assert {line["node"].rpartition(":")[2] for line in lines} == {str(pid)}
    assert lines[0]["event"] == "starting"
    assert lines[-1]["event"] == "stopped"


def test_a_terminal_gets_lines_for_people(tmp_path):
    """Without being told: colours, and no JSON."""
    reader, terminal = pty.openpty()
    process = forking.Popen(
        [*forking.ARGUMENTS, "worker"],
        stderr=terminal,
        cwd=tmp_path,
        env=clean_environ(DATABASE_URL="memory://", TASKFLOW_LOG_FORMAT="auto"),
    )
    os.close(terminal)
    output = b""
    with process, contextlib.suppress(OSError):  # which is how a terminal ends
        while more := os.read(reader, 65536):
            was_started, output = b"workers started" in output, output + more
            if b"workers started" in output and not was_started:
                process.terminate()
    os.close(reader)
    assert process.returncode == 0
    *lines, rest = output.decode().split("\r\n")
    assert rest == ""
    assert len(lines) >= 4
    plain = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]
    assert plain != lines
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[info +\] \w", line) for line in plain)
    assert not any("{" in line for line in plain)


class Mixed(SocketServer):
    """Answers at once, with 404 for ``/missing``, and never for ``/silent``."""

    def __init__(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        super().__init__(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def serve(self, connection):
        while data := connection.recv(65536):
            status = "404 Not Found" if b"/missing" in data else "200 OK"
            if b"/silent" not in data:
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())


TASKS = 4000
DEAD_HOSTS = 60
MAX_LINES = 60


@pytest.mark.heavy
def test_a_flood_of_tasks_is_no_flood_of_lines(tmp_path):
    """Thousands of tasks that succeed, fail, are refused and time out, and hosts that are dead."""
    settings = {
        "DATABASE_URL": "memory://",
        "TASKFLOW_WORKERS": 50,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": 0.5,
        "TASKFLOW_BREAKER_FAILURES": 2,
        "TASKFLOW_LOG_FORMAT": "auto",
    }
    with socket.socket() as reserved, Mixed() as target:
        reserved.bind(("127.0.0.1", 0))  # it does not listen
        port = reserved.getsockname()[1]
        kinds = [f"{target.url}/{kind}" for kind in ["now", "now", "now", "missing"]]
        refused = ["http://10.0.0.1/", "ftp://example.com/"]
        urls = [[*kinds, *kinds, *refused][n % 10] for n in range(TASKS)]
        urls += [f"{target.url}/silent"] * 100
        dead = [f"http://127.0.1.{n % DEAD_HOSTS}:{port}/" for n in range(2 * DEAD_HOSTS)]
        with running("serve", tmp_path, **settings) as service:
            for first in range(0, len(urls), 1000):
                tasks = [{"payload": url} for url in urls[first : first + 1000]]
                assert service.ask("POST", "/tasks", tasks).status == 201
            tasks = [{"payload": url, "queue": "dead"} for url in dead]
            assert service.ask("POST", "/tasks", tasks).status == 201

            def all_ended():
                counts = service.ask("GET", "/queues/default").body["counts"]
                return not counts["PENDING"] and not counts["RUNNING"]

            wait_until(all_ended)
            wait_until(lambda: service.log.count("circuit breaker opened") > 1)
            lines = [fields_of(line) for line in service.end().stderr.splitlines()]
    assert len(lines) < MAX_LINES, lines
    held = [line for line in lines if "circuit breaker opened" in line["event"]]
    assert sum(line.get("repeats", 1) for line in held) >= DEAD_HOSTS
