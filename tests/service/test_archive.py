"""The archive of real processes, which are killed while they move tasks."""

from __future__ import annotations

import datetime as dt

import psycopg

from tests.service.processes import running, wait_until
from tests.store.archiving import add_finished

COUNT = 3000
ARCHIVED = "SELECT FROM taskflow_archive"
FIRST = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
BOTH = """
    SELECT id FROM taskflow_tasks UNION ALL SELECT id FROM taskflow_archive ORDER BY id
"""
ATTEMPTS = """
    SELECT task_id FROM taskflow_attempts
    UNION ALL SELECT task_id FROM taskflow_archive_attempts ORDER BY task_id
"""


def test_kill_9_while_tasks_are_archived(tmp_path, tasks):
    """Each task is in one table with its attempts, however often its node is killed."""
    with psycopg.connect(tasks.url, autocommit=True) as connection:
        ids = [
            task_id
            for week in range(3)
            for task_id in add_finished(connection, FIRST + dt.timedelta(weeks=week), COUNT // 3)
        ]
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_ARCHIVE_AFTER_SECONDS": 0.05}
    for part in (0, COUNT // 3, 2 * COUNT // 3):
        with running("worker", tmp_path, **settings) as node:
            wait_until(lambda part=part: tasks.execute(ARCHIVED).rowcount > part)
            node.kill()
        for query in (BOTH, ATTEMPTS):
            assert [task_id for (task_id,) in tasks.execute(query)] == ids
    with running("serve", tmp_path, **settings) as node:
        wait_until(lambda: tasks.execute(ARCHIVED).rowcount == COUNT)
        assert node.ask("GET", "/stats").body["total"]["counts"]["COMPLETED"] == COUNT
        assert node.ask("GET", f"/tasks/{ids[0]}").body["status"] == "COMPLETED"
        assert len(node.ask("GET", f"/tasks/{ids[0]}/attempts").body) == 2
    total = tasks.execute("SELECT sum(change) FROM taskflow_archive_counts").fetchone()
    assert total == (COUNT,)
