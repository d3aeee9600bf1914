"""Signed requests over HTTP: from the POST to a target that verifies them, on both stores."""

from __future__ import annotations

import base64
import json

import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.receiver import Receiver

SIGNATURE = {"webhook-id": "a", "Webhook-Timestamp": "1", "webhook-signature": "v1,x"}


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


def put(server, path, document):
    return server.ask("PUT", path, json.dumps(document).encode())


def run(server, payload, **fields):
    """Submit a task, and return it once it is finished."""
    answer = server.post(json.dumps({"payload": payload, **fields}).encode())
    assert answer.status == 201, answer
    return server.wait(answer.json["id"])


def pointers_of(answer) -> dict[str, str]:
    return {one["pointer"]: one["detail"] for one in check_problem(answer, 422)["errors"]}


@pytest.mark.parametrize(
    "request_fields",
    [
        {},
        {"body": {"a": [1.5, None]}},
        {"body": "h\xe9llo"},
        {"body": {"base64": base64.b64encode(b"from bytes").decode()}},
    ],
)
def test_a_target_verifies_the_request(server, receiver, request_fields):
    """Whatever its body is; the id is the id of the task. Nothing of it is stored or shown."""
    path = f"/verified?{server.url}&{len(json.dumps(request_fields))}"
    task = run(server, {"url": receiver.url + path, **request_fields}, sign=True)
    assert (task["status"], task["sign"]) == ("COMPLETED", True)
    [received] = receiver.wait_for(path)
    received.check()
    assert received.headers["webhook-id"] == task["id"]
    shown = server.ask("GET", f"/tasks/{task['id']}").body
    page = server.ask("GET", f"/ui/tasks/{task['id']}").body
    attempts = server.ask("GET", f"/tasks/{task['id']}/attempts").body
    for text in (shown, page, attempts):
        assert received.headers["webhook-signature"].removeprefix("v1,").encode() not in text
    assert b"<dt>Signed<dd>yes" in page


def test_a_queue_that_signs(server, receiver, events):
    """Its tasks are signed, except one that says otherwise; neither logs a signature."""
    answer = put(server, "/queues/signing", {"sign": True})
    assert (answer.status, answer.json["sign"]) == (201, True)
    path = f"/queue?{server.url}"
    plain = run(server, receiver.url + path, queue="signing")
    own = run(server, receiver.url + path, queue="signing", sign=False)
    assert (plain["sign"], own["sign"]) == (None, False)
    signed, unsigned = receiver.wait_for(path, times=2)
    signed.check()
    assert not [name for name in unsigned.headers if name.startswith("webhook-")]
    assert b"<small>signed</small>" in server.ask("GET", "/ui").body
    changed = server.ask("PATCH", "/queues/signing", b'{"rate": 100}')
    assert (changed.status, changed.json["sign"]) == (200, True)
    assert put(server, "/queues/signing", {}).json["sign"] is None
    assert signed.headers["webhook-signature"] not in str(events)


def test_a_queue_that_signs_fails_what_it_cannot_sign(server, receiver):
    """A task with such a header of its own says what to do, and nothing is sent."""
    put(server, "/queues/relay", {"sign": True})
    payload = {"url": f"{receiver.url}/relayed?{server.url}", "headers": SIGNATURE}
    task = run(server, payload, queue="relay", max_attempts=3)
    assert (task["status"], task["error_type"], task["attempt"]) == ("FAILED", "invalid_url", 1)
    assert "set sign to false" in task["error"]
    assert run(server, payload, queue="relay", sign=False)["status"] == "COMPLETED"
    [received] = receiver.wait_for(f"/relayed?{server.url}")
    assert received.headers["webhook-signature"] == "v1,x"


def test_a_schedule_that_signs(server, receiver):
    """Its template says it."""
    path = f"/schedule?{server.url}"
    schedule = {"cron": "0 0 1 1 *", "task": {"payload": receiver.url + path, "sign": True}}
    assert put(server, "/schedules/signed", schedule).status == 201
    task = server.wait(server.ask("POST", "/schedules/signed/run").json["id"])
    assert (task["status"], task["sign"]) == ("COMPLETED", True)
    receiver.wait_for(path)[0].check()
    server.ask("DELETE", "/schedules/signed")


def test_own_signature_headers_are_rejected(memory_server):
    """If the task is to be signed: in one, in an array and in a schedule; not otherwise."""
    payload = {"url": "http://a/", "headers": {**SIGNATURE, "X-Mine": "1"}}
    wanted = {f"#/payload/headers/{name}" for name in SIGNATURE}
    task = {"payload": payload, "sign": True}
    found = pointers_of(memory_server.post(json.dumps(task).encode()))
    assert found.keys() == wanted
    for detail in found.values():
        assert "leave it out, or set sign to false" in detail
    found = pointers_of(memory_server.post(json.dumps([task]).encode()))
    assert found.keys() == {f"#/0{pointer[1:]}" for pointer in wanted}
    schedule = {"every_seconds": 9999, "task": task}
    found = pointers_of(put(memory_server, "/schedules/rejected", schedule))
    assert found.keys() == {f"#/task{pointer[1:]}" for pointer in wanted}
    for sign in (None, False):
        answer = memory_server.post(json.dumps({"payload": payload, "sign": sign}).encode())
        assert answer.status == 201


def test_without_secrets_sign_is_rejected(receiver):
    """It says what to do, wherever it is said; what does not sign is accepted."""
    with LiveServer(database_url=MEMORY_URL, webhook_secrets="") as server:
        answers = {
            "#/sign": server.post(b'{"payload": "x", "sign": true}'),
            "#/task/sign": put(
                server, "/schedules/a", {"every_seconds": 9, "task": {"payload": "x", "sign": True}}
            ),
        }
        for pointer, answer in answers.items():
            [(found, detail)] = pointers_of(answer).items()
            assert (found, "taskflow secret new" in detail) == (pointer, True)
        for method in ("PUT", "PATCH"):
            answer = server.ask(method, "/queues/a", b'{"sign": true, "rate": -1}')
            assert pointers_of(answer).keys() == {"#/sign", "#/rate"}
            assert server.ask(method, "/queues/a", b'{"sign": false}').json["sign"] is False
            assert server.ask(method, "/queues/a", b'{"sign": null}').json["sign"] is None
        assert run(server, f"{receiver.url}/unsigned", sign=False)["status"] == "COMPLETED"


def test_the_setting_signs_all(receiver):
    """Also tasks of the dashboard's form, which may say otherwise."""
    with LiveServer(database_url=MEMORY_URL, sign_requests=True) as server:
        run(server, f"{receiver.url}/all")
        receiver.wait_for("/all")[0].check()
        headers = {"origin": server.url, "content-type": "application/x-www-form-urlencoded"}
        for choice, count in (("no", 0), ("", 3)):
            body = f"url={receiver.url}/form{count}&sign={choice}".encode()
            answer = server.ask("POST", "/ui/submit", body, headers)
            assert answer.status == 303, answer
            task = server.wait(answer.header("location").rpartition("/")[2])
            assert task["sign"] is (None if choice == "" else False)
            [received] = receiver.wait_for(f"/form{count}")
            signed = [name for name in received.headers if name.startswith("webhook-")]
            assert len(signed) == count
        form = server.ask("GET", f"/ui/submit?from={task['id']}").body
        assert b'<option value="" selected>' in form
