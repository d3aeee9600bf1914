"""``/stats`` over HTTP."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest

from taskflow.api import monitoring
from taskflow.api.app import create_app
from taskflow.model.task import NewTask
from taskflow.model.task_states import TaskState
from taskflow.service import open_store
from tests.api.client import check_problem
from tests.api.live import LiveServer

STATUSES = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELED"]
WINDOWS = ["last_minute", "last_5_minutes", "last_hour"]
QUEUES = 3


@contextlib.asynccontextmanager
async def open_app_with_queues(settings, shutdown):
    """An app whose store has a task in each of several queues, without workers."""
    async with open_store(settings) as store:
        names = [f"queue {n}" for n in range(QUEUES)]
        await store.add([NewTask(msgspec.Raw(b"1"), queue=name) for name in names])
        yield create_app(store, settings, lambda: False)


@pytest.fixture
def queues_server(empty_url):
    with LiveServer(database_url=empty_url, open_app=open_app_with_queues) as server:
        yield server


def stats(server, query=""):
    answer = server.ask("GET", f"/stats{query}")
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    return answer.json


def test_finished_tasks_are_counted(empty_url, target):
    """Finished tasks are counted at once: by status, by outcome, and as no longer due."""
    with LiveServer(database_url=empty_url) as server:
        nothing = stats(server)
        assert (nothing["queues"], nothing["complete"]) == ([], True)
        for path in ("/json", "/text", "/404"):
            server.run(json.dumps(target.url + path).encode())
        reported = stats(server)
    [queue] = reported["queues"]
    assert list(queue) == ["queue", "counts", "oldest_waiting_seconds", "finished", "states"]
    assert queue["states"] == {state: {"count": 0, "is_exact": True} for state in TaskState}
    assert queue["queue"] == "default"
    assert list(queue["counts"]) == STATUSES
    assert list(queue["counts"].values()) == [0, 0, 2, 1, 0]
    assert queue["oldest_waiting_seconds"] is None
    assert queue["finished"] == {
        "COMPLETED": dict.fromkeys(WINDOWS, 2),
        "FAILED": dict.fromkeys(WINDOWS, 1),
        "CANCELED": dict.fromkeys(WINDOWS, 0),
    }
    assert reported["total"] == {name: value for name, value in queue.items() if name != "queue"}


def test_tasks_are_counted_by_state(empty_url):
    """In total, by queue and of one queue: tasks of a paused queue are held, not due."""
    with LiveServer(database_url=empty_url) as server:
        assert server.ask("PUT", "/queues/mail", b'{"paused": true}').status == 201
        for delay_seconds in (0, 0, 3600):
            task = {"payload": "http://x/", "queue": "mail", "delay_seconds": delay_seconds}
            assert server.post(json.dumps(task).encode()).status == 201
        scheduled = server.post(b'{"payload": "http://x/", "delay_seconds": 3600}')
        assert scheduled.status == 201
        reported, picked = stats(server), stats(server, "?queue=mail")
        queues = {one["name"]: one for one in server.ask("GET", "/queues").json}
        shown = server.ask("GET", "/queues/mail").json
    in_mail = {"held": 2, "scheduled": 1}
    assert counted(reported["total"]) == {"held": 2, "scheduled": 2}
    default, mail = reported["queues"]
    assert counted(default) == counted(queues["default"]) == {"scheduled": 1}
    for one in (mail, picked["queues"][0], queues["mail"], shown):
        assert counted(one) == in_mail
    assert counted(picked["total"]) == {"held": 2, "scheduled": 2}


def counted(shown) -> dict[str, int]:
    """The states that have tasks."""
    assert all(one["is_exact"] for one in shown["states"].values())
    return {state: one["count"] for state, one in shown["states"].items() if one["count"]}


def test_queues_are_listed_by_name(queues_server):
    """All of them, with the age of what waits; the total is the sum."""
    reported = stats(queues_server)
    assert [one["queue"] for one in reported["queues"]] == ["queue 0", "queue 1", "queue 2"]
    for one in (*reported["queues"], reported["total"]):
        assert 0 <= one["oldest_waiting_seconds"] < 60
    assert reported["total"]["counts"]["PENDING"] == QUEUES
    assert reported["complete"]


def test_no_more_queues_than_are_listed(queues_server, monkeypatch):
    """The answer is bounded and says so; the total is of all, and any queue can be asked for."""
    monkeypatch.setattr(monitoring, "MAX_QUEUES", 2)
    reported = stats(queues_server)
    assert [one["queue"] for one in reported["queues"]] == ["queue 0", "queue 1"]
    assert not reported["complete"]
    assert reported["total"]["counts"]["PENDING"] == QUEUES
    picked = stats(queues_server, "?queue=queue%202")
    assert [one["queue"] for one in picked["queues"]] == ["queue 2"]
    assert picked["complete"]


def test_a_queue_without_tasks(server):
    """A queue without tasks is listed if it is requested by name, with zero counts."""
    [queue] = stats(server, "?queue=%F0%9F%98%80%0A")["queues"]
    assert queue["queue"] == "\U0001f600\n"
    assert set(queue["counts"].values()) == {0}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("queue=", "queue must be the name of a queue"),
        ("queue=%00", "queue must be the name of a queue"),
        ("queue=" + "x" * 256, "of 1 to 255 characters"),
        ("queue=a&queue=a", "queue is given more than once"),
        ("que=a", "there is no parameter 'que'; did you mean queue?"),
    ],
)
def test_queries_that_cannot_be_used(server, query, words):
    """422 names the parameter and what is allowed."""
    check_problem(server.ask("GET", f"/stats?{query}"), 422, words)


def test_head(server):
    """HEAD tells the same without the body."""
    answer = server.ask("HEAD", "/stats")
    assert (answer.status, answer.body) == (200, b"")
