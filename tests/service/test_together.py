"""Several processes on the same tasks: sharing, waking, and taking over from the killed."""

from __future__ import annotations

import statistics
import time

import psutil
import pytest

from tests.service.database import COMPLETED, Row, Tasks
from tests.service.processes import HOURS_SECONDS, running, wait_until


def conninfo_of(data) -> str:
    """How to look into an embedded server of a data folder that runs."""
    return f"host={data}/socket user=taskflow dbname=taskflow"


def postmaster_of(data) -> psutil.Process:
    return psutil.Process(int((data / "pgdata" / "postmaster.pid").read_text().split()[0]))


def test_the_embedded_postgresql_is_shared(tmp_path, shared_folder, target):
    """serve, worker and two of Hypercorn's use one server; it stops with the last of them."""
    data = shared_folder / "data"
    settings = {"TASKFLOW_DATA_DIR": data}
    with running("serve", tmp_path, **settings) as serve:
        postmaster = postmaster_of(data)
        with (
            running("worker", tmp_path, **settings) as worker,
            running("hypercorn-w2", tmp_path, **settings) as hypercorn,
        ):
            assert postmaster_of(data).pid == postmaster.pid
            with Tasks(conninfo_of(data)) as tasks:
                for service in (serve, hypercorn):
                    tasks.wait_for(service.post(f"{target.url}/now"), COMPLETED)
                wait_until(lambda: tasks.nodes() == 4)
            assert serve.end().code == 0
            assert hypercorn.end().code == 0
            assert postmaster.is_running()
            assert worker.end().code == 0
            wait_until(lambda: not postmaster.is_running())


@pytest.mark.parametrize("name", ["serve", "hypercorn-w2"])
def test_a_server_left_by_kill_9_is_reused(tmp_path, shared_folder, target, name):
    """A server that was not stopped is used by the next start, with its tasks.

    The task that was running is run again once the lease of its node is over.
    """
    data = shared_folder / "data"
    settings = {
        "TASKFLOW_DATA_DIR": data,
        "TASKFLOW_LEASE_SECONDS": 2,
        "TASKFLOW_HEARTBEAT_SECONDS": 0.5,
    }
    with running(name, tmp_path, **settings) as service:
        done = service.post(f"{target.url}/now")
        with Tasks(conninfo_of(data)) as tasks:
            tasks.wait_for(done, COMPLETED)
        cut_off = service.post(f"{target.url}/held")
        target.wait_for("/held")
        postmaster = postmaster_of(data)
        # Of Hypercorn's processes the workers: the main one has no part in the service.
        for process in service.node_processes():
            process.kill()
        service.kill()
    assert postmaster.is_running()
    target.release()
    with running("serve", tmp_path, **settings) as service:
        assert "is already running" in service.log
        assert postmaster_of(data).pid == postmaster.pid
        with Tasks(conninfo_of(data)) as tasks:
            assert tasks.row(done) == COMPLETED
            tasks.wait_for(cut_off, Row("COMPLETED", attempt=1, rescues=1))
        assert service.end().code == 0
    wait_until(lambda: not postmaster.is_running())


def test_a_new_task_wakes_other_processes(tmp_path, tasks, target):
    """With this process's only worker busy, another's starts the task long before its poll."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_POLL_SECONDS": HOURS_SECONDS,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": HOURS_SECONDS,
        "TASKFLOW_WORKERS": 1,
    }
    with running("serve", tmp_path, **settings) as serve:
        held = serve.post(f"{target.url}/held")
        target.wait_for("/held")
        with running("worker", tmp_path, **settings) as worker:
            for _ in range(2):
                tasks.wait_for(serve.post(f"{target.url}/now"), COMPLETED)
            assert tasks.row(held).status == "RUNNING"
            target.release()
            tasks.wait_for(held, COMPLETED)
            assert worker.end().code == 0
        assert serve.end().code == 0


def test_the_fetch_waits_for_no_poll(tmp_path, tasks, target):
    """On an idle service each POST leads to a fetch without polling."""
    took = []
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_POLL_SECONDS": HOURS_SECONDS}
    with running("serve", tmp_path, **settings) as service:
        for number in range(21):
            path = f"/now?{number}"
            began = time.monotonic()
            task_id = service.post(f"{target.url}{path}")
            [at] = target.wait_for(path)
            took.append(at - began)
            tasks.wait_for(task_id, COMPLETED)
        assert service.end().code == 0
    print(f"from POST to fetch: {statistics.median(took) * 1000:.1f} ms in the median")


def test_a_cancel_reaches_the_node_that_runs_the_task(tmp_path, tasks, target):
    """Asked of another process: the target sees its connection closed long before a heartbeat."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_WORKERS": 1,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": HOURS_SECONDS,
        "TASKFLOW_HEARTBEAT_SECONDS": HOURS_SECONDS,
        "TASKFLOW_LEASE_SECONDS": 3 * HOURS_SECONDS,
        "TASKFLOW_LOG_LEVEL": "debug",
    }
    took = []
    with (
        running("worker", tmp_path, **settings) as worker,
        running("serve", tmp_path, **settings) as serve,
    ):
        busy = serve.post(f"{target.url}/held")
        other = serve.post(f"{target.url}/held")
        target.wait_for("/held", times=2)
        # The one that the worker runs gives way to the timed one.
        name = f":{worker.process.pid}"
        [(first,)] = tasks.execute(
            "SELECT id::text FROM taskflow_tasks WHERE node LIKE %s", f"%{name}"
        ).fetchall()
        assert first in (busy, other)
        assert serve.ask("POST", f"/tasks/{first}/cancel").status == 200
        for number in range(11):
            path = f"/held?{number}"
            task_id = serve.post(f"{target.url}{path}")
            target.wait_for(path)
            began = time.perf_counter()
            assert serve.ask("POST", f"/tasks/{task_id}/cancel").status == 200
            took.append(target.wait_for_close(path) - began)
            tasks.wait_for(task_id, Row("CANCELED", attempt=1, rescues=0))
        wait_until(lambda: worker.log.count("task canceled") == 12)
        assert "task canceled" not in serve.log
        for process in (worker, serve):
            assert "warning" not in process.log
        target.release()
        assert worker.end().code == serve.end().code == 0
    print(f"from cancel to close: {statistics.median(took) * 1000:.1f} ms in the median")
