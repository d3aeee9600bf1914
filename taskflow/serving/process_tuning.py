"""Settings of the process: memory and open files; and the CPUs that it may use."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import resource
from pathlib import Path
from typing import Final

MAX_OPEN_FILES: Final = 65_536

# mallopt(3): blocks of at least this size are mapped, and unmapped when they are freed.
_M_MMAP_THRESHOLD: Final = -3
_MMAP_THRESHOLD_BYTES: Final = 256 * 2**10

# The quota of a container (cgroup v2): microseconds of CPU time, or max, and the period.
_CPU_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus() -> int:
    """Return the number of CPUs for this process: its affinity, or the quota of its container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = map(int, _CPU_QUOTA.read_text().split())
        cpus = min(cpus, max(math.ceil(quota / period), 1))
    return cpus


def tune_process() -> None:
    """Tune a process that will run for long; to be called when it has started.

    The objects that exist now are excluded from garbage collection. A full collection of these
    130,000 modules, classes and functions stopped the event loop for 25 ms: the 99th percentile of
    a ``POST`` was 31 ms, and is 9 ms without.

    Large buffers are returned to the system when they are freed. By default, glibc raises its
    threshold and keeps them, up to half of the memory that bodies in flight took (measured). Other
    C libraries have no such setting.
    """
    gc.collect()
    gc.freeze()
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def raise_file_limit() -> None:
    """Raise the limit of open files: each connection to a client or a target is a file.

    The usual soft limit of 1024 exists for programs that use ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
