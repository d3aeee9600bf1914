"""Processing throughput of stored tasks, alone and during submissions."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import msgspec

from benchmarks import peers
from benchmarks.accept import CONNECTIONS, accepted_posts
from benchmarks.clients import Load, send
from benchmarks.meter import Cost, metered
from benchmarks.references import bare_fetches
from benchmarks.scene import Scene
from benchmarks.table import Figure

SLOW_MS = 100


class Work(msgspec.Struct, frozen=True):
    """The processing of stored tasks: their number, throughput and cost."""

    count: int
    per_second: float
    cost: Cost
    connections: int


@functools.cache
def worked_off(
    scene: Scene, count: int, *, workers: int = 5, nodes: int = 1, path: str = "/"
) -> Work:
    """Store ``count`` tasks while nodes wait, and measure how long they take.

    The time is from the first claim to the last stored outcome, by the database's clock. The
    cost includes the INSERT. It is measured once per run, for all lines.
    """
    with scene.database() as database, contextlib.ExitStack() as stack:
        services = [
            stack.enter_context(scene.taskflow(database, serves=False, workers=workers))
            for _ in range(nodes)
        ]
        with metered(database, services) as cost:
            database.fill(scene.target + path, count)
            database.wait_until_worked_off()
        assert database.completed() == count
        per_second = count / database.working_seconds()
        return Work(count, per_second, cost, database.connections() // nodes)


def work_off(scene: Scene) -> Iterator[Figure]:
    """Run tasks with an instant target, compared with fetches without a queue."""
    count = scene.pick(quick=3_000, full=20_000)
    for workers, bar in ((5, 0.65), (20, None), (100, 0.65)):
        ours = worked_off(scene, count, workers=workers)
        bare = bare_fetches(f"{scene.target}/", workers=workers, count=count)
        figure = Figure(
            what=f"work off, {workers} workers",
            value=ours.per_second,
            unit="tasks/s",
            beside="bare fetches, as many in flight",
            reference=bare,
            at_least=bar,
        )
        yield figure
        if scene.peers and workers != 20:  # noqa: PLR2004
            yield from _beside_peers(scene, workers, figure)


def _beside_peers(scene: Scene, workers: int, ours: Figure) -> Iterator[Figure]:
    few = workers == 5  # noqa: PLR2004
    for name, options, bar in (
        ("pgqueuer", (), 2.5 if few else 1.0),
        ("pgqueuer", ("ahead",), None),
        ("procrastinate", (), 5.0 if few else None),
    ):
        count = scene.pick(quick=1_000, full=10_000 if name == "pgqueuer" else 4_000)
        theirs = peers.works_off(scene, name, count, workers, *options)
        beside = " ".join([name, *options, "with aiohttp"])
        yield msgspec.structs.replace(ours, beside=beside, reference=theirs, at_least=bar)


def two_nodes(scene: Scene) -> Iterator[Figure]:
    """Run the same tasks with one process and with two."""
    count = scene.pick(quick=3_000, full=20_000)
    one, two = (worked_off(scene, count, nodes=nodes) for nodes in (1, 2))
    yield Figure(
        what="work off, two processes of 5 workers",
        value=two.per_second,
        unit="tasks/s",
        beside="one process",
        reference=one.per_second,
        at_least=1.6,
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
    connections = CONNECTIONS[-1]  # enough for two processes
    accepted = accepted_posts(scene, connections).per_second
    worked = worked_off(scene, scene.pick(quick=3_000, full=20_000)).per_second
    predicted = 1 / (1 / accepted + 1 / worked)
    one = end_to_end(scene, connections=connections)
    figure = Figure(
        what="POST and work off, one process",
        value=one.per_second,
        unit="tasks/s",
        beside="what CPU shares predict",
        reference=predicted,
        at_least=0.8,
    )
    yield figure
    two = end_to_end(scene, connections=connections, processes=2)
    yield msgspec.structs.replace(
        figure,
        what="POST and work off, two processes",
        value=two.per_second,
        beside="one process",
        reference=one.per_second,
        at_least=1.5,
    )


@functools.cache
def end_to_end(scene: Scene, *, connections: int, processes: int = 1) -> Work:
    """Submit for some seconds, and wait until all tasks have finished; once per run."""
    with (
        scene.database() as database,
        scene.taskflow(database, processes_=processes) as service,
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
        connected = database.connections() // processes
        database.wait_until_worked_off()
        count = database.completed()
        seconds = database.ask(
            "SELECT extract(epoch FROM max(finished_at) - min(created_at))::float8"
            " FROM taskflow_tasks"
        )
    return Work(count, count / seconds, cost, connected)
