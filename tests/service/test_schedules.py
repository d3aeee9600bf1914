"""Schedules on two processes, one of which is killed while it fires them."""

from __future__ import annotations

from tests.service.processes import HOURS_SECONDS, running, wait_until

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


def test_tasks_do_not_overlap_through_a_kill(tmp_path, tasks, target):
    """One task of a schedule is open at a time, on whichever node, while times come each second."""
    environment = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": HOURS_SECONDS,
        "TASKFLOW_LEASE_SECONDS": 2,
        "TASKFLOW_HEARTBEAT_SECONDS": 0.25,
    }

    def count(condition: str) -> int:
        [(number,)] = tasks.execute(f"SELECT count(*) FROM taskflow_tasks WHERE {condition}")
        return number

    def skipped() -> int:
        [(number,)] = tasks.execute("SELECT sum(skipped_count)::int FROM taskflow_schedules")
        return number

    with (
        running("serve", tmp_path, **environment) as doomed,
        running("serve", tmp_path, **environment) as other,
    ):
        for overlap in ("skip", "cancel_previous"):
            for node in (doomed, other):
                url = f"{target.url}/held-{overlap}"
                body = {"every_seconds": 1, "overlap": overlap, "task": {"payload": url}}
                assert node.ask("PUT", f"/schedules/{overlap}-{node.port}", body).status == 201
        paused = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "paused": True}
        body = {**paused, "task": {"payload": target.url}}
        assert doomed.ask("PUT", "/schedules/paused", body).status == 201
        runs = [node.ask("GET", "/schedules/paused/next").body for node in (doomed, other)]
        assert runs[0] == runs[1]
        target.wait_for_close("/held-cancel_previous")
        wait_until(lambda: skipped() > 2)
        doomed.kill()
        seen, canceled = skipped(), count("status = 'CANCELED'")
        wait_until(lambda: skipped() > seen + 4)
        wait_until(lambda: count("status = 'CANCELED'") > canceled + 4)
        assert count("status IN ('PENDING', 'RUNNING')") == 4
        skips = "options ->> 'schedule' ^@ 'skip'"
        assert count(skips) == 2
        target.release()
        wait_until(lambda: count(f"{skips} AND status = 'COMPLETED'") > 3)
        assert other.end().code == 0
    # An earlier task finished before a later one started.
    [(overlaps,)] = tasks.execute(
        "SELECT count(*) FROM taskflow_tasks AS earlier JOIN taskflow_tasks AS later"
        " ON later.options ->> 'schedule' = earlier.options ->> 'schedule'"
        " AND later.id > earlier.id AND later.started_at < earlier.finished_at"
    )
    assert overlaps == 0
