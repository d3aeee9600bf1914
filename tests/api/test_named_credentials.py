"""The credential that a task, a queue or a schedule names, from the request to the target."""

from __future__ import annotations

import json

import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.api.test_credentials import pointers_of, put
from tests.receiver import Receiver

TOKEN = "tok-3n.of.billing"
JSON_LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def named(server):
    """A server with the credential billing, for targets on this machine."""
    bearer = {"kind": "bearer", "token": TOKEN, "hosts": ["127.0.0.1", "localhost"]}
    assert put(server, "/credentials/billing", bearer).status in (200, 201)
    return server


def run(server, payload, **fields):
    answer = server.post(json.dumps({"payload": payload, **fields}).encode())
    assert answer.status == 201, answer
    return server.wait(answer.json["id"])


def lines_of(answer):
    return [json.loads(line) for line in answer.body.splitlines()]


def test_a_task_has_its_credential(named, receiver):
    """In place of a header of the task; nothing that is stored or shown has it."""
    url = f"{receiver.url}/own?{named.url}"
    payload = {"url": url, "headers": {"authorization": "Basic eDp5"}}
    task = run(named, payload, credential="billing")
    assert (task["status"], task["credential"]) == ("COMPLETED", "billing")
    [received] = receiver.wait_for(url.removeprefix(receiver.url))
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    pages = (f"/tasks/{task['id']}", f"/tasks/{task['id']}/attempts", f"/ui/tasks/{task['id']}")
    for path in pages:
        answer = named.ask("GET", path)
        assert (answer.status, TOKEN.encode() in answer.body) == (200, False)
    assert named.ask("GET", "/credentials/billing").json["last_used_at"] is not None


def test_a_queue_and_a_schedule(named, receiver):
    """Each task of theirs has it; it is shown with what names it."""
    assert put(named, "/queues/paying", {"credential": "billing"}).json["credential"] == "billing"
    path = f"/queue?{named.url}"
    task = run(named, receiver.url + path, queue="paying")
    assert (task["status"], task["credential"]) == ("COMPLETED", None)
    [received] = receiver.wait_for(path)
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    path = f"/schedule?{named.url}"
    template = {"payload": receiver.url + path, "credential": "billing"}
    put(named, "/schedules/paying", {"cron": "0 0 1 1 *", "task": template})
    task = named.ask("POST", "/schedules/paying/run").json
    assert task["credential"] == "billing"
    assert named.wait(task["id"])["status"] == "COMPLETED"
    [received] = receiver.wait_for(path)
    assert received.headers["authorization"] == f"Bearer {TOKEN}"
    shown = named.ask("GET", "/credentials/billing").json["used_by"]
    assert shown == {"queues": ["paying"], "schedules": ["paying"], "endpoints": []}


def test_another_host(named, receiver):
    """The task is blocked, is not retried, and its credential is not sent."""
    put(named, "/credentials/far", {"kind": "bearer", "token": TOKEN, "hosts": ["a.example"]})
    path = f"/far?{named.url}"
    task = run(named, receiver.url + path, credential="far", max_attempts=3)
    assert (task["status"], task["error_type"], task["attempt"]) == ("FAILED", "blocked", 1)
    assert "127.0.0.1 is not one of the hosts of the credential" in task["error"]
    assert path not in [one.path for one in receiver.received]


def test_an_unknown_name_is_an_error(named):
    """With the nearest name, and its place: in a task, an array, a queue and a schedule."""
    wrong = {"payload": "x", "credential": "biling"}
    answers = {
        "#/credential": named.post(json.dumps(wrong).encode()),
        "#/1/credential": named.post(json.dumps([{"payload": "x"}, wrong]).encode()),
        "#/task/credential": put(named, "/schedules/a", {"every_seconds": 9, "task": wrong}),
    }
    for pointer, answer in answers.items():
        detail = "there is no credential biling; did you mean billing?"
        assert pointers_of(answer) == {pointer: detail}
    for method in ("PUT", "PATCH"):
        answer = named.ask(method, "/queues/wrong", b'{"credential": "biling", "rate": -1}')
        assert pointers_of(answer).keys() == {"#/credential", "#/rate"}
    far = named.post(b'{"payload": "x", "credential": "zzz"}')
    detail = "there is no credential zzz; PUT /credentials/NAME creates one"
    assert pointers_of(far) == {"#/credential": detail}
    no_name = named.post(b'{"payload": "x", "credential": "a b"}')
    assert pointers_of(no_name).keys() == {"#/credential"}


