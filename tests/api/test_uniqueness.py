"""Unique keys and debounce over HTTP: what a POST answers, and what it rejects, where."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from taskflow import BlockingClient, Conflict, Debounce, Submission, Unique, Unprocessable
from taskflow.model.keyring import new_encryption_key
from taskflow.model.uniqueness import Existing
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer

LATER = {"delay_seconds": 3600}
LINES = {"content-type": "application/x-ndjson"}
URL = "http://127.0.0.1:9/"
JSON = {"content-type": "application/json"}


@pytest.fixture
def name() -> str:
    """A key that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture(scope="module", params=["memory", "postgres"])
def scoped(request) -> Iterator[LiveServer]:
    """A server with a key for one queue, and one for all."""
    keys = "mail:write:queues=mail:key-of-mail-0123456789,boss:write:key-of-boss-0123456789"
    with contextlib.ExitStack() as stack:
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url, api_keys=keys))


def post(server: LiveServer, document: object, headers: dict[str, str] | None = None):
    return server.ask("POST", "/tasks", json.dumps(document).encode(), headers)


def unique(key: str, payload: object = URL, **fields: Any) -> dict[str, Any]:
    """A task with a unique key, which does not run meanwhile."""
    of_key = {name: fields.pop(name) for name in ("while", "on_conflict") if name in fields}
    return {"payload": payload, "unique": {"key": key, **of_key}, **LATER, **fields}


def refused(server: LiveServer, **fields: object) -> dict[str, str]:
    """What is wrong with a task, by places."""
    problem = check_problem(post(server, {"payload": URL, **fields}), 422)
    return {error["pointer"]: error["detail"] for error in problem["errors"]}


def location(answer) -> str:
    return answer.header("location")


