"""Memory of a process: with a backlog, with bodies in flight, after many tasks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.clients import Load, send
from benchmarks.processes import Service
from benchmarks.scene import Scene
from benchmarks.table import Figure

LARGE_MS = 3000
_SETTLE_SECONDS = 3.0


def memory(scene: Scene) -> Iterator[Figure]:
    """Increases of the resident size of a process; see ``docs/performance.md``."""
    yield from _with_backlog(scene)
    yield from _with_bodies(scene)
    yield from _after_many(scene)


def _with_backlog(scene: Scene) -> Iterator[Figure]:
    rows = scene.pick(quick=100_000, full=1_000_000)
    with scene.database() as database, scene.taskflow(database) as service:
        scene.hold_workers(database)
        idle = size_when_used(scene, service)
        database.fill(f"{scene.target}/", rows)
        waiting = size_when_used(scene, service)
    yield Figure(
        what=f"{rows:,} tasks wait, more than idle",
        value=waiting - idle,
        unit="MiB",
        at_most=40.0,
        note=f"idle {idle:.0f} MiB",
    )


def size_when_used(scene: Scene, service: Service) -> float:
    """Return the resident size after some POSTs and some time, in MiB."""
    send(Load(port=service.port, url=f"{scene.target}/", connections=16, seconds=0.5))
    time.sleep(scene.pick(quick=1.0, full=_SETTLE_SECONDS))
    return service.resident_mib()


def _with_bodies(scene: Scene) -> Iterator[Figure]:
    fetches = scene.pick(quick=100, full=500)
    with (
        scene.database() as database,
        scene.taskflow(
            database, serves=False, workers=fetches, fetch_timeout_seconds=60
        ) as service,
    ):
        database.fill(f"{scene.target}/", 2 * fetches)
        database.wait_until_worked_off()
        idle = service.resident_mib()
        database.fill(f"{scene.target}/large/{LARGE_MS}", fetches)
        peak = idle
        end = time.monotonic() + scene.pick(quick=5.0, full=20.0)
        while time.monotonic() < end:
            peak = max(peak, service.resident_mib())
            time.sleep(0.02)
        database.wait_until_worked_off()
        later = service.resident_mib()
    yield Figure(
        what=f"{fetches} bodies of 1 MiB in flight, more than idle, peak",
        value=peak - idle,
        unit="MiB",
        beside="of bodies",
        reference=float(fetches),
        note=f"{later - idle:.0f} MiB afterwards",
    )


def _after_many(scene: Scene) -> Iterator[Figure]:
    first, then = scene.pick(quick=(3_000, 6_000), full=(50_000, 450_000))
    sizes = []
    with scene.database() as database, scene.taskflow(database, serves=False) as service:
        for count in (first, then):
            database.fill(f"{scene.target}/", count)
            database.wait_until_worked_off()
            sizes.append(service.resident_mib())
    yield Figure(
        what=f"after {first + then:,} tasks, more than after {first:,}",
        value=sizes[1] - sizes[0],
        unit="MiB",
        at_most=5.0,
        note=f"then {sizes[0]:.0f} MiB",
    )
