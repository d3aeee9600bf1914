"""Graphs in PostgreSQL: transactions that add children, finish parents and promote at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import trio

from taskflow.client.errors import Unprocessable
from taskflow.client.options import Submission
from taskflow.enqueuing import enqueue, enqueue_many
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.postgres import claim_position, graph_promoter, promoter
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import completed, failed, new_task
from tests.store.graphs_contract import UNKNOWN, ids_of, node_of

SETTINGS = Settings(database_timeout_seconds=5.0, database_connections=3)
FINISH = """
UPDATE taskflow_tasks
SET status = 'COMPLETED', finished_at = now(), result = '{}', claim_token = NULL, node_id = NULL
WHERE id = %s
"""
# As nodes of earlier versions retry: they know of no parents.
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
def connection(database_url) -> Iterator[psycopg.Connection]:
    """A connection to the same database, beside the store's."""
    with psycopg.connect(database_url) as connection:
        yield connection


@pytest.fixture
async def node(store):
    return await store.register("here", lease_seconds=30)


async def claimed(store, node):
    """Claim what can start."""
    await store.promote()
    return await store.claim(node, limit=100)


async def until_claimed(store, node):
    """Claim the next task that can start, once a promoter that runs by itself has started it."""
    with trio.fail_after(60):
        while not (found := await store.claim(node, limit=9)):
            await store.wait_for_work()
    return found


async def test_steps_of_others_are_swept(store, connection, monkeypatch, node):
    """A task that another program finished starts its child, without any notification."""
    monkeypatch.setattr(promoter, "SWEEP_SECONDS", 0.05)
    _, child = await store.add([node_of("a"), node_of("b", "a")])
    [claim] = await claimed(store, node)
    connection.execute(FINISH, [claim.task_id])
    connection.commit()
    assert [one.task_id for one in await until_claimed(store, node)] == [child.id]


async def test_nothing_is_left(store, connection, node):
    """Steps are taken, and edges are deleted with the children."""
    tasks = await store.add([node_of("a"), node_of("b", "a"), node_of("c", "b")])
    await store.settle([failed(one) for one in await claimed(store, node)])
    await store.promote()
    assert await store.delete_many(ids_of(tasks)) == set(ids_of(tasks))
    await store.promote()
    for table in ("taskflow_edges", "taskflow_graph_steps"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_a_parent_finishes_while_a_child_joins(store, connection, node):
    """The end is not committed when the child looks for its parent: it counts when it is."""
    [parent] = await store.add([new_task()])
    [claim] = await claimed(store, node)
    connection.execute(FINISH, [claim.task_id])
    [child] = await store.add([node_of(None, parent.id)])
    assert await claimed(store, node) == []
    connection.commit()
    assert [one.task_id for one in await until_claimed(store, node)] == [child.id]


async def test_a_parent_that_a_claim_passed_over_is_announced(store, connection, monkeypatch, node):
    """While it learns of its child it is locked, and a claim takes later tasks."""
    monkeypatch.setattr(claim_position, "SURVEY_SECONDS", 30.0)
    assert await store.claim(node, limit=9) == []  # surveys
    [parent] = await store.add([new_task()])
    [later] = await store.add([new_task()])
    connection.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [parent.id])
    assert [one.task_id for one in await store.claim(node, limit=9)] == [later.id]
    connection.commit()
    assert await store.claim(node, limit=9) == []
    await store.add([node_of(None, parent.id)])
    assert [one.task_id for one in await claimed(store, node)] == [parent.id]


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "rolled back"])
async def test_children_of_transactions_of_callers(store, connection, node, is_committed):
    """The parent can finish while the transaction is open, which locks nothing."""
    [parent] = await store.add([new_task()])
    [claim] = await claimed(store, node)
    child = enqueue(connection, "http://example.com/", after=[parent.id])
    assert child.after == (parent.id,)
    await store.settle([completed(claim)])
    assert await claimed(store, node) == []
    (connection.commit if is_committed else connection.rollback)()
    if is_committed:
        assert [one.task_id for one in await until_claimed(store, node)] == [child.id]
    else:
        assert await claimed(store, node) == []


async def test_parents_that_a_caller_does_not_find(store, connection, node):
    """Nothing is stored, and the transaction is unchanged; a repeated call finds its tasks."""
    parent = enqueue(connection, "http://example.com/")
    connection.commit()
    with pytest.raises(Unprocessable) as caught:
        enqueue(connection, "http://example.com/", after=[UNKNOWN])
    assert [error.pointer for error in caught.value.errors] == ["#/after/0"]
    with pytest.raises(Unprocessable):
        enqueue(connection, "http://example.com/", after=["a"])
    items = [Submission("http://example.com/", name="a", after=["a"])]
    with pytest.raises(Unprocessable, match="a -> a"):
        enqueue_many(connection, items)
    first = enqueue(connection, "http://example.com/", after=[parent.id], idempotency_key="k")
    connection.commit()
    await store.settle([completed(one) for one in await claimed(store, node)])
    assert await store.delete(parent.id)
    again = enqueue(connection, "http://example.com/", after=[parent.id], idempotency_key="k")
    assert (again.id, again.after) == (first.id, (parent.id,))


