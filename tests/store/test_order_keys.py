"""Order keys in PostgreSQL: steps that others left, nodes at the same moment, rows of others."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
import trio

from taskflow.settings import Settings
from taskflow.store.postgres import promoter
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import completed, failed, new_task
from tests.store.order_keys_contract import holding, ids_of, ordered

SETTINGS = Settings(database_timeout_seconds=5.0, database_connections=3)
# As nodes of earlier versions retry: they know of no order keys.
FORMER_RETRY = """
UPDATE taskflow_tasks
SET status = 'PENDING', run_at = now(), attempt = 0, error = NULL, error_type = NULL,
    started_at = NULL, finished_at = NULL
WHERE id = %s
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


@pytest.fixture
async def node(store):
    return await store.register("here", lease_seconds=30)


async def claimed(store, node):
    """Claim what can start, once the keys that are free have started their tasks."""
    await store.promote()
    return await store.claim(node, limit=100)


async def test_steps_of_others_are_swept(store, connection, monkeypatch, node):
    """A task that another program finished frees its key, without any notification."""
    monkeypatch.setattr(promoter, "SWEEP_SECONDS", 0.05)
    tasks = await store.add([ordered(), ordered()])
    [claim] = await claimed(store, node)
    connection.execute(
        "UPDATE taskflow_tasks SET status = 'CANCELED', finished_at = now(), claim_token = NULL, "
        "node_id = NULL WHERE id = %s",
        [claim.task_id],
    )
    with trio.fail_after(60):
        while not (found := await store.claim(node, limit=9)):
            await store.wait_for_work()
    assert [one.task_id for one in found] == [tasks[1].id]


async def test_nothing_is_left(store, connection, node):
    """Steps are taken, and a deleted task leaves no row behind."""
    tasks = await store.add([ordered("a"), holding(key="b")])
    claims = await claimed(store, node)
    await store.settle([completed(claims[0]), failed(claims[1])])
    assert await store.delete_many(ids_of(tasks)) == set(ids_of(tasks))
    await store.promote()
    for table in ("taskflow_ordered", "taskflow_order_steps"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_a_locked_task_delays_its_own_key_only(store, connection, node):
    """A transaction of another program has locked the next task: other keys start theirs."""
    tasks = await store.add([ordered("a"), ordered("a")])
    [claim] = await claimed(store, node)
    with connection.transaction():
        connection.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [tasks[1].id])
        await store.settle([completed(claim)])
        others = await store.add([ordered(f"{key}") for key in range(3)])
        with trio.fail_after(60):
            assert {one.task_id for one in await claimed(store, node)} == set(ids_of(others))
    assert [one.task_id for one in await claimed(store, node)] == [tasks[1].id]


async def test_several_nodes_promote_at_once(database_url):
    """Of each key, one task is started, whichever of the nodes is first."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(open_postgres(database_url, SETTINGS)) for _ in range(3)
        ]
        node = await stores[0].register("here", lease_seconds=30)
        keys, each = 40, 3
        for _ in range(each):
            async with trio.open_nursery() as nursery:
                for place, store in enumerate(stores):
                    new = [ordered(f"{key}") for key in range(keys) if key % 3 == place]
                    nursery.start_soon(store.add, new)
        for turn in range(each):
            async with trio.open_nursery() as nursery:
                for store in stores:
                    nursery.start_soon(store.promote)
            claims = await stores[turn].claim(node, limit=keys * each)
            assert len(claims) == keys
            async with trio.open_nursery() as nursery:
                for place, store in enumerate(stores):
                    part = [completed(claim) for claim in claims[place::3]]
                    nursery.start_soon(store.settle, part)


async def test_a_task_that_is_stored_late_starts_next(store, database_url, node):
    """It took its place in an open transaction, and others started meanwhile: none at its side."""
    with psycopg.connect(database_url) as late:
        with late.transaction():
            [first] = store.insert(late, [ordered()])
            others = await store.add([ordered(), ordered()])
            [claim] = await claimed(store, node)
            assert claim.task_id == others[0].id
        assert await claimed(store, node) == []
        await store.settle([completed(claim)])
    for task in (first, others[1]):
        [claim] = await claimed(store, node)
        assert claim.task_id == task.id
        await store.settle([completed(claim)])


async def test_one_statement_of_two_that_choose_different_tasks_fails(store, connection):
    """The index of started tasks lets no second task of a key start, on any node."""
    tasks = await store.add([ordered(), ordered()])
    await store.promote()
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            "UPDATE taskflow_ordered SET state = 'started' WHERE task_id = %s", [tasks[1].id]
        )


async def test_a_row_that_cannot_be_written_delays_no_other_key(store, connection, node):
    """Its step is given up after a few attempts; tasks of other keys in the same batch start."""
    connection.execute(
        "ALTER TABLE taskflow_tasks ADD CHECK (order_key <> 'bad' OR waiting_for IS NOT NULL)"
    )
    _, good = await store.add([ordered("bad"), ordered("good")])
    assert [claim.task_id for claim in await claimed(store, node)] == [good.id]
    assert connection.execute("SELECT count(*) FROM taskflow_order_steps").fetchone() == (0,)


async def test_a_retry_by_an_earlier_version_waits_for_its_turn(store, connection, node):
    """Its node sets the task PENDING and due: a trigger puts it into its line."""
    first, second = await store.add([ordered(), ordered()])
    [claim] = await claimed(store, node)
    await store.settle([failed(claim)])
    [claim] = await claimed(store, node)
    connection.execute(FORMER_RETRY, [first.id])
    assert await claimed(store, node) == []
    assert (await store.get(first.id)).waiting_for.task_id == second.id
    await store.settle([completed(claim)])
    [claim] = await claimed(store, node)
    assert claim.task_id == first.id


async def test_waiting_tasks_are_not_read_by_claims(store, connection, node):
    """Neither by claims nor by the look for the next due task, however many wait."""
    await store.add([ordered() for _ in range(1_000)])
    await store.promote()
    [claim] = await store.claim(node, limit=9)
    assert await store.claim(node, limit=9) == []
    [later] = await store.add([new_task(delay_seconds=3600)])
    rows = await store._statements.run("next_due", priorities=[0], since=None)
    assert 3500 < rows[0][0] <= 3600
    assert claim.task_id != later.id
