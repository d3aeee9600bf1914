"""Commands as people and programs start them: real processes, with pipes or on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests import forking
from tests.service.processes import clean_environ

PATIENCE_SECONDS = 120.0
PROGRAM = forking.ARGUMENTS
DRAWING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class CommandResult(NamedTuple):
    """The exit status and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def rows(self) -> list[list[str]]:
        """The cells of each line."""
        return [line.split("\t") for line in self.lines]

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]

    @property
    def complaint(self) -> str:
        """The single line on standard error."""
        [line] = self.err.splitlines()
        assert line.startswith("taskflow: "), line
        return line.removeprefix("taskflow: ")


class CommandLine:
    """Starts commands in a folder, for a service."""

    def __init__(self, folder: Path, *, url: str | None, **environ: str) -> None:
        self.folder = folder
        self.environ = clean_environ(**environ)
        self.environ.pop("PYTHONUNBUFFERED", None)  # so that what is to be seen is flushed
        if url is not None:
            self.environ["TASKFLOW_URL"] = url

    def run(self, *arguments: object, stdin: str | bytes = b"", **environ: str) -> CommandResult:
        """Run a command with this standard input."""
        ended = forking.run(
            [*PROGRAM, *map(str, arguments)],
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            timeout=PATIENCE_SECONDS,
            cwd=self.folder,
            env={**self.environ, **environ},
        )
        out, err = ended.stdout.decode(), ended.stderr.decode()
        assert "Traceback" not in err, err
        return CommandResult(ended.returncode, out, err)

    def ok(self, *arguments: object, **options: Any) -> CommandResult:
        """Run a command that must succeed without output on standard error."""
        ended = self.run(*arguments, **options)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended

    @contextlib.contextmanager
    def started(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command with pipes; it is gone at the end."""
        process = forking.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environ,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    @contextlib.contextmanager
    def terminal(
        self, *arguments: object, columns: int = 100, into: Path | None = None
    ) -> Iterator[Terminal]:
        """Start a command on a terminal of its own; it is gone at the end.

        Args:
            arguments: The command.
            columns: How wide the terminal is.
            into: A file for its standard output, as a shell's ``>`` has it.
        """
        ours, theirs = pty.openpty()
        out = theirs if into is None else os.open(into, os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = forking.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdin=theirs,
            stdout=out,
            stderr=theirs,
            cwd=self.folder,
            env={**self.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        for file in {theirs, out}:
            os.close(file)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            process.wait()
            os.close(ours)


class Terminal:
    """A command on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], file: int) -> None:
        self.process = process
        self._file = file
        self.raw = ""

    @property
    def text(self) -> str:
        """The output so far, without control sequences."""
        return DRAWING.sub("", self.raw).replace("\r", "")

    def wait_for(self, text: str) -> None:
        """Read until this was printed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.text:
            assert time.monotonic() < deadline, self.raw
            assert self._read(0.05) or self.process.poll() is None or text in self.text, self.raw

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def interrupt(self, again_seconds: float | None = None) -> int:
        """Press Ctrl+C, again after a while if it had no effect, and return the exit status."""
        self.type("\x03")
        if again_seconds is not None:
            deadline = time.monotonic() + again_seconds
            while self.process.poll() is None and time.monotonic() < deadline:
                self._read(0.05)
            if self.process.poll() is None:
                self.type("\x03")
        return self.end()

    def end(self) -> int:
        """Read to the end, and return the exit status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._read(0.05) or self.process.poll() is None:
            assert time.monotonic() < deadline, self.raw
        return self.process.wait()

    def _read(self, seconds: float) -> bool:
        if not select.select([self._file], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._file, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


def interrupt(process: subprocess.Popen[bytes]) -> CommandResult:
    """Send SIGINT, and return the result."""
    process.send_signal(signal.SIGINT)
    # First: its standard input is closed below, and who sees that before the signal ends well.
    process.wait(PATIENCE_SECONDS)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert b"Traceback" not in err, err
    return CommandResult(process.returncode, out.decode(), err.decode())
