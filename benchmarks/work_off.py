"""Processing throughput of stored tasks, alone and during submissions."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import msgspec

from benchmarks import peers, workly
from benchmarks.accept import CONNECTIONS, accepted_posts
from benchmarks.clients import Load, send
from benchmarks.meter import Work, metered
from benchmarks.references import bare_fetches
from benchmarks.scene import Scene
from benchmarks.table import Figure

SLOW_MS = 100


@functools.cache
def worked_off(
    scene: Scene, count: int, *, workers: int, processes_: int = 1, path: str = "/"
) -> Work:
    """Store ``count`` tasks while nodes wait, and measure how long they take.

    The time is from the first claim to the last stored outcome, by the database's clock. The
    cost includes the INSERT. It is measured once per run, for all lines.

    Args:
        scene: The server, the target and the length of the run.
        count: Number of tasks.
        workers: Of each process.
        processes_: Number of processes.
        path: At the target.
    """
    with (
        scene.database() as database,
        scene.taskflow(database, processes_=processes_, workers=workers) as service,
    ):
        with metered(database, [service]) as cost:
            database.fill(scene.target + path, count)
            database.wait_until_worked_off()
        assert database.completed() == count
        per_second = count / database.working_seconds()
        return Work(count, per_second, cost, database.connections() // processes_)


def work_off(scene: Scene) -> Iterator[Figure]:
    """Run tasks with an instant target, compared with fetches without a queue."""
    count = scene.pick(quick=3_000, full=20_000)
    for workers, bar in ((5, 0.65), (20, None), (100, 0.65)):
        ours = worked_off(scene, count, workers=workers)
        bare = bare_fetches(scene.target, workers=workers, count=count)
        figure = Figure(
            what=f"work off, {workers} workers",
            value=ours.per_second,
            unit="tasks/s",
            beside="bare fetches, as many in flight",
            reference=bare.per_second,
            at_least=bar,
        )
        yield figure
        yield Figure(
            what=f"bare fetches, {workers} in flight: CPU", value=bare.cpu_us, unit="us/fetch"
        )
        if scene.peers and workers != 20:  # noqa: PLR2004
            yield from _beside_peers(scene, workers, figure)


def _beside_peers(scene: Scene, workers: int, ours: Figure) -> Iterator[Figure]:
    few = workers == 5  # noqa: PLR2004
    for name, options, full, bar in (
        ("pgqueuer", (), 10_000, 4.0 if few else 1.1),
        ("pgqueuer", ("ahead",), 10_000, None),
        ("procrastinate", (), 4_000, 10.0 if few else None),
        ("graphile", (), 10_000, 1.2 if few else 1.1),
    ):
        if name != "graphile" or peers.has_graphile(scene):
            count = scene.pick(quick=1_000, full=full)
            theirs = peers.works_off(scene, name, count, workers, *options)
            beside = " ".join([peers.NAMES[name], *options])
            yield msgspec.structs.replace(ours, beside=beside, reference=theirs, at_least=bar)
    yield from _beside_workly(scene, workers, ours, 2.0 if few else None)


def _beside_workly(scene: Scene, workers: int, ours: Figure, bar: float | None) -> Iterator[Figure]:
    count = scene.pick(quick=3_000, full=20_000)
    theirs = workly.worked_off(scene, count, workers)
    beside = "Workly, on all cores"
    yield msgspec.structs.replace(ours, beside=beside, reference=theirs.per_second, at_least=bar)
    yield cpu_beside(ours.what, worked_off(scene, count, workers=workers), theirs, beside)


def cpu_beside(what: str, ours: Work, theirs: Work, beside: str) -> Figure:
    """Compare the CPU that the services use per task."""
    return Figure(
        what=f"{what}: CPU of the service",
        value=ours.cost.service / ours.count * 1e6,
        unit="us/task",
        beside=beside,
        reference=theirs.cost.service / theirs.count * 1e6,
    )


def slow_targets(scene: Scene) -> Iterator[Figure]:
    """Run tasks whose targets take 100 ms, compared with the maximum of the workers."""
    for workers in (5, 100, 500):
        rounds = scene.pick(quick=15, full=60)
        ours = worked_off(scene, workers * rounds, workers=workers, path=f"/{SLOW_MS}")
        core = ours.cost.service / ours.cost.seconds
        yield Figure(
            what=f"targets of {SLOW_MS} ms, {workers} workers",
            value=ours.per_second,
            unit="tasks/s",
            beside="workers / latency",
            reference=workers * 1000 / SLOW_MS,
            at_least=0.9,
            note=f"{core:.2f} of a core; the bar holds until it is full",
        )


def both(scene: Scene) -> Iterator[Figure]:
    """Submit as fast as possible while the same process runs tasks."""
    connections = CONNECTIONS[-1]
    accepted = accepted_posts(scene, connections).per_second
    worked = worked_off(scene, scene.pick(quick=3_000, full=20_000), workers=5).per_second
    predicted = 1 / (1 / accepted + 1 / worked)
    yield Figure(
        what="POST and work off, one process",
        value=end_to_end(scene, connections).per_second,
        unit="tasks/s",
        beside="what CPU shares predict",
        reference=predicted,
        at_least=0.8,
    )


@functools.cache
def end_to_end(scene: Scene, connections: int, *, workers: int = 5, processes_: int = 1) -> Work:
    """Submit for some seconds, and wait until all tasks have finished; once per run."""
    with (
        scene.database() as database,
        scene.taskflow(database, processes_=processes_, workers=workers) as service,
        metered(database, [service]) as cost,
    ):
        send(
            Load(
                port=service.port,
                url=f"{scene.target}/",
                connections=connections,
                seconds=scene.pick(quick=2.0, full=8.0),
                warm_up_seconds=0.0,
            )
        )
        connected = database.connections() // processes_
        database.wait_until_worked_off()
        count = database.completed()
        seconds = database.ask(
            "SELECT extract(epoch FROM max(finished_at) - min(created_at))::float8"
            " FROM taskflow_tasks"
        )
    return Work(count, count / seconds, cost, connected)
