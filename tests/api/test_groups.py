"""Groups over HTTP: from their creation to the request that their completion sends."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from taskflow.api.live import events as streams
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.api.sse import open_stream
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

    def group(self, **fields: Any) -> dict[str, Any]:
        group: dict[str, Any] = self.done("POST", "/groups", fields)
        return group

    def now(self, group: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.done("GET", f"/groups/{group['id']}")
        return found

    def refused(self, document: Any, path: str = "/groups") -> dict[str, str]:
        """What is wrong, by places."""
        problem = check_problem(self.ask("POST", path, document), 422)
        return {error["pointer"]: error["detail"] for error in problem["errors"]}


@pytest.fixture
def boss(served: LiveServer) -> Client:
    return Client(served)


@pytest.fixture
def mail(served: LiveServer) -> Client:
    return Client(served, "mail")


def test_tasks_join_and_the_group_completes(boss: Client, target: Target):
    """The completion task sends the group and its counts, with the method of the template."""
    completion = {
        "payload": {"url": f"{target.url}/anything", "method": "PUT"},
        "tags": {"a": 1},
        "max_attempts": 2,
    }
    group = boss.group(name="import", on_complete=completion, tags={"customer": 42})
    assert group["status"] == "OPEN"
    assert group["on_complete"] == completion
    new = {"payload": f"{target.url}/json", "group": group["id"]}
    one = boss.done("POST", "/tasks", new)
    assert one["group"] == group["id"]
    two = boss.done("POST", "/tasks", [new, {**new, "payload": "x:"}])
    closed = boss.done("POST", f"/groups/{group['id']}/close")
    assert closed["closed_at"] is not None
    deadline = time.monotonic() + 60
    while (group := boss.now(group))["status"] != "COMPLETED" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert group["counts"] == {
        "PENDING": 0,
        "RUNNING": 0,
        "COMPLETED": 2,
        "FAILED": 1,
        "CANCELED": 0,
    }
    [failure] = group["first_failures"]
    assert (failure["task_id"], failure["error_type"]) == (two[1]["id"], "invalid_url")
    members = boss.done("GET", f"/tasks?group={group['id']}&fields=id")
    assert {task["id"] for task in members} == {one["id"], two[0]["id"], two[1]["id"]}
    task = boss.done("GET", f"/tasks/{group['completion_task_id']}?wait=30")
    assert (task["completion_of"], task["max_attempts"]) == (group["id"], 2)
    body = task["payload"]["body"]
    assert body["counts"] == group["counts"]
    assert body["group"] == {name: group[name] for name in body["group"]}
    assert task["payload"]["method"] == "PUT"


def test_an_array_as_a_group(boss: Client):
    """Once for each Idempotency-Key; a body may be as long as an array."""
    document = {"tasks": [LATER] * 3, "on_failure": "cancel_rest", "name": "n" * 255}
    key = uuid.uuid4().hex
    first = boss.ask("POST", "/groups", document, idempotency_key=key)
    assert (first.status, first.header("location")) == (201, f"/groups/{first.json['id']}")
    assert (first.json["status"], first.json["counts"]["PENDING"]) == ("CLOSED", 3)
    again = boss.ask("POST", "/groups", document, idempotency_key=key)
    assert (again.status, again.json["id"]) == (200, first.json["id"])
    assert again.header("idempotent-replayed") == "true"
    check_problem(boss.ask("POST", "/groups", {}, idempotency_key=key), 422)
    is_open = boss.group(tasks=[LATER], open=True)
    assert is_open["status"] == "OPEN"
    long = {"payload": "x" * 10_000, "delay_seconds": 3600}
    assert boss.group(tasks=[long] * 200)["counts"]["PENDING"] == 200


def test_tasks_that_cannot_join(boss: Client):
    """A closed group is a 409, an unknown one a 422; nothing of the request is stored."""
    closed = boss.group(tasks=[LATER])
    late = {**LATER, "group": closed["id"]}
    problem = check_problem(boss.ask("POST", "/tasks", [LATER, late]), 409)
    assert problem["type"].endswith("/group-closed")
    assert [error["pointer"] for error in problem["errors"]] == ["#/1/group"]
    nowhere = {**LATER, "group": UNKNOWN}
    assert list(boss.refused(nowhere, "/tasks")) == ["#/group"]
    assert boss.refused({**LATER, "group": "x"}, "/tasks") == {
        "#/group": "group must be the id of a group, a UUID"
    }
    lines = b"".join(json.dumps(task).encode() + b"\n" for task in (late, LATER, nowhere))
    answer = boss.server.ask("POST", "/tasks", lines, {**boss.headers, **LINES})
    outcomes = [json.loads(line) for line in answer.body.splitlines()]
    assert [one.get("error", {}).get("status") for one in outcomes[:3]] == [409, None, 422]
    assert (outcomes[3]["accepted"], outcomes[3]["rejected"]) == (1, 2)
    assert boss.now(closed)["counts"]["PENDING"] == 1


def test_what_is_wrong(boss: Client):
    """Each error has its place."""
    group, url = boss.group(), "http://127.0.0.1:9/"
    task = {"payload": url}
    for document, places in (
        ({"name": ""}, ["#/name"]),
        ({"on_failure": "stop"}, ["#/on_failure"]),
        ({"payload": url}, ["#/payload"]),
        ({"on_complete": url}, ["#/on_complete"]),
        ({"on_complete": {}}, ["#/on_complete"]),
        ({"on_complete": {"payload": 1}}, ["#/on_complete/payload"]),
        ({"on_complete": {**task, "priority": 101}}, ["#/on_complete/priority"]),
        ({"on_complete": {**task, "order_key": "k"}}, ["#/on_complete/order_key"]),
        ({"on_complete": {**task, "group": group["id"]}}, ["#/on_complete/group"]),
        ({"on_complete": {**task, "unique": {"key": "k"}}}, ["#/on_complete/unique"]),
        (
            {"on_complete": {**task, "expires_at": "2099-01-01T00:00:00Z"}},
            ["#/on_complete/expires_at"],
        ),
        ({"on_complete": {"payload": {"url": url, "body": 1}}}, ["#/on_complete/payload/body"]),
        ({"tasks": []}, ["#/tasks"]),
        ({"tasks": {}}, ["#/tasks"]),
        ({"tasks": [task, {**task, "priority": "x"}, 1]}, ["#/tasks/1/priority", "#/tasks/2"]),
        ({"tasks": [{**task, "group": group["id"]}]}, ["#/tasks/0/group"]),
        (
            {"tasks": [{**task, "debounce": {"key": "k", "delay_seconds": 1}}]},
            ["#/tasks/0/debounce"],
        ),
        ({"tasks": [{**task, "credential": "none"}]}, ["#/tasks/0/credential"]),
        ({"on_complete": {**task, "credential": "none"}}, ["#/on_complete/credential"]),
    ):
        found = boss.refused(document)
        expected = [place for place in found if any(place.startswith(one) for one in places)]
        assert list(found) == expected, (document, found)
        assert found, document
    keyed = {**task, "unique": {"key": "k"}}
    assert list(boss.refused({**keyed, "group": group["id"]}, "/tasks")) == ["#/unique"]
    assert list(boss.refused([{**task, "group": group["id"]}, keyed], "/tasks")) == ["#/1"]
    schedule = {"every_seconds": 60, "task": {**task, "group": group["id"]}}
    problem = check_problem(boss.ask("PUT", "/schedules/of-a-group", schedule), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["#/task/group"]


def test_cancel_close_and_retry(boss: Client):
    """What the status of a group does not allow is a 409."""
    group = boss.group(tasks=[LATER, {"payload": "x:"}], open=True)
    deadline = time.monotonic() + 60
    while not boss.now(group)["first_failures"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert boss.done("POST", f"/groups/{group['id']}/retry")["status"] == "OPEN"
    canceled = boss.done("POST", f"/groups/{group['id']}/cancel")
    assert (canceled["status"], canceled["counts"]["PENDING"]) == ("CANCELED", 0)
    for verb in ("close", "retry"):
        check_problem(boss.ask("POST", f"/groups/{group['id']}/{verb}"), 409)
    empty = boss.group()
    assert boss.done("POST", f"/groups/{empty['id']}/close")["status"] == "COMPLETED"
    check_problem(boss.ask("POST", f"/groups/{empty['id']}/cancel"), 409)
    for path in (f"/groups/{UNKNOWN}", "/groups/x"):
        check_problem(boss.ask("GET", path), 404)
        for verb in ("close", "cancel", "retry"):
            check_problem(boss.ask("POST", f"{path}/{verb}"), 404)


def test_lists(boss: Client):
    """Pages follow each other by their links."""
    name = uuid.uuid4().hex
    groups = [boss.group(name=name, queue="listed") for _ in range(5)]
    path, found = f"/groups?name={name}&queue=listed&status=OPEN&limit=2", []
    while path:
        answer = boss.ask("GET", path)
        found += [group["id"] for group in answer.json]
        link = answer.header("link")
        path = link and link.partition(">")[0].removeprefix("<")
    assert found == [group["id"] for group in reversed(groups)]


def test_a_scoped_key(boss: Client, mail: Client):
    """Groups of other queues do not exist for it, and their tasks in other queues are not shown."""
    other, own = boss.group(queue="shop"), mail.group(queue="mail")
    check_problem(mail.ask("GET", f"/groups/{other['id']}"), 404)
    for verb in ("close", "cancel", "retry"):
        check_problem(mail.ask("POST", f"/groups/{other['id']}/{verb}"), 404)
    check_problem(mail.ask("POST", "/groups", {"queue": "shop"}), 403)
    check_problem(mail.ask("POST", "/groups", {}), 403)
    task = {**LATER, "queue": "mail"}
    assert list(mail.refused({**task, "group": other["id"]}, "/tasks")) == ["#/group"]
    completion = {"payload": LATER["payload"], "queue": "shop"}
    check_problem(mail.ask("POST", "/groups", {"queue": "mail", "on_complete": completion}), 403)
    assert mail.done("POST", "/tasks", {**task, "group": own["id"]})["group"] == own["id"]
    boss.done("POST", "/tasks", {"payload": "x:", "queue": "shop", "group": own["id"]})
    deadline = time.monotonic() + 60
    while not boss.now(own)["first_failures"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mail.now(own)["first_failures"] == []
    listed = mail.done("GET", "/groups?limit=1000")
    assert other["id"] not in {group["id"] for group in listed}
    assert own["id"] in {group["id"] for group in listed}


def test_events(boss: Client, monkeypatch):
    """Of its tasks alone; the last event is the group, when it has finished."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.5)  # it may be closed after its last event
    group = boss.group()
    path = f"/groups/{group['id']}/events"
    with open_stream(boss.server.url, path, headers=boss.headers) as stream:
        stream.begin()
        boss.done("POST", "/tasks", {"payload": "x:"})
        task = boss.done("POST", "/tasks", {"payload": "x:", "group": group["id"]})
        boss.done("POST", f"/groups/{group['id']}/close")
        *events, last = stream
    assert [(one.event, one.json["task_id"]) for one in events] == [("message", task["id"])] * 3
    assert [one.json["status"] for one in events] == ["PENDING", "RUNNING", "FAILED"]
    assert {one.json["group"] for one in events} == {group["id"]}
    assert (last.event, last.json["status"], last.json["id"]) == ("group", "COMPLETED", group["id"])
    position = {**boss.headers, "last-event-id": events[-1].last_event_id}
    assert boss.server.ask("GET", path, None, position).status == 204
    with open_stream(boss.server.url, path, headers=boss.headers) as stream:
        assert [one.event for one in stream] == ["group"]
    with open_stream(
        boss.server.url, path, headers=boss.headers, after=events[0].last_event_id
    ) as stream:
        assert [one.event for one in stream] == ["message", "message", "group"]


