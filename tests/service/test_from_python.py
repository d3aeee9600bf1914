"""Submission from Python where several processes share the tasks."""

from __future__ import annotations

import subprocess
import sys

import psycopg

from taskflow import BlockingClient, TaskStatus, enqueue
from tests.client.proxy import Proxy
from tests.service.processes import HOURS_SECONDS, clean_environ, running

UNFINISHED = """
import sys, psycopg, taskflow
connection = psycopg.connect(sys.argv[1])
print(taskflow.enqueue(connection, sys.argv[2]).id, flush=True)
sys.stdin.read()
"""


def test_another_process_runs_enqueued_tasks(tmp_path, tasks, target):
    """As soon as it is committed; of a process that is killed before there is nothing."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_POLL_SECONDS": HOURS_SECONDS}
    with (
        running("worker", tmp_path, **settings),
        psycopg.connect(tasks.url) as connection,
        subprocess.Popen(
            [sys.executable, "-c", UNFINISHED, tasks.url, f"{target.url}/never"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environ(),
        ) as killed,
    ):
        lost = killed.stdout.readline().decode().strip()
        for number in range(7):
            enqueue(connection, f"{target.url}/now?{number}")
            connection.commit()
            target.wait_for(f"/now?{number}")
        killed.kill()
    assert len(lost) == 36
    found = tasks.execute("SELECT count(*) FROM taskflow_tasks WHERE id = %s", lost).fetchone()
    assert found == (0,)


def test_a_client_goes_on_with_another_node(tmp_path, tasks, target):
    """The one that it waits and watches on is killed, and so is its fetch: nothing is missed."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_HEARTBEAT_SECONDS": 0.5,
        "TASKFLOW_LEASE_SECONDS": 2,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": 60,
    }
    with (
        running("serve", tmp_path, **settings) as one,
        Proxy(one.url) as proxy,
        BlockingClient(proxy.url) as client,
    ):
        task = client.submit(f"{target.url}/held")
        target.wait_for("/held")
        with running("serve", tmp_path, **settings) as other:
            with client.iter_events(task.id) as events:
                reported = [next(events).status]
                proxy.turn_to(other.url)
                one.kill()
                target.wait_for("/held", times=2)
                target.release()
                reported += [event.status for event in events]
            assert client.wait(task.id, 20).status is TaskStatus.COMPLETED
            assert reported[-3:] == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.COMPLETED]
