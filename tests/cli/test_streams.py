"""Standard streams that are closed or full, and other odd surroundings of a command."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forking
from tests.cli.command import PROGRAM
from tests.service.processes import clean_environ

CLOSED = "standard output is closed"
NOWHERE = "http://127.0.0.1:1"
FULL = ">/dev/full"
STREAMS = {"<&-": 0, ">&-": 1, "2>&-": 2}


def outcome(folder, command, **environ):
    """Run a command, and return its exit status and the lines on standard error."""
    run = by_shell if command.startswith(("-", "completion")) else by_fork
    environ = {**clean_environ(), "DATABASE_URL": "memory://", "TASKFLOW_URL": NOWHERE, **environ}
    done = run(command, cwd=folder, env=environ, timeout=60)
    text = done.stderr.decode()
    assert "Traceback" not in text
    return done.returncode, text.splitlines()


def by_shell(command, **options):
    """Start it as it is typed."""
    line = f"{' '.join(PROGRAM)} {command}"
    return subprocess.run(
        ["bash", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        **options,
    )


def by_fork(command, **options):
    """Start a command that imports much, with the redirections of a shell."""
    words = command.split(" ")
    arguments = [word for word in words if word not in (*STREAMS, FULL)]
    closed = [STREAMS[word] for word in words if word in STREAMS]
    with contextlib.ExitStack() as stack:
        if FULL in words:
            options["stdout"] = stack.enter_context(Path("/dev/full").open("wb"))
        return forking.run([*PROGRAM, *arguments], closed=closed, **options)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("list --timeout 0.1 >&-", 3, "does not answer"),
        ("--help >&-", 1, CLOSED),
        ("--version >&-", 1, CLOSED),
        ("completion bash >&-", 1, CLOSED),
        ("migrate >&- <&-", 1, CLOSED),
        ("doctor >&-", 1, CLOSED),
        ("key new ci >&-", 1, "cannot be written"),
        ("--nope >&-", 2, "--nope"),
        ("--help >/dev/full", 1, "No space left"),
        ("migrate >/dev/full", 1, "No space left"),
        ("doctor >/dev/full", 1, "No space left"),
        ("submit -f - <&-", 2, "standard input cannot be read"),
        ("submit -f - <&- >&-", 2, "standard input cannot be read"),
        ("list --queue \udcff", 2, "queue must be text"),
        ("submit http://x/\udcff", 2, "surrogates not allowed"),
        ("list --timeout nan", 2, "seconds"),
        ("list --url http://me:hunter2@127.0.0.1:1 --timeout 0.1", 3, "http://127.0.0.1:1: "),
        ("list --url ftp://x", 2, "not the address"),
    ],
)
def test_one_line(tmp_path, command, code, words):
    """Each is one line that says why, with its exit status."""
    assert sys.executable in PROGRAM
    status, output = outcome(tmp_path, command)
    assert status == code, output
    [line] = output
    assert words in line
    assert "hunter2" not in line


@pytest.mark.parametrize("command", ["list --timeout 0.1 2>&-", "list --timeout 0.1 >&- 2>&- <&-"])
def test_closed_standard_error(tmp_path, command):
    """Without standard error there is the exit status."""
    assert outcome(tmp_path, command) == (3, [])


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"NO_COLOR": "1", "HOME": ""},
        {"TASKFLOW_API_KEY": "a\nb"},
        {"TASKFLOW_API_KEY": "\u017c\u00f3\u0142w"},
        {"SSL_CERT_FILE": "/nope", "TASKFLOW_URL": "https://127.0.0.1:1"},
        {"TASKFLOW_URL": "http://127.0.0.1:99999"},
    ],
)
def test_unusual_environments(tmp_path, environ):
    """One line, whatever the environment is like."""
    status, output = outcome(tmp_path, "list --timeout 0.1", **environ)
    assert status in (2, 3)
    assert len(output) == 1
