"""What is PostgreSQL's own in callbacks: locks, and writers that know nothing of them."""

from __future__ import annotations

import datetime as dt
import itertools

import msgspec
import psycopg
import pytest
import trio

from taskflow.settings import Settings
from taskflow.store.postgres import migrate
from taskflow.store.postgres.migrate import migrations
from taskflow.store.postgres.statements import StorePart
from taskflow.store.postgres.store import open_postgres
from tests.store.callbacks_contract import OPTIONS, request_of, told
from tests.store.contract import completed, new_task

SETTINGS = Settings(database_timeout_seconds=10.0)
STORE = """
INSERT INTO taskflow_tasks (payload, size_bytes, options) VALUES ('"x"', 3, %s) RETURNING id
"""


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
def connection(database_url):
    """A connection to the same database, beside the store's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


async def test_a_blocked_row_does_not_block_events(database_url, store, connection):
    """Events are locked when all rows are: an end that waits for one keeps no other waiting.

    Otherwise two of them could wait for each other.
    """
    node = await store.register("here", lease_seconds=30)
    tasks = await store.add([told() for _ in range(2)])
    claims = await store.claim(node, limit=2)
    await store.record_events()
    with psycopg.connect(database_url) as other, trio.fail_after(90):
        # Rows are locked as the statement comes by them; of the two it waits for the later one.
        other.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [tasks[1].id])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.settle, [completed(claim) for claim in claims])
            while not is_waited_for(connection, other.info.backend_pid):
                await trio.sleep(0.01)
            with trio.fail_after(90):
                await store.add([new_task()])
            other.rollback()
    [(count,)] = connection.execute("SELECT count(*) FROM taskflow_tasks WHERE queue = 'callbacks'")
    assert count == 2


def is_waited_for(connection, pid: int) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    return bool(connection.execute(query, [pid]).fetchall())


async def test_a_node_of_the_version_before_calls_back_too(store, connection):
    """Whatever ends a task has its end told; nodes are replaced one after the other."""
    [task] = await store.add([told()])
    connection.execute(
        "UPDATE taskflow_tasks SET status = 'CANCELED', finished_at = now() WHERE id = %s",
        [task.id],
    )
    ended = await store.get(task.id)
    made = await store.get(ended.callback_id)
    assert made.callback_of == task.id


async def test_tasks_of_the_previous_version_have_callbacks(store, connection):
    """Its options say nothing of a host; it is found in other ways."""
    options = msgspec.structs.replace(OPTIONS, callback_host=None)
    [task] = await store.add([new_task(options=options)])
    await store.cancel(task.id)
    [(host,)] = connection.execute("SELECT host FROM taskflow_tasks WHERE queue = 'callbacks'")
    assert host is None


async def test_the_size_of_a_callback_is_that_of_its_documents(store, connection):
    """Pages and deletions are bounded by it."""
    [task] = await store.add([told(payload='"' + "é" * 1000 + '"')])
    await store.cancel(task.id)
    [(size, length)] = connection.execute(
        "SELECT size_bytes, octet_length(payload::text) + octet_length(options::text) "
        "FROM taskflow_tasks WHERE queue = 'callbacks'"
    )
    assert size == length > 2000


async def test_concurrent_cancels_in_any_order(store):
    """Concurrent cancels of the same tasks succeed, with one callback for each."""
    await store.record_events()
    tasks = await store.add([told() for _ in range(60)])
    ids = [task.id for task in tasks]
    canceled = []

    async def cancel(some):
        canceled.append(await store.cancel_many(some))

    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            for some in (ids, ids[::-1], ids[30:] + ids[:30], ids[::2]):
                nursery.start_soon(cancel, some)
    assert sum(map(len, canceled)) == 60
    page = await store.page(limit=200)
    assert sorted(t.callback_of for t in page.tasks if t.callback_of) == ids


@pytest.fixture
def small_budget(monkeypatch):
    """Two tasks of ``large`` fill it."""
    monkeypatch.setattr(StorePart, "copied_budget_bytes", 15_000)


def large(**fields):
    return told(payload='"' + "x" * 10_000 + '"', **fields)


def commits(connection) -> int:
    """By how many statements tasks were ended."""
    query = "SELECT count(DISTINCT finished_at) FROM taskflow_tasks"  # when each began
    [(count,)] = connection.execute(query)
    return count


async def test_large_cancels_are_divided(store, connection, small_budget):
    """Large cancels are divided, so that each ends in time; tasks without callbacks share one."""
    tasks = await store.add([large() for _ in range(5)])
    tasks += await store.add([new_task(payload='"' + "x" * 10_000 + '"') for _ in range(5)])
    over = await store.add([new_task()])
    await store.cancel(over[0].id)
    ids = [task.id for task in tasks]
    assert await store.cancel_many([over[0].id, *ids]) == set(ids)
    assert commits(connection) == 1 + 3
    [(count,)] = connection.execute("SELECT count(*) FROM taskflow_tasks WHERE queue = 'callbacks'")
    assert count == 5


async def test_large_tasks_expire_by_portions(store, small_budget):
    """The next ones go with the next call."""
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    await store.add([large(expires_at=past) for _ in range(5)])
    assert [await store.expire(limit=100) for _ in range(4)] == [2, 2, 1, 0]


async def test_large_rescues_are_divided(store, connection, small_budget):
    """Rescues are divided, too, whether tasks are released or fail as poison."""
    await store.add([large() for _ in range(5)])
    node = await store.register("dead", lease_seconds=60)
    assert len(await store.claim(node, limit=5)) == 5
    connection.execute("DELETE FROM taskflow_nodes")
    rescued = [await store.rescue(limit=100, max_rescues=1) for _ in range(4)]
    assert [len(one.poisoned) for one in rescued] == [2, 2, 1, 0]


async def test_a_task_from_before_signed_requests(empty_database_url, monkeypatch):
    """Its callback has all fields that the task shows, whichever version stored it."""
    with monkeypatch.context() as patch:
        before = list(itertools.takewhile(lambda step: step.name != "sign", migrations()))
        patch.setattr(migrate, "migrations", lambda: before)
        patch.setattr(migrate, "refuse_unfit", lambda _unfit: None)  # it checks the newest schema
        await migrate.migrate_database(empty_database_url, timeout_seconds=10.0)
    with psycopg.connect(empty_database_url, autocommit=True) as old:
        [(task_id,)] = old.execute(STORE, [msgspec.json.encode(OPTIONS).decode()])
    await migrate.migrate_database(empty_database_url, timeout_seconds=10.0)
    async with open_postgres(empty_database_url, SETTINGS) as store:
        ended = await store.cancel(task_id)
        callback = await store.get(ended.callback_id)
    assert bytes(request_of(callback)["body"]) == msgspec.json.encode(ended)
    assert ended.sign is None
