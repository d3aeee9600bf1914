"""The process that makes changes together is killed meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import threading

import msgspec
import psycopg
import pytest

from taskflow.model.schedule import ScheduleDefinition
from tests.service.processes import running, wait_until

TASK = {"payload": "http://127.0.0.1:9/", "delay_seconds": 999}
WAITS = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"


def change(kind: str, name: str, fields: object) -> dict[str, object]:
    return {"kind": kind, "name": name, "fields": fields, "before": {}}


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_kill_in_the_middle(tmp_path, tasks, migrated_url, is_killed):
    """Nothing of it was made; if it is not killed, all of it. Another node makes it then."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_DATABASE_TIMEOUT_SECONDS": 300}
    changes = [
        change("queue", "mail", {"rate": 1}),
        change("schedule", "held", {"every_seconds": 900, "task": TASK}),
    ]
    answers: list[int] = []
    name = psycopg.conninfo.conninfo_to_dict(migrated_url)["dbname"]
    with running("serve", tmp_path, **settings) as node:
        schedule = {"every_seconds": 600, "task": TASK}
        assert node.ask("PUT", "/schedules/held", schedule).status == 201

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(node.ask("POST", "/config", {"changes": [*changes]}).status)

        del changes[1]["before"]  # so that it waits after the other change, not before it
        with psycopg.connect(migrated_url) as holder:
            holder.execute("SELECT FROM taskflow_schedules WHERE name = 'held' FOR UPDATE")
            asking = threading.Thread(target=ask)
            asking.start()
            wait_until(lambda: tasks.execute(WAITS, name).rowcount)
            if is_killed:
                node.kill()
                asking.join()
        if not is_killed:
            asking.join()
            assert answers == [200]
    wait_until(lambda: not tasks.execute(WAITS, name).rowcount)
    queues = tasks.execute("SELECT name FROM taskflow_queues").fetchall()
    [text] = tasks.execute("SELECT definition::text FROM taskflow_schedules").fetchone()
    every = msgspec.json.decode(text, type=ScheduleDefinition).timing.every_seconds
    assert (queues, every) == (([], 600.0) if is_killed else ([("mail",)], 900.0))
