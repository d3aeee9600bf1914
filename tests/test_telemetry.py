"""What the service says of itself."""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import subprocess
import sys
import threading

import pytest
import structlog
import structlog.testing

from taskflow import telemetry
from taskflow.telemetry import Event

PROGRAM = """
import sys
from taskflow import telemetry
telemetry.configure("info", "json")
telemetry.emit(telemetry.Event.STARTING, version="1")
sys.stdin.read()
telemetry.emit(telemetry.Event.STOPPED)
print("still here")
"""

LINES = 5000
FLOOD = f"""
import sys
from taskflow import telemetry
telemetry.configure("info", "json")
for number in range({LINES}):
    telemetry.emit(telemetry.Event.STARTING, version="x" * (number % 9 * 1000))
print("still here", flush=True)
sys.stdin.read()
telemetry.emit(telemetry.Event.STOPPED)
"""


def test_a_log_that_nobody_reads_ends_nothing():
    """With the reader of standard error gone, what is logged is lost, and nothing else."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    os.close(writer)
    with os.fdopen(reader) as log:
        assert "taskflow starts" in log.readline()
    told, _ = process.communicate("")
    assert told == "still here\n"
    assert process.returncode == 0


def pipe():
    """What a shell, Docker or a supervisor gives a program for standard error."""
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb")


def stream_socket():
    """What systemd gives it."""
    reader, writer = socket.socketpair()
    return os.fdopen(reader.detach(), "rb", buffering=0), writer


@pytest.mark.parametrize("ends", [pipe, stream_socket])
def test_a_reader_that_stops_reading_stops_nothing(ends):
    """With the pipe full, lines are dropped, whole ones, and counted when it flows again."""
    reader, writer = ends()
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer
    )
    writer.close()
    deadline = threading.Timer(20, process.kill)
    deadline.start()
    with reader, process:
        assert process.stdout.readline() == b"still here\n"
        said = b""
        while select.select([reader], [], [], 0.1)[0]:
            said += reader.read(65536)
        process.stdin.close()
        while more := reader.read(65536):
            said += more
    deadline.cancel()
    assert process.returncode == 0
    *lines, lost, last = (json.loads(line) for line in said.splitlines())
    assert {line["event"] for line in lines} == {"taskflow starts"}
    assert 0 < len(lines) < LINES
    assert lost["event"] == "log lines lost, nobody was reading them"
    assert lost["lines"] == LINES - len(lines)
    assert last["event"] == "stopped"


def test_what_comes_in_floods_is_said_seldom(monkeypatch):
    """Once, and again when some time has passed."""
    monkeypatch.setattr(telemetry, "_said_at", {})
    with structlog.testing.capture_logs() as events:
        for _ in range(3):
            telemetry.emit_seldom(Event.CONNECTIONS_FULL)
        monkeypatch.setattr(telemetry, "SELDOM_SECONDS", 0.0)
        telemetry.emit_seldom(Event.CONNECTIONS_FULL)
    assert len(events) == 2


def test_every_event_has_a_level_and_a_wording():
    """Levels are those that can be set; wordings tell events apart."""
    levels = {event.value[0] for event in Event}
    assert levels <= {"debug", "info", "warning", "error"}
    assert len({event.value[1] for event in Event}) == len(Event)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_variables(log_format, capfd):
    """What a request carried stands in the frames of a fault: keys must not get into the log."""

    def fail(_secret):
        raise RuntimeError("something else")

    secret = secrets.token_hex(6)
    before = structlog.get_config()
    telemetry.configure("info", log_format)
    try:
        fail(secret)
    except RuntimeError as error:
        telemetry.emit(Event.CRASHED, error=error)
    finally:
        structlog.configure(**before)
    log = capfd.readouterr().err
    assert "something else" in log
    assert secret not in log
