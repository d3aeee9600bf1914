"""Throughput of several cells, where the writer of each is the limit.

The limit is the one of a real writer: how fast its WAL becomes durable. Each cell has a synchronous
standby behind a path with a round trip and a bandwidth, like a network to another machine, or a
disk of a cloud. The bandwidth is small, so that four writers need less than two cores.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import psutil
import psycopg

from benchmarks import processes
from benchmarks.clients import Load, Submission, send
from benchmarks.database import Database, check_durability, new_database
from benchmarks.delayed_path import DelayedPath
from benchmarks.delayed_standby import standby_behind
from benchmarks.meter import cpu_seconds, metered, server_seconds
from benchmarks.processes import Service
from benchmarks.scene import Scene
from benchmarks.table import Figure, paired
from taskflow.model.cell_map import CellMap
from tests.replicas import Server, make_synchronous, primary_in, server_gone_afterwards

ROUND_TRIP_SECONDS: Final = 0.005
WAL_BYTES_PER_SECOND: Final = 50_000.0
CELLS: Final = (1, 2, 4)
MIN_RATIOS: Final = {1: 1.0, 2: 1.8, 4: 3.4}
MAX_CPU_PERCENT: Final = 70.0
# For each cell: enough for the limit, and as large batches whatever the number of cells.
CONNECTIONS: Final = 64
WORKERS: Final = 100
QUEUES: Final = 4
NO_CELLS: Final = 0
_NO_CELLS: Final = "a database without cells"
# Neither checkpoints nor vacuum during a run: what they write does not depend on the tasks.
_SETTINGS: Final = {
    "fsync": "on",
    "shared_buffers": "64MB",
    "checkpoint_timeout": "1h",
    "max_wal_size": "16GB",
    "autovacuum": "off",
}
_WITH_QUEUE: Final = Submission(body='{"payload": "URL", "queue": "QUEUE"}')


class Writer(msgspec.Struct, frozen=True):
    """A primary with a synchronous standby, and the path between them."""

    primary: Server
    path: DelayedPath
    standby: psutil.Process


class Run(msgspec.Struct, frozen=True):
    """What a number of cells did.

    Attributes:
        per_second: Tasks a second, from the first submission to the last outcome.
        cpu_percent: Share of all cores of the machine that all processes of the benchmark took.
        limit_percent: Share of the bandwidth of the paths that their WAL took.
        costs: What a task cost, by the name and the unit of the cost.
    """

    per_second: float
    cpu_percent: float
    limit_percent: float
    costs: dict[tuple[str, str], float]


def cells(scene: Scene) -> Iterator[Figure]:
    """Measure tasks from POST to outcome without cells, and with one, two and four."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_writer(scene.folder, n)) for n in range(max(CELLS))]
        # The first change of a page since the backup is written to the WAL in full.
        _run(scene, writers, len(writers))
        rounds = [
            {count: _run(scene, writers, count) for count in (NO_CELLS, *CELLS)}
            for _ in range(scene.pick(quick=1, full=3))
        ]
    for count in (NO_CELLS, *CELLS):
        yield from _figures(count, rounds)


def _figures(count: int, rounds: Sequence[dict[int, Run]]) -> Iterator[Figure]:
    what = f"POST and work off, {f'cells: {count}' if count else _NO_CELLS}"
    pairs = [(one[count].per_second, one[NO_CELLS].per_second) for one in rounds]
    figure = paired(what, "tasks/s", _NO_CELLS, pairs)
    yield msgspec.structs.replace(figure, at_least=MIN_RATIOS.get(count))
    yield Figure(
        what=f"{what}: CPU of everything, as a share of the machine",
        value=max(one[count].cpu_percent for one in rounds),
        unit="%",
        at_most=MAX_CPU_PERCENT,
    )
    yield Figure(
        what=f"{what}: WAL, as a share of the limit",
        value=statistics.median(one[count].limit_percent for one in rounds),
        unit="%",
    )
    if count == NO_CELLS:
        return
    reference, beside = (NO_CELLS, _NO_CELLS) if count == 1 else (1, "one cell")
    for key in rounds[0][count].costs:
        name, unit = key
        costs = [(one[count].costs[key], one[reference].costs[key]) for one in rounds]
        yield paired(f"{what}: {name}", unit, beside, costs)


@contextlib.contextmanager
def _writer(folder: Path, number: int) -> Iterator[Writer]:
    with (
        primary_in(folder, f"primary{number}", **_SETTINGS) as primary,
        DelayedPath(primary.port) as path,
    ):
        check_durability(primary.conninfo)
        standby = standby_behind(path, primary, f"standby{number}")
        standby.start(**_SETTINGS)
        with server_gone_afterwards(standby):
            make_synchronous(primary, standby.name)
            yield Writer(primary, path, _main_process(standby))


def _main_process(server: Server) -> psutil.Process:
    with psycopg.connect(server.conninfo) as connection:
        parent = psutil.Process(connection.info.backend_pid).parent()
    assert parent is not None
    return parent