def test_events_of_a_canceled_group(boss: Client, mail: Client):
    """The stream ends when its tasks are canceled; a key sees those of its queues."""
    group = mail.group(queue="mail", tasks=[{**LATER, "queue": "mail"}], open=True)
    boss.done("POST", "/tasks", {**LATER, "queue": "shop", "group": group["id"]})
    path = f"/groups/{group['id']}/events"
    with open_stream(boss.server.url, path, headers=mail.headers) as stream:
        stream.begin()
        boss.done("POST", f"/groups/{group['id']}/cancel")
        event, last = stream
    assert (event.json["queue"], event.json["status"]) == ("mail", "CANCELED")
    assert (last.event, last.json["counts"]["CANCELED"]) == ("group", 2)
    for path in (f"/groups/{UNKNOWN}/events", "/groups/x/events"):
        check_problem(boss.ask("GET", path), 404)
    check_problem(mail.ask("GET", f"/groups/{boss.group()['id']}/events"), 404)


def test_credentials_are_masked(boss: Client):
    """In a group, as in a task."""
    payload = "http://user:secret@127.0.0.1:9/?token=secret"
    group = boss.group(on_complete={"payload": payload})
    assert "secret" not in json.dumps(boss.now(group))
    assert group["on_complete"]["payload"] == "http://***@127.0.0.1:9/?token=***"
