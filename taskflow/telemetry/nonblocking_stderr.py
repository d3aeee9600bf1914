"""Standard error without blocking: a line that finds no room is dropped."""

from __future__ import annotations

import contextlib
import os
import select
import stat


class NonblockingStderr:
    """Writes lines to standard error, and drops them while its reader does not read.

    A pipe without a reader is full after 64 KiB; the next blocking write would stop the event
    loop. A line that was written in part is kept and completed later; lines that arrive meanwhile
    are dropped and counted.
    """

    def __init__(self, number: int) -> None:
        self._file = _reopened_nonblocking(number)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)
        self._rest = b""
        self._dropped = 0

    def write(self, line: str) -> None:
        """Write a line, or drop it."""
        self._write_rest()
        if self._rest:
            self._dropped += 1
            return
        self._rest = line.encode("utf-8", "backslashreplace")
        self._write_rest()

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def take_dropped(self) -> int:
        """Return the number of dropped lines and reset it; 0 while there is no room to report."""
        self._write_rest()
        if self._rest:
            return 0
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _write_rest(self) -> None:
        # A pipe that polls as writable has room for PIPE_BUF bytes (pipe(7)).
        with contextlib.suppress(BlockingIOError):
            while self._rest and self._poll.poll(0):
                self._rest = self._rest[os.write(self._file, self._rest[: select.PIPE_BUF]) :]


def _reopened_nonblocking(number: int) -> int:
    """Open the same pipe again without blocking; other processes keep their blocking end.

    Polling alone is not enough: another process may fill the pipe between poll and write.
    """
    if not stat.S_ISFIFO(os.fstat(number).st_mode):
        return number
    try:
        return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return number
