"""Encryption at rest over HTTP: clients see everything, and the database has none of it."""

from __future__ import annotations

import json

import psycopg
import pytest

from taskflow.model.keyring import new_encryption_key
from taskflow.model.signature import new_secret
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.metrics.scrape import Scrape
from tests.receiver import Receiver
from tests.service.processes import wait_until

KEY, OTHER_KEY = new_encryption_key(), new_encryption_key()
SECRET = "xyzzy-hunter2"
POSTPONED = {"outcome": "postponed", "error_type": "key_missing"}
ENCRYPTED = {"encryption_keys": KEY, "encrypt": ("payloads", "results")}
TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
"""


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def contents(url: str) -> str:
    """Everything that the database has, as text."""
    with psycopg.connect(url) as connection:
        tables = [name for (name,) in connection.execute(TABLES)]
        rows = (connection.execute(f'SELECT t::text FROM "{name}" AS t') for name in tables)
        return "\n".join(row for some in rows for (row,) in some)


def submit(server, payload, **fields) -> str:
    answer = server.post(json.dumps({"payload": payload, **fields}).encode())
    assert answer.status == 201, answer
    assert answer.json["payload"] == payload
    return answer.json["id"]


def payload_to(url: str) -> dict:
    """A request whose URL, headers and body all have the secret."""
    path = f"{url}/{SECRET}"
    return {"url": path, "method": "POST", "headers": {"x-a": SECRET}, "body": {"b": SECRET}}


def test_the_database_has_nothing_of_it(database_uri, receiver, target):
    """Not in tasks, callbacks, schedules, endpoints and events; the target and clients have it."""
    with LiveServer(database_url=database_uri, **ENCRYPTED) as server:
        payload = payload_to(receiver.url)
        task_id = submit(server, payload, callback_url=f"{receiver.url}/callback", queue="mail")
        task = server.wait(task_id)
        [received] = receiver.wait_for(f"/{SECRET}")
        assert (received.headers["x-a"], received.task) == (SECRET, {"b": SECRET})
        assert (task["payload"], task["status"]) == (payload, "COMPLETED")
        [callback] = receiver.wait_for("/callback")
        assert callback.verified() == task
        assert callback.body == server.ask("GET", f"/tasks/{task_id}").body
        assert server.wait(task["callback_id"])["payload"]["body"] == task

        listed = server.ask("GET", "/tasks?queue=mail").json
        assert listed == [task]
        lines = server.ask("GET", "/tasks?queue=mail", headers={"accept": "application/x-ndjson"})
        assert json.loads(lines.body.splitlines()[0]) == task

        failed = server.wait(submit(server, f"{target.url}/500?a={SECRET}"))
        [attempt] = server.ask("GET", f"/tasks/{failed['id']}/attempts").json
        assert attempt["response"]["headers"]["content-type"] == "text/plain"
        assert SECRET in attempt["response"]["url"]

        put = {"every_seconds": 3600, "task": {"payload": payload}}
        assert server.ask("PUT", "/schedules/s", json.dumps(put).encode()).status == 201
        assert server.ask("PATCH", "/schedules/s", b'{"paused": true}').json["task"] == put["task"]
        run = server.ask("POST", "/schedules/s/run", b"").json
        assert server.wait(run["id"])["payload"] == payload
        endpoint = {"url": payload["url"], "headers": payload["headers"]}
        assert server.ask("PUT", "/topics/t", b"{}").status == 201
        put = json.dumps({**endpoint, "signing_secret": new_secret()}).encode()
        assert server.ask("PUT", "/topics/t/endpoints/e", put).json["url"] == payload["url"]
        event = json.dumps({"type": "x", "data": SECRET}).encode()
        [delivery] = server.ask("POST", "/topics/t/events", event).json["tasks"]
        assert server.wait(delivery)["payload"]["body"]["data"] == SECRET
        page = server.ask("GET", f"/ui/tasks/{task_id}").body.decode()
        assert SECRET in page
        stored = contents(database_uri)
    assert task_id in stored
    assert SECRET not in stored


@pytest.mark.parametrize("url", [MEMORY_URL, None])
def test_a_result_is_served(url, request, target):
    """``/result`` is the body of the target, byte for byte, on both stores."""
    url = url or request.getfixturevalue("database_uri")
    with LiveServer(database_url=url, **ENCRYPTED) as server:
        task = server.run(f'"{target.url}/spaced"'.encode())
        result = server.ask("GET", f"/tasks/{task['id']}/result")
        assert (result.status, result.body) == (200, b'{"a" :\t[ 1e400, -0.0 ,1.50]}')


def test_the_setting_is_switched_on_and_off(database_uri, target):
    """Tasks of both times are read at any time, and only new ones are stored as it says."""
    plain, sealed = {}, {"encryption_keys": KEY}
    ids, shown = [], {}
    for settings in (plain, ENCRYPTED, sealed):
        with LiveServer(database_url=database_uri, **settings) as server:
            for task_id in ids:
                assert server.show(task_id) == shown[task_id]
            ids.append(submit(server, f"{target.url}/json?n={len(ids)}", tags={"n": len(ids)}))
            shown[ids[-1]] = server.wait(ids[-1])
            stored = contents(database_uri)
            assert [f"/json?n={n}" in stored for n in range(len(ids))] == [True, False, True][
                : len(ids)
            ]
            if settings is ENCRYPTED:
                refused = server.ask("GET", "/tasks?url_contains=json")
                problem = check_problem(refused, 422)
                assert "payloads are encrypted" in problem["detail"]
                for verb in ("cancel", "retry", "delete"):
                    many = server.ask("POST", f"/tasks/{verb}?url_contains=json", b"")
                    assert many.status == 422
                assert server.ask("GET", "/ui/tasks?url_contains=json").status == 422


def postponed(server) -> float:
    """How often the server has postponed a task because it lacks the key."""
    text = server.ask("GET", "/metrics").body.decode()
    return Scrape(text).value("taskflow_attempts_total", **POSTPONED)


def waits_for_key(task) -> dict | None:
    return task if task["error_type"] == "key_missing" else None


def test_a_node_without_the_key(database_uri, target, events):
    """It shows tasks encrypted and releases them, without an attempt; others run them."""
    with LiveServer(database_url=database_uri, **ENCRYPTED) as server:
        done = server.run(f'"{target.url}/json"'.encode())["id"]
        waiting = submit(server, f"{target.url}/once/{SECRET}", delay_seconds=1)
        server.ask("PUT", "/schedules/s", b'{"every_seconds": 3600, "task": {"payload": 1}}')
    events.clear()
    for settings in ({}, {"encryption_keys": OTHER_KEY, "encrypt": ("payloads",)}):
        with LiveServer(database_url=database_uri, backoff_seconds=0.01, **settings) as server:
            wait_until(lambda: postponed(server))
            task = wait_until(lambda: waits_for_key(server.show(waiting)))
            assert (task["status"], task["attempt"]) in {("PENDING", 0), ("RUNNING", 1)}
            assert "TASKFLOW_ENCRYPTION_KEYS" in task["error"]
            assert list(task["payload"]) == ["$encrypted"]
            assert list(server.show(done)["result"]["result"]) == ["$encrypted"]
            check_problem(server.ask("GET", f"/tasks/{done}/result"), 503)
            assert list(server.ask("GET", "/schedules/s").json["task"]) == ["$encrypted"]
            if settings:
                check_problem(server.ask("PATCH", "/schedules/s", b'{"paused": true}'), 503)
            assert server.ask("GET", f"/ui/tasks/{waiting}").status == 200
            assert server.ask("GET", f"/ui/tasks/{done}").status == 200
        logged = [event for event in events if "lacks the key" in str(event["event"])]
        assert len(logged) == 1, logged
        events.clear()
    with LiveServer(database_url=database_uri, **ENCRYPTED) as server:
        task = server.wait(waiting)
        assert (task["status"], task["attempt"], task["error"]) == ("COMPLETED", 1, "")
        attempts = server.ask("GET", f"/tasks/{waiting}/attempts").json
        assert {one["status"] for one in attempts} <= {"COMPLETED", "INTERRUPTED"}


def test_what_looks_encrypted_is_refused(memory_server):
    """No client can submit what it has not the key for."""
    answer = memory_server.post(b'{"payload": {"$encrypted":"AQ=="}}')
    check_problem(answer, 422)
