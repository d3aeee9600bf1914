"""Folders for PostgreSQL's data."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that all may enter, as pytest's own is closed to the user PostgreSQL runs as."""
    path = Path(tempfile.mkdtemp(prefix="tf-", dir=_quick_disk()))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _quick_disk() -> Path | None:
    """One in memory, if there is room on it: a data folder has a thousand files."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return memory if has_room and os.access(memory, os.W_OK) else None
