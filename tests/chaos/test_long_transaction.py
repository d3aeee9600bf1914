"""A transaction that stays open, so that nothing that is over can be cleaned away."""

from __future__ import annotations

import psycopg

from tests.service.database import Tasks

CLAIM = """
    EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
    SELECT id FROM taskflow_tasks WHERE status = 'PENDING' AND run_at <= now()
    ORDER BY priority DESC, run_at, id LIMIT 5 FOR UPDATE SKIP LOCKED
"""
WAIT = """
    SELECT avg(extract(epoch FROM started_at - created_at))::float8 FROM (
        SELECT started_at, created_at FROM taskflow_tasks
        WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 100
    ) AS latest
"""


def measure(tasks: Tasks) -> str:
    """How long a claim's look takes, how many pages it reads, and how long tasks waited."""
    [[found]] = tasks.execute(CLAIM).fetchall()
    [plan] = found
    pages = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    waited = tasks.execute(WAIT).fetchone()[0] or 0.0
    return f"{plan['Execution Time']:.2f} ms, {pages} pages, tasks wait {waited * 1000:.1f} ms"


def test_a_transaction_stays_open(scene):
    """What it does to claims is printed; that all tasks run to their end is asserted."""
    with (
        scene.under_load() as load,
        scene.look() as tasks,
        psycopg.connect(scene.server.conninfo) as idle,
    ):
        idle.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        idle.execute("SELECT count(*) FROM taskflow_tasks")
        load.wait_for_share(0.1)
        first = measure(tasks)
        load.wait_for_share(1.0)
        last = measure(tasks)
    print(f"\nclaim at the beginning: {first}; at the end: {last}")
    scene.judge()