class TestAnswers:
    def test_a_second_submission_returns_the_first_task(self, server, name):
        """201, then 200 with the same task, which says that it existed; but not in ``GET``."""
        first = post(server, unique(name))
        assert (first.status, "existing" in first.json) == (201, False)
        said = {"key": name, "while": ["PENDING", "RUNNING"], "on_conflict": "return"}
        assert first.json["unique"] == said
        second = post(server, unique(name, "http://other/"))
        assert (second.status, location(second)) == (200, location(first))
        assert second.json == {**first.json, "existing": "returned"}
        assert second.header("idempotent-replayed") is None
        assert server.show(first.json["id"]) == first.json

    def test_a_replacement(self, server, name):
        first = post(server, unique(name)).json
        answer = post(server, unique(name, "http://other/", on_conflict="replace", priority=3))
        assert (answer.status, answer.json["existing"]) == (200, "replaced")
        shown = server.show(first["id"])
        assert (shown["payload"], shown["priority"]) == ("http://other/", 3)
        assert shown["unique"]["on_conflict"] == "replace"

    def test_a_rejection_names_the_task(self, server, name):
        first = post(server, unique(name)).json
        problem = check_problem(post(server, unique(name, on_conflict="reject")), 409, first["id"])
        assert problem["type"] == "/problems/not-unique"
        assert [error["pointer"] for error in problem["errors"]] == ["#/unique"]

    def test_debounce(self, server, name):
        """The last payload, later; never later than the first submission says."""
        debounce = {"key": name, "delay_seconds": 3000, "max_wait_seconds": 3600}
        first = post(server, {"payload": 1, "debounce": debounce})
        assert (first.status, first.json["debounced"]) == (201, 0)
        second = post(server, {"payload": 2, "debounce": {**debounce, "delay_seconds": 3600}})
        assert (second.status, second.json["existing"]) == (200, "debounced")
        assert (second.json["id"], second.json["debounced"]) == (first.json["id"], 1)
        assert second.json["run_at"] > first.json["run_at"]
        third = post(server, {"payload": 3, "debounce": {"key": name, "delay_seconds": 1e5}})
        shown = server.show(first.json["id"])
        assert shown["payload"] == 3
        assert shown["debounce"] == {
            "key": name,
            "delay_seconds": 1e5,
            "max_wait_seconds": None,
        }
        assert third.json["run_at"] <= second.json["run_at"]

    def test_it_is_run_once(self, server, target, name):
        """With the last of the payloads that were submitted in time."""
        path = f"/once/{name}"
        for number in range(5):
            url = f"{target.url}{path}?{number}"
            debounce = {"key": name, "delay_seconds": 2 if number < 4 else 0.01}
            task = post(server, {"payload": url, "debounce": debounce}).json
        shown = server.wait(task["id"])
        assert (shown["status"], shown["debounced"]) == ("COMPLETED", 4)
        assert shown["payload"] == f"{target.url}{path}?4"
        following = post(server, {"payload": URL, "debounce": {"key": name, "delay_seconds": 3600}})
        assert following.status == 201

    def test_an_idempotency_key_comes_first(self, server, name):
        """A repeated request is a replay, whatever has happened to the keys since."""
        headers = {**JSON, "idempotency-key": uuid.uuid4().hex}
        first = post(server, unique(name)).json
        meets = post(server, unique(name, 2), headers)
        assert (meets.status, meets.json["existing"]) == (200, "returned")
        again = post(server, unique(name, 2), headers)
        assert (again.status, again.header("idempotent-replayed")) == (200, "true")
        assert again.json == first

    def test_an_array(self, server, name):
        """All tasks in order; 201 if any is new, else 200."""
        tasks = [unique(name, 1), unique(name, 2), unique(name, 3, on_conflict="replace")]
        answer = post(server, tasks)
        assert answer.status == 201
        assert len({task["id"] for task in answer.json}) == 1
        assert [task.get("existing") for task in answer.json] == [None, "returned", "replaced"]
        again = post(server, tasks[:2])
        assert again.status == 200
        assert [task["payload"] for task in again.json] == [3, 3]

    def test_an_array_with_a_rejected_task_stores_nothing(self, server, name):
        other = uuid.uuid4().hex
        first = post(server, unique(name)).json
        tasks = [unique(other), unique(name, on_conflict="reject")]
        problem = check_problem(post(server, tasks), 409, first["id"])
        assert [error["pointer"] for error in problem["errors"]] == ["#/1/unique"]
        assert post(server, unique(other)).status == 201
        same = [unique(uuid.uuid4().hex, on_conflict="reject")] * 2
        check_problem(post(server, same), 409, "an earlier task of the array has this unique key")

    def test_a_stream(self, server, name):
        """Each line has its outcome; a rejected one has the problem, and the others are stored."""
        first = post(server, unique(name)).json["id"]
        lines = [
            unique(name, 1),
            unique(name, 2, on_conflict="reject"),
            {"payload": 7, **LATER},
            unique(name, 3, on_conflict="replace"),
            {"payload": 8, "unique": {"key": ""}},
        ]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        answer = server.ask("POST", "/tasks", body, LINES)
        *outcomes, summary = [json.loads(line) for line in answer.body.splitlines()]
        assert outcomes[0] == {"index": 0, "id": first, "existing": "returned"}
        assert outcomes[1]["error"]["type"] == "/problems/not-unique"
        assert outcomes[2].keys() == {"index", "id"}
        assert outcomes[3] == {"index": 3, "id": first, "existing": "replaced"}
        assert outcomes[4]["error"]["errors"][0]["pointer"] == "#/unique/key"
        assert summary == {"accepted": 3, "rejected": 2, "error": None}
        assert server.show(first)["payload"] == 3

    def test_a_retry_of_a_task_whose_key_is_taken(self, server, name):
        """409; a bulk retry skips it, and retries the others."""
        queue = f"q{name[:30]}"
        ids = []
        for number in range(2):
            ids.append(post(server, unique(name, number, queue=queue)).json["id"])
            server.ask("POST", f"/tasks/{ids[-1]}/cancel", b"")
        plain = post(server, {"payload": 1, "queue": queue, **LATER}).json["id"]
        server.ask("POST", f"/tasks/{plain}/cancel", b"")
        holder = post(server, unique(name, queue=queue)).json["id"]
        problem = check_problem(server.ask("POST", f"/tasks/{ids[0]}/retry", b""), 409, holder)
        assert problem["type"] == "/problems/not-unique"
        body = json.dumps({"queue": queue}).encode()
        answer = server.ask("POST", "/tasks/retry", body)
        assert answer.json == {"count": 1, "complete": True, "dry_run": False}
        assert [server.show(one)["status"] for one in ids] == ["CANCELED", "CANCELED"]

    def test_a_shown_task_can_be_submitted_again(self, server, name):
        """As it was shown, with what only TaskFlow sets."""
        shown = post(server, unique(name)).json
        del shown["run_at"]
        assert post(server, shown).json["existing"] == "returned"


