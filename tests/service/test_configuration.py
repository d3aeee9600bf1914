"""The process that makes changes together is killed meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import threading

import msgspec
import psycopg
import pytest

from taskflow.model.alerts import AlertDefinition
from taskflow.model.schedule import ScheduleDefinition
from tests.service.processes import running, wait_until

TASK = {"payload": "http://127.0.0.1:9/", "delay_seconds": 999}
SECRET = "whsec_" + "a" * 32
WAITS = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"


def change(kind: str, name: str, fields: object) -> dict[str, object]:
    return {"kind": kind, "name": name, "fields": fields, "before": {}}


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_kill_in_the_middle(tmp_path, tasks, migrated_url, is_killed):
    """Nothing of it was made; if it is not killed, all of it. Another node makes it then."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_DATABASE_TIMEOUT_SECONDS": 300,
        "TASKFLOW_WEBHOOK_SECRETS": SECRET,
    }
    alert = {"on": "node_lost", "to": [{"kind": "webhook", "url": "http://127.0.0.1:9/"}]}
    changes = [
        change("queue", "mail", {"rate": 1}),
        change("schedule", "held", {"every_seconds": 900, "task": TASK}),
        change("heartbeat", "held", {"every_seconds": 900}),
        change("alert", "held", {**alert, "every_seconds": 900}),
    ]
    answers: list[int] = []
    name = psycopg.conninfo.conninfo_to_dict(migrated_url)["dbname"]
    with running("serve", tmp_path, **settings) as node:
        for path, fields in (
            ("/schedules/held", {"every_seconds": 600, "task": TASK}),
            ("/heartbeats/held", {"every_seconds": 600}),
            ("/alerts/held", {**alert, "every_seconds": 600, "paused": True}),
        ):
            assert node.ask("PUT", path, fields).status == 201

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(node.ask("POST", "/config", {"changes": [*changes]}).status)

        del changes[3]["before"]  # so that it waits after the other changes, not before them
        with psycopg.connect(migrated_url) as holder:
            holder.execute("SELECT FROM taskflow_alerts WHERE name = 'held' FOR UPDATE")
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
    assert queues == ([] if is_killed else [("mail",)])
    assert every_seconds(tasks) == [600.0 if is_killed else 900.0] * 3


def test_unreadable_rows_are_replaced(tmp_path, tasks):
    """Lists do not show them, so a plan creates them: it is applied, and they can be read again."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WEBHOOK_SECRETS": SECRET}
    alert = {"on": "node_lost", "to": [{"kind": "webhook", "url": "http://127.0.0.1:9/"}]}
    changes = [
        {**change("heartbeat", "bad", {"every_seconds": 900}), "before": None},
        {**change("alert", "bad", alert), "before": None},
    ]
    with running("serve", tmp_path, **settings) as node:
        assert node.ask("POST", "/config", {"changes": changes}).status == 200
        tasks.execute("UPDATE taskflow_heartbeat_monitors SET state = 'unknown to this version'")
        tasks.execute("UPDATE taskflow_alerts SET definition = '{}'")
        assert [node.ask("GET", path).body for path in ("/heartbeats", "/alerts")] == [[], []]
        assert node.ask("POST", "/config", {"changes": changes}).status == 200
        for path in ("/heartbeats/bad", "/alerts/bad"):
            assert node.ask("GET", path).status == 200


def every_seconds(tasks) -> list[float]:
    """The interval of each stored resource."""
    rows = [
        tasks.execute(f"SELECT {column} FROM taskflow_{table}").fetchone()
        for table, column in (
            ("schedules", "definition::text"),
            ("heartbeat_monitors", "every_seconds"),
            ("alerts", "definition::text"),
        )
    ]
    [schedule], [heartbeat], [alert] = rows
    return [
        msgspec.json.decode(schedule, type=ScheduleDefinition).timing.every_seconds,
        heartbeat,
        msgspec.json.decode(alert, type=AlertDefinition).every_seconds,
    ]
