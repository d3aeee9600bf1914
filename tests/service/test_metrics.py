"""What real processes say of what they really did."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Mapping

import pytest

from taskflow.metrics import Metrics
from taskflow.metrics.exposition import expose
from taskflow.service import metrics_sharing
from taskflow.telemetry import Event
from tests.logs import capture_logs
from tests.metrics.scrape import Scrape, promtool
from tests.service.database import COMPLETED, Row
from tests.service.processes import PATIENCE_SECONDS, Running, running, started, wait_until

ATTEMPTS = "taskflow_attempts_total"
REQUESTS = "taskflow_http_requests_total"
KEY = "a-key-for-prometheus-to-read-with"
NO_HEADERS: Mapping[str, str] = {}


def scrape(service: Running, headers: Mapping[str, str] = NO_HEADERS) -> Scrape:
    answer = service.ask("GET", "/metrics", headers=headers)
    assert answer.status == 200
    return Scrape(answer.body.decode())


def scrape_once(service: Running, attempts: int, *, submitted: int = 0) -> Scrape:
    """The first scrape with these attempts and submissions.

    An attempt is counted after it was written, and a request after its response was sent.
    """

    def is_complete(reported: Scrape) -> bool:
        requests = reported.value(REQUESTS, route="/tasks", code="201")
        return reported.sum(ATTEMPTS) >= attempts and requests >= submitted

    reported = wait_until(lambda: is_complete(one := scrape(service)) and one)
    assert reported.sum(ATTEMPTS) == attempts
    return reported


@pytest.fixture
def closed_port():
    """A port that no process listens on or can bind."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def hand_in(service: Running, **task: object) -> str:
    answer = service.ask("POST", "/tasks", task)
    assert answer.status == 201, answer
    return answer.body["id"]


def test_every_outcome_is_counted(tmp_path, tasks, target, closed_port):
    """Each attempt once, under what came of it; durations as often; refusals by their rule."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_BACKOFF_SECONDS": 0.01,
        "TASKFLOW_DENY_HOSTS": "denied.example",
        "TASKFLOW_ALLOW_PORTS": "1024-65535",
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": 60,
    }
    with running("serve", tmp_path, **settings) as service:
        for number in range(3):
            tasks.wait_for(hand_in(service, payload=f"{target.url}/now?{number}"), COMPLETED)
        failing = [
            {"payload": 12345},
            {"payload": "http://denied.example/"},
            {"payload": "http://127.0.0.1:25/"},
            {"payload": "http://10.1.2.3:8080/"},
            {"payload": {"url": f"{target.url}/held", "timeout_seconds": 0.2}},
            {"payload": f"http://127.0.0.1:{closed_port}/"},
        ]
        for task in failing:
            tasks.wait_for(hand_in(service, **task), Row("FAILED", attempt=1, rescues=0))
        twice = hand_in(service, payload=f"http://127.0.0.1:{closed_port}/", max_attempts=3)
        tasks.wait_for(twice, Row("FAILED", attempt=3, rescues=0))
        canceled = hand_in(service, payload=f"{target.url}/held?canceled")
        target.wait_for("/held?canceled")
        assert service.ask("POST", f"/tasks/{canceled}/cancel").status == 200
        reported = scrape_once(service, attempts=3 + 6 + 3 + 1)
        target.release()
        assert service.end().code == 0
    assert reported.nonzero(ATTEMPTS, "error_type", outcome="failed") == {
        "invalid_url": 1,
        "blocked": 3,
        "timeout": 1,
        "connect": 2,
    }
    assert reported.nonzero(ATTEMPTS, "error_type", outcome="retried") == {"connect": 2}
    assert reported.value(ATTEMPTS, outcome="completed") == 3
    assert reported.value(ATTEMPTS, outcome="canceled") == 1
    assert reported.nonzero("taskflow_guard_refusals_total", "rule") == {
        "denied_host": 1,
        "port": 1,
        "address": 1,
    }
    assert reported.sum("taskflow_claimed_tasks_total") == 13
    assert reported.value("taskflow_accepted_tasks_total") == 11
    assert reported.nonzero("taskflow_tasks", "status") == {
        "COMPLETED": 3,
        "FAILED": 7,
        "CANCELED": 1,
    }
    for name in ("taskflow_task_wait", "taskflow_fetch", "taskflow_settle"):
        assert reported.value(f"{name}_seconds_count") == 12
        assert reported.value(f"{name}_seconds_bucket", le="30.0") == 12
    assert reported.value("taskflow_fetch_seconds_bucket", le="0.1") == 11, "all but the timeout"
    assert reported.value("taskflow_fetch_seconds_sum") >= 0.2
    assert reported.value(REQUESTS, route="/tasks", code="201") == 11
    assert reported.value(REQUESTS, route="/tasks/{id}/cancel") == 1
    assert reported.value("taskflow_engines_running") == reported.value("taskflow_processes") == 1
    assert reported.value("taskflow_listeners", state="connected") == 1
    assert promtool("check", "metrics", given=reported.text) == ""


def test_load_and_pools(tmp_path, tasks, target):
    """Claims that run and that wait, pools and their places, while a target keeps them waiting."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_WORKERS": 2, "TASKFLOW_QUEUE_SIZE": 10}
    with running("serve", tmp_path, **settings) as service:
        for _ in range(2):
            service.post(f"{target.url}/held")
        target.wait_for("/held", times=2)
        reported = scrape(service)
        assert reported.nonzero("taskflow_claims_in_hand", "state") == {"running": 2}
        assert reported.value("taskflow_claims_in_hand_limit") == 22
        assert reported.value("taskflow_fetch_connections", state="used") == 2
        assert reported.value("taskflow_tasks", queue="default", status="RUNNING") == 2
        target.release()
        reported = scrape_once(service, attempts=2)
        assert reported.nonzero("taskflow_claims_in_hand", "state") == {}
        assert service.end().code == 0