def test_a_stream(named):
    """Each line has its outcome; a thousand of them look the names up together."""
    lines = [{"payload": "x", "credential": name} for name in ("billing", "biling", "billing")]
    body = "\n".join(json.dumps(one) for one in [*lines, {"payload": "x"}]).encode()
    answer = named.ask("POST", "/tasks", body, JSON_LINES)
    *outcomes, summary = lines_of(answer)
    assert [one["index"] for one in outcomes] == [0, 1, 2, 3]
    assert ["id" in one for one in outcomes] == [True, False, True, True]
    assert outcomes[1]["error"]["errors"][0]["pointer"] == "#/credential"
    assert (summary["accepted"], summary["rejected"], summary["error"]) == (3, 1, None)


def test_a_deleted_credential(named, receiver):
    """Its tasks fail as credential_missing, and can be retried once it exists again."""
    bearer = {"kind": "bearer", "token": TOKEN, "hosts": ["127.0.0.1"]}
    put(named, "/credentials/gone", bearer)
    task = run(named, "x:", credential="gone", delay_seconds=0)
    put(named, "/queues/without", {"credential": "gone"})
    assert named.ask("DELETE", "/credentials/gone?force=true").status == 204
    url = f"{receiver.url}/gone?{named.url}"
    task = run(named, url, queue="without")
    assert (task["status"], task["error_type"]) == ("FAILED", "credential_missing")
    put(named, "/credentials/gone", bearer)
    assert named.ask("POST", f"/tasks/{task['id']}/retry").status == 200
    assert named.wait(task["id"])["status"] == "COMPLETED"
    put(named, "/queues/without", {})


def test_a_repeated_request(named):
    """With its key it gets its tasks, also after their credential was deleted."""
    bearer = {"kind": "bearer", "token": TOKEN, "hosts": ["127.0.0.1"]}
    put(named, "/credentials/repeated", bearer)
    task = {"payload": "x", "credential": "repeated", "delay_seconds": 3600}
    bodies = [json.dumps(document).encode() for document in (task, [task, task])]
    keys = [{"idempotency-key": f'"{named.url} {len(body)}"'} for body in bodies]
    sent = list(zip(bodies, keys, strict=True))
    first = [named.ask("POST", "/tasks", body, key) for body, key in sent]
    assert named.ask("DELETE", "/credentials/repeated").status == 204
    again = [named.ask("POST", "/tasks", body, key) for body, key in sent]
    assert [one.status for one in (*first, *again)] == [201, 201, 200, 200]
    assert [one.json for one in again] == [one.json for one in first]
    other = {"idempotency-key": f'"{named.url} other"'}
    assert pointers_of(named.ask("POST", "/tasks", bodies[0], other)).keys() == {"#/credential"}
    for answer in again:
        for one in answer.json if isinstance(answer.json, list) else [answer.json]:
            named.ask("POST", f"/tasks/{one['id']}/cancel")


def test_a_queue_keeps_a_deleted_credential(named):
    """Other settings can be changed; a PUT that names it is an error."""
    bearer = {"kind": "bearer", "token": TOKEN, "hosts": ["127.0.0.1"]}
    put(named, "/credentials/brief", bearer)
    put(named, "/queues/kept", {"credential": "brief"})
    named.ask("DELETE", "/credentials/brief?force=true")
    changed = named.ask("PATCH", "/queues/kept", b'{"paused": false}')
    assert (changed.status, changed.json["credential"]) == (200, "brief")
    assert pointers_of(put(named, "/queues/kept", {"credential": "brief"})).keys() == {
        "#/credential"
    }
    assert named.ask("PATCH", "/queues/kept", b'{"credential": null}').json["credential"] is None


def test_a_key_with_a_scope_learns_no_names():
    """It may use a credential by its name, and errors name no other one."""
    keys = {"a": "a-key-without-scope-0", "s": "a-key-with-a-scope-00"}
    setting = f"a:admin:{keys['a']},s:write:queues=mail:{keys['s']}"
    with LiveServer(database_url=MEMORY_URL, api_keys=setting) as server:

        def ask(key, method, path, document):
            headers = {"authorization": f"Bearer {keys[key]}"}
            return server.ask(method, path, json.dumps(document).encode(), headers)

        bearer = {"kind": "bearer", "token": TOKEN, "hosts": ["127.0.0.1"]}
        assert ask("a", "PUT", "/credentials/billing", bearer).status == 201
        task = {"payload": "x", "queue": "mail", "credential": "biling"}
        assert "did you mean billing?" in ask("a", "POST", "/tasks", task).json["detail"]
        for method, path, document in (
            ("POST", "/tasks", task),
            ("PUT", "/queues/mail", {"credential": "biling"}),
            ("PUT", "/schedules/s", {"every_seconds": 9, "task": task}),
        ):
            problem = check_problem(ask("s", method, path, document), 422)
            assert "billing" not in problem["detail"]
        assert ask("s", "POST", "/tasks", {**task, "credential": "billing"}).status == 201
