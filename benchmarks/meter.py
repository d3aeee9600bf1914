"""Meters of cost: CPU of processes and of PostgreSQL, WAL and commits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil

from benchmarks.database import Database
from benchmarks.processes import Service


class Cost(msgspec.Struct):
    """The cost of a block of ``metered``; zero until it ends.

    Attributes:
        seconds: How long it took.
        service: CPU seconds of the services.
        postgres: CPU seconds of all of the server's processes.
        wal_bytes: Of the whole server.
        commits: Transactions that wrote, of the whole server.
    """

    seconds: float = 0.0
    service: float = 0.0
    postgres: float = 0.0
    wal_bytes: int = 0
    commits: int = 0


class Work(msgspec.Struct, frozen=True):
    """The processing of stored tasks: their number, throughput and cost."""

    count: int
    per_second: float
    cost: Cost
    connections: int


@contextlib.contextmanager
def metered(database: Database, services: Sequence[Service]) -> Iterator[Cost]:
    """Read all meters before and after the block."""
    cost = Cost()
    before = _read(database, services)
    yield cost
    after = _read(database, services)
    for field in Cost.__struct_fields__:
        setattr(cost, field, getattr(after, field) - getattr(before, field))


def _read(database: Database, services: Sequence[Service]) -> Cost:
    return Cost(
        seconds=time.monotonic(),
        service=sum(cpu_seconds(service.process) for service in services),
        postgres=server_seconds(database.server()),
        wal_bytes=database.wal_bytes(),
        commits=database.commits(),
    )


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process and its children, including finished ones."""
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])
    return float(total)


def server_seconds(server: psutil.Process) -> float:
    """Return the CPU time of PostgreSQL, exact for processes that have not finished.

    A process of PostgreSQL has one thread, so the first thread's time is that of the process.
    """
    finished = float(sum(server.cpu_times()[2:4]))
    return finished + sum(map(_exact_seconds, [server, *server.children(recursive=True)]))


def _exact_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(OSError):
        spent, *_ = Path(f"/proc/{process.pid}/schedstat").read_text("ascii").split()
        return int(spent) / 1e9
    return 0.0
