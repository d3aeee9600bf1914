"""What monitoring costs PostgreSQL does not grow with the tasks: shown by its query plans."""

from __future__ import annotations

from functools import partial

import psycopg
import pytest
import trio

from taskflow.model.monitoring import HISTORY_MINUTES, LISTED_TASKS, SAMPLED_TASKS
from taskflow.settings import Settings
from taskflow.store.base.listing import MAX_RUNNING_SCANNED
from taskflow.store.postgres.migrate import migrate_database
from taskflow.store.postgres.rows import load_queries
from tests.api.conftest import open_database

ROWS = 100_000
RUNNING = 500
COUNTED = 1000

FILL = """
INSERT INTO taskflow_tasks (status, size_bytes, payload, result, started_at, finished_at, error,
                            error_type, authority, elapsed_ms, node_id, claim_token, attempt)
SELECT status, 400, to_json(repeat('x', 200)),
       CASE WHEN status = 'COMPLETED' THEN to_json(repeat('y', 200)) END,
       now(), CASE WHEN status IN ('COMPLETED', 'FAILED') THEN now() END,
       CASE WHEN status = 'FAILED' THEN 'error' END,
       CASE WHEN status = 'FAILED' THEN 'timeout' END, n || '.example', n,
       CASE WHEN status = 'RUNNING' THEN %(node)s::uuid END,
       CASE WHEN status = 'RUNNING' THEN gen_random_uuid() END, 1
FROM (
    SELECT n, CASE WHEN n <= %(running)s THEN 'RUNNING' WHEN n %% 3 = 0 THEN 'PENDING'
              WHEN n %% 3 = 1 THEN 'FAILED' ELSE 'COMPLETED' END AS status
    FROM generate_series(1, %(rows)s) AS n
) AS made
"""
NODE = "01900000-0000-4000-8000-000000000000"

# A row is one page of the table and one of the index at most; a scan of the table takes 8,000.
MAX_BUFFERS = {
    "list_nodes": 4 * RUNNING + 50,
    "newest_fetched": 4 * SAMPLED_TASKS + 50,
    "running_by_host": 2 * RUNNING + 50,
    "hosts_held": 10,
    "finished_by_minute": 50,
    # The due tasks, and the running ones.
    "count_states": 4 * COUNTED + 4 * RUNNING + 100,
    "count_states_of_queues": 4 * COUNTED + 4 * RUNNING + 100,
    "all_limits": 20,
}
PARAMETERS = {
    "list_nodes": {"limit": 1000, "tasks": LISTED_TASKS},
    "newest_fetched": {"limit": SAMPLED_TASKS},
    "running_by_host": {"limit": MAX_RUNNING_SCANNED},
    "hosts_held": {"limit": 100},
    "finished_by_minute": {"queue": None, "minutes": HISTORY_MINUTES},
    "count_states": {"limit": COUNTED, "queues": None},
    "count_states_of_queues": {"limit": COUNTED, "queues": ["default"]},
    "all_limits": {"limit": 100},
}


@pytest.fixture(scope="module")
def full_table(postgres_server):
    """A connection to a database with 100,000 tasks, of which one node runs some."""
    with open_database(postgres_server) as url:
        timeout_seconds = Settings().database_timeout_seconds
        trio.run(partial(migrate_database, url, timeout_seconds=timeout_seconds))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at) "
                "VALUES (%s, 'here', 30, now())",
                [NODE],
            )
            connection.execute(FILL, {"node": NODE, "running": RUNNING, "rows": ROWS})
            connection.execute("DELETE FROM taskflow_changes")
            connection.execute("VACUUM ANALYZE taskflow_tasks, taskflow_changes")
            yield connection


@pytest.mark.parametrize("name", MAX_BUFFERS)
def test_cost_is_bounded(full_table, name):
    """Only the pages that the result needs are read."""
    statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {load_queries()[name]}"
    [[[reported]]] = full_table.execute(statement, PARAMETERS[name]).fetchall()
    plan = reported["Plan"]
    buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert buffers <= MAX_BUFFERS[name], plan
    assert plan["Actual Rows"] > 0 or name == "hosts_held"
