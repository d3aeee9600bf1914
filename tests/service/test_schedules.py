"""Schedules on several processes, one of which is killed while it fires them."""

from __future__ import annotations

from tests.service.processes import running, wait_until

SCHEDULES = 40


def test_each_time_is_fired_once_through_a_kill(tmp_path, tasks, target):
    """No time is lost and none is fired twice, whichever process dies."""

    def fired() -> int:
        [(count,)] = tasks.execute("SELECT count(*) FROM taskflow_firings").fetchall()
        return count

    with (
        running("serve", tmp_path, DATABASE_URL=tasks.url) as doomed,
        running("serve", tmp_path, DATABASE_URL=tasks.url) as other,
    ):
        # None waits for the other ones, so that there is something to share at any moment.
        for number in range(SCHEDULES):
            body = {"every_seconds": 1, "missed": "all", "task": {"payload": f"{target.url}/now"}}
            node = (doomed, other)[number % 2]
            assert node.ask("PUT", f"/schedules/s{number}", body).status == 201
        seen = wait_until(fired)
        wait_until(lambda: fired() > seen + SCHEDULES)
        doomed.kill()
        seen = fired()
        wait_until(lambda: fired() > seen + 2 * SCHEDULES)
        assert other.end().code == 0
    # From the first time to the next one there are as many seconds as there were firings.
    rows = tasks.execute(
        "SELECT count(*), count(DISTINCT at), count(DISTINCT task_id), count(t.id),"
        " extract(epoch FROM next_at - anchor_at)::float8 - 1"
        " FROM taskflow_schedules JOIN taskflow_firings AS f ON f.schedule = name"
        " LEFT JOIN taskflow_tasks AS t ON t.id = f.task_id GROUP BY name, next_at, anchor_at"
    ).fetchall()
    assert len(rows) == SCHEDULES
    for row in rows:
        assert set(row) == {row[0]}, row
    [(made,)] = tasks.execute("SELECT count(*) FROM taskflow_tasks").fetchall()
    assert made == fired()