async def test_graphs_of_transactions_of_callers(store, connection, node):
    """An array that a transaction of a caller enqueues is a graph like any other."""
    items = [
        Submission("http://example.com/2", name="b", after=["a"]),
        Submission("http://example.com/1", name="a"),
    ]
    second, first = enqueue_many(connection, items)
    connection.commit()
    assert second.after == (first.id,)
    claims = await claimed(store, node)
    assert [claim.task_id for claim in claims] == [first.id]
    await store.settle([completed(claim) for claim in claims])
    assert [one.task_id for one in await claimed(store, node)] == [second.id]


async def test_a_locked_child_delays_itself_only(store, connection, monkeypatch, node):
    """A transaction of another program has locked a child: the others start."""
    monkeypatch.setattr(promoter, "SWEEP_SECONDS", 600.0)
    new = [node_of("a"), *(node_of(None, "a") for _ in range(3))]
    _, locked, *others = await store.add(new)
    claims = await claimed(store, node)
    connection.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [locked.id])
    await store.settle([completed(claim) for claim in claims])
    assert {one.task_id for one in await claimed(store, node)} == set(ids_of(others))
    connection.rollback()
    assert [one.task_id for one in await until_claimed(store, node)] == [locked.id]


async def test_many_children_in_portions(store, monkeypatch, node):
    """The children of a task are started, and canceled, some at a time."""
    monkeypatch.setattr(graph_promoter, "MAX_CHILDREN_AT_ONCE", 7)
    new = [
        node_of("good"),
        node_of("bad"),
        *(node_of(None, "good") for _ in range(30)),
        *(node_of(f"child{n}", "bad") for n in range(30)),
        *(node_of(None, f"child{n}") for n in range(30)),
    ]
    good, bad, *rest = await store.add(new)
    claims = {claim.task_id: claim for claim in await claimed(store, node)}
    await store.settle([completed(claims[good.id]), failed(claims[bad.id])])
    started = await claimed(store, node)
    assert {one.task_id for one in started} == set(ids_of(rest[:30]))
    found = {task.id: task.status for task in await store.get_many(ids_of(rest[30:]))}
    assert set(found.values()) == {TaskStatus.CANCELED}


async def test_several_nodes_promote_at_once(database_url):
    """Of many parents of a task, each counts once, whichever nodes take their steps."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(open_postgres(database_url, SETTINGS)) for _ in range(3)
        ]
        node = await stores[0].register("here", lease_seconds=30)
        names = [f"p{n}" for n in range(60)]
        new = [*map(node_of, names), *(node_of(None, *names) for _ in range(5))]
        children = (await stores[0].add(new))[60:]
        claims = await stores[0].claim(node, limit=100)
        assert len(claims) == 60

        async def finish(store, some):
            for claim in some:
                await store.settle([completed(claim)])
                await store.promote()

        async with trio.open_nursery() as nursery:
            for place, store in enumerate(stores):
                nursery.start_soon(finish, store, claims[place::3])
        with trio.fail_after(60):
            started = []
            while len(started) < 5:
                started += await claimed(stores[0], node)
        assert {one.task_id for one in started} == set(ids_of(children))


async def test_a_retry_of_an_earlier_version(store, connection, node):
    """A child that such a node retries waits for its parents nevertheless."""
    parent, child = await store.add([node_of("a"), node_of("b", "a")])
    await store.settle([failed(one) for one in await claimed(store, node)])
    await store.promote()
    for task in (parent, child):
        connection.execute(FORMER_RETRY, [task.id])
    connection.commit()
    claims = await claimed(store, node)
    assert [one.task_id for one in claims] == [parent.id]
    await store.settle([completed(one) for one in claims])
    assert [one.task_id for one in await claimed(store, node)] == [child.id]


async def test_a_parent_that_another_program_deletes(store, connection, node):
    """Deleted before it has finished, it counts as canceled."""
    parent, child = await store.add([node_of("a"), node_of("b", "a")])
    connection.execute("DELETE FROM taskflow_tasks WHERE id = %s", [parent.id])
    connection.commit()
    await store.promote()
    found = await store.get(child.id)
    assert (found.status, found.error) == (
        TaskStatus.CANCELED,
        f"parent failed: the task {parent.id} is CANCELED",
    )


async def test_a_child_that_cannot_be_started(store, connection, node):
    """A row that no version wrote is given up; other children start."""
    new = [node_of("a"), node_of("b"), node_of("c", "a", delay_seconds=1.0), node_of("d", "b")]
    *_, broken, child = await store.add(new)
    connection.execute(
        'UPDATE taskflow_tasks SET options = \'{"delay_after_parents": "x"}\' WHERE id = %s',
        [broken.id],
    )
    connection.commit()
    await store.settle([completed(one) for one in await claimed(store, node)])
    assert [one.task_id for one in await claimed(store, node)] == [child.id]


async def test_canceled_children_with_callbacks(store, monkeypatch, node):
    """What is copied into callbacks is limited in each transaction."""
    monkeypatch.setattr(graph_promoter, "COPIED_BUDGET_BYTES", 3)
    children = [node_of(None, "a", callback_url="http://example.com/finished") for _ in range(3)]
    _, *rest = await store.add([node_of("a"), *children])
    await store.settle([failed(one) for one in await claimed(store, node)])
    with trio.fail_after(60):
        while {task.status for task in await store.get_many(ids_of(rest))} != {TaskStatus.CANCELED}:
            await store.promote()
    found = await store.get_many(ids_of(rest))
    assert all(task.callback_id is not None for task in found)
