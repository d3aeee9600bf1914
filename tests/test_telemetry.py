"""What the service says of itself."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import secrets
import select
import socket
import subprocess
import sys
import threading
import uuid
from collections import Counter

import pytest
import structlog
import structlog.testing
import trio

from taskflow import telemetry
from taskflow.telemetry import Event, log, throttling

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
telemetry.configure("debug", "json")
for number in range({LINES}):
    telemetry.emit(telemetry.Event.TASK_FINISHED, task="x" * (number % 9 * 1000))
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
        assert "starting" in log.readline()
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
    assert {line["event"] for line in lines} == {"task finished"}
    assert 0 < len(lines) < LINES
    assert lost["event"] == "log lines dropped, standard error was not being read"
    assert lost["lines"] == LINES - len(lines)
    assert last["event"] == "stopped"


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(throttling.time, "monotonic", lambda: now[0])
    return now


def test_what_comes_in_floods_is_said_seldom(clock):
    """Once, and again when some time has passed."""
    with structlog.testing.capture_logs() as events:
        for _ in range(3):
            telemetry.emit_throttled(Event.CONNECTIONS_FULL)
        clock[0] += throttling.PERIOD_SECONDS
        telemetry.emit_throttled(Event.CONNECTIONS_FULL)
    assert len(events) == 2


def test_nothing_floods_the_log(clock):
    """Whatever is above debug is said some times; other events are not held back by that."""
    with structlog.testing.capture_logs() as events:
        for _ in range(1000):
            telemetry.emit(Event.BREAKER_OPENED, host="example.com")
        telemetry.emit(Event.BREAKER_CLOSED, host="example.com")
        for _ in range(1000):
            telemetry.emit(Event.TASK_FINISHED)
    said = Counter(event["event"] for event in events)
    assert said[Event.BREAKER_OPENED.wording] == throttling.MAX_PER_PERIOD
    assert said[Event.BREAKER_CLOSED.wording] == 1
    assert said[Event.TASK_FINISHED.wording] == 1000


def test_a_fault_does_not_hide_another_one():
    """Faults of two types are two events."""
    with structlog.testing.capture_logs() as events:
        for error in [ValueError("1"), KeyError("2"), ExceptionGroup("", [ValueError("3")])]:
            telemetry.emit_throttled(Event.REQUEST_ERROR, error=error)
    assert [str(event["exc_info"]) for event in events] == ["1", "'2'"]


async def test_what_was_not_said_is_counted(autojump_clock):
    """Now and then, and at the end, so that each time is told in one way or another."""
    with structlog.testing.capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(telemetry.report_repeats)
            for _ in range(5):
                telemetry.emit_throttled(Event.CONNECTIONS_FULL)
            await trio.sleep(2.5 * throttling.PERIOD_SECONDS)
            assert [event.get("repeats") for event in events] == [None, 4]
            for _ in range(3):
                telemetry.emit_throttled(Event.CONNECTIONS_FULL)
            nursery.cancel_scope.cancel()
    assert {event["event"] for event in events} == {Event.CONNECTIONS_FULL.wording}
    assert sum(event.get("repeats", 1) for event in events) == 8


async def test_whose_task_it_is(autojump_clock):
    """What is said in a Trio task names the attempt that it is about, and no other's."""

    async def run(number):
        telemetry.bind_task(uuid.UUID(int=number), number)
        await trio.sleep(1)
        telemetry.emit(Event.FETCH_ERROR)

    with structlog.testing.capture_logs() as events:
        async with trio.open_nursery() as nursery:
            for number in range(1, 4):
                nursery.start_soon(run, number)
        telemetry.emit(Event.STOPPED)
    about = {(event.get("task"), event.get("attempt")) for event in events}
    assert about == {(str(uuid.UUID(int=n)), n) for n in range(1, 4)} | {(None, None)}


@pytest.fixture
def configure(monkeypatch):
    """``telemetry.configure``, of which nothing is left for other tests."""
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    for name in ("_min_level", "_stderr"):
        monkeypatch.setattr(log, name, getattr(log, name))
    yield telemetry.configure
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


def test_libraries_are_heard(configure, capfd):
    """What a library logs is a line like ours, and does not flood the log either."""
    configure("info", "json")
    for number in range(100):
        logging.getLogger("some.library").warning("number %d\nand more", number)
        logging.getLogger("some.library").info("of no interest")
    [line] = map(json.loads, capfd.readouterr().err.splitlines())
    assert line["event"] == "warning from a library"
    assert (line["library"], line["reason"]) == ("some.library", "number 0\nand more")


def test_json_is_in_order(configure, capfd):
    """When, how bad and what stand first; a traceback is in the same line."""
    configure("info", "json")
    error = RuntimeError("oh\ndear")
    telemetry.emit(Event.OUTCOME_NOT_STORED, error=error, task=uuid.UUID(int=1), attempt=2)
    [line] = map(json.loads, capfd.readouterr().err.splitlines())
    assert list(line) == ["timestamp", "level", "event", "task", "attempt", "node", "exception"]
    moment = dt.datetime.fromisoformat(line["timestamp"])
    assert moment.utcoffset() == dt.timedelta(0)
    assert (line["node"], line["attempt"]) == (telemetry.node_name(), 2)
    assert line["exception"][0]["exc_value"] == "oh\ndear"


def test_every_event_has_a_level_and_a_wording():
    """Levels are those that can be set; wordings tell events apart."""
    levels = {event.value[0] for event in Event}
    assert levels <= {"debug", "info", "warning", "error"}
    assert len({event.value[1] for event in Event}) == len(Event)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_variables(configure, log_format, capfd):
    """What a request carried stands in the frames of a fault: keys must not get into the log."""

    def fail(_secret):
        raise RuntimeError("something else")

    secret = secrets.token_hex(6)
    configure("info", log_format)
    try:
        fail(secret)
    except RuntimeError as error:
        telemetry.emit(Event.CRASHED, error=error)
    log = capfd.readouterr().err
    assert "something else" in log
    assert secret not in log
