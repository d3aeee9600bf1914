"""The processes of one Hypercorn, told of together: a scrape reaches one of them, and shows all.

Each has its numbers in a file of its own, in a folder that all of them know, mapped into memory: so
what was counted is there for the others at once, and after a kill -9, too. It holds a lock on that
file, which the kernel releases whatever ends it: who reads a file that is not locked counts what
its process did, but not how it stood. Who starts takes over what the dead have counted, so that
there are never more files than processes have died since.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from taskflow.metrics.board import Board, Row

_SUFFIX: Final = ".cells"
_FOLDER: Final = re.compile(r"taskflow-metrics-\d+-(?P<pid>\d+)-(?P<started>\d+)")
# Whoever has the folder's lock needs it for a millisecond; one that was stopped is not waited for.
_LOCK_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.002


@contextlib.contextmanager
def shared(board: Board, main_pid: int, is_over: Callable[[], bool]) -> Iterator[None]:
    """Tell of this process together with the others that ``main_pid`` started, within the block.

    Args:
        board: What this one counts; it has all its places.
        main_pid: The process that started it.
        is_over: Whether that one is ending, so that who leaves last is to clean up.

    Raises:
        OSError: The folder or the file cannot be had.
    """
    _remove_abandoned()
    folder = _open_folder(_folder_of(main_pid))
    name = f"{board.layout:08x}-{uuid.uuid4().hex}{_SUFFIX}"
    try:
        with _mapped(board, folder, name):
            yield
    finally:
        with contextlib.suppress(OSError), _locked(folder, fcntl.LOCK_EX):
            if is_over() and not any(map(_is_held, folder.glob(f"*{_SUFFIX}"))):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _mapped(board: Board, folder: Path, name: str) -> Iterator[None]:
    size = len(board.cells) * 8
    own = _new_file(folder / name, size)
    try:
        with mmap.mmap(own, size) as memory, _doubles(memory) as cells:
            private = array("d", board.cells)
            cells[:] = private
            board.cells, board.others = cells, lambda: _others(board, folder, name)
            _take_over(board, folder, name)
            try:
                yield
            finally:
                board.cells, board.others = array("d", cells), lambda: ()
    finally:
        os.close(own)


def _new_file(path: Path, size_bytes: int) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        # All of it now: on a disk that is full a write to the map would end the process.
        os.posix_fallocate(file, 0, size_bytes)
    except OSError:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return file


def _others(board: Board, folder: Path, own: str) -> list[Row]:
    try:
        with _locked(folder, fcntl.LOCK_SH):
            return [row for path in _files(board, folder, own) if (row := _read(board, path))]
    except FileNotFoundError:
        return []  # whoever cleans the temporary directory took the folder


def _take_over(board: Board, folder: Path, own: str) -> None:
    """Count what the dead have counted as one's own."""
    with _locked(folder, fcntl.LOCK_EX):
        for path in _files(board, folder, own):
            row = _read(board, path)
            if row is not None and not row.is_alive:
                board.add_past(row.cells)
                path.unlink(missing_ok=True)


def _files(board: Board, folder: Path, own: str) -> list[Path]:
    found = folder.glob(f"{board.layout:08x}-*{_SUFFIX}")
    return [path for path in found if path.name != own]


def _read(board: Board, path: Path) -> Row | None:
    """What is in a file; ``None`` if that is gone, or not written yet."""
    try:
        is_alive, data = _is_held(path), path.read_bytes()
    except OSError:
        return None
    if len(data) != len(board.cells) * 8:
        return None
    return Row(list(_doubles(data)), is_alive)


def _doubles(data: bytes | mmap.mmap) -> memoryview[float]:
    return memoryview(data).cast("d")


def _is_held(path: Path) -> bool:
    """Whether the process that writes this file is there."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Shared, so that two who look at the same time do not take each other for its owner.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextlib.contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    """Have the folder's lock, or go on without it if it is not to be had."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, operation | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        os.close(file)


def _folder_of(pid: int) -> Path:
    name = f"taskflow-metrics-{os.getuid()}-{pid}-{_started(pid)}"
    return Path(tempfile.gettempdir()) / name


def _open_folder(path: Path) -> Path:
    """Make the folder, or see that the one there is ours alone: anybody may write beside it."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not _is_ours(path):
        raise PermissionError(f"{path} is somebody else's")
    return path


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of this user's that nobody else can enter: what is in it is ours."""
    found = path.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return is_own and not stat.S_IMODE(found.st_mode) & 0o077


def _remove_abandoned() -> None:
    """Remove folders of this user's whose main process was killed, and whose others are gone."""
    for path in Path(tempfile.gettempdir()).glob(f"taskflow-metrics-{os.getuid()}-*"):
        known = _FOLDER.fullmatch(path.name)
        if known is None or str(_started(int(known["pid"]))) == known["started"]:
            continue
        with contextlib.suppress(OSError):
            if _is_ours(path) and not any(map(_is_held, path.glob(f"*{_SUFFIX}"))):
                shutil.rmtree(path, ignore_errors=True)


def _started(pid: int) -> int:
    """When a process began, in ticks since the machine did; 0 if there is none.

    It tells a process from others that had the same number before it.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in parentheses may have anything in it; of the fields after it this is the 20th.
    return int(text.rpartition(")")[2].split()[19])
