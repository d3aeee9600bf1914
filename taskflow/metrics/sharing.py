"""Shares metrics between the processes of one ``taskflow serve`` or Hypercorn.

A scrape reaches one worker and must show all. So each worker maps a file of its own into memory, in
a folder that all workers know. The other workers see its values at once, and also after
``kill -9``. A worker holds a lock on its file, which the kernel releases when the process ends;
from a file without a lock, counters are added and gauges are ignored. A new worker adds the
counters of dead ones to its own and removes their files.
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

from taskflow.metrics.registry import ProcessValues, Registry

_SUFFIX: Final = ".cells"
_FOLDER: Final = re.compile(r"taskflow-metrics-\d+-(?P<pid>\d+)-(?P<started>\d+)")
# The folder's lock is held for about a millisecond; a process that was stopped is not waited for.
_LOCK_TIMEOUT_SECONDS: Final = 0.5
_LOCK_PAUSE_SECONDS: Final = 0.002


@contextlib.contextmanager
def shared(registry: Registry, main_pid: int, is_main_ending: Callable[[], bool]) -> Iterator[None]:
    """Share the metrics of this process with the other workers of ``main_pid`` within the block.

    Args:
        registry: The values of this process; all its metrics are allocated.
        main_pid: The main process, which started this one.
        is_main_ending: Returns whether the main process is ending, so that the last worker removes
            the folder.

    Raises:
        OSError: The folder or the file cannot be created.
    """
    _remove_abandoned()
    folder = _open_folder(_folder_of(main_pid))
    name = f"{registry.layout:08x}-{uuid.uuid4().hex}{_SUFFIX}"
    try:
        with _mapped(registry, folder, name):
            yield
    finally:
        with contextlib.suppress(OSError), _locked(folder, fcntl.LOCK_EX):
            if is_main_ending() and not any(map(_is_held, folder.glob(f"*{_SUFFIX}"))):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _mapped(registry: Registry, folder: Path, name: str) -> Iterator[None]:
    size = len(registry.cells) * 8
    own = _new_file(folder / name, size)
    try:
        with mmap.mmap(own, size) as memory, _doubles(memory) as cells:
            cells[:] = array("d", registry.cells)
            registry.cells, registry.others = cells, lambda: _others(registry, folder, name)
            _take_over(registry, folder, name)
            try:
                yield
            finally:
                registry.cells, registry.others = array("d", cells), lambda: ()
    finally:
        os.close(own)


def _new_file(path: Path, size_bytes: int) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Allocated now: on a full disk, a later write to the mapping would kill the process.
        os.posix_fallocate(file, 0, size_bytes)
    except OSError:
        os.close(file)
        path.unlink(missing_ok=True)
        raise
    return file


def _others(registry: Registry, folder: Path, own: str) -> list[ProcessValues]:
    try:
        with _locked(folder, fcntl.LOCK_SH):
            return [
                found for path in _files(registry, folder, own) if (found := _read(registry, path))
            ]
    except FileNotFoundError:
        return []  # the folder was removed, by a cleanup of the temporary directory


def _take_over(registry: Registry, folder: Path, own: str) -> None:
    """Add the counters of dead workers to our own, and remove their files."""
    with _locked(folder, fcntl.LOCK_EX):
        for path in _files(registry, folder, own):
            found = _read(registry, path)
            if found is not None and not found.is_alive:
                registry.add_counts(found.cells)
                path.unlink(missing_ok=True)


def _files(registry: Registry, folder: Path, own: str) -> list[Path]:
    found = folder.glob(f"{registry.layout:08x}-*{_SUFFIX}")
    return [path for path in found if path.name != own]


def _read(registry: Registry, path: Path) -> ProcessValues | None:
    """Read a file; ``None`` if it is gone or incomplete."""
    try:
        is_alive, data = _is_held(path), path.read_bytes()
    except OSError:
        return None
    if len(data) != len(registry.cells) * 8:
        return None
    return ProcessValues(list(_doubles(data)), is_alive)


def _doubles(data: bytes | mmap.mmap) -> memoryview[float]:
    return memoryview(data).cast("d")


def _is_held(path: Path) -> bool:
    """Return whether the process that writes this file is alive."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A shared lock: two readers at the same time do not conflict.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


@contextlib.contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    """Hold the folder's lock in the block; after the timeout, go on without it."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, operation | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(file)


def _folder_of(pid: int) -> Path:
    name = f"taskflow-metrics-{os.getuid()}-{pid}-{_started(pid)}"
    return Path(tempfile.gettempdir()) / name


def _open_folder(path: Path) -> Path:
    """Create the folder, or check that it is ours: the parent is writable for all users."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not _is_ours(path):
        raise PermissionError(f"{path} belongs to another user")
    return path


def _is_ours(path: Path) -> bool:
    """Return whether the folder belongs to this user and no other user can enter it."""
    found = path.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return is_own and not stat.S_IMODE(found.st_mode) & 0o077


def _remove_abandoned() -> None:
    """Remove folders of this user whose main process and workers are all dead."""
    for path in Path(tempfile.gettempdir()).glob(f"taskflow-metrics-{os.getuid()}-*"):
        known = _FOLDER.fullmatch(path.name)
        if known is None or str(_started(int(known["pid"]))) == known["started"]:
            continue
        with contextlib.suppress(OSError):
            if _is_ours(path) and not any(map(_is_held, path.glob(f"*{_SUFFIX}"))):
                shutil.rmtree(path, ignore_errors=True)


def _started(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot; 0 if there is none.

    With the pid it identifies a process, since pids are reused.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The 20th field after the name, which is in parentheses and may contain any characters.
    return int(text.rpartition(")")[2].split()[19])
