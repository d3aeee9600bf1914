"""Alerts on several nodes, which are killed at each point between noticing and sending."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import pytest

from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.service.processes import running, wait_until

SHORT = {"TASKFLOW_LEASE_SECONDS": "2", "TASKFLOW_HEARTBEAT_SECONDS": "0.4"}
# A trigger that holds the commit of the notification, or of the attempt that sends it.
HELD = """
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(4711);
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER hold AFTER INSERT ON taskflow_alert_notifications
        FOR EACH ROW EXECUTE FUNCTION hold();
"""


def alert(url: str, **fields) -> dict[str, object]:
    to = [{"kind": "webhook", "url": url}]
    return {"on": "task_failed", "queue": "mail", "to": to, **fields}


def test_nodes_that_notice_at_once(tmp_path, tasks):
    """Of three nodes, one notifies, and the others find that it did."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WEBHOOK_SECRETS": SECRET, **SHORT}
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running("serve", tmp_path, **settings)) for _ in range(3)]
        for number in range(5):
            path = f"/alerts/a{number}"
            assert nodes[0].ask("PUT", path, alert(f"{receiver.url}/{number}")).status == 201
        nodes[1].ask("POST", "/tasks", {"payload": "x:", "queue": "mail"})
        for number in range(5):
            receiver.wait_for(f"/{number}", seconds=120)
        revisions = _revisions(tasks)
        wait_until(
            lambda: all(new > old for new, old in zip(_revisions(tasks), revisions, strict=True))
        )
        paths = Counter(one.path for one in receiver.received)
    assert paths == {f"/{number}": 1 for number in range(5)}
    rows = tasks.execute("SELECT alert, kind FROM taskflow_alert_notifications").fetchall()
    assert Counter(rows) == {(f"a{number}", "firing"): 1 for number in range(5)}


@pytest.mark.parametrize("point", ["noticed", "stored"])
def test_a_node_that_is_killed(tmp_path, tasks, point):
    """Before the commit, another node notices; afterwards, another one sends. It arrives."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WEBHOOK_SECRETS": SECRET, **SHORT}
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        node = stack.enter_context(running("serve", tmp_path, **settings))
        path = "/held" if point == "stored" else "/free"
        if point == "noticed":
            tasks.execute(HELD)
            tasks.execute("SELECT pg_advisory_lock(4711)")
        assert node.ask("PUT", "/alerts/mail", alert(f"{receiver.url}{path}")).status == 201
        node.ask("POST", "/tasks", {"payload": "x:", "queue": "mail"})
        if point == "noticed":
            waiting = (
                "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4711"
            )
            wait_until(lambda: tasks.execute(waiting).rowcount)
        else:
            receiver.wait_for(path, seconds=120)  # it is in the hands of the receiver
        node.kill()
        if point == "noticed":
            tasks.execute("SELECT pg_advisory_unlock(4711)")
            tasks.execute("DROP FUNCTION hold CASCADE")
        receiver.release()
        other = stack.enter_context(running("serve", tmp_path, **settings))
        wait_until(lambda: _completed(tasks))
        [one] = other.ask("GET", "/alerts/mail/notifications").body
        [task_id] = one["tasks"]
        assert other.ask("GET", f"/tasks/{task_id}").body["status"] == "COMPLETED"
        received = [json.loads(one.body) for one in receiver.received if one.path == path]
        ids = {one.headers["webhook-id"] for one in receiver.received if one.path == path}
    assert {one["type"] for one in received} == {"alert.firing"}
    assert ids == {task_id}
    stored = tasks.execute("SELECT FROM taskflow_tasks WHERE queue = 'alerts'").rowcount
    assert stored == 1


def _revisions(tasks) -> list[int]:
    rows = tasks.execute("SELECT revision FROM taskflow_alerts ORDER BY name").fetchall()
    return [revision for (revision,) in rows]


def _completed(tasks) -> bool:
    query = "SELECT FROM taskflow_tasks WHERE queue = 'alerts' AND status = 'COMPLETED'"
    return bool(tasks.execute(query).rowcount)
