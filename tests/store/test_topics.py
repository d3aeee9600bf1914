"""Topics in PostgreSQL: many endpoints, several nodes, and rows that go with their tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
import trio

from taskflow.model.filter import TaskFilter
from taskflow.model.topic_events import NewEvent
from taskflow.model.topics import MAX_ENDPOINTS, EndpointDefinition
from taskflow.settings import Settings
from taskflow.store.postgres.store import open_postgres
from tests.store.topics_contract import template_of
from tests.test_costs import foreground, statements_told

SETTINGS = Settings(database_timeout_seconds=10.0, database_connections=2)
EVENT = NewEvent(topic="orders", type="invoice.paid", data=msgspec.Raw(b'{"invoice":4711}'))
COPIES = """
    INSERT INTO taskflow_endpoints (topic, name, id, event_types, template, is_enabled, created_at,
                                    updated_at)
    SELECT topic, name || n, gen_random_uuid(), event_types, template, is_enabled, now(), now()
    FROM taskflow_endpoints, generate_series(1, %s) AS n
"""
# the topic, its endpoints, the event with its deliveries; a prepared statement stores the tasks
MAX_STATEMENTS = 3


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        await store.topics.put("orders", lambda _: "hooks")
        definition = EndpointDefinition(topic="orders", name="a", template=template_of("a"))
        await store.topics.change_endpoint("orders", "a", lambda _: definition)
        yield store


@pytest.fixture
def connection(database_url) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


async def test_an_event_for_as_many_endpoints_as_there_can_be(store, connection):
    """A fixed number of statements stores a delivery for each that is enabled."""
    connection.execute(COPIES, [MAX_ENDPOINTS - 1])
    connection.execute("UPDATE taskflow_endpoints SET is_enabled = false WHERE name = 'a7'")
    sent: list = []
    with statements_told(lambda query, params: sent.append((str(query), params))):
        added = await store.topics.publish(EVENT)
    mine = [query for query, _ in foreground(sent) if "taskflow_groups" not in query]
    assert len(mine) <= MAX_STATEMENTS, mine
    assert len(set(added.event.tasks)) == MAX_ENDPOINTS - 1
    rows = connection.execute("""
        SELECT t.options -> 'delivery' ->> 'endpoint', d.task_id = t.id
        FROM taskflow_tasks AS t LEFT JOIN taskflow_deliveries AS d
            ON d.endpoint_id = (t.options -> 'delivery' ->> 'endpoint_id')::uuid
    """).fetchall()
    names = {"a", *(f"a{number}" for number in range(1, MAX_ENDPOINTS))} - {"a7"}
    assert Counter(rows) == Counter((name, True) for name in names)


async def test_deliveries_go_with_their_tasks(store, connection):
    """Their rows in the table of deliveries, too."""
    count = "SELECT count(*) FROM taskflow_deliveries"
    for _ in range(3):
        await store.topics.publish(EVENT)
    ids = [task.id for task in (await store.page(limit=9)).tasks]
    await store.cancel_many(ids[:2])
    await store.delete_many(ids[:2])
    assert connection.execute(count).fetchone() == (1,)
    endpoint = await store.topics.endpoint("orders", "a")
    found = await store.page(limit=9, filter=TaskFilter(endpoint=endpoint.id))
    assert [task.id for task in found.tasks] == ids[2:]
    connection.execute("TRUNCATE taskflow_tasks CASCADE")
    assert connection.execute(count).fetchone() == (0,)


async def test_other_nodes_learn_of_changes(store, database_url):
    """By a notification: of a secret, of a failure, and of an endpoint that is deleted."""
    endpoint = await store.topics.endpoint("orders", "a")
    async with open_postgres(database_url, SETTINGS) as other:
        while not other.statistics().is_listening:
            await trio.sleep(0.01)
        for change in (
            lambda: store.topics.rotate_secret("orders", "a", b"x", overlap_seconds=1),
            lambda: store.topics.note_failure(endpoint.id, disable_after_seconds=60, reason=""),
            lambda: store.topics.note_success(endpoint.id),
            lambda: store.topics.delete_endpoint("orders", "a"),
        ):
            reading = other.topics.reading()
            await change()
            with trio.fail_after(30):
                while other.topics.is_fresh(reading, max_age_seconds=3600):
                    await trio.sleep(0.01)
