"""Tasks are canceled, run again and deleted over HTTP."""

from __future__ import annotations

import contextlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskflow.telemetry import Event
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.service.processes import wait_until
from tests.service.targets import Target

UNKNOWN = uuid.UUID(int=7)


@pytest.fixture
def held():
    """A web server that keeps those waiting who ask for ``/held``."""
    with Target() as target:
        yield target


@pytest.fixture
def busy(empty_url):
    """A server with one worker."""
    with LiveServer(database_url=empty_url, workers=1, fetch_timeout_seconds=60.0) as server:
        yield server


def add(server, url: str) -> str:
    return server.add(json.dumps(url).encode())


def attempts(server, task_id: str) -> list[str]:
    return [one["status"] for one in server.ask("GET", f"/tasks/{task_id}/attempts").json]


def moved(server, verb: str, task_id: str, body: bytes | None = None, headers=None) -> dict:
    answer = server.ask("POST", f"/tasks/{task_id}/{verb}", body, headers)
    assert answer.status == 200, answer
    assert answer.header("content-type") == "application/json"
    return answer.json


class TestCancel:
    def test_one_that_runs(self, busy, held, events):
        """The fetch is canceled, the worker takes the next task, and no warning is logged."""
        task_id = add(busy, f"{held.url}/held")
        held.wait_for("/held")
        following = add(busy, f"{held.url}/now")
        assert busy.show(following)["status"] == "PENDING"
        task = moved(busy, "cancel", task_id)
        assert (task["id"], task["status"], task["result"]) == (task_id, "CANCELED", None)
        assert task["finished_at"] > task["started_at"]
        held.wait_for_close("/held")
        assert busy.wait(following)["status"] == "COMPLETED"
        assert busy.show(task_id) == task
        assert attempts(busy, task_id) == ["CANCELED"]
        called_off = Event.TASK_CANCELED.value[1]
        wait_until(lambda: called_off in [event["event"] for event in events])
        assert [event for event in events if event["log_level"] == "warning"] == []

    def test_one_that_waits(self, busy, held):
        """It never runs."""
        first = add(busy, f"{held.url}/held")
        held.wait_for("/held")
        second, third = (add(busy, f"{held.url}/now?{n}") for n in (2, 3))
        task = moved(busy, "cancel", second)
        assert (task["status"], task["started_at"]) == ("CANCELED", None)
        held.release()
        assert busy.wait(third)["status"] == busy.wait(first)["status"] == "COMPLETED"
        assert [path for path, _ in held.seen] == ["/held", "/now?3"]
        assert attempts(busy, second) == []

    def test_one_at_its_end(self, server, target):
        """409 says how it stands."""
        task = server.run(f'"{target.url}/json"'.encode())
        answer = server.ask("POST", f"/tasks/{task['id']}/cancel")
        check_problem(answer, 409, "cannot cancel a task that is COMPLETED")
        assert server.show(task["id"]) == task

    def test_twice_at_once(self, busy, held):
        """One of many concurrent requests succeeds; the others get a 409 with the new status."""
        task_id = add(busy, f"{held.url}/held")
        held.wait_for("/held")
        with ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(lambda _: busy.ask("POST", f"/tasks/{task_id}/cancel"), range(8))
            )
        assert sorted(answer.status for answer in answers) == [200] + [409] * 7
        assert attempts(busy, task_id) == ["CANCELED"]


class TestRetry:
    def test_one_that_failed(self, server, target):
        """It runs again from the start; what was tried before stays listed."""
        task = server.run(b"1")
        again = moved(server, "retry", task["id"])
        assert (again["status"], again["attempt"], again["error"]) == ("PENDING", 0, "")
        done = server.wait(task["id"])
        assert (done["status"], done["attempt"]) == ("FAILED", 1)
        assert attempts(server, task["id"]) == ["FAILED", "FAILED"]

    def test_one_that_was_canceled(self, busy, held):
        """It runs again on the worker that was taken from it."""
        task_id = add(busy, f"{held.url}/held")
        held.wait_for("/held")
        moved(busy, "cancel", task_id)
        assert moved(busy, "retry", task_id)["status"] == "PENDING"
        held.wait_for("/held", times=2)
        held.release()
        assert busy.wait(task_id)["status"] == "COMPLETED"
        assert attempts(busy, task_id) == ["CANCELED", "COMPLETED"]

    def test_one_that_is_at_no_such_end(self, busy, held):
        """409 says how it stands: that it is on its way already, or done."""
        running, done = add(busy, f"{held.url}/held"), add(busy, f"{held.url}/now")
        held.wait_for("/held")
        for task_id, status in ((running, "RUNNING"), (done, "PENDING")):
            check_problem(busy.ask("POST", f"/tasks/{task_id}/retry"), 409, f"that is {status}")
        held.release()
        busy.wait(done)
        check_problem(busy.ask("POST", f"/tasks/{done}/retry"), 409, "that is COMPLETED")


