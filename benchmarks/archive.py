"""Measures what an archive with many tasks costs other work, and how fast weeks are dropped."""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import LiteralString

import msgspec
import psycopg
import trio

from benchmarks.database import Database
from benchmarks.scale import LEASE_SECONDS
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.filter import TaskFilter
from taskflow.model.task import NewTask, TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.postgres.archive_periods import Period, add_period
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.statements import Statements
from taskflow.store.postgres.store import PostgresStore, open_postgres

WEEKS = 52
MONTH_WEEKS = 4
AT_ONCE = 50
CLAIMED = 5_000
HOT_FINISHED = 20_000
MOVED = 20_000
PAGE = 50
RESULT = b'{"ok":true}'
DELETED = 500
DELETIONS = 20
RETENTION_DAYS = 500
READS = 40
MAX_RATIO = 1.5
MAX_DROP_SECONDS = 1.0

_WEEKS: LiteralString = """
SELECT to_char(first, 'YYYYMMDD'), taskflow_least_id(first AT TIME ZONE 'UTC'),
       taskflow_least_id((first + interval '7 days') AT TIME ZONE 'UTC')
FROM (SELECT date_trunc('week', now() AT TIME ZONE 'UTC') - n * interval '7 days' AS first
      FROM generate_series(1, %(weeks)s) AS n) AS weeks
"""
# Like the rows of `fill_finished`: one of a hundred FAILED, one of a hundred with a tag.
_FILL_WEEK: LiteralString = """
WITH added AS (
    INSERT INTO taskflow_archive (
        id, status, priority, attempt, max_attempts, rescues, size_bytes, run_at, created_at,
        started_at, finished_at, queue, payload, result, error, error_type, node, status_code,
        elapsed_ms, authority, tags
    )
    SELECT (left(taskflow_least_id(at)::text, 24) || lpad(to_hex(n), 12, '0'))::uuid,
           CASE WHEN n %% 100 = 0 THEN 'FAILED' ELSE 'COMPLETED' END, 0, 1, 1, 0, 340, at, at, at,
           at, CASE WHEN n %% 2 = 0 THEN 'default' ELSE 'other' END, to_json(%(url)s::text),
           CASE WHEN n %% 100 <> 0 THEN to_json(repeat('x', 300)) END,
           CASE WHEN n %% 100 = 0 THEN 'it failed' END,
           CASE WHEN n %% 100 = 0 THEN 'timeout' END, 'benchmarks', 200, 1.5, '',
           CASE WHEN n %% 100 = 1 THEN '{"a":"b"}'::json END
    FROM (SELECT n, %(first)s::timestamptz + n * (interval '7 days' / %(count)s) AS at
          FROM generate_series(0, %(count)s - 1) AS n) AS moments
    RETURNING id, queue, status, tags, finished_at
), tagged AS (
    INSERT INTO taskflow_archive_tags (name, value, task_id)
    SELECT 'a', 'b', id FROM added WHERE tags IS NOT NULL
), counted AS (
    INSERT INTO taskflow_changes (queue, status, change)
    SELECT queue, status, count(*) FROM added GROUP BY queue, status
), counted_in_archive AS (
    INSERT INTO taskflow_archive_counts (period, queue, status, change)
    SELECT %(name)s, queue, status, count(*) FROM added GROUP BY queue, status
)
UPDATE taskflow_archive_periods
SET last_finished_at = (SELECT max(finished_at) FROM added),
    last_id = (SELECT id FROM added ORDER BY id DESC LIMIT 1)
WHERE name = %(name)s
"""

_FILL_OLD: LiteralString = """
INSERT INTO taskflow_tasks (id, status, attempt, payload, result, size_bytes, created_at, run_at,
                            started_at, finished_at, status_code, elapsed_ms, node)
SELECT (left(taskflow_least_id(at)::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, 'COMPLETED', 1,
       to_json(%(url)s::text), to_json(repeat('x', 300)), 340, at, at, at, at, 200, 1.5,
       'benchmarks'
FROM (SELECT n, now() - interval '2 years' + n * interval '1 second' AS at
      FROM generate_series(1, %(count)s) AS n) AS moments
"""

Times = dict[str, list[float]]


def archive(scene: Scene) -> Iterator[Figure]:
    """Compare with an archive of two million tasks."""
    yield from _compare(scene, scene.pick(quick=104_000, full=2_080_000))


def archive_20m(scene: Scene) -> Iterator[Figure]:
    """Compare with an archive of twenty million tasks."""
    yield from _compare(scene, scene.pick(quick=1_040_000, full=20_800_000))


def _compare(scene: Scene, count: int) -> Iterator[Figure]:
    measured: list[Times] = []
    for archived in (0, count):
        with scene.database() as database:
            measured.append(trio.run(partial(_measured, database, scene.target, archived)))
    none, full = measured
    for what in none:
        yield Figure(
            what=f"{what}, {count:,} tasks archived",
            value=statistics.median(full[what]),
            unit="ms",
            beside="none archived",
            reference=statistics.median(none[what]),
            at_most=MAX_RATIO,
        )
    archived_only = [what for what in full if what not in none and what not in ("move", "drop")]
    for what in archived_only:
        value = statistics.median(full[what])
        yield Figure(what=f"{what}, {count:,} tasks archived", value=value, unit="ms")
    yield Figure(what="move to the archive, without pauses", value=full["move"][0], unit="tasks/s")
    yield Figure(
        what=f"drop {MONTH_WEEKS} weeks, {count * MONTH_WEEKS // WEEKS:,} tasks",
        value=full["drop"][0],
        unit="s",
        at_most=MAX_DROP_SECONDS,
    )


