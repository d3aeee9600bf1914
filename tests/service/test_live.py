"""Waiting and watching where several processes share the tasks."""

from __future__ import annotations

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.sse import open_stream
from tests.service.database import COMPLETED
from tests.service.processes import HOURS_SECONDS, running


def post_all(service, target, count: int) -> list[str]:
    return [service.post(f"{target.url}/now?{number}") for number in range(count)]


def test_waiting_on_a_node_that_did_not_run_the_task(tmp_path, tasks, target):
    """A worker elsewhere ran it: who waits is answered at once, to the POST and the GET."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_POLL_SECONDS": HOURS_SECONDS,
        "TASKFLOW_WORKERS": 1,
        "TASKFLOW_FETCH_TIMEOUT_SECONDS": HOURS_SECONDS,
    }
    with running("serve", tmp_path, **settings) as serve:
        held = serve.post(f"{target.url}/held")  # its only worker is busy with that
        target.wait_for("/held")
        with running("worker", tmp_path, **settings) as worker, ThreadPoolExecutor(2) as threads:
            for number in range(7):
                path = f"/now?{number}"
                answer = serve.ask("POST", "/tasks?wait=60", {"payload": f"{target.url}{path}"})
                assert (answer.status, answer.body["status"]) == (201, "COMPLETED")
                node = tasks.execute(
                    "SELECT node FROM taskflow_tasks WHERE id = %s", answer.body["id"]
                ).fetchone()
                assert node[0].endswith(f":{worker.process.pid}")
            with running("serve", tmp_path, **settings) as other:
                waiting = threads.submit(other.ask, "GET", f"/tasks/{held}?wait=60")
                time.sleep(0.3)
                assert not waiting.done()
                target.release()
                assert waiting.result().body["status"] == "COMPLETED"
                assert other.end().code == 0
            assert worker.end().code == 0
        assert "warning" not in serve.log
        assert serve.end().code == 0


@pytest.mark.long
def test_all_nodes_stream_the_same_events_in_one_order(tmp_path, tasks, target):
    """Events of both nodes are streamed by each, with the same ids."""
    settings = {"DATABASE_URL": tasks.url}
    with (
        running("serve", tmp_path, **settings) as one,
        running("serve", tmp_path, **settings) as two,
    ):
        with open_stream(one.url, "/events") as first, open_stream(two.url, "/events") as second:
            first.begin()
            second.begin()
            with ThreadPoolExecutor(2) as threads:
                handed_in = [threads.submit(post_all, node, target, 40) for node in (one, two)]
            ids = {task_id for some in handed_in for task_id in some.result()}
            messages = first.take(3 * len(ids))
            assert [m.data for m in second.take(len(messages))] == [m.data for m in messages]
        stories: dict[str, list[str]] = {}
        for message in messages:
            stories.setdefault(message.json["task_id"], []).append(message.json["status"])
        assert stories == {task_id: ["PENDING", "RUNNING", "COMPLETED"] for task_id in ids}
        for node in (one, two):
            assert "warning" not in node.log
            assert node.end().code == 0


def test_a_stream_goes_on_elsewhere_when_its_node_is_killed(tmp_path, tasks, target):
    """By kill -9, under load: the other node tells the rest, without a gap and without a double."""
    settings = {
        "DATABASE_URL": tasks.url,
        "TASKFLOW_LEASE_SECONDS": 2,
        "TASKFLOW_HEARTBEAT_SECONDS": 0.5,
    }
    count = 150
    ids: list[str] = []
    events = []
    with (
        running("serve", tmp_path, **settings) as one,
        running("serve", tmp_path, **settings) as two,
    ):
        with open_stream(one.url, "/events") as stream:
            stream.begin()

            def load() -> None:
                for number in range(count):
                    ids.append(two.post(f"{target.url}/now?{number}"))

            loader = threading.Thread(target=load)
            loader.start()
            events += stream.take(60)
            one.kill()
            events += list(stream)  # what was on its way
            place = stream.last_event_id
        with open_stream(two.url, "/events", after=place) as again:
            loader.join()
            ended = {m.json["task_id"] for m in events if m.json["status"] == "COMPLETED"}
            while len(ended) < count:
                [message] = again.take(1)
                events.append(message)
                if message.json["status"] == "COMPLETED":
                    ended.add(message.json["task_id"])
        assert ended == set(ids)
        assert two.end().code == 0
    seen = [message.json["id"] for message in events]
    assert seen == sorted(set(seen))
    recorded = tasks.execute(
        "SELECT id FROM taskflow_events WHERE id BETWEEN %s AND %s ORDER BY id", seen[0], seen[-1]
    ).fetchall()
    assert [(event_id,) for event_id in seen] == recorded


def test_waiting_needs_no_poll(tmp_path, tasks, target):
    """A waiting POST is answered after the fetch without polling for events."""
    took = []
    settings = {"DATABASE_URL": tasks.url, "TASKFLOW_POLL_SECONDS": HOURS_SECONDS}
    with running("serve", tmp_path, **settings) as service:
        for number in range(31):
            path = f"/now?{number}"
            body = {"payload": f"{target.url}{path}"}
            answer = service.ask("POST", "/tasks?wait=60", body)
            answered = time.perf_counter()
            assert answer.body["status"] == "COMPLETED"
            [at] = target.wait_for(path)
            took.append(answered - at)
        assert service.end().code == 0
    print(f"from fetch to answer: {statistics.median(took) * 1000:.1f} ms in the median")


def test_a_hypercorn_of_two_waits_too(tmp_path, tasks, target):
    """Whichever of its processes is asked."""
    with running("hypercorn-w2", tmp_path, DATABASE_URL=tasks.url) as service:
        for number in range(12):
            body = {"payload": f"{target.url}/now?{number}"}
            answer = service.ask("POST", "/tasks?wait=60", body)
            assert answer.body["status"] == "COMPLETED"
            tasks.wait_for(answer.body["id"], COMPLETED)
            shown = service.ask("GET", f"/tasks/{answer.body['id']}?wait=20")
            assert json.dumps(shown.body) == json.dumps(answer.body)
        assert service.end().code == 0