def _run(scene: Scene, writers: Sequence[Writer], count: int) -> Run:
    """Measure this number of cells; none for a database without cells."""
    used = writers[: max(count, 1)]
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(new_database(writer.primary.conninfo)) for writer in used]
        file = _add_cells(scene.folder, databases) if count else ""
        service = stack.enter_context(
            scene.taskflow(databases[0], workers=WORKERS * len(used), cells_file=file)
        )
        queues = _queues(databases[0], count)
        load = partial(
            Load,
            port=service.port,
            url=f"{scene.target}/",
            submission=_WITH_QUEUE,
            connections=CONNECTIONS * len(used),
            queues=queues,
        )
        send(load(seconds=1.0, warm_up_seconds=0.0))
        for database in databases:
            database.wait_until_worked_off()
        stack.enter_context(_limited(used))
        seconds = scene.pick(quick=8.0, full=8.0)
        return _measured(load(seconds=seconds, warm_up_seconds=0.0), used, databases, service)


@contextlib.contextmanager
def _limited(writers: Sequence[Writer]) -> Iterator[None]:
    """Limit the paths to the standbys during the block."""
    for writer in writers:
        writer.path.round_trip_seconds = ROUND_TRIP_SECONDS
        writer.path.bytes_per_second = WAL_BYTES_PER_SECOND
    try:
        yield
    finally:
        for writer in writers:
            writer.path.round_trip_seconds = 0.0
            writer.path.bytes_per_second = None


def _add_cells(folder: Path, databases: Sequence[Database]) -> Path:
    """Write the file of the cells, and add them."""
    names = [f"cell{number}" for number in range(len(databases))]
    file = folder / "cells"
    pairs = zip(names, databases, strict=True)
    file.write_text("".join(f"{name} {database.url}\n" for name, database in pairs), "utf-8")
    subprocess.run(
        [sys.executable, "-m", "taskflow", "cells", "add", *names],
        check=True,
        cwd=folder,
        env=processes.clean_environ({"TASKFLOW_CELLS_FILE": str(file)}),
        capture_output=True,
    )
    return file


def _queues(database: Database, count: int) -> tuple[str, ...]:
    """Return queues in turn, as many of each cell."""
    names = [f"queue{number}" for number in range(100)]
    if not count:
        return tuple(names[:QUEUES])
    document = database.ask("SELECT document FROM taskflow_cell_map")
    known = msgspec.json.decode(document, type=CellMap)
    of_cell = [[one for one in names if known.home_of(one) == cell] for cell in range(count)]
    return tuple(one for some in zip(*of_cell, strict=False) for one in some)[: QUEUES * count]


def _measured(
    load: Load, writers: Sequence[Writer], databases: Sequence[Database], service: Service
) -> Run:
    before = sum(database.completed() for database in databases)
    began = databases[0].ask("SELECT clock_timestamp()")
    with contextlib.ExitStack() as stack:
        costs = [stack.enter_context(metered(database, ())) for database in databases]
        everything, spent = _cpu_seconds(writers, databases), cpu_seconds(service.process)
        report = send(load)
        for database in databases:
            database.wait_until_worked_off()
        spent = cpu_seconds(service.process) - spent
        everything = _cpu_seconds(writers, databases) - everything
    assert not report.failures, report
    count = sum(database.completed() for database in databases) - before
    seconds = _seconds_since(began, databases)
    wal_bytes = sum(one.wal_bytes for one in costs)
    commits = sum(one.commits for one in costs)
    return Run(
        per_second=count / seconds,
        cpu_percent=everything / seconds / processes.CORES * 100,
        limit_percent=wal_bytes / seconds / len(databases) / WAL_BYTES_PER_SECOND * 100,
        costs={
            ("CPU of the service", "us/task"): spent / count * 1e6,
            ("CPU of PostgreSQL", "us/task"): sum(one.postgres for one in costs) / count * 1e6,
            ("WAL", "bytes/task"): wal_bytes / count,
            ("commits that write", "/1,000 tasks"): commits / count * 1000,
        },
    )


def _seconds_since(began: dt.datetime, databases: Sequence[Database]) -> float:
    """Return the time from the first submission after a moment to the last outcome in any cell."""
    ends = "SELECT %s FROM taskflow_tasks WHERE created_at > %%(began)s"
    first = min(one.ask(ends % "min(created_at)", began=began) for one in databases)
    last = max(one.ask(ends % "max(finished_at)", began=began) for one in databases)
    return float((last - first).total_seconds())


def _cpu_seconds(writers: Sequence[Writer], databases: Sequence[Database]) -> float:
    """Return the CPU time of all processes: of this one with its children, and of the servers."""
    servers = [database.server() for database in databases]
    servers += [writer.standby for writer in writers]
    return cpu_seconds(psutil.Process()) + sum(map(server_seconds, servers))
