"""The terminals of a reader: one for commands that exit, more for commands that run on."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.pages.place import Place
from tests.pages.shapes import is_begun

COMMAND_SECONDS = 60.0
STYLE = re.compile(r"\x1b\[[\d;]*m")
PAUSE_SECONDS = 0.05
# What a terminal keeps from one command to the next.
KEEPING = """
if [ -f "$STATE" ]; then . "$STATE"; fi
{command}
status=$?; export -p >"$STATE"; echo "cd $(printf %q "$PWD")" >>"$STATE"; exit $status
"""

ON_TERMINAL = "NO_COLOR=1 COLUMNS={columns} script --quiet --return --command {command} /dev/null"
GOING_ON = """
if [ -f "$STATE" ]; then . "$STATE"; fi
{command}
"""


class Running(NamedTuple):
    """A command that goes on, and the file that it prints into."""

    process: subprocess.Popen[bytes]
    printed: Path

    def output(self) -> str:
        return self.printed.read_bytes().decode(errors="replace")

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None


class Terminals:
    """They share what was exported in the first; each other one has one command."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._state = place.checkout.parent / "state"
        self._running: dict[str, Running] = {}
        self._begun = 0

    def run(self, command: str, columns: str | None = None) -> str:
        """What the command prints, on whichever of its two outputs.

        Args:
            command: Lines of bash.
            columns: How wide the terminal is that it prints on; if not given, it is none.
        """
        command = self._place.real(command)
        if columns:
            command = ON_TERMINAL.format(columns=columns, command=shlex.quote(command))
        running = self._begin(KEEPING.format(command=command))
        try:
            running.process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(running, signal.SIGKILL)
            running.process.wait()
            return f"{self._said(running)}\nIt did not end within {COMMAND_SECONDS:g} s."
        return self._said(running)

    def start(self, name: str, command: str, output: list[str]) -> str:
        """Run it in a terminal of this name, and come back when it has printed all this."""
        if name in self._running:  # a program that was killed may take a moment to end
            try:
                self._running[name].process.wait(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{name} is still running") from None
        running = self._running[name] = self._begin(
            GOING_ON.format(command=self._place.real(command))
        )
        self._wait(running, lambda text: is_begun(output, text.splitlines()))
        return self._said(running)

    def look(self, name: str, output: list[str]) -> str:
        """What this terminal shows, once it begins with all this."""
        running = self._running[name]
        self._wait(running, lambda text: is_begun(output, text.splitlines()))
        return self._said(running)

    def interrupt_after(self, command: str, words: str) -> str:
        """Run it, press Ctrl+C when it has printed these words, and see it to its end."""
        running = self._running["interrupted"] = self._begin(
            GOING_ON.format(command=self._place.real(command))
        )
        self._wait(running, lambda text: words in text)
        self.stop("interrupted")
        return self._said(running)

    def stop(self, name: str) -> None:
        """Press Ctrl+C in this terminal."""
        _signal(self._running[name], signal.SIGINT)
        self._running[name].process.wait(COMMAND_SECONDS)

    def close(self) -> None:
        """End all that still runs."""
        for running in self._running.values():
            if not running.is_over:
                _signal(running, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(COMMAND_SECONDS)
            if not running.is_over:
                _signal(running, signal.SIGKILL)
                running.process.wait()

    def _begin(self, script: str) -> Running:
        self._begun += 1
        printed = self._place.checkout.parent / f"printed-{self._begun}"
        with printed.open("wb") as out:
            process = subprocess.Popen(
                # Ctrl+C works in it also where this process ignores it, in the background.
                ["env", "--default-signal=INT", "bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._place.checkout,
                env=self._environ(),
                start_new_session=True,
            )
        return Running(process, printed)

    def _wait(self, running: Running, is_enough: Callable[[str], bool]) -> None:
        """Until it has printed what is waited for, or ends, or takes too long: a test will tell."""
        deadline = time.monotonic() + COMMAND_SECONDS
        while not is_enough(self._said(running)):
            if running.is_over or time.monotonic() > deadline:
                return
            time.sleep(PAUSE_SECONDS)

    def _said(self, running: Running) -> str:
        return self._place.said(_text(running.output()))

    def _environ(self) -> dict[str, str]:
        return self._place.environ() | {"STATE": str(self._state)}


@contextlib.contextmanager
def open_terminals(place: Place) -> Iterator[Terminals]:
    """Terminals in which nothing runs any more at the end."""
    terminals = Terminals(place)
    try:
        yield terminals
    finally:
        terminals.close()


def _text(printed: str) -> str:
    """What one reads of it: no bold letters, no returns of the carriage."""
    return STYLE.sub("", printed).replace("\r", "")


def _signal(running: Running, number: int) -> None:
    """To all processes of a terminal, as the kernel does at Ctrl+C."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.process.pid, number)
