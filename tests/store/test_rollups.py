"""Roll-ups and failures in PostgreSQL: folding by several nodes, their bounds, and lost changes."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from importlib import resources

import msgspec
import psycopg
import pytest
import trio

from taskflow.model.filter import TaskFilter
from taskflow.model.grouped_failures import VARIOUS, FailureFilter, FailureState
from taskflow.model.rollups import (
    HOUR_SECONDS,
    LAST_BUCKET,
    MINUTE_SECONDS,
    Span,
    bucket_of,
    series_of,
)
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.postgres import failure_rows, folding, rollup_rows
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import completed, failed
from tests.store.rollups_contract import at_host

SETTINGS = Settings(database_timeout_seconds=30.0, database_connections=4)
MIGRATION = "migrations/0038_rollups.sql"


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
def connection(database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def node(store):
    return await store.register("here", lease_seconds=600)


def because(claim, error: str):
    return msgspec.structs.replace(failed(claim), error=error, elapsed_seconds=0.5)


async def fail(store, node, *errors: str, hosts=("a.example",), queues=("default",)):
    """The ids of tasks that failed, one for each error."""
    count = len(errors)
    new = [at_host(hosts[n % len(hosts)], queue=queues[n % len(queues)]) for n in range(count)]
    await store.add(new)
    claims = await store.claim(node, limit=count)
    assert len(claims) == count
    await store.settle([because(claim, error) for claim, error in zip(claims, errors, strict=True)])
    return [claim.task_id for claim in claims]


async def fold(store) -> None:
    while await store.fold_counts(limit=1000):
        pass


async def finished(store, **wanted) -> dict[TaskStatus, int]:
    series = series_of(await store.rollups.read(Span.DAY, **wanted), Span.DAY)
    total: Counter[TaskStatus] = Counter()
    for point in series.points:
        total.update(point.finished)
    return dict(+total)


def kept(connection) -> dict[uuid.UUID, int]:
    return dict(
        connection.execute("SELECT failure_id, count(*) FROM taskflow_failed_tasks GROUP BY 1")
    )


async def test_several_nodes_fold_while_tasks_fail_and_are_retried(database_url, store, connection):
    """At the end the failures have the FAILED tasks, and the roll-ups all that finished."""
    ended: Counter[TaskStatus] = Counter()

    async def work(store, name):
        node = await store.register(name, lease_seconds=600)
        for n in range(15):
            await store.add([at_host(f"h{m % 3}.example", queue=f"q{m % 2}") for m in range(8)])
            claims = await store.claim(node, limit=8)
            well = await store.settle([completed(claim) for claim in claims[::2]])
            badly = await store.settle([because(one, f"e {n}") for one in claims[1::2]])
            ended[TaskStatus.COMPLETED] += len(well)
            ended[TaskStatus.FAILED] += len(badly)
            await store.retry_many([one.task_id for one in claims[1::4]])
            if n % 3 == 0:
                await store.delete_many([one.task_id for one in claims[3::4]])

    async def keep_folding(store):
        while True:
            await store.fold_counts(limit=3)

    async with open_postgres(database_url, SETTINGS) as other:
        async with trio.open_nursery() as nursery:
            for one in (store, other):
                nursery.start_soon(keep_folding, one)
            async with trio.open_nursery() as working:
                for one, name in ((store, "here"), (other, "there")):
                    working.start_soon(work, one, name)
            nursery.cancel_scope.cancel()
        with trio.fail_after(90):
            while connection.execute("SELECT FROM taskflow_changes LIMIT 1").fetchall():
                await fold(store)
    [(members, failing)] = connection.execute(
        "SELECT (SELECT array_agg(task_id ORDER BY task_id) FROM taskflow_failed_tasks),"
        " (SELECT array_agg(id ORDER BY id) FROM taskflow_tasks WHERE status = 'FAILED')"
    ).fetchall()
    assert members == failing
    failures = await store.failures.first(100)
    assert {one.id: one.failed for one in failures} == kept(connection)
    assert await finished(store) == dict(ended)


async def test_folding_waits_for_no_other_node(store, node, connection):
    """One folds at a time; another one leaves the changes alone, and loses none."""
    await fail(store, node, "a")
    with connection.transaction():
        [(is_held,)] = connection.execute(load_queries()["hold_rollups"]).fetchall()
        assert is_held
        assert await store.fold_counts(limit=1000) == 0
        assert await store.failures.first(10) == []
        assert not await store.rollups.sample_backlog()
    assert len(await store.failures.first(10)) == 1
    assert await finished(store) == {TaskStatus.FAILED: 1}


async def test_many_tasks_are_folded_in_several_transactions(store, node, monkeypatch):
    monkeypatch.setattr(folding, "MAX_TASKS", 2)
    for n in range(5):
        await fail(store, node, f"a {n}", f"b {n}")
    assert await store.fold_counts(limit=1000) >= 5
    assert {one.failed for one in await store.failures.first(10)} == {5}
    assert await finished(store) == {TaskStatus.FAILED: 10}


async def test_tasks_that_are_gone_count_without_times(store, node):
    """They were deleted before their changes were folded."""
    await store.delete_many(await fail(store, node, "a", "b"))
    await fold(store)
    assert await finished(store) == {TaskStatus.FAILED: 2}
    assert await finished(store, queue="default") == {TaskStatus.FAILED: 2}
    assert await finished(store, host="a.example") == {}
    found = series_of(await store.rollups.read(Span.HOUR), Span.HOUR)
    assert (found.wait, found.run) == (None, None)
    assert await store.failures.first(10, FailureFilter(FailureState.ALL)) == []


async def test_changes_of_earlier_versions_count_without_times(store, connection):
    """They do not say which tasks finished."""
    connection.execute(
        "INSERT INTO taskflow_changes (queue, status, change) VALUES ('a', 'COMPLETED', 3)"
    )
    await fold(store)
    assert await finished(store, queue="a") == {TaskStatus.COMPLETED: 3}


async def test_the_number_of_series_is_bounded(store, node, monkeypatch):
    """The busiest queues and hosts have series, and the total has all tasks."""
    monkeypatch.setattr(rollup_rows, "MAX_QUEUES", 2)
    monkeypatch.setattr(rollup_rows, "MAX_HOSTS", 1)
    queues, hosts = ("a", "b", "b", "c", "c", "c"), ("x", "y", "y")
    await fail(store, node, *["e"] * 6, queues=queues, hosts=hosts)
    await fold(store)
    await fail(store, node, *["e"] * 6, queues=("d",), hosts=("y",))
    await fold(store)
    assert await finished(store) == {TaskStatus.FAILED: 12}
    found = {queue: await finished(store, queue=queue) for queue in "abcd"}
    assert {queue: sum(one.values()) for queue, one in found.items()} == {
        "a": 0,
        "b": 2,
        "c": 3,
        "d": 0,
    }
    assert await finished(store, host="x") == {}
    assert await finished(store, host="y") == {TaskStatus.FAILED: 10}


async def test_the_number_of_failures_is_bounded(store, node, monkeypatch):
    """Further causes are one failure for each queue and type of error."""
    monkeypatch.setattr(failure_rows, "MAX_FAILURES", 2)
    ids = await fail(store, node, "a", "b", "c", "d")
    found = {one.message: one for one in await store.failures.first(10)}
    assert {message: one.failed for message, one in found.items()}[VARIOUS] == 2
    assert len(found) == 3
    await fail(store, node, "e")
    assert len(await store.failures.first(10)) == 3
    various = [one for one in await store.failures.first(10) if one.message == VARIOUS]
    assert [one.failed for one in various] == [3]
    page = await store.page(limit=10, filter=TaskFilter(failure=various[0].id))
    assert len(page.tasks) == 3
    await store.retry_many(ids)
    assert [one.failed for one in await store.failures.first(10)] == [1]


async def test_failures_begin_with_the_tasks_that_are_there(store, node, connection):
    """The migration adds the FAILED tasks, which are not counted as finished once more."""
    ids = await fail(store, node, "a 1", "a 2")
    await fold(store)
    connection.execute("TRUNCATE taskflow_failures, taskflow_failed_tasks")
    script = resources.files("taskflow.store.postgres").joinpath(MIGRATION).read_text("utf-8")
    connection.execute("-- The newest FAILED" + script.partition("-- The newest FAILED")[2])
    [failure] = await store.failures.first(10)
    assert (failure.failed, failure.occurrences) == (2, 2)
    assert set(failure.example_ids) == set(ids)
    assert await finished(store) == {TaskStatus.FAILED: 2}


async def test_tasks_that_left_unnoticed_are_removed(store, node, connection):
    """Nodes of earlier versions fold changes without failures; the check continues in order."""
    ids = await fail(store, node, "a", "b", "c")
    await fold(store)
    await store.retry_many(ids[:2])
    connection.execute("UPDATE taskflow_changes SET ids = NULL")
    assert [await store.failures.check_tasks(limit=1) for _ in range(4)] == [1, 1, 0, 0]
    [failure] = await store.failures.first(10)
    assert (failure.failed, failure.message) == (1, "c")


async def test_archived_tasks_stay_in_their_failures(store, node, connection):
    [task_id] = await fail(store, node, "a")
    await fold(store)
    store.archive_slack_seconds = 0.0
    moved = 0
    while not moved:
        step = await store.archive(age_seconds=0.0, limit=10)
        assert step.moved or step.has_more, step
        moved = step.moved
    [failure] = await store.failures.first(10)
    assert failure.failed == 1
    page = await store.page(limit=10, filter=TaskFilter(failure=failure.id))
    assert [task.id for task in page.tasks] == [task_id]
    assert await store.failures.check_tasks(limit=10) == 0
    assert await store.retry_many([task_id]) == {task_id}
    assert await store.failures.first(10) == []


async def test_old_rows_are_deleted(store, node, connection):
    """Minutes after a day, hours after 90 days, resolved failures after seven days."""
    await store.retry_many(await fail(store, node, "a"))
    await fail(store, node, "a")
    assert len(await store.failures.first(10)) == 1
    await store.retry_many([(await store.failures.first(10))[0].example_ids[0]])
    assert await store.failures.first(10) == []
    for age, left in (("26 hours", {HOUR_SECONDS}), ("92 days", set())):
        connection.execute("UPDATE taskflow_rollups SET at = at - %s::interval", [age])
        while await store.rollups.delete_old(limit=1):
            pass
        rows = connection.execute("SELECT period_seconds FROM taskflow_rollups").fetchall()
        assert {period_seconds for (period_seconds,) in rows} == left
    connection.execute("UPDATE taskflow_failures SET last_at = last_at - interval '8 days'")
    assert await store.failures.delete_resolved(limit=10) == 1
    assert await store.failures.first(10, FailureFilter(FailureState.ALL)) == []


def test_buckets_are_those_of_the_model(connection):
    """The database computes the bucket of a duration as the model does."""
    times = [-1.0, 0.0, 1e-9, 0.001, 0.00101, 0.0012, 0.5, 1.0, 59.9, 3600.0, 1e6, 1e300]
    rows = connection.execute(
        "SELECT taskflow_time_bucket(unnest(%s::float8[]))", [[*times, math.inf]]
    ).fetchall()
    assert [bucket for (bucket,) in rows] == [*map(bucket_of, times), LAST_BUCKET]


async def test_odd_rows_are_folded(store, connection):
    """Rows that no version wrote: times without end, unknown tasks, and no queue of TaskFlow."""
    connection.execute(
        "INSERT INTO taskflow_changes (at, queue, status, change, ids) VALUES"
        " ('infinity', 'a', 'FAILED', 1, NULL), ('-infinity', 'a', 'FAILED', 1, NULL),"
        " (now(), repeat('q', 900), 'COMPLETED', 9e18, ARRAY[gen_random_uuid()]),"
        " (now(), 'a', 'FAILED', -5, ARRAY[gen_random_uuid()]), (now(), 'a', 'ODD', 1, '{}')"
    )
    await fold(store)
    assert connection.execute("SELECT FROM taskflow_changes").fetchall() == []
    assert (await finished(store))[TaskStatus.COMPLETED] > 0


async def test_periods_are_counted_from_1970(store, node, connection):
    await fail(store, node, "a")
    await fold(store)
    rows = connection.execute(
        "SELECT period_seconds, extract(epoch FROM at)::bigint % period_seconds"
        " FROM taskflow_rollups"
    ).fetchall()
    assert set(rows) == {(MINUTE_SECONDS, 0), (HOUR_SECONDS, 0)}
