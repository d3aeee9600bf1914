"""What the service says of itself."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import pytest
import structlog

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


def test_every_event_has_a_level_and_a_wording():
    """Levels are those that can be set; wordings tell events apart."""
    levels = {event.value[0] for event in Event}
    assert levels <= {"debug", "info", "warning", "error"}
    assert len({event.value[1] for event in Event}) == len(Event)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_variables(log_format, capsys):
    """What a request carried stands in the frames of a fault: keys must not get into the log."""

    def fail(_secret):
        raise RuntimeError("something else")

    secret = secrets.token_hex()
    before = structlog.get_config()
    telemetry.configure("info", log_format)
    try:
        fail(secret)
    except RuntimeError as error:
        telemetry.emit(Event.CRASHED, error=error)
    finally:
        structlog.configure(**before)
    log = capsys.readouterr().err
    assert "something else" in log
    assert secret not in log
