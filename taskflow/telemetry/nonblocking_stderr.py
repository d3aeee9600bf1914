"""Standard error, for lines that nobody waits for."""

from __future__ import annotations

import contextlib
import os
import select
import stat


class PatientlessLog:
    """Standard error, for lines that nobody waits for.

    When its reader stops reading, a pipe is full after 64 KiB, and the next write would stop the
    whole event loop. So a line is written only while there is room; of those that come meanwhile
    the first is kept, for it may be half-written, and the others are dropped and counted.
    """

    def __init__(self, number: int) -> None:
        self._file = _without_waiting(number)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)
        self._rest = b""
        self._lost = 0

    def write(self, line: str) -> None:
        """Write a line, or drop it."""
        self._write_rest()
        if self._rest:
            self._lost += 1
            return
        self._rest = line.encode("utf-8", "backslashreplace")
        self._write_rest()

    def flush(self) -> None:
        """Do nothing: what could be written is."""

    def take_lost(self) -> int:
        """How many lines were dropped, once there is room to say so."""
        self._write_rest()
        if self._rest:
            return 0
        lost, self._lost = self._lost, 0
        return lost

    def _write_rest(self) -> None:
        # Where there is room at all there is room for PIPE_BUF bytes (pipe(7)).
        with contextlib.suppress(BlockingIOError):
            while self._rest and self._poll.poll(0):
                self._rest = self._rest[os.write(self._file, self._rest[: select.PIPE_BUF]) :]


def _without_waiting(number: int) -> int:
    """The same pipe opened anew, so that nobody who shares the old one feels it.

    Another process may take the room between the look and the write; only then this matters.
    """
    if not stat.S_ISFIFO(os.fstat(number).st_mode):
        return number
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return number
