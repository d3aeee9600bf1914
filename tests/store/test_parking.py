"""Parked attempts in PostgreSQL: nothing of them is left, and idle they cost nothing."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from functools import partial
from importlib.resources import files

import psycopg
import pytest
import trio

from taskflow.model.completion import PARKED_NODE
from taskflow.model.monitoring import LISTED_TASKS
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.listing import MAX_RUNNING_SCANNED
from taskflow.store.postgres.migrate import migrate_database
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.store import open_postgres
from tests.api.conftest import open_database
from tests.store.contract import completed, failed, new_task, released
from tests.store.parking_contract import HOUR, URL, key_of, parking, retry_of, slow_task

SETTINGS = Settings(database_timeout_seconds=5.0, database_connections=3)
ROWS = 100_000
LIMIT = 100
FILL = """
WITH made AS (
    INSERT INTO taskflow_tasks (status, size_bytes, payload, started_at, authority, queue, node_id,
                                node, claim_token, attempt)
    SELECT 'RUNNING', 40, '"http://127.0.0.1/"', now(), n % 1000 || '.example', 'slow',
           'ffffffff-ffff-ffff-ffff-ffffffffffff', 'here', gen_random_uuid(), 1
    FROM generate_series(1, 100000) AS n
    RETURNING id, claim_token, queue
)
INSERT INTO taskflow_parked (task_id, token, queue, due_at, overdue_at)
SELECT id, claim_token, queue, at, at FROM (
    SELECT *, now() + interval '1 hour' + row_number() OVER () * interval '1 ms' AS at FROM made
) AS parked
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


async def park(store, node, **fields):
    """Park a new task, and return its claim."""
    await store.add([slow_task()])
    [claim] = await store.claim(node, limit=1)
    assert await store.parking.park([parking(claim, **fields)]) == {claim.task_id}
    return claim


def rows_of(connection) -> int:
    [(count,)] = connection.execute("SELECT count(*) FROM taskflow_parked").fetchall()
    return count


@pytest.mark.parametrize(
    "end",
    [
        lambda store, claim: store.settle([completed(claim)]),
        lambda store, claim: store.settle([failed(claim)]),
        lambda store, claim: store.schedule_retries([retry_of(claim)]),
        lambda store, claim: store.release([released(claim)]),
        lambda store, claim: store.cancel(claim.task_id),
        lambda store, claim: store.cancel_many([claim.task_id]),
    ],
)
async def test_the_end_of_an_attempt_leaves_no_row(store, connection, node, end):
    """Its row goes in the transaction that ends it; that of another one stays."""
    claim = await park(store, node)
    await park(store, node)
    assert rows_of(connection) == 2
    await end(store, claim)
    assert rows_of(connection) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM taskflow_tasks",
        "TRUNCATE taskflow_tasks CASCADE",
        # As the rescue of a node of an earlier version, if the row of the parked ones is gone.
        "UPDATE taskflow_tasks SET status = 'PENDING', node_id = NULL, claim_token = NULL",
    ],
)
async def test_changes_by_others_leave_no_row(store, connection, node, statement):
    """Whoever deletes the tasks, or takes them."""
    await park(store, node)
    connection.execute(statement)
    assert rows_of(connection) == 0
    assert await store.parking.seconds_to_next() is None


async def test_rows_without_their_attempt_are_deleted(store, connection, node):
    """They are left after a restore without triggers: of no task, and of an earlier attempt."""
    claim = await park(store, node, within_seconds=0.0)
    rows = "SELECT %s, gen_random_uuid(), 'default', now(), now()"
    insert = "INSERT INTO taskflow_parked (task_id, token, queue, due_at, overdue_at) " + rows
    connection.execute(insert, [uuid.uuid4()])
    await store.add([slow_task()])
    [running] = await store.claim(node, limit=1)
    connection.execute(insert, [running.task_id])
    due = await store.parking.take_due(limit=9, take_seconds=HOUR)
    assert [one.claim.task_id for one in due] == [claim.task_id]
    assert rows_of(connection) == 1
    connection.execute(insert, [running.task_id])  # its own takes the place of that one
    await store.parking.park([parking(running, 2 * HOUR)])
    await store.settle([completed(claim)])
    assert await store.parking.seconds_to_next() > HOUR


