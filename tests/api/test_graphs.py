"""Tasks with parents over HTTP: arrays that are graphs, and what is refused."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.api.target import Target

LATER = {"payload": "http://127.0.0.1:9/", "delay_seconds": 3600}
LINES = {"content-type": "application/x-ndjson"}
UNKNOWN = str(uuid.UUID(int=7))
KEYS = {name: f"key-of-{name}-0123456789" for name in ("boss", "mail")}


@pytest.fixture(scope="module", params=["memory", "postgres"])
def served(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server with a key for all queues, and one for a single queue."""
    keys = f"boss:write:{KEYS['boss']},mail:write:queues=mail:{KEYS['mail']}"
    with contextlib.ExitStack() as stack:
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url, api_keys=keys))


class Client:
    """A client with a key."""

    def __init__(self, server: LiveServer, key: str = "boss") -> None:
        self.server = server
        self.headers = {"authorization": f"Bearer {KEYS[key]}"}

    def ask(self, method: str, path: str, document: Any = None, **headers: str):
        body = None if document is None else json.dumps(document).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.ask(method, path, body, {**self.headers, **fields})

    def done(self, method: str, path: str, document: Any = None) -> Any:
        answer = self.ask(method, path, document)
        assert answer.status in (200, 201), answer
        return answer.json

    def refused(self, document: Any, path: str = "/tasks") -> dict[str, str]:
        """What is wrong, by places."""
        problem = check_problem(self.ask("POST", path, document), 422)
        return {error["pointer"]: error["detail"] for error in problem["errors"]}


@pytest.fixture
def boss(served: LiveServer) -> Client:
    return Client(served)


@pytest.fixture
def mail(served: LiveServer) -> Client:
    return Client(served, "mail")


def test_an_array_is_a_graph(boss: Client, target: Target):
    """Its tasks name each other, run in their order, and show their parents."""
    url = f"{target.url}/json"
    new = [
        {"payload": url, "after": ["left", "right"]},
        {"payload": url, "name": "root", "tags": {"a": 1}},
        {"payload": url, "name": "left", "after": ["root"]},
        {"payload": url, "name": "right", "after": ["root"]},
    ]
    last, root, left, right = boss.done("POST", "/tasks", new)
    assert (root["name"], root["after"], root["on_parent_failure"]) == ("root", None, None)
    assert (last["name"], last["on_parent_failure"]) == (None, "cancel")
    assert last["after"] == sorted([left["id"], right["id"]])
    assert (last["run_at"], last["waiting_for"]["reason"]) == (None, "parents")
    ended = [boss.done("GET", f"/tasks/{one['id']}?wait=30") for one in (root, left, right, last)]
    assert {task["status"] for task in ended} == {"COMPLETED"}
    assert ended[3]["started_at"] >= max(task["finished_at"] for task in ended[1:3])
    assert ended[1]["started_at"] >= ended[0]["finished_at"]
    children = boss.done("GET", f"/tasks?parent={root['id']}&fields=id,name")
    assert {child["name"] for child in children} == {"left", "right"}


def test_a_parent_by_its_id(boss: Client, target: Target):
    """It may have finished long ago."""
    parent = boss.done("POST", "/tasks?wait=30", {"payload": f"{target.url}/text"})
    new = {"payload": f"{target.url}/text", "after": [parent["id"]]}
    child = boss.done("POST", "/tasks?wait=30", new)
    assert (child["status"], child["after"]) == ("COMPLETED", [parent["id"]])
    again = boss.done("POST", "/tasks?wait=30", {**child, "payload": "x:"})
    assert (again["status"], again["after"]) == ("FAILED", [parent["id"]])


def test_a_failed_parent(boss: Client):
    """Its child is canceled, fails or runs."""
    new = [
        {"payload": "x:", "name": "bad"},
        *(
            {"payload": "x:", "after": ["bad"], "on_parent_failure": how}
            for how in ("cancel", "run")
        ),
        {"payload": "x:", "after": ["bad"], "on_parent_failure": "fail"},
    ]
    bad, *children = boss.done("POST", "/tasks", new)
    ended = [boss.done("GET", f"/tasks/{child['id']}?wait=30") for child in children]
    assert [(task["status"], task["error_type"]) for task in ended] == [
        ("CANCELED", "parent_failed"),
        ("FAILED", "invalid_url"),
        ("FAILED", "parent_failed"),
    ]
    assert ended[0]["error"] == f"parent failed: the task {bad['id']} is FAILED"


