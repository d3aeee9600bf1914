"""A store in PostgreSQL that archives whatever has finished before each of its transactions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from taskflow.settings import Settings
from taskflow.store.postgres.store import PostgresStore, open_postgres

LIMIT = 1000


@contextlib.asynccontextmanager
async def open_archiving(conninfo: str, settings: Settings) -> AsyncIterator[PostgresStore]:
    """Open a store whose statements find all finished tasks in the archive that can be there.

    Retention does not wait for the end of a week, so that it deletes as it does without an archive.
    """
    async with open_postgres(conninfo, settings) as store:
        store.archive_slack_seconds = 0.0
        database = store._statements.database
        run = database._run

        async def archive_and_run(work, limiter):
            await run(lambda connection: archive_all(store, connection), limiter)
            return await run(work, limiter)

        database._run = archive_and_run
        yield store


def archive_all(store: PostgresStore, connection) -> int:
    """Archive all finished tasks that can be, on this connection, and return their number."""
    bounds = {"age_seconds": 0.0, "limit": LIMIT, "budget_bytes": 2**60}
    moved = 0
    while True:
        step = store._archive(connection, bounds)
        assert not step.obstacle
        moved += step.moved
        if not step.has_more:
            return moved


ADD_FINISHED = """
    WITH added AS (
        INSERT INTO taskflow_tasks (
            id, created_at, started_at, finished_at, status, result, error, error_type, attempt,
            payload, size_bytes, queue, tags, retention_seconds, delete_at
        )
        SELECT (left(taskflow_least_id(at)::text, 24) || right(gen_random_uuid()::text, 12))::uuid,
               at, at, at, %(status)s, CASE WHEN %(status)s = 'COMPLETED' THEN '{}'::json END,
               CASE WHEN %(status)s = 'FAILED' THEN 'it failed' END,
               CASE WHEN %(status)s = 'FAILED' THEN 'timeout' END, 1, '"http://a.example/"', 20,
               %(queue)s, %(tags)s::json, %(retention)s, at + make_interval(secs => %(retention)s)
        FROM (SELECT %(at)s::timestamptz + make_interval(secs => n) AS at
              FROM generate_series(0, %(count)s - 1) AS n) AS moments
        RETURNING id, tags
    ), tagged AS (
        INSERT INTO taskflow_tags (name, value, task_id)
        SELECT tag.key, tag.value, id FROM added, json_each_text(tags) AS tag
    ), attempted AS (
        INSERT INTO taskflow_attempts (task_id, number, status, started_at, finished_at)
        SELECT id, 1, 'LOST', now(), now() FROM added
    )
    SELECT id FROM added ORDER BY id
"""


def add_finished(connection, at, count: int = 1, **fields) -> list:
    """Store tasks that finished at this time and, one each second, after it; return their ids.

    Each has two attempts.
    """
    parameters = {
        "status": "COMPLETED",
        "queue": "default",
        "tags": None,
        "retention": None,
        **fields,
    }
    rows = connection.execute(ADD_FINISHED, {"at": at, "count": count, **parameters})
    return [task_id for (task_id,) in rows]


async def archive_everything(
    store: PostgresStore, age_seconds: float = 0.0, limit: int = 100
) -> int:
    """Archive tasks until all were checked, and return their number."""
    moved = 0
    while True:
        step = await store.archive(age_seconds=age_seconds, limit=limit)
        assert not step.obstacle
        moved += step.moved
        if not step.has_more:
            return moved
