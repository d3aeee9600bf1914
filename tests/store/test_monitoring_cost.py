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
    "host_held": 10,
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
    "host_held": {"host": "1.example"},
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
    assert plan["Actual Rows"] > 0 or name in ("hosts_held", "host_held")


def test_pending_tasks_of_a_host(full_table):
    """One descent for each queue, and a bounded number of rows of each: not the whole backlog."""
    with full_table.transaction(force_rollback=True):
        full_table.execute(
            "INSERT INTO taskflow_tasks (status, size_bytes, payload, authority, queue) "
            "SELECT 'PENDING', 9, '1', 'busy.example', 'q' || n % 20 "
            "FROM generate_series(1, 40000) AS n"
        )
        full_table.execute("ANALYZE taskflow_tasks")
        parameters = {"host": "busy.example", "queues": 10, "limit": 100}
        statement = load_queries()["waiting_for_host"]
        found = full_table.execute(statement, parameters).fetchall()
        assert [count for _, count, _ in found] == [100] * 9  # "default" has none for this host
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {statement}"
        [[[reported]]] = full_table.execute(explain, parameters).fetchall()
        plan = reported["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 2_500, plan


def test_the_history_of_a_schedule(full_table):
    """By keys, however many runs of other schedules there are."""
    with full_table.transaction(force_rollback=True):
        full_table.execute(
            "INSERT INTO taskflow_schedules (name, definition, size_bytes, anchor_at, created_at,"
            " updated_at) SELECT 's' || n, '{}', 2, now(), now(), now()"
            " FROM generate_series(1, 300) n"
        )
        full_table.execute(
            "INSERT INTO taskflow_schedule_runs (schedule, at, kind, task_id)"
            " SELECT 's' || s, now() - make_interval(mins => n), 'scheduled', t.id"
            " FROM generate_series(1, 300) s, generate_series(1, 100) n,"
            " LATERAL (SELECT id FROM taskflow_tasks LIMIT 1) t"
        )
        full_table.execute("ANALYZE taskflow_schedule_runs")
        for name, parameters, most in (
            ("schedule_runs", {"name": "s7", "limit": 25}, 300),
            (
                "record_runs",
                {
                    "names": ["s7"],
                    "ats": ["2026-01-01T00:00:00Z"],
                    "kinds": ["scheduled"],
                    "task_ids": [None],
                    "counts": [1],
                    "kept": 100,
                },
                60,
            ),
        ):
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {load_queries()[name]}"
            [[[reported]]] = full_table.execute(explain, parameters).fetchall()
            plan = reported["Plan"]
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= most, (name, plan)