def test_arrays_that_are_refused(boss: Client):
    """Each fault has its place, and nothing is stored."""
    before = boss.done("GET", "/tasks?limit=1&fields=id")
    named = {**LATER, "name": "a"}
    assert boss.refused([named, named]) == {
        "#/1/name": "the task 0 of the array has the name 'a', too"
    }
    assert boss.refused([named, {**LATER, "after": ["a", "b"]}]) == {
        "#/1/after/1": "no task of the array has the name 'b'"
    }
    cycle = [{**named, "after": ["b"]}, {**LATER, "name": "b", "after": ["a"]}]
    assert boss.refused(cycle) == {"#/0/after": "tasks wait for each other: a -> b -> a"}
    assert boss.refused([named, {**LATER, "after": [UNKNOWN]}]) == {
        "#/1/after/0": f"no task has the id {UNKNOWN}"
    }
    keyed = {**LATER, "unique": {"key": "k"}}
    assert list(boss.refused([named, keyed, {**LATER, "after": ["a"]}])) == ["#/1"]
    assert list(boss.refused({"tasks": cycle}, "/groups")) == ["#/tasks/0/after"]
    assert list(boss.refused({"tasks": [{**LATER, "after": [UNKNOWN]}]}, "/groups")) == [
        "#/tasks/0/after/0"
    ]
    assert boss.done("GET", "/tasks?limit=1&fields=id") == before


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"after": ["a"]}, ["#/after/0"]),
        ({"after": [UNKNOWN]}, ["#/after/0"]),
        ({"after": [UNKNOWN, UNKNOWN.upper()]}, ["#/after/1"]),
        ({"after": [""]}, ["#/after/0"]),
        ({"after": "a"}, ["#/after"]),
        ({"after": [f"t{n}" for n in range(101)]}, ["#/after"]),
        ({"name": UNKNOWN}, ["#/name"]),
        ({"name": "a b"}, ["#/name"]),
        ({"on_parent_failure": "run"}, ["#/on_parent_failure"]),
        ({"after": [UNKNOWN], "on_parent_failure": "x"}, ["#/on_parent_failure"]),
        ({"after": [UNKNOWN], "order_key": "k"}, ["#/order_key"]),
        ({"after": [UNKNOWN], "unique": {"key": "k"}}, ["#/unique"]),
        ({"after": [UNKNOWN], "run_at": "2999-01-01T00:00:00Z"}, ["#/run_at"]),
    ],
)
def test_tasks_that_are_refused(boss: Client, fields, pointers):
    """By themselves, with the place of each fault."""
    assert list(boss.refused({"payload": "x:", **fields})) == pointers


def test_a_stream(boss: Client):
    """A line has the ids of its parents, and no names; the others are accepted."""
    parent = boss.done("POST", "/tasks", {**LATER, "name": "a"})
    new = ({**LATER, "after": [one]} for one in (parent["id"], "a", UNKNOWN))
    lines = b"".join(json.dumps(task).encode() + b"\n" for task in new)
    answer = boss.server.ask("POST", "/tasks", lines, {**boss.headers, **LINES})
    outcomes = [json.loads(line) for line in answer.body.splitlines()]
    assert [one.get("error", {}).get("status") for one in outcomes[:3]] == [None, 422, 422]
    assert (outcomes[3]["accepted"], outcomes[3]["rejected"]) == (1, 2)


def test_schedules_and_completion_tasks_have_no_parents(boss: Client):
    """Both are templates of tasks that are submitted alone."""
    template = {**LATER, "name": "a", "after": [UNKNOWN]}
    schedule = {"every_seconds": 60, "task": {"payload": "x:", "after": [UNKNOWN], "name": "a"}}
    problem = check_problem(boss.ask("PUT", "/schedules/graph", schedule), 422)
    assert {one["pointer"] for one in problem["errors"]} == {"#/task/name", "#/task/after"}
    assert {"#/on_complete/name", "#/on_complete/after"} <= set(
        boss.refused({"on_complete": template}, "/groups")
    )


def test_parents_of_other_queues(boss: Client, mail: Client):
    """For a key that is limited to some queues, a task of another queue is no task."""
    [foreign] = boss.done("POST", "/tasks", [LATER])
    own = mail.done("POST", "/tasks", {**LATER, "queue": "mail"})
    child = {**LATER, "queue": "mail"}
    unknown = mail.refused({**child, "after": [UNKNOWN]})
    refused = mail.refused({**child, "after": [foreign["id"]]})
    assert refused == {
        pointer: detail.replace(UNKNOWN, foreign["id"]) for pointer, detail in unknown.items()
    }
    assert mail.done("POST", "/tasks", {**child, "after": [own["id"]]})["after"] == [own["id"]]
    across = boss.done("POST", "/tasks", {**LATER, "after": [own["id"]]})
    children = mail.done("GET", f"/tasks?parent={own['id']}&fields=id")
    assert across["id"] not in {task["id"] for task in children}
    group = {"queue": "mail", "tasks": [{**child, "after": [foreign["id"]]}]}
    assert list(mail.refused(group, "/groups")) == ["#/tasks/0/after/0"]


def test_a_repeated_request(boss: Client, target: Target):
    """It returns the same tasks, also if a parent was deleted since."""
    parent = boss.done("POST", "/tasks?wait=30", {"payload": f"{target.url}/json"})
    new, key = [{**LATER, "after": [parent["id"]]}], uuid.uuid4().hex
    first = boss.ask("POST", "/tasks", new, idempotency_key=key)
    assert first.status == 201
    deadline = time.monotonic() + 60
    while boss.ask("DELETE", f"/tasks/{parent['id']}").status != 204:
        assert time.monotonic() < deadline
    again = boss.ask("POST", "/tasks", new, idempotency_key=key)
    assert (again.status, again.json[0]["id"]) == (200, first.json[0]["id"])