async def test_attempts_without_a_row_end(store, connection, node):
    """A restore without this table leaves parked tasks, which nothing else would end."""
    lost, stale, kept = [await park(store, node) for _ in range(3)]
    connection.execute("DELETE FROM taskflow_parked WHERE task_id = %s", [lost.task_id])
    update = "UPDATE taskflow_parked SET token = gen_random_uuid() WHERE task_id = %s"
    connection.execute(update, [stale.task_id])
    await store.add([slow_task()])
    [running] = await store.claim(node, limit=1)
    with trio.move_on_after(0.05):  # what was parked so far
        await store.parking.wait_for_parked()
    assert await store.parking.end_unrecorded(limit=9) == 2
    await store.parking.wait_for_parked()
    due = await store.parking.take_due(limit=9, take_seconds=HOUR)
    assert all(one.is_overdue for one in due)
    assert {one.claim.key for one in due} == {lost.key, stale.key}
    assert await store.parking.end_unrecorded(limit=9) == 0
    assert await store.lost_claims([kept.key, running.key]) == set()


async def test_a_poll_does_not_write_the_task(store, connection, node):
    """An attempt that is parked again changes one small row."""
    claim = await park(store, node, poll_url=URL)
    version = "SELECT ctid::text FROM taskflow_tasks"
    [before] = connection.execute(version).fetchall()
    assert await store.parking.park([parking(claim, poll_url=URL)]) == {claim.task_id}
    assert connection.execute(version).fetchall() == [before]
    await store.parking.extend(key_of(claim), HOUR)
    assert connection.execute(version).fetchall() == [before]


async def test_the_row_of_their_node(store, connection, node):
    """It appears with the first one, lives on, and is no node for new nodes."""
    names = "SELECT name FROM taskflow_nodes WHERE expires_at > now() ORDER BY name"
    assert connection.execute(names).fetchall() == [("here",)]
    await park(store, node)
    assert connection.execute(names).fetchall() == [("here",), ("parked",)]
    await park(store, node)
    await store.rescue(limit=10, max_rescues=5)
    assert connection.execute(names).fetchall() == [("here",), ("parked",)]
    assert [one.name for one in await store.monitoring.nodes(limit=10)] == ["here"]
    [(living, _)] = connection.execute(load_queries()["living_nodes"]).fetchall()
    assert living == 1


async def test_rescues_do_without_that_row(store, connection, node):
    """A parked task is not rescued even if somebody has emptied the table of nodes."""
    claim = await park(store, node)
    connection.execute("DELETE FROM taskflow_nodes")
    rescued = await store.rescue(limit=10, max_rescues=5)
    assert (rescued.pending, rescued.poisoned) == ([], [])
    assert (await store.get(claim.task_id)).status is TaskStatus.RUNNING


async def test_tasks_are_not_announced_to_it(store, database_url, node):
    """While all other nodes are in this process, new tasks cause no notification."""
    claim = await park(store, node)
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("LISTEN taskflow_work")
        await store.add([new_task(), new_task(order_key="k")])
        await store.promote()
        await store.settle([completed(claim)])
        listening.execute("SELECT pg_notify('taskflow_work', 'end')")
        [first] = listening.notifies(timeout=30, stop_after=1)
    assert first.payload == "end"


def test_the_node_is_the_same_everywhere():
    """Statements and the migration have the constant of the model."""
    migration = files("taskflow.store.postgres").joinpath("migrations/0030_parked.sql").read_text()
    texts = [*load_queries().values(), migration]
    found = {match for text in texts for match in re.findall(r"'(f{8}-[^']*)'", text)}
    assert found == {str(PARKED_NODE)}


