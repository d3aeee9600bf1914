"""Order keys over HTTP: tasks of a key run one after the other; skip, cancel and filters."""

from __future__ import annotations

import itertools
import json
import uuid

import pytest

from tests.api.client import check_problem
from tests.api.live import LiveServer

UNKNOWN = uuid.UUID(int=7)
INVALID = "x:"  # fails at once


@pytest.fixture
def key() -> str:
    """An order key of the test's own, with what has to be escaped."""
    return f"a/b &#? {uuid.uuid4()}"


def tasks_of(count: int, **fields: object) -> list[dict[str, object]]:
    return [{"payload": INVALID, **fields} for _ in range(count)]


def added(server: LiveServer, tasks: list[dict[str, object]]) -> list[str]:
    answer = server.ask("POST", "/tasks", json.dumps(tasks).encode())
    assert answer.status == 201, answer
    return [task["id"] for task in answer.json]


def held_and_waiting(server: LiveServer, key: str) -> tuple[str, str]:
    """A task that FAILED and holds the key, and one behind it."""
    holder, waiting = added(server, tasks_of(2, order_key=key, on_failure="hold"))
    server.wait(holder)
    return holder, waiting


def act(server: LiveServer, verb: str, task_id: object):
    return server.ask("POST", f"/tasks/{task_id}/{verb}", b"")


def test_one_after_the_other(server, key):
    """An array, lines and single tasks: each starts when the one before it has finished."""
    ids = added(server, tasks_of(3, order_key=key))
    lines = b"\n".join(json.dumps(task).encode() for task in tasks_of(3, order_key=key))
    answer = server.ask("POST", "/tasks", lines, {"content-type": "application/x-ndjson"})
    ids += [json.loads(line)["id"] for line in answer.body.splitlines() if b'"id"' in line]
    ids += added(server, tasks_of(1, order_key=key))
    assert len(ids) == 7
    tasks = [server.wait(task_id) for task_id in ids]
    for task, following in itertools.pairwise(tasks):
        assert task["finished_at"] <= following["started_at"]
        assert following["waiting_for"] is None


def test_a_task_behind_a_failure(server, key):
    """It names the failed task, has no due time, and starts once that is skipped."""
    holder, waiting = held_and_waiting(server, key)
    shown = server.show(waiting)
    assert (shown["status"], shown["run_at"]) == ("PENDING", None)
    assert shown["waiting_for"]["task_id"] == holder
    assert "failed and holds the order key" in shown["waiting_for"]["detail"]
    skipped = act(server, "skip", holder).json
    assert (skipped["status"], skipped["on_failure"]) == ("FAILED", "continue")
    server.wait(waiting)


@pytest.mark.parametrize(("verb", "status"), [("cancel", "CANCELED"), ("retry", "PENDING")])
def test_the_failed_task_is_moved(server, key, verb, status):
    """Canceled, it frees the key; retried, it fails again, and holds the key again."""
    holder, waiting = held_and_waiting(server, key)
    moved = act(server, verb, holder)
    assert (moved.status, moved.json["status"]) == (200, status)
    if verb == "retry":
        server.wait(holder)
        assert server.show(waiting)["waiting_for"]["task_id"] == holder
        act(server, "cancel", holder)
    server.wait(waiting)


def test_the_failed_task_is_deleted(server, key):
    holder, waiting = held_and_waiting(server, key)
    assert server.ask("DELETE", f"/tasks/{holder}").status == 204
    server.wait(waiting)


@pytest.mark.parametrize("fields", [{}, {"order_key": "x"}])
def test_a_task_that_holds_no_key(server, fields):
    """It is not skipped, nor canceled once it has failed, and the answer says why."""
    [task_id] = added(server, tasks_of(1, **fields))
    server.wait(task_id)
    check_problem(act(server, "skip", task_id), 409, "only a task that FAILED with on_failure hold")
    check_problem(act(server, "cancel", task_id), 409, "cannot cancel a task that is FAILED")
    check_problem(act(server, "skip", UNKNOWN), 404)


def test_many_tasks_by_their_key(server, key):
    """Lists and bulk actions have a filter; a bulk action cancels no finished task."""
    holder, waiting = held_and_waiting(server, key)
    [other] = added(server, tasks_of(1, order_key=key, queue="other"))
    server.wait(other)
    query = json.dumps({"order_key": key}).encode()
    dry_run = json.dumps({"order_key": key, "dry_run": True}).encode()
    counted = server.ask("POST", "/tasks/cancel", dry_run)
    assert counted.json["count"] == 1
    assert server.ask("POST", "/tasks/cancel", query).json["count"] == 1
    assert server.show(waiting)["status"] == "CANCELED"
    assert server.show(holder)["status"] == "FAILED"
    assert server.ask("POST", "/tasks/delete", query).json["count"] == 3


def test_a_filter_that_is_no_key(server):
    """It is rejected like a key of a new task."""
    for text in ("", "%01", "x" * 256):
        answer = server.ask("GET", f"/tasks?order_key={text}")
        check_problem(answer, 422, "order_key must be text of 1 to 255 characters")