@pytest.mark.parametrize("name", ["serve-p2", "hypercorn-w2"])
def test_two_processes_are_reported_together(tmp_path, tasks, target, name):
    """Whichever answers: what both did, exactly; and what one did that was replaced since."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    settings = {"DATABASE_URL": tasks.url, "TMPDIR": folder}
    with running(name, tmp_path, **settings) as service:
        ids = [service.post(f"{target.url}/now?{number}") for number in range(40)]
        for task_id in ids:
            tasks.wait_for(task_id, COMPLETED)
        reported = scrape_once(service, attempts=40, submitted=40)
        assert reported.value("taskflow_processes") == 2
        for _ in range(20):  # by either of them
            reported = scrape(service)
            assert reported.value(ATTEMPTS, outcome="completed") == 40
            assert reported.value(REQUESTS, route="/tasks", code="201") == 40
            assert reported.value("taskflow_fetch_seconds_count") == 40
            assert reported.value("taskflow_tasks", status="COMPLETED", queue="default") == 40
        ran = tasks.execute("SELECT count(DISTINCT node) FROM taskflow_tasks").fetchone()
        assert ran == (2,), "both had a part in it"

        told_to_end, _ = service.node_processes()
        told_to_end.send_signal(signal.SIGTERM)
        service.wait_for_log("workers started", times=3)
        wait_until(lambda: scrape(service).value("taskflow_processes") == 2)
        tasks.wait_for(service.post(f"{target.url}/now"), COMPLETED)
        reported = scrape_once(service, attempts=41, submitted=41)
        assert reported.value(REQUESTS, route="/tasks", code="201") == 41
        wait_until(lambda: scrape(service).value("taskflow_workers") == 10)
        assert len(list(folder.glob("taskflow-metrics-*/*"))) == 2
        assert service.end().code == 0
    assert list(folder.glob("taskflow-metrics-*")) == []


def test_a_worker_serves_its_own_metrics(tmp_path, tasks, target):
    """On an address of its own, and has nothing else there; by the same rules of access."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_METRICS_BIND": "127.0.0.1:0",
        "TASKFLOW_API_KEYS": f"prometheus:read:{KEY}",
    }
    bearing = {"Authorization": f"Bearer {KEY}"}
    with (
        running("serve", tmp_path, DATABASE_URL=tasks.url, TASKFLOW_WORKERS=1) as serve,
        running("worker", tmp_path, **settings) as worker,
    ):
        serve.post(f"{target.url}/held")
        target.wait_for("/held")
        serve.post(f"{target.url}/held?other")
        target.wait_for("/held?other")
        assert worker.ask("GET", "/metrics").status == 401
        reported = wait_until(
            lambda: (one := scrape(worker, bearing)).value("taskflow_engines_running") and one
        )
        in_hand = "taskflow_claims_in_hand"
        assert reported.value(in_hand, state="running") == 2 - scrape(serve).value(
            in_hand, state="running"
        )
        for path in ("/tasks", "/livez", "/readyz", "/", "/openapi.json", "/ui"):
            assert worker.ask("GET", path, headers=bearing).status == 404
        assert worker.ask("POST", "/metrics", {}, headers=bearing).status == 403
        target.release()
        assert worker.end().code == serve.end().code == 0


def test_a_worker_needs_keys_for_other_addresses(tmp_path, tasks):
    """Without keys it does not start on an address that other machines can reach."""
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_METRICS_BIND": "0.0.0.0:0"}
    with started("worker", tmp_path, **settings) as worker:
        ended = worker.wait_for_end()
    assert ended.code == 2
    assert "on the loopback address only, not on 0.0.0.0:0" in ended.stderr


async def test_without_a_shared_folder_each_process_reports_itself(monkeypatch, tmp_path):
    """It serves nevertheless, and the log says what is missing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    metrics = Metrics()
    with capture_logs() as events:
        async with metrics_sharing(metrics, os.getpid(), lambda: True) as share_metrics:
            share_metrics()
            metrics.accepted(1)
    assert [event["event"] for event in events] == [Event.METRICS_NOT_SHARED.value[1]]
    reported = Scrape(expose(metrics.registry, (), "").body.decode())
    assert reported.value("taskflow_accepted_tasks_total") == 1


@pytest.mark.parametrize("whom", ["worker", "main"])
def test_nothing_is_left_after_a_kill(tmp_path, tasks, whom):
    """Hypercorn ends when one of its processes is killed; the last one cleans up."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    with running("hypercorn-w2", tmp_path, DATABASE_URL=tasks.url, TMPDIR=folder) as service:
        workers = service.node_processes()
        assert scrape(service).value("taskflow_processes") == 2
        if whom == "worker":
            workers[0].kill()
        else:
            service.process.kill()
        service.process.wait(PATIENCE_SECONDS)
        wait_until(lambda: not any(worker.is_running() for worker in workers))
    assert list(folder.glob("taskflow-metrics-*")) == []