class TestRejected:
    @pytest.mark.parametrize("value", [1, "key", [], True])
    @pytest.mark.parametrize("field", ["unique", "debounce"])
    def test_no_object(self, memory_server, field, value):
        errors = refused(memory_server, **{field: value})
        assert list(errors) == [f"#/{field}"]
        assert errors[f"#/{field}"].startswith(f"{field} must be an object of key, ")

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "\x7f", 7, None, ["a"]])
    @pytest.mark.parametrize("field", ["unique", "debounce"])
    def test_a_key(self, memory_server, field, key):
        errors = refused(memory_server, **{field: {"key": key, "delay_seconds": 1}})
        assert "must be 1 to 255 characters without control" in errors[f"#/{field}/key"]

    def test_what_is_missing(self, memory_server):
        assert refused(memory_server, unique={}) == {"#/unique/key": "unique.key is missing"}
        assert refused(memory_server, debounce={"max_wait_seconds": 1}) == {
            "#/debounce/key": "debounce.key is missing",
            "#/debounce/delay_seconds": "debounce.delay_seconds is missing",
        }

    @pytest.mark.parametrize("statuses", [["PENDING"], ["RUNNING", "COMPLETED"]])
    def test_statuses_without_the_first_two(self, memory_server, statuses):
        errors = refused(memory_server, unique={"key": "a", "while": statuses})
        assert "must include PENDING and RUNNING" in errors["#/unique/while"]

    @pytest.mark.parametrize("statuses", [[], ["DONE"], "PENDING", None, ["PENDING"] * 6])
    def test_no_statuses(self, memory_server, statuses):
        errors = refused(memory_server, unique={"key": "a", "while": statuses})
        assert any(place.startswith("#/unique/while") for place in errors)

    def test_unknown_members(self, memory_server):
        errors = refused(
            memory_server,
            unique={"key": "a", "on_conflct": "return"},
            debounce={"key": "a", "delay": 1},
        )
        assert "on_conflict" in errors["#/unique/on_conflct"]
        assert "delay_seconds" in errors["#/debounce/delay"]

    def test_another_policy(self, memory_server):
        errors = refused(memory_server, unique={"key": "a", "on_conflict": "ignore"})
        assert errors == {
            "#/unique/on_conflict": "unique.on_conflict must be one of return, replace, reject"
        }

    @pytest.mark.parametrize("seconds", [0, -1, 1e12, "5", None])
    def test_times(self, memory_server, seconds):
        debounce = {"key": "a", "delay_seconds": seconds, "max_wait_seconds": seconds or 0}
        errors = refused(memory_server, debounce=debounce)
        assert errors.keys() >= {"#/debounce/delay_seconds", "#/debounce/max_wait_seconds"}

    def test_a_wait_that_is_shorter_than_the_delay(self, memory_server):
        debounce = {"key": "a", "delay_seconds": 2, "max_wait_seconds": 1}
        errors = refused(memory_server, debounce=debounce)
        assert "must not be less than" in errors["#/debounce/max_wait_seconds"]

    def test_what_excludes_debounce(self, memory_server):
        errors = refused(
            memory_server,
            debounce={"key": "a", "delay_seconds": 1},
            unique={"key": "a"},
            run_at="2999-12-31T23:59:59Z",
            delay_seconds=1,
        )
        assert errors.keys() == {"#/unique", "#/run_at", "#/delay_seconds"}
        assert all("together with" in text for text in errors.values())

    def test_the_template_of_a_schedule(self, memory_server):
        """The tasks of a schedule have no keys."""
        for field, value in (
            ("unique", {"key": "a"}),
            ("debounce", {"key": "a", "delay_seconds": 1}),
        ):
            body = json.dumps(
                {"every_seconds": 60, "task": {"payload": URL, field: value}}
            ).encode()
            problem = check_problem(memory_server.ask("PUT", "/schedules/keyed", body), 422)
            assert [error["pointer"] for error in problem["errors"]] == [f"#/task/{field}"]


