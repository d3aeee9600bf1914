"""Measures what tasks with order keys, many of them of one key, cost the claims of other tasks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec
import trio

from benchmarks.clients import percentile
from benchmarks.database import Database
from benchmarks.scale import BATCH, LEASE_SECONDS, timing
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.order_keys import OnFailure
from taskflow.model.task import Claim, NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.base.store import TaskStore
from taskflow.store.postgres.store import open_postgres

PORTION = 10_000
HOT_KEY = "hot"
RESULT = b'{"ok": true}'


def order(scene: Scene) -> Iterator[Figure]:
    """Compare claims beside many order keys, one of which has many tasks, with claims without."""
    keys = scene.pick(quick=10_000, full=100_000)
    calls = scene.pick(quick=200, full=1_000)
    without, beside = (claims_beside(scene, count, calls) for count in (0, keys))
    yield Figure(
        what=f"claim {BATCH}, p95, beside {keys:,} order keys, one of them with {keys:,} tasks",
        value=percentile(beside, 0.95),
        unit="ms",
        beside="without",
        reference=percentile(without, 0.95),
        at_most=1.5,
    )


def claims_beside(scene: Scene, keys: int, calls: int) -> list[float]:
    """Return the durations of claims of plain tasks, beside this many order keys."""
    with scene.database() as database:
        trio.run(partial(_fill, database, scene.target, keys))
        # As autovacuum does later; so no other writes disturb the measurement.
        database.do("VACUUM ANALYZE taskflow_tasks, taskflow_ordered")
        database.do("CHECKPOINT")
        return trio.run(partial(_timed_claims, database, scene.target, calls))


async def _fill(database: Database, target: str, keys: int) -> None:
    async with open_postgres(database.url, Settings()) as store:
        for begin in range(0, keys, PORTION):
            some = range(begin, min(keys, begin + PORTION))
            await store.add([_task(target, order_key=HOT_KEY) for _ in some])
            await store.add([_task(target, order_key=f"key {number}") for number in some])
        await store.promote()


async def _timed_claims(database: Database, target: str, calls: int) -> list[float]:
    """Claim and settle tasks: half of them are plain, the others have order keys, if any has."""
    took: list[float] = []
    async with open_postgres(database.url, Settings()) as store:
        node = await store.register("benchmarks", LEASE_SECONDS)
        await store.add([_task(target)] * (BATCH * calls))
        for _ in range(calls):
            await store.add([_task(target, priority=1)] * (BATCH // 2))
            with timing(took):
                claims = await store.claim(node, limit=BATCH)
            assert len(claims) == BATCH
            await _settle(store, claims)
    return took


async def _settle(store: TaskStore, claims: list[Claim]) -> None:
    await store.settle(
        [Settlement(one.task_id, one.token, TaskStatus.COMPLETED, RESULT) for one in claims]
    )


def _task(target: str, *, priority: int = 0, order_key: str | None = None) -> NewTask:
    return NewTask(
        msgspec.Raw(msgspec.json.encode(target)),
        priority=priority,
        order_key=order_key,
        on_failure=None if order_key is None else OnFailure.CONTINUE,
    )