class TestDelete:
    def test_one_at_its_end(self, server, target):
        """204 without a body; afterwards it is nowhere, and cannot be deleted again."""
        task_id = server.run(f'"{target.url}/json"'.encode())["id"]
        with server.connect() as connection:
            answer = connection.ask("DELETE", f"/tasks/{task_id}")
            assert (answer.status, answer.body) == (204, b"")
            for name in ("content-type", "content-length", "transfer-encoding"):
                assert answer.header(name) is None
            assert connection.ask("GET", "/livez").status == 200  # the connection goes on
        for method, path in [("GET", ""), ("GET", "/attempts"), ("DELETE", "")]:
            check_problem(server.ask(method, f"/tasks/{task_id}{path}"), 404)
        page = server.ask("GET", "/tasks?limit=1000").json
        assert task_id not in [task["id"] for task in page]

    def test_one_that_is_not(self, busy, held):
        """409 says what to do first, and the task goes on."""
        running, waiting = add(busy, f"{held.url}/held"), add(busy, f"{held.url}/now")
        held.wait_for("/held")
        for task_id, status in ((running, "RUNNING"), (waiting, "PENDING")):
            answer = busy.ask("DELETE", f"/tasks/{task_id}")
            check_problem(answer, 409, f"cannot delete a task that is {status}; cancel it first")
        moved(busy, "cancel", running)
        assert busy.ask("DELETE", f"/tasks/{running}").status == 204
        assert busy.wait(waiting)["status"] == "COMPLETED"


ROUTES = [("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")]


class TestRequests:
    @pytest.mark.parametrize(("method", "path"), ROUTES)
    @pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense", f"{UNKNOWN}x"])
    def test_unknown_tasks(self, server, method, path, task_id):
        """Invalid and unknown ids are a 404."""
        check_problem(server.ask(method, f"/tasks/{task_id}{path}"), 404, "o task has this id")

    @pytest.mark.parametrize("verb", ["cancel", "retry"])
    @pytest.mark.parametrize("body", [None, b"", b"{}", b"no JSON", b"\xff\x00", b"x" * 2**20])
    def test_a_body_is_passed_over(self, server, verb, body):
        """Whatever it is, compressed or not."""
        task_id = server.run(b"1")["id"]
        answer = server.ask("POST", f"/tasks/{task_id}/{verb}", body, {"content-encoding": "gzip"})
        assert answer.status == (200 if verb == "retry" else 409)

    def test_a_body_is_bounded(self, server):
        """413 as for any other, and nothing is done."""
        task_id = server.run(b"1")["id"]
        answer = server.ask("POST", f"/tasks/{task_id}/retry", b"x" * (2**20 + 1))
        check_problem(answer, 413, "1048576 bytes")
        assert server.show(task_id)["status"] == "FAILED"
        assert attempts(server, task_id) == ["FAILED"]

    @pytest.mark.parametrize("verb", ["cancel", "retry"])
    def test_other_methods(self, server, verb):
        """405 says which one is taken."""
        answer = server.ask("GET", f"/tasks/{UNKNOWN}/{verb}")
        check_problem(answer, 405)
        assert "POST" in answer.header("allow")

    def test_actions_need_a_role_that_may_write(self, empty_url):
        """The role read is rejected."""
        keys = "reader:read:" + "r" * 40 + ",writer:write:" + "w" * 40
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(LiveServer(database_url=empty_url, api_keys=keys))
            for letter, status in (("r", 403), ("w", 404)):
                credentials = {"authorization": f"Bearer {letter * 40}"}
                for method, path in ROUTES:
                    answer = server.ask(method, f"/tasks/{UNKNOWN}{path}", None, credentials)
                    assert answer.status == status


class TestWords:
    """Errors use the words of the API: the verb of the request and the statuses of tasks."""

    REQUESTS = (
        ("cancel", "POST", "/cancel"),
        ("retry", "POST", "/retry"),
        ("delete", "DELETE", ""),
    )
    INTERNAL = ("requeue", "settle", "release", "lease", "claim", "manual", "_")

    @pytest.fixture
    def tasks(self, busy, held, target) -> dict[str, str]:
        """A task of each status."""
        ids = {
            "COMPLETED": busy.run(f'"{target.url}/json"'.encode())["id"],
            "FAILED": busy.run(b"1")["id"],
            "RUNNING": add(busy, f"{held.url}/held"),
        }
        held.wait_for("/held")
        later = b'{"payload": "no", "delay_seconds": 3600}'
        ids |= {
            name: busy.ask("POST", "/tasks", later).json["id"] for name in ("CANCELED", "PENDING")
        }
        moved(busy, "cancel", ids["CANCELED"])
        return ids

    @pytest.mark.parametrize(("verb", "method", "suffix"), REQUESTS)
    def test_every_verb_and_status(self, busy, tasks, verb, method, suffix):
        """A refusal begins with the verb that was asked for, and names the status."""
        for status, task_id in tasks.items():
            answer = busy.ask(method, f"/tasks/{task_id}{suffix}")
            if answer.status < 400:
                continue
            check_problem(answer, 409, f"cannot {verb} a task that is {status}")
            detail = answer.json["detail"]
            assert not any(word in detail for word in self.INTERNAL), detail

    def test_results(self, busy, tasks):
        """What is said in place of a result."""
        for status in tasks.keys() - {"COMPLETED"}:
            answer = busy.ask("GET", f"/tasks/{tasks[status]}/result")
            check_problem(answer, 404, f"the task is {status} and has no result")
            detail = answer.json["detail"]
            assert not any(word in detail for word in self.INTERNAL), detail
