"""What a page costs PostgreSQL does not grow with the table: shown by its own query plans."""

from __future__ import annotations

import uuid
from functools import partial

import psycopg
import pytest
import trio

from taskflow.settings import Settings
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.postgres.migrate import migrate_database
from taskflow.store.postgres.rows import load_queries
from tests.api.conftest import open_database

ROWS = 50_000
LIMIT = 100
NEWEST = uuid.UUID(int=2**128 - 1)
# A descent of each index, the tasks' own pages (neighbours share them, and the rare ones do
# not), and some slack for what the planner looks up. A scan of the table takes over a thousand.
MAX_BUFFERS = 3 * LIMIT

FILL = """
INSERT INTO taskflow_tasks (id, status, size_bytes, payload, result, finished_at, error, error_type)
SELECT
    ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    status, 400, to_json(repeat('x', 200)),
    CASE WHEN status = 'COMPLETED' THEN to_json(repeat('y', 200)) END,
    CASE WHEN status <> 'PENDING' THEN now() END,
    CASE WHEN status = 'FAILED' THEN 'error' END,
    CASE WHEN status = 'FAILED' THEN 'timeout' END
FROM generate_series(1, %(rows)s) AS n,
    LATERAL (SELECT CASE WHEN n %% 5000 = 7 THEN 'FAILED' WHEN n > 30000 THEN 'PENDING'
                    ELSE 'COMPLETED' END AS status) AS s
"""


def id_at(place: int) -> uuid.UUID:
    return uuid.UUID(f"01900000-0000-7000-8000-{place:012x}")


@pytest.fixture(scope="module")
def full_table(postgres_server):
    """A connection to a database with 50,000 tasks: ten FAILED, the newest 20,000 a backlog.

    So the statuses are not spread evenly, as they are not in life; the planner thinks they are.
    """
    with open_database(postgres_server) as url:
        trio.run(
            partial(migrate_database, url, timeout_seconds=Settings().database_timeout_seconds)
        )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL, {"rows": ROWS})
            connection.execute("VACUUM ANALYZE taskflow_tasks")
            yield connection


def plan_of(connection, query: str, before: uuid.UUID, status: str | None) -> dict:
    parameters = {
        "limit": LIMIT,
        "before": before,
        "status": status,
        "budget_bytes": PAGE_BUDGET_BYTES,
    }
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + load_queries()[query]
    [[[plan]]] = connection.execute(explain, parameters)
    return plan["Plan"]


def nodes_of(plan: dict):
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


@pytest.mark.parametrize(
    "before", [NEWEST, id_at(ROWS // 2), id_at(50)], ids=["head", "middle", "tail"]
)
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("page", None),
        ("page_by_status", "COMPLETED"),
        ("page_by_status", "PENDING"),
        ("page_by_status", "FAILED"),
        ("page_by_status", "CANCELED"),
    ],
)
def test_a_page_touches_few_buffers(full_table, query, status, before):
    """At the head, in the middle and at the tail, for common, rare and no tasks of a status."""
    plan = plan_of(full_table, query, before, status)
    buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert buffers <= MAX_BUFFERS
    # The periods of the archive are a few rows, and here none.
    nodes = [
        node for node in nodes_of(plan) if node.get("Relation Name") != "taskflow_archive_periods"
    ]
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    scans = [node for node in nodes if "Index Name" in node]
    assert {node["Index Name"] for node in scans} == {
        "taskflow_tasks_pkey" if status is None else "taskflow_tasks_by_status"
    }
    # No row more than the page needs is scanned, and none is discarded.
    assert all(node["Actual Rows"] <= LIMIT + 1 for node in scans)
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)


def test_reading_the_page_is_by_key(full_table):
    """The documents of a page are found by their keys, not by a scan."""
    ids = [id_at(n) for n in range(ROWS // 2, ROWS // 2 + LIMIT)]
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + load_queries()["read"]
    [[[plan]]] = full_table.execute(explain, {"ids": ids})
    plan = plan["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 5 * LIMIT
    assert "Seq Scan" not in {node["Node Type"] for node in nodes_of(plan)}
