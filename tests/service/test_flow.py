"""Limits, fair shares and the breaker, on two nodes that share the tasks; counted at the target."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter

import pytest

from tests.service.pacing import PacedTarget
from tests.service.processes import running, wait_until

LEASE_SECONDS = 5


@pytest.fixture
def paced():
    """The target."""
    with PacedTarget() as target:
        yield target


@pytest.fixture
def nodes(tmp_path, tasks):
    """Two nodes with ten workers each, which hear of work and do not look for it by themselves."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_WORKERS": 10,
        "TASKFLOW_POLL_SECONDS": 60,
        "TASKFLOW_LEASE_SECONDS": LEASE_SECONDS,
        "TASKFLOW_HEARTBEAT_SECONDS": 1,
    }
    with (
        running("serve", tmp_path, **settings) as one,
        running("serve", tmp_path, **settings) as two,
    ):
        yield one, two


def put(node, queue: str, **settings) -> None:
    answer = node.ask("PUT", f"/queues/{queue}", settings)
    assert answer.status in (200, 201), answer


def add(node, urls, **fields) -> list[str]:
    answer = node.ask("POST", "/tasks", [{"payload": url, **fields} for url in urls])
    assert answer.status == 201, answer
    return [task["id"] for task in answer.body]


def all_ended(node, queue: str):
    counts = node.ask("GET", f"/queues/{queue}").body["counts"]
    return not (counts["PENDING"] or counts["RUNNING"])


def most_within(starts: list[float], seconds: float) -> int:
    """How many began within any time of this length."""
    return max(sum(at <= other < at + seconds for other in starts) for at in starts)


def test_concurrency_holds_over_nodes_and_hosts(nodes, paced):
    """Never more at once than asked, on both nodes together, and about as many as asked."""
    one, two = nodes
    put(one, "mail", max_concurrency=6, per_host={"max_concurrency": 2})
    hosts = [f"127.0.0.{number}" for number in range(1, 6)]
    for node in nodes:
        add(node, [paced.url(30, host, n) for n in range(8) for host in hosts], queue="mail")
    wait_until(lambda: all_ended(two, "mail"))
    assert 4 <= paced.most["all"] <= 6
    assert max(paced.most[host] for host in hosts) == 2
    assert len(paced.starts()) == 80


def test_rates_hold_over_nodes(nodes, paced):
    """The rate limit holds, for each host separately, and nodes do not poll in between."""
    one, two = nodes
    put(one, "mail", rate={"per_second": 40, "burst": 4})
    put(two, "news", per_host={"rate": {"per_second": 10, "burst": 1}})
    add(one, [paced.url(1, "127.0.0.9", n) for n in range(40)], queue="mail")
    add(two, [paced.url(1, f"127.0.0.{1 + n % 3}", n) for n in range(18)], queue="news")
    wait_until(lambda: all_ended(two, "mail") and all_ended(one, "news"))
    # What was claimed on time may reach its target a little later, or the one before it did.
    mail = paced.began["127.0.0.9"]
    assert most_within(mail, 0.5) <= 4 + 20 + 4
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        assert most_within(paced.began[host], 0.25) <= 1 + 3
        assert max(paced.began[host]) - min(paced.began[host]) > 0.4


def test_a_killed_node_frees_its_slots_after_a_lease(nodes, paced, tasks):
    """The limit holds through it, and what the dead node had is run by the other one."""
    one, two = nodes
    put(one, "mail", max_concurrency=4)
    ids = add(one, [paced.url(200, "127.0.0.1", n) for n in range(24)], queue="mail")
    wait_until(lambda: len(paced.starts()) >= 8)
    one.kill()
    wait_until(lambda: all_ended(two, "mail"))
    assert paced.most["all"] <= 4 + 4  # what a dead node had asked for goes on at the target
    statuses = Counter(two.ask("GET", f"/tasks/{task_id}").body["status"] for task_id in ids)
    assert statuses == {"COMPLETED": 24}


def test_a_pause_holds_everywhere_at_once(nodes, paced):
    """Once it is answered nothing of the queue starts; the task says why; a purge ends it all."""
    one, two = nodes
    assert one.ask("POST", "/queues/mail/pause").body["paused"] is True
    ids = add(two, [paced.url(1, "127.0.0.1", n) for n in range(20)], queue="mail")
    others = add(two, [paced.url(1, "127.0.0.2", n) for n in range(20)])
    wait_until(lambda: all_ended(one, "default"))
    assert len(others) == len(paced.began["127.0.0.2"])
    assert paced.began["127.0.0.1"] == []
    waiting = one.ask("GET", f"/tasks/{ids[0]}").body
    assert (waiting["status"], waiting["held"]["reason"]) == ("PENDING", "queue_paused")
    assert two.ask("POST", "/queues/mail/resume").body["paused"] is False
    wait_until(lambda: all_ended(one, "mail"))
    one.ask("POST", "/queues/mail/pause")
    add(two, [paced.url(1, "127.0.0.1", n) for n in range(20)], queue="mail")
    assert two.ask("POST", "/queues/mail/purge").body == {
        "count": 20,
        "complete": True,
        "dry_run": False,
    }
    assert len(paced.began["127.0.0.1"]) == 20


def test_a_slow_host_does_not_take_all_workers(nodes, paced):
    """Its long line comes first, and yet tasks of others are run while it keeps workers busy."""
    one, two = nodes
    slow = add(one, [paced.url(1500, "127.0.0.1", n) for n in range(60)])
    add(two, [paced.url(1, "127.0.0.2", n) for n in range(30)], tags={"fast": True})

    def fast_ended():
        page = two.ask("GET", "/tasks?tag=fast:true&status=COMPLETED&limit=100&fields=id").body
        return len(page) == 30

    wait_until(fast_ended)
    assert len(paced.began["127.0.0.1"]) < len(slow)


DEAD = 60


def test_the_circuit_breaker_opens_and_closes(tmp_path, tasks, paced):
    """After failures in a row its tasks wait instead of failing; when it is back they are run."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_BREAKER_FAILURES": 3,
        "TASKFLOW_WORKERS": 1,
        "TASKFLOW_POLL_SECONDS": 60,
    }
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(running("serve", tmp_path, **settings))
        two = stack.enter_context(running("serve", tmp_path, **settings))
        dead = add(one, [f"http://127.0.0.1:{port}/1/{n}" for n in range(DEAD)], queue="dead")
        wait_until(
            lambda: "circuit breaker opened" in one.log or "circuit breaker opened" in two.log
        )
        alive = add(two, [paced.url(1)])
        wait_until(lambda: one.ask("GET", f"/tasks/{alive[0]}").body["status"] == "COMPLETED")
        last = one.ask("GET", f"/tasks/{dead[-1]}").body
        assert last["status"] == "PENDING"
        assert last["held"]["reason"] == "host_failing"
        stack.enter_context(PacedTarget(port))
        wait_until(lambda: all_ended(two, "dead"))
        counts = one.ask("GET", "/queues/dead").body["counts"]
        # A few open it, and one for each trial until the target is back.
        assert counts["FAILED"] < counts["COMPLETED"]
        wait_until(lambda: "circuit breaker closed" in one.log + two.log)