async def test_a_queue_counts_no_more_than_its_limit(store, connection, node):
    """However many of its attempts are parked, and whatever limits other queues have."""
    connection.execute(FILL.replace("100000", "500"))
    await store.queues.put("slow", QueueSettings(max_concurrency=3))
    await store.queues.put("other", QueueSettings(max_concurrency=2))
    await store.add([new_task(queue=name) for name in ("slow", "other", "other", "other")])
    claims = await store.claim(node, limit=9)
    assert [claim.queue for claim in claims] == ["other", "other"]
    await store.queues.put("slow", QueueSettings(max_concurrency=501))
    assert [claim.queue for claim in await store.claim(node, limit=9)] == ["slow"]


# A row is one page of a table and two of an index at most; a scan of the table takes 3,000.
MAX_BUFFERS = {
    "renew_if_alive": 20,
    "release_if_unknown": 20,
    "retire": 20,
    "rescue_if_dead": 20,
    "delete_dead_nodes": 20,
    "running": 50 + 3 * LIMIT,
    "running_by_host": 20,
    "list_nodes": 20,
    "take_due_parked": 20,
    "next_due_parked": 20,
}
SOME_NODE = {"id": uuid.UUID(int=2**127)}
PARAMETERS = {
    "renew_if_alive": SOME_NODE,
    "release_if_unknown": {
        **SOME_NODE,
        "before": dt.datetime.now(dt.UTC),
        "tokens": [uuid.uuid4()],
        "sender": "",
    },
    "retire": {**SOME_NODE, "sender": ""},
    "rescue_if_dead": {"limit": 100, "max_rescues": 5, "budget_bytes": 2**23},
    "running": {"queues": ["slow"], "limits": [LIMIT]},
    "running_by_host": {"limit": MAX_RUNNING_SCANNED},
    "list_nodes": {"limit": 1000, "tasks": LISTED_TASKS},
    "take_due_parked": {"limit": 100, "take_seconds": 60.0},
}


@pytest.fixture(scope="module")
def many_parked(postgres_server):
    """A connection to a database with 100,000 parked tasks, and what the planner knows of them."""
    with open_database(postgres_server) as url:
        timeout_seconds = Settings().database_timeout_seconds
        trio.run(partial(migrate_database, url, timeout_seconds=timeout_seconds))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER TABLE taskflow_tasks SET (autovacuum_enabled = off)")
            connection.execute(
                "INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at)"
                " VALUES (gen_random_uuid(), 'here', 30, now() + interval '1 hour'),"
                " (gen_random_uuid(), 'dead', 30, now() - interval '1 hour'),"
                " ('ffffffff-ffff-ffff-ffff-ffffffffffff', 'parked', 1, taskflow_never())"
            )
            connection.execute(FILL)
            yield connection


@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.parametrize("name", MAX_BUFFERS)
def test_idle_they_cost_nothing(many_parked, name, is_analyzed):
    """What a node does all the time reads none of 100,000, whatever statistics there are."""
    if is_analyzed:
        many_parked.execute("ANALYZE taskflow_tasks, taskflow_parked, taskflow_nodes")
    statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {load_queries()[name]}"
    with many_parked.transaction(force_rollback=True):
        [[[reported]]] = many_parked.execute(statement, PARAMETERS.get(name)).fetchall()
    plan = reported["Plan"]
    buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert buffers <= MAX_BUFFERS[name], json.dumps(plan, indent=1)


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_step_reads_what_it_takes(many_parked, is_analyzed):
    """Of 100,000 that are due at once, a step reads no more than its share."""
    with many_parked.transaction(force_rollback=True):
        many_parked.execute("UPDATE taskflow_parked SET due_at = due_at - interval '1 day'")
        if is_analyzed:
            many_parked.execute("ANALYZE taskflow_tasks, taskflow_parked")
        statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {load_queries()['take_due_parked']}"
        [[[reported]]] = many_parked.execute(statement, PARAMETERS["take_due_parked"]).fetchall()
    plan = reported["Plan"]
    assert plan["Actual Rows"] == LIMIT
    buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert buffers <= 40 * LIMIT, json.dumps(plan, indent=1)
