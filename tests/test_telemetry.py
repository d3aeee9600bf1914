"""The log."""

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
from taskflow.telemetry import Event, log
from tests.logs import capture_logs

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


def test_a_closed_log_does_not_end_the_process():
    """If standard error is closed, events are lost, and nothing else."""
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
    reported, _ = process.communicate("")
    assert reported == "still here\n"
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
    """While the pipe is full, whole lines are dropped, and counted later."""
    reader, writer = ends()
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer
    )
    writer.close()
    deadline = threading.Timer(20, process.kill)
    deadline.start()
    with reader, process:
        assert process.stdout.readline() == b"still here\n"
        output = b""
        while select.select([reader], [], [], 0.1)[0]:
            output += reader.read(65536)
        process.stdin.close()
        while more := reader.read(65536):
            output += more
    deadline.cancel()
    assert process.returncode == 0
    *lines, lost, last = (json.loads(line) for line in output.splitlines())
    assert {line["event"] for line in lines} == {"task finished"}
    assert 0 < len(lines) < LINES
    assert lost["event"] == "log lines dropped, standard error was not being read"
    assert lost["lines"] == LINES - len(lines)
    assert last["event"] == "stopped"


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    return now


def test_floods_are_throttled(clock):
    """An event is logged once, and again after a period."""
    with capture_logs() as events:
        for _ in range(3):
            telemetry.emit_throttled(Event.CONNECTIONS_FULL)
        clock[0] += log.PERIOD_SECONDS
        telemetry.emit_throttled(Event.CONNECTIONS_FULL)
    assert len(events) == 2


def test_all_events_above_debug_are_throttled(clock):
    """They are logged 20 times per period, independently of other events."""
    with capture_logs() as events:
        for _ in range(1000):
            telemetry.emit(Event.BREAKER_OPENED, host="example.com")
        telemetry.emit(Event.BREAKER_CLOSED, host="example.com")
        for _ in range(1000):
            telemetry.emit(Event.TASK_FINISHED)
    output = Counter(event["event"] for event in events)
    assert output[Event.BREAKER_OPENED.wording] == log.MAX_PER_PERIOD
    assert output[Event.BREAKER_CLOSED.wording] == 1
    assert output[Event.TASK_FINISHED.wording] == 1000


def test_exceptions_are_throttled_by_type():
    """Exceptions of two types are logged separately."""
    with capture_logs() as events:
        for error in [ValueError("1"), KeyError("2"), ExceptionGroup("", [ValueError("3")])]:
            telemetry.emit_throttled(Event.REQUEST_ERROR, error=error)
    assert [str(event["exc_info"]) for event in events] == ["1", "'2'"]


async def test_throttled_events_are_counted(autojump_clock):
    """Once per period and at the end, so that no occurrence is lost."""
    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(telemetry.report_repeats)
            for _ in range(5):
                telemetry.emit_throttled(Event.CONNECTIONS_FULL)
            await trio.sleep(2.5 * log.PERIOD_SECONDS)
            assert [event.get("repeats") for event in events] == [None, 4]
            for _ in range(3):
                telemetry.emit_throttled(Event.CONNECTIONS_FULL)
            nursery.cancel_scope.cancel()
    assert {event["event"] for event in events} == {Event.CONNECTIONS_FULL.wording}
    assert sum(event.get("repeats", 1) for event in events) == 8


async def test_events_name_their_task(autojump_clock):
    """Events of a Trio task name the attempt that it runs, and no other."""

    async def run(number):
        telemetry.bind_task(uuid.UUID(int=number), number)
        await trio.sleep(1)
        telemetry.emit(Event.FETCH_ERROR)

    with capture_logs() as events:
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


def test_warnings_of_libraries(configure, capfd):
    """They are logged as throttled events."""
    configure("info", "json")
    for number in range(100):
        logging.getLogger("some.library").warning("number %d\nand more", number)
        logging.getLogger("some.library").info("of no interest")
    [line] = map(json.loads, capfd.readouterr().err.splitlines())
    assert line["event"] == "warning from a library"
    assert (line["library"], line["reason"]) == ("some.library", "number 0\nand more")


def test_the_order_of_json_fields(configure, capfd):
    """Timestamp, level and event come first; a traceback is in the same line."""
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
    """Levels are valid, and wordings are unique."""
    levels = {event.value[0] for event in Event}
    assert levels <= {"debug", "info", "warning", "error"}
    assert len({event.value[1] for event in Event}) == len(Event)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_variables(configure, log_format, capfd):
    """Local variables may hold keys, which must not be logged."""

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
