"""The cost of a task: CPU, WAL, commits, connections."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.accept import CONNECTIONS
from benchmarks.meter import Work
from benchmarks.scene import Scene
from benchmarks.table import Figure
from benchmarks.work_off import end_to_end, worked_off


def cost(scene: Scene) -> Iterator[Figure]:
    """Measure tasks stored in one statement, and tasks from POST to outcome."""
    count = scene.pick(quick=3_000, full=20_000)
    for workers in (5, 100):
        yield from _figures(
            f"store and work off, {workers} workers", worked_off(scene, count, workers=workers)
        )
    yield from _figures("POST and work off", end_to_end(scene, CONNECTIONS[-1]))


def _figures(what: str, work: Work) -> Iterator[Figure]:
    spent = work.cost
    yield Figure(
        what=f"{what}: CPU of the service", value=spent.service / work.count * 1e6, unit="us/task"
    )
    yield Figure(
        what=f"{what}: CPU of PostgreSQL", value=spent.postgres / work.count * 1e6, unit="us/task"
    )
    yield Figure(what=f"{what}: WAL", value=spent.wal_bytes / work.count, unit="bytes/task")
    yield Figure(
        what=f"{what}: commits that write",
        value=spent.commits / work.count * 1000,
        unit="/1,000 tasks",
    )
    yield Figure(what=f"{what}: connections of a node", value=work.connections, unit="")
