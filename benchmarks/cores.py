"""``taskflow serve --processes``: a process for each core, compared with one and with peers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from benchmarks import peers, workly
from benchmarks.accept import CONNECTIONS, accepted_posts, posts, taskflow_that_only_accepts
from benchmarks.clients import Report
from benchmarks.meter import Work
from benchmarks.processes import CORES
from benchmarks.scene import Scene
from benchmarks.table import Figure
from benchmarks.work_off import cpu_beside, end_to_end, worked_off

_CONNECTIONS = CONNECTIONS[-1]  # enough for all processes
_WORKLY = "Workly, all cores each"


def processes(scene: Scene) -> Iterator[Figure]:
    """Compare submission, processing, and both at once."""
    yield from _submission(scene)
    yield from _processing(scene)
    yield from _both(scene)


def _submission(scene: Scene) -> Iterator[Figure]:
    one, two = accepted_posts(scene, _CONNECTIONS), _posts(scene, 2)
    figure = Figure(
        what=f"POST, {_CONNECTIONS} connections, two processes",
        value=two.per_second,
        unit="/s",
        beside="one process",
        reference=one.per_second,
    )
    yield figure
    if scene.peers:
        theirs = posts(scene, lambda s: peers.fastapi(s, processes_=2), _CONNECTIONS)
        yield msgspec.structs.replace(
            figure,
            beside="FastAPI, uvicorn, asyncpg, two processes",
            reference=theirs.per_second,
            at_least=1.0,
        )
        ours = two if CORES == 2 else _posts(scene, CORES)  # noqa: PLR2004
        theirs = posts(scene, workly.that_only_accepts, _CONNECTIONS)
        yield Figure(
            what=f"POST, {_CONNECTIONS} connections, {CORES} processes",
            value=ours.per_second,
            unit="/s",
            beside=_WORKLY,
            reference=theirs.per_second,
            at_least=1.1,
        )


def _posts(scene: Scene, processes_: int) -> Report:
    return posts(
        scene, lambda s: taskflow_that_only_accepts(s, processes_=processes_), _CONNECTIONS
    )


def _processing(scene: Scene) -> Iterator[Figure]:
    count = scene.pick(quick=3_000, full=20_000)
    one, two = (worked_off(scene, count, workers=5, processes_=number) for number in (1, 2))
    yield Figure(
        what="work off, two processes of 5 workers",
        value=two.per_second,
        unit="tasks/s",
        beside="one process",
        reference=one.per_second,
        at_least=1.6,
    )
    if scene.peers:
        workers = _workers_in_each(100)
        ours = worked_off(scene, count, workers=workers, processes_=CORES)
        what = f"work off, {workers * CORES} in flight"
        theirs = workly.worked_off(scene, count, workers * CORES)
        yield from _beside_workly(what, ours, theirs, 1.2)
        if peers.has_graphile(scene):
            yield Figure(
                what=f"{what}, {CORES} processes",
                value=ours.per_second,
                unit="tasks/s",
                beside=f"{peers.NAMES['graphile']}, {CORES} processes",
                reference=peers.works_off(scene, "graphile", count, workers, str(CORES)),
                at_least=1.1,
            )


def _both(scene: Scene) -> Iterator[Figure]:
    one, two = (end_to_end(scene, _CONNECTIONS, processes_=number) for number in (1, 2))
    yield Figure(
        what="POST and work off, two processes",
        value=two.per_second,
        unit="tasks/s",
        beside="one process",
        reference=one.per_second,
        at_least=1.5,
    )
    if scene.peers:
        for in_flight, bar in ((5, 1.5), (100, 1.0)):
            workers = _workers_in_each(in_flight)
            ours = end_to_end(scene, _CONNECTIONS, workers=workers, processes_=CORES)
            theirs = workly.end_to_end(scene, _CONNECTIONS, workers * CORES)
            what = f"POST and work off, {workers * CORES} in flight"
            yield from _beside_workly(what, ours, theirs, bar)


def _workers_in_each(in_flight: int) -> int:
    """Return the workers of each process for that many in all, rounded up."""
    return -(-in_flight // CORES)


def _beside_workly(what: str, ours: Work, theirs: Work, bar: float) -> Iterator[Figure]:
    yield Figure(
        what=f"{what}, {CORES} processes",
        value=ours.per_second,
        unit="tasks/s",
        beside=_WORKLY,
        reference=theirs.per_second,
        at_least=bar,
    )
    yield cpu_beside(f"{what}, {CORES} processes", ours, theirs, _WORKLY)