class TestScope:
    """A key for some queues learns nothing of the unique keys of other queues."""

    def test_the_keys_of_other_queues(self, scoped, name):
        boss = {**JSON, "authorization": "Bearer key-of-boss-0123456789"}
        mail = {**JSON, "authorization": "Bearer key-of-mail-0123456789"}
        post(scoped, unique(name, queue="shop"), boss)
        task = unique(name, queue="mail", on_conflict="reject")
        assert post(scoped, task, mail).status == 201
        check_problem(post(scoped, task, mail), 409)
        check_problem(post(scoped, unique(name, queue="shop"), mail), 403)
        streamed = json.dumps(unique(name, queue="mail")).encode()
        answer = scoped.ask("POST", "/tasks", streamed, {**mail, **LINES})
        assert json.loads(answer.body.splitlines()[0])["existing"] == "returned"


class TestEncryption:
    """What replaces a payload is encrypted like a new one."""

    def test_payloads(self, postgres_server, name):
        settings = {"encryption_keys": new_encryption_key(), "encrypt": ("payloads",)}
        with open_database(postgres_server, is_migrated=True) as url:
            with LiveServer(database_url=url, **settings) as server:
                first = post(server, unique(name, "xyzzy-1")).json
                again = unique(name, "xyzzy-2", on_conflict="replace")
                assert post(server, again).json["payload"] == "xyzzy-2"
                assert post(server, unique(name)).json["payload"] == "xyzzy-2"
                assert server.show(first["id"])["payload"] == "xyzzy-2"
            with psycopg.connect(url) as connection:
                [(text,)] = connection.execute("SELECT payload::text FROM taskflow_tasks")
        assert text.startswith('{"$encrypted":"')


class TestDashboard:
    def test_the_page_of_a_task(self, server, name):
        """It shows the keys, escaped, and how many submissions were folded."""
        first = post(server, unique(f"<b>{name}")).json
        page = server.ask("GET", f"/ui/tasks/{first['id']}").body.decode()
        assert f"Unique key<dd>&lt;b&gt;{name}, while PENDING, RUNNING" in page
        debounce = {"key": name, "delay_seconds": 3600}
        for _ in range(3):
            task = post(server, {"payload": 1, "debounce": debounce}).json
        page = server.ask("GET", f"/ui/tasks/{task['id']}").body.decode()
        assert f"Debounce key<dd>{name}, 2 later submissions folded into this task" in page

    def test_a_retry_of_a_task_whose_key_is_taken(self, server, name):
        """The page says which task has the key."""
        first = post(server, unique(name)).json["id"]
        server.ask("POST", f"/tasks/{first}/cancel", b"")
        second = post(server, unique(name)).json["id"]
        answer = server.ask("POST", f"/ui/tasks/{first}/retry", b"", {"origin": server.url})
        assert answer.status == 409
        assert f"the task {second} has this unique key" in answer.body.decode()


class TestClient:
    def test_many_tasks(self, server, name):
        """Of a batch, the rejected tasks are reported, and all others are stored."""
        queue = {"queue": f"q{name[:30]}"}
        with BlockingClient(server.url) as client:
            first = client.submit(URL, unique=Unique(name), delay_seconds=3600, **queue)
            again = client.submit(URL, unique={"key": name}, **queue)
            assert (again.id, again.existing) == (first.id, Existing.RETURNED)
            reject = {"on_conflict": "reject"}
            items = [
                Submission(number, unique={"key": key, **reject}, delay_seconds=3600, **queue)
                for number, key in enumerate([name, "a", name, "b", "a"])
            ]
            found = list(client.submit_many(items))
            assert [one.index for one in found if one.task] == [1, 3]
            errors = {one.index: one.error for one in found if one.error}
            assert {type(error) for error in errors.values()} == {Conflict}
            assert {error.type for error in errors.values()} == {"/problems/not-unique"}
            assert str(first.id) in str(errors[0])
            with pytest.raises(Conflict):
                client.submit(URL, unique={"key": name, **reject}, **queue)
            debounce = Debounce(name, 3600)
            tasks = [client.submit(number, debounce=debounce, **queue) for number in range(2)]
            assert (tasks[1].id, tasks[1].debounced) == (tasks[0].id, 1)
            with pytest.raises(Unprocessable) as caught:
                client.submit(URL, debounce={"key": name, "delay_seconds": 0})
            [error] = caught.value.errors
            assert error.pointer == "#/debounce/delay_seconds"