async def _measured(database: Database, url: str, archived: int) -> Times:
    """Return durations in milliseconds, and of a drop in seconds."""
    times: Times = defaultdict(list)
    async with open_postgres(database.url, Settings()) as store:
        periods = await _add_weeks(database, store) if archived else []
        await trio.to_thread.run_sync(_fill, database, url, periods, archived)
        while await store.fold_counts(limit=10_000):
            pass
        await _reads(store, times, archived)
        await _claims(store, times, url)
        await _retention(store, times)
        if archived:
            times["move"].append(await _moved(store))
            times["drop"].append(await _drop(store))
    return times


def _add_week(statements: Statements, period: Period, connection: Connection) -> None:
    add_period(connection, statements.on(connection), period)


async def _add_weeks(database: Database, store: PostgresStore) -> list[Period]:
    """Add a year of partitions to the archive."""
    statements = store._statements  # noqa: SLF001
    with psycopg.connect(database.conninfo) as connection:
        rows = connection.execute(_WEEKS, {"weeks": WEEKS}).fetchall()
    periods = [Period(*row) for row in rows]
    for period in periods:
        await statements.database.run(partial(_add_week, statements, period))
    return periods


def _fill(database: Database, url: str, periods: Sequence[Period], archived: int) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for period in periods:
            first = dt.datetime.strptime(period.name, "%Y%m%d").replace(tzinfo=dt.UTC)
            values = {"name": period.name, "first": first, "url": url, "count": archived // WEEKS}
            connection.execute(_FILL_WEEK, values)
    database.fill_finished(url, HOT_FINISHED)
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(_FILL_OLD, {"url": url, "count": DELETED * DELETIONS})
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


async def _reads(store: PostgresStore, times: Times, archived: int) -> None:
    failed, tagged = TaskFilter(statuses=(TaskStatus.FAILED,)), TaskFilter(tags=(("a", "b"),))
    other = TaskFilter(queue="other")
    newest = (await store.page(limit=PAGE)).tasks
    await _timed(times, "get a task", partial(store.get, newest[0].id))
    await _timed(times, f"the first page of {PAGE}", partial(store.page, limit=PAGE))
    before = newest[-1].id
    await _timed(times, "the second page", partial(store.page, limit=PAGE, before=before))
    await _timed(times, "counts", partial(store.count, limit=100))
    if not archived:
        return
    middle = (await store.page(limit=PAGE, filter=tagged)).tasks[-1].id
    await _timed(times, "get an archived task", partial(store.get, middle))
    await _timed(times, "a page of archived tasks", partial(store.page, limit=PAGE, before=middle))
    for name, filter in (("FAILED", failed), ("a tag", tagged), ("a queue", other)):
        page = partial(store.page, limit=PAGE, before=middle, filter=filter)
        assert len((await page()).tasks) == PAGE
        await _timed(times, f"a page of archived tasks by {name}", page)


async def _claims(store: PostgresStore, times: Times, url: str) -> None:
    node = await store.register("benchmarks", LEASE_SECONDS)
    payload = msgspec.Raw(msgspec.json.encode(url))
    await store.add([NewTask(payload) for _ in range(CLAIMED)])
    for _ in range(CLAIMED // AT_ONCE):
        began = time.perf_counter()
        claims = await store.claim(node, limit=AT_ONCE)
        claimed = time.perf_counter()
        await store.settle(
            [
                Settlement(one.task_id, one.token, TaskStatus.COMPLETED, b'{"ok":true}')
                for one in claims
            ]
        )
        times[f"claim {AT_ONCE} tasks"].append(1000 * (claimed - began))
        times[f"settle {AT_ONCE} tasks"].append(1000 * (time.perf_counter() - claimed))


async def _retention(store: PostgresStore, times: Times) -> None:
    """Delete tasks that are older than all that are archived."""
    age_seconds = RETENTION_DAYS * 86_400.0
    for _ in range(DELETIONS):
        began = time.perf_counter()
        assert await store.delete_finished(age_seconds=age_seconds, limit=DELETED) == DELETED
        times[f"retention deletes {DELETED}"].append(1000 * (time.perf_counter() - began))


async def _timed(times: Times, what: str, work: Callable[[], Awaitable[object]]) -> None:
    await work()
    await work()  # statements are prepared at their second execution
    for _ in range(READS):
        began = time.perf_counter()
        await work()
        times[what].append(1000 * (time.perf_counter() - began))


async def _moved(store: PostgresStore) -> float:
    """Return how many tasks are moved to the archive in a second, without pauses."""
    moved, began = 0, time.perf_counter()
    while moved < MOVED:
        step = await store.archive(age_seconds=0.001, limit=500)
        assert not step.obstacle
        moved += step.moved
    return moved / (time.perf_counter() - began)


async def _drop(store: PostgresStore) -> float:
    """Return how long it takes to drop the oldest weeks, in seconds."""
    weeks = await store._statements.run("expired_periods", age_seconds=0.0)  # noqa: SLF001
    first_kept = dt.datetime.strptime(weeks[MONTH_WEEKS][0], "%Y%m%d").replace(tzinfo=dt.UTC)
    age_seconds = (dt.datetime.now(dt.UTC) - first_kept).total_seconds() - 3600
    began = time.perf_counter()
    assert await store.delete_finished(age_seconds=age_seconds, limit=500)
    seconds = time.perf_counter() - began
    left = await store._statements.run("expired_periods", age_seconds=0.0)  # noqa: SLF001
    assert len(left) == len(weeks) - MONTH_WEEKS
    return seconds
