"""Callbacks when nodes are killed: each outcome is delivered at least once, by one task."""

from __future__ import annotations

import psycopg
import pytest

from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.service.processes import running, wait_until


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def settings(tasks):
    return {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_WEBHOOK_SECRETS": SECRET,
        "TASKFLOW_LEASE_SECONDS": 1,
        "TASKFLOW_HEARTBEAT_SECONDS": 0.25,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": 30,
    }


def post(service, payload: str, callback_url: str) -> str:
    answer = service.ask("POST", "/tasks", {"payload": payload, "callback_url": callback_url})
    assert answer.status == 201, answer
    return answer.body["id"]


def check_told(other, tasks, receiver, task_id, path, *, times):
    """The task has one callback, which another node delivers."""
    received = receiver.wait_for(path, times=times)[-1]
    receiver.release()
    task = other.ask("GET", f"/tasks/{task_id}").body
    assert received.verified() == task
    callback = other.ask("GET", f"/tasks/{task['callback_id']}?wait=10").body
    assert (callback["status"], callback["callback_of"]) == ("COMPLETED", task_id)
    assert received.headers["webhook-id"] == callback["id"]
    [(count,)] = tasks.execute(
        "SELECT count(*) FROM taskflow_tasks WHERE options ->> 'callback_of' = %s", task_id
    )
    assert count == 1


def test_a_node_is_killed_right_after_it_wrote_the_end(tmp_path, tasks, target, receiver, settings):
    """While it sends the callback itself; another node sends it again, by the same id."""
    with running("serve", tmp_path, **settings) as one:
        task_id = post(one, f"{target.url}/now", f"{receiver.url}/held")
        [first] = receiver.wait_for("/held")
        one.kill()
    with running("serve", tmp_path, **settings) as other:
        check_told(other, tasks, receiver, task_id, "/held", times=2)
        assert receiver.received[-1].headers["webhook-id"] == first.headers["webhook-id"]


def test_a_node_is_killed_while_it_writes_the_end(tmp_path, tasks, target, receiver, settings):
    """Done or not: there are both then, end and callback, or the task is run again."""
    with (
        running("serve", tmp_path, **settings) as one,
        running("serve", tmp_path, **settings) as other,
    ):
        task_id = post(one, f"{target.url}/held", f"{receiver.url}/")
        target.wait_for("/held")
        with psycopg.connect(tasks.url) as locking:
            # Its row is held, so that the statement has to wait in the database.
            locking.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [task_id])
            target.release()
            wait_until(lambda: is_waited_for(tasks, locking.info.backend_pid))
            one.kill()
        check_told(other, tasks, receiver, task_id, "/", times=1)


def is_waited_for(tasks, pid: int) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    return bool(tasks.execute(query, pid).fetchall())
