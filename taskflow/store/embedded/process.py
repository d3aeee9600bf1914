"""Runs the programs of PostgreSQL, with a deadline."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from taskflow.store.embedded.account import Account

PAUSE_SECONDS: Final = 0.02
_TERMINATE_SECONDS: Final = 2.0


class Deadline:
    """A limit of waiting in a thread: a point in time, and the cancellation of the task."""

    def __init__(self, seconds: float, *, is_cancellable: bool = True) -> None:
        self._deadline = time.monotonic() + seconds
        self._is_cancellable = is_cancellable

    def __repr__(self) -> str:
        """Show the time that is left."""
        return f"<Deadline in {self.seconds_left:.2f} s>"

    @property
    def seconds_left(self) -> float:
        """Return the time that is left; 0 after the deadline."""
        return max(0.0, self._deadline - time.monotonic())

    def pause(self, seconds: float = PAUSE_SECONDS) -> bool:
        """Sleep for ``seconds``; return false if the deadline has passed.

        Raises:
            trio.Cancelled: The task that waits for this thread was cancelled.
        """
        if self._is_cancellable:
            trio.from_thread.check_cancelled()
        if not self.seconds_left:
            return False
        time.sleep(min(seconds, self.seconds_left))
        return True


async def wait_for_exit(number: int) -> None:
    """Return when the process with this number has ended, where that is visible (Linux)."""
    if not hasattr(os, "pidfd_open"):
        await trio.sleep_forever()
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        os.close(handle)


class LogFile:
    """The log file of PostgreSQL and its programs."""

    _KEPT_BYTES: Final = 4 * 2**20

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> int:
        """Open it for appending; a large file is renamed first.

        Its owner is the user who starts PostgreSQL, which inherits the open file.
        """
        if self.path.is_file() and self.path.stat().st_size > self._KEPT_BYTES:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)

    def reason_since(self, file: int, offset: int) -> str:
        """Return the last line after ``offset`` that reports an error, without its prefix."""
        lines = os.pread(file, 2**20, offset).decode(errors="replace").splitlines()
        errors = [line for line in lines if any(level in line for level in _ERROR_LEVELS)]
        reason = (errors or lines or [self._why_silent()])[-1]
        for level in _ERROR_LEVELS:
            reason = reason.rpartition(level)[2]
        return reason.strip()

    def _why_silent(self) -> str:
        """Return why there is no output: on a full disk even the log is empty."""
        is_full = shutil.disk_usage(self.path.parent).free < self._KEPT_BYTES
        return os.strerror(errno.ENOSPC) if is_full else "it printed nothing"


_ERROR_LEVELS: Final = ("FATAL:", "PANIC:", "error:")


def run(
    command: Sequence[str], account: Account, log: LogFile, deadline: Deadline, folder: Path
) -> str | None:
    """Run a program of PostgreSQL as ``account``; return why it failed, or ``None``.

    It does not inherit the environment: ``PGDATA``, ``PGPORT`` and similar variables are meant for
    other servers. ``PGDATA`` is set to ``folder``, because pg_ctl would pass a path on its command
    line to a shell between double quotes.

    Raises:
        OSError: It could not be run.
        trio.Cancelled: The task was cancelled; the program was terminated.
    """
    file = log.open()
    try:
        offset = os.fstat(file).st_size
        process = subprocess.Popen(  # noqa: S603 - fixed programs, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd="/",  # one that every user may enter
            env={"PGDATA": str(folder), "LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
            umask=0o077,
            **account.process_arguments(),
        )
        code = _wait(process, deadline)
        return log.reason_since(file, offset) if code else None
    finally:
        os.close(file)


def _wait(process: subprocess.Popen[bytes], deadline: Deadline) -> int:
    try:
        while process.poll() is None and deadline.pause():
            pass
    finally:
        if process.poll() is None:
            _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
