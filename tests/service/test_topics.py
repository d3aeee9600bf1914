"""One delivery of each event for each endpoint, on two nodes of which one is killed."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.service.processes import running, wait_until

EVENTS, ENDPOINTS = 60, 5
SHORT = {"TASKFLOW_LEASE_SECONDS": "2", "TASKFLOW_HEARTBEAT_SECONDS": "0.4"}


@pytest.mark.long
def test_two_nodes_of_which_one_is_killed(tmp_path, tasks):
    """Each endpoint gets each event, under one id, signed; a recovery sends what had failed."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WEBHOOK_SECRETS": SECRET, **SHORT}
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running("serve", tmp_path, **settings)) for _ in range(2)]
        assert nodes[0].ask("PUT", "/topics/orders", {}).status == 201
        for number in range(ENDPOINTS):
            endpoint = {"url": f"{receiver.url}/{number}", "event_types": ["invoice.*"]}
            path = f"/topics/orders/endpoints/e{number}"
            assert nodes[0].ask("PUT", path, endpoint).status == 201
        broken = {"url": f"{receiver.url}/broken", "max_attempts": 1}
        assert nodes[1].ask("PUT", "/topics/orders/endpoints/broken", broken).status == 201
        events = []
        for number in range(EVENTS):
            event = {"type": "invoice.paid", "data": number}
            node = nodes[0] if number > EVENTS // 2 else nodes[number % 2]
            answer = node.ask("POST", "/topics/orders/events", event)
            assert answer.status == 201, answer
            assert len(answer.body["tasks"]) == ENDPOINTS + 1
            events.append(answer.body)
            if number == EVENTS // 2:
                nodes[1].kill()
        wait_until(lambda: not _open(tasks))
        moved = {**broken, "url": f"{receiver.url}/moved-on"}
        assert nodes[0].ask("PUT", "/topics/orders/endpoints/broken", moved).status == 200
        recover = "/topics/orders/endpoints/broken/recover"
        answer = nodes[0].ask("POST", recover, {"since": events[0]["created_at"]})
        assert answer.body == {"count": EVENTS, "complete": True}
        wait_until(lambda: not _open(tasks))
        received = list(receiver.received)
    ids = {event["id"] for event in events}
    for path in (*(f"/{number}" for number in range(ENDPOINTS)), "/moved-on"):
        mine = [one for one in received if one.path == path]
        assert {one.headers["webhook-id"] for one in mine} == ids
        for one in mine:
            one.check()
    rows = tasks.execute("""
        SELECT options -> 'delivery' ->> 'event_id', options -> 'delivery' ->> 'endpoint', status
        FROM taskflow_tasks
    """).fetchall()
    assert Counter(rows) == Counter(
        (event_id, endpoint, "COMPLETED")
        for event_id in ids
        for endpoint in (*(f"e{number}" for number in range(ENDPOINTS)), "broken")
    )


def _open(tasks) -> bool:
    query = "SELECT FROM taskflow_tasks WHERE status IN ('PENDING', 'RUNNING') LIMIT 1"
    return bool(tasks.execute(query).rowcount)
