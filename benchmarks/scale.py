"""Measures the effect of the number of tasks, and of long transactions, on each verb."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import msgspec
import psycopg
import trio

from benchmarks.clients import percentile
from benchmarks.database import Database
from benchmarks.scene import Scene
from benchmarks.table import Figure, number
from taskflow.model.task import NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.base.store import TaskStore
from taskflow.store.postgres.store import open_postgres

BATCH = 10
PAGE = 100
COUNT_LIMIT = 1000
LEASE_SECONDS = 3600.0

Times = dict[str, list[float]]
"""How long each call of a verb took, in milliseconds."""


def scale(scene: Scene) -> Iterator[Figure]:
    """Compare the verbs with many pending and finished tasks with an empty table."""
    yield from _scale(scene, scene.pick(quick=100_000, full=1_000_000))


def scale_5m(scene: Scene) -> Iterator[Figure]:
    """The same with five million of each; it takes minutes, so it runs only by name."""
    yield from _scale(scene, 5_000_000)


def _scale(scene: Scene, rows: int) -> Iterator[Figure]:
    calls = scene.pick(quick=100, full=300)
    empty, full = (times_among(scene, count, calls) for count in (0, rows))
    for verb, took in full.items():
        yield Figure(
            what=f"{verb}, p95, {rows:,} waiting and as many finished",
            value=percentile(took, 0.95),
            unit="ms",
            beside="in an empty table",
            reference=percentile(empty[verb], 0.95),
            at_most=1.5,
        )


def times_among(scene: Scene, rows: int, calls: int) -> Times:
    """Return the durations of the verbs in a table with ``rows`` pending and finished tasks."""
    with scene.database() as database:
        trio.run(migrated, database)
        if rows:
            database.fill_finished(scene.target, rows)
            database.fill(scene.target, rows)
        # As autovacuum does later; so no other writes disturb the measurement.
        database.do("VACUUM ANALYZE taskflow_tasks")
        database.do("CHECKPOINT")
        return trio.run(partial(timed_verbs, database, scene.target, calls))


async def migrated(database: Database) -> None:
    """Create the tables."""
    async with open_postgres(database.url, Settings()):
        pass


async def timed_verbs(database: Database, target: str, calls: int) -> Times:
    """Call each verb ``calls`` times."""
    times: Times = defaultdict(list)
    async with open_postgres(database.url, Settings()) as store:
        node = await store.register("benchmarks", LEASE_SECONDS)
        task = NewTask(msgspec.Raw(msgspec.json.encode(target)))
        added = [one for _ in range(BATCH) for one in await store.add([task] * calls)]
        for one in added[:calls]:
            await _run_some(store, node, times)
            with timing(times["GET one"]):
                await store.get(one.id)
            with timing(times[f"GET list of {PAGE}"]):
                await store.page(limit=PAGE)
            with timing(times[f"count to {COUNT_LIMIT}"]):
                await store.count_pending(limit=COUNT_LIMIT)
    return times


async def _run_some(store: TaskStore, node: uuid.UUID, times: Times) -> None:
    with timing(times[f"claim {BATCH}"]):
        claims = await store.claim(node, limit=BATCH)
    assert len(claims) == BATCH
    result = b'{"ok": true}'
    endings = [Settlement(one.task_id, one.token, TaskStatus.COMPLETED, result) for one in claims]
    with timing(times[f"settle {BATCH}"]):
        await store.settle(endings)


def bloat(scene: Scene) -> Iterator[Figure]:
    """Measure claims under load while an open transaction prevents vacuum."""
    yield _bloat_after(scene, scene.pick(quick=5.0, full=60.0))


def bloat_10m(scene: Scene) -> Iterator[Figure]:
    """The same over ten minutes of load."""
    yield _bloat_after(scene, 600.0)


def _bloat_after(scene: Scene, seconds: float) -> Figure:
    with scene.database() as database:
        trio.run(migrated, database)
        with psycopg.connect(database.conninfo) as holder:
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT count(*) FROM taskflow_tasks")
            took = trio.run(_claims_under_load, database, seconds)
            dead = database.ask(
                "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'taskflow_tasks'"
            )
    part = len(took) // 5
    return Figure(
        what=f"claim 100, p95, at the end of {seconds:.0f} s",
        value=percentile(took[-part:], 0.95),
        unit="ms",
        beside="at the beginning",
        reference=percentile(took[:part], 0.95),
        at_most=2.0,
        note=f"{len(took) * 100:,} tasks run, {number(dead)} dead rows",
    )


async def _claims_under_load(database: Database, seconds: float) -> list[float]:
    took: list[float] = []
    async with open_postgres(database.url, Settings()) as store:
        node = await store.register("benchmarks", LEASE_SECONDS)
        task = NewTask(msgspec.Raw(b'"http://127.0.0.1/"'))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await store.add([task] * 100)
            with timing(took):
                claims = await store.claim(node, limit=100)
            await store.settle(
                [Settlement(one.task_id, one.token, TaskStatus.COMPLETED, b"1") for one in claims]
            )
    return took


@contextlib.contextmanager
def timing(took: list[float]) -> Iterator[None]:
    """Record the duration of the block, in milliseconds."""
    began = time.perf_counter()
    yield
    took.append((time.perf_counter() - began) * 1000)
