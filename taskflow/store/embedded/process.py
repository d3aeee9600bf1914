"""Waiting in a thread, with a bound, and running PostgreSQL's programs."""

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


class Patience:
    """How long a thread may wait: until a deadline, and while its task still wants it to."""

    def __init__(self, seconds: float, *, is_cancellable: bool = True) -> None:
        self._deadline = time.monotonic() + seconds
        self._is_cancellable = is_cancellable

    def __repr__(self) -> str:
        """Say how much is left."""
        return f"<Patience for {self.seconds_left:.2f} s>"

    @property
    def seconds_left(self) -> float:
        """How long one may still wait, 0 at the end."""
        return max(0.0, self._deadline - time.monotonic())

    def wait_a_moment(self, seconds: float = PAUSE_SECONDS) -> bool:
        """Sleep for ``seconds``, or say that the time is up.

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
    """Return when the process of this number is gone, where the system can tell (Linux)."""
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
    """The file that PostgreSQL and its programs write to, and what is new in it."""

    _KEPT_BYTES: Final = 4 * 2**20

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> int:
        """Open it for appending; a file that grew large is put aside first.

        It stays the property of whoever starts PostgreSQL, which inherits the open file.
        """
        if self.path.is_file() and self.path.stat().st_size > self._KEPT_BYTES:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)

    def reason_since(self, file: int, offset: int) -> str:
        """The last line after ``offset`` that tells of a failure, without its prefix."""
        lines = os.pread(file, 2**20, offset).decode(errors="replace").splitlines()
        grave = [line for line in lines if any(word in line for word in _GRAVE)]
        said = (grave or lines or [self._why_silent()])[-1]
        for word in _GRAVE:
            said = said.rpartition(word)[2]
        return said.strip()

    def _why_silent(self) -> str:
        """On a full disk even the log stays empty."""
        is_full = shutil.disk_usage(self.path.parent).free < self._KEPT_BYTES
        return os.strerror(errno.ENOSPC) if is_full else "it said nothing"


_GRAVE: Final = ("FATAL:", "PANIC:", "error:")


def run(
    command: Sequence[str], account: Account, log: LogFile, patience: Patience, folder: Path
) -> str | None:
    """Run a program of PostgreSQL as ``account``; return why it failed, or ``None``.

    Nothing of this process's environment is handed on: ``PGDATA``, ``PGPORT`` and their
    like are meant for other servers. ``PGDATA`` is set to ``folder`` instead, as pg_ctl
    would put a path on its command line between double quotes, for a shell to read.

    Raises:
        OSError: It could not be run at all.
        trio.Cancelled: The task was cancelled; the program has been ended.
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
        code = _wait(process, patience)
        return log.reason_since(file, offset) if code else None
    finally:
        os.close(file)


def _wait(process: subprocess.Popen[bytes], patience: Patience) -> int:
    try:
        while process.poll() is None and patience.wait_a_moment():
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
