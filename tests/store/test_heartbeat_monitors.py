"""Heartbeats of jobs in PostgreSQL: the cost of a check, and rows that cannot be checked."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from taskflow.model.heartbeat_monitors import NewPing
from taskflow.settings import Settings
from taskflow.store.postgres.store import open_postgres
from tests.store.heartbeats_contract import HASTY, heartbeat, put

ROWS = (
    "INSERT INTO taskflow_heartbeat_monitors (name, ping_id, description, every_seconds, timezone,"
    " grace_seconds, paused, state, state_since, expected_at, ping_count, transition_count,"
    " created_at, updated_at, next_check_at)"
    " SELECT 'n' || n, gen_random_uuid(), '', 60, 'UTC', 60, false, 'up', now(), now(), 1, 1,"
    " now(), now(), now() + n * interval '1 min' FROM generate_series(1, 10000) AS n"
)


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, Settings(database_connections=2)) as store:
        yield store


@pytest.fixture
def connection(store, database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


async def test_the_cost_of_a_check_and_of_a_ping_is_constant(store, connection):
    """That nothing is due, when something will be, and whose a URL is, is read off an index."""
    connection.execute(ROWS)
    connection.execute("VACUUM ANALYZE taskflow_heartbeat_monitors")
    [(now,)] = connection.execute("SELECT now()").fetchall()
    for name, parameters in {
        "next_heartbeat_deadline": {},
        "hold_due_heartbeats": {"now": now, "limit": 100},
        "hold_heartbeat_watch": {},
        "hold_heartbeat_of_url": {"ping_id": uuid.uuid4()},
    }.items():
        plan = connection.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + store._statements.sql[name], parameters
        ).fetchone()[0]
        blocks = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
        assert blocks < 20, name


async def test_a_check_without_heartbeats_writes_nothing(store, connection):
    """Idle nodes cost no WAL. A watch that someone has deleted is made again when needed."""
    query = "SELECT xmin::text, checked_at FROM taskflow_heartbeat_watch"
    before = connection.execute(query).fetchall()
    await store.heartbeat_monitors.check_due(limit=10)
    assert connection.execute(query).fetchall() == before
    connection.execute("DELETE FROM taskflow_heartbeat_watch")
    await store.heartbeat_monitors.check_due(limit=10)
    assert connection.execute(query).fetchall() == []
    made = await put(store, heartbeat(**HASTY))
    await store.heartbeat_monitors.ping(made.ping_id, NewPing())
    await store.heartbeat_monitors.check_due(limit=10)
    assert len((await store.heartbeat_monitors.check_due(limit=10)).transitions) == 1


async def test_a_heartbeat_that_cannot_be_checked(store, connection):
    """It is reported and checked again later; the others are checked."""
    for name in ("a", "b"):
        made = await put(store, heartbeat(name, **HASTY))
        await store.heartbeat_monitors.ping(made.ping_id, NewPing())
    connection.execute("UPDATE taskflow_heartbeat_monitors SET state = 'odd' WHERE name = 'a'")
    checked = await store.heartbeat_monitors.check_due(limit=10)
    assert [one.name for one in checked.transitions] == ["b"]
    assert "cannot be read" in checked.errors["a"]
    assert await store.heartbeat_monitors.seconds_to_next() > 30
    page = await store.heartbeat_monitors.page(limit=10)
    assert [one.monitor.definition.name for one in page.monitors] == ["b"]
    await put(store, heartbeat("a"))
    assert (await store.heartbeat_monitors.get("a")).monitor.definition == heartbeat("a")
