"""Callbacks over HTTP: from the POST to a receiver that verifies them, on both stores."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from standardwebhooks import WebhookVerificationError

from taskflow import InvalidSignature
from taskflow.model.signature import new_secret
from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer
from tests.api.test_openapi import OPERATIONS, complaints
from tests.loopback import SECRET
from tests.receiver import Receiver

PAGE = Path(__file__).parents[2] / "docs" / "api-by-example.md"
OTHER = new_secret()


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


def run(server, target, callback_url, **fields):
    """Submit a task with a callback, and return it once it is finished."""
    output = {"payload": f"{target.url}/json", "callback_url": callback_url, **fields}
    answer = server.post(json.dumps(output).encode())
    assert answer.status == 201, answer
    assert (answer.json["callback_id"], answer.json["callback_of"]) == (None, None)
    return server.wait(answer.json["id"])


def first_failure(server, callback_id):
    """The callback after its first attempt."""
    deadline = time.monotonic() + 120
    while (callback := server.show(callback_id))["error"] == "":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return callback


def test_a_receiver_gets_the_task_as_it_is_shown(server, target, receiver):
    """Signed, once, to the byte what GET answers; parent and callback name each other."""
    task = run(server, target, f"{receiver.url}/a?b=1&{server.url}")
    [received] = receiver.wait_for(f"/a?b=1&{server.url}")
    assert received.verified() == task
    assert received.body == server.ask("GET", f"/tasks/{task['id']}").body
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == received.headers["x-taskflow-id"]
    assert received.headers["webhook-id"] == task["callback_id"]
    callback = server.wait(task["callback_id"])
    assert (callback["status"], callback["attempt"]) == ("COMPLETED", 1)
    assert (callback["queue"], callback["callback_of"]) == ("callbacks", task["id"])
    assert callback["callback_id"] is callback["callback_url"] is None
    assert len(receiver.wait_for(f"/a?b=1&{server.url}")) == 1


def test_it_is_as_documented(server, target, receiver):
    """What is sent is what the document says, head and body."""
    path = f"/documented?{server.url}"
    run(server, target, f"{receiver.url}{path}")
    [received] = receiver.wait_for(path)
    callback = OPERATIONS["post", "/tasks"]["callbacks"]["finished"]
    reported = callback["{$request.body#/callback_url}"]["post"]
    schema = reported["requestBody"]["content"]["application/json"]["schema"]
    assert complaints(received.task, schema) == []
    for field in reported["parameters"]:
        sent = received.headers[field["name"]]
        is_number = field["schema"]["type"] == "integer"
        assert complaints(int(sent) if is_number else sent, field["schema"]) == []


def test_whatever_was_changed_does_not_verify(server, target, receiver):
    """Neither another body, nor another id, nor another time."""
    task = run(server, target, f"{receiver.url}/changed?{server.url}")
    [received] = receiver.wait_for(f"/changed?{server.url}")
    assert received.verified() == task
    changed = [received._replace(body=received.body.replace(b"COMPLETED", b"FAILED"))]
    earlier = str(int(received.headers["webhook-timestamp"]) - 1)
    for name, value in (("webhook-id", "x"), ("webhook-timestamp", earlier)):
        changed.append(received._replace(headers={**received.headers, name: value}))
    for one in changed:
        with pytest.raises(WebhookVerificationError):
            one.verified()


def test_failures_and_cancels_are_reported(server, target, receiver):
    """Canceled and failed tasks are reported, too."""
    path = f"/ends?{server.url}"
    failed = run(server, target, f"{receiver.url}{path}", payload=f"{target.url}/404")
    waiting = {"payload": "x", "delay_seconds": 1000, "callback_url": f"{receiver.url}{path}"}
    canceled = server.post(json.dumps(waiting).encode()).json["id"]
    answer = server.ask("POST", f"/tasks/{canceled}/cancel")
    assert answer.json["callback_id"] is not None
    reported = {one.verified()["id"]: one.verified() for one in receiver.wait_for(path, times=2)}
    assert reported == {failed["id"]: failed, canceled: answer.json}


def test_a_receiver_that_is_gone(server, target, receiver):
    """410 is final."""
    task = run(server, target, f"{receiver.url}/gone")
    callback = server.wait(task["callback_id"])
    assert (callback["status"], callback["attempt"]) == ("FAILED", 1)
    assert callback["error"] == "http error: status: 410 Gone"


@pytest.mark.parametrize(
    ("path", "error"),
    [("/moved", "307 Temporary Redirect"), ("/broken", "500 Internal Server Error")],
)
def test_retries_of_callbacks(server, target, receiver, path, error):
    """After five seconds at first; a redirect is not followed, for it may lead to a stranger."""
    task = run(server, target, f"{receiver.url}{path}")
    callback = first_failure(server, task["callback_id"])
    assert (callback["status"], callback["attempt"]) == ("PENDING", 1)
    assert callback["error"] == f"http error: status: {error}"
    assert callback["backoff"][:3] == [5.0, 300.0, 1800.0]
    assert "/elsewhere" not in [one.path for one in receiver.received]
    server.ask("POST", f"/tasks/{callback['id']}/cancel")


def test_the_guard_holds_for_callbacks(server, target):
    """What is not fetched from is not told either."""
    task = run(server, target, "http://10.1.2.3/")
    callback = server.wait(task["callback_id"])
    assert (callback["status"], callback["error_type"]) == ("FAILED", "blocked")
    assert callback["attempt"] == 1


def test_a_url_that_leads_nowhere(server, target):
    """It is taken, as a payload's is; its callback says what is wrong with it."""
    task = run(server, target, "http://[::/")
    assert server.wait(task["callback_id"])["error_type"] == "invalid_url"


def test_clients_cannot_set_callback_of(server):
    """What a task shows of that may be sent back and is ignored; its host is no field."""
    task_id = server.add(b'"x"')
    output = {"payload": "x", "callback_of": task_id, "callback_id": task_id}
    answer = server.post(json.dumps(output).encode())
    assert answer.status == 201
    assert answer.json["callback_of"] is answer.json["callback_id"] is None
    task = server.ask("GET", f"/tasks/{answer.json['id']}").json
    assert task["callback_of"] is task["callback_id"] is None
    rejected = server.post(json.dumps({**output, "callback_host": "a"}).encode())
    assert rejected.status == 422
    assert [error["pointer"] for error in rejected.json["errors"]] == ["#/callback_host"]


def test_rotation(target, receiver):
    """With two secrets either verifies; the new one alone afterwards."""
    for secrets, good, bad in (
        (f"{SECRET}, {OTHER}", (SECRET, OTHER), ()),
        (OTHER, (OTHER,), (SECRET,)),
    ):
        with LiveServer(database_url=MEMORY_URL, webhook_secrets=secrets) as server:
            task = run(server, target, f"{receiver.url}/rotation?{len(good)}")
            [received] = receiver.wait_for(f"/rotation?{len(good)}")
            assert [received.verified(secret) for secret in good] == [task] * len(good)
            for secret in bad:
                with pytest.raises(WebhookVerificationError):
                    received.verified(secret)


def test_without_secrets_callback_url_is_rejected(tmp_path, target, receiver):
    """It says what to do, beside all else that is wrong; a file of secrets will do, too."""
    body = json.dumps({"payload": "x", "callback_url": "http://a/", "priority": 1000}).encode()
    with LiveServer(database_url=MEMORY_URL, webhook_secrets="") as server:
        answer = server.post(body)
        assert answer.status == 422
        errors = {one["pointer"]: one["detail"] for one in answer.json["errors"]}
        assert errors.keys() == {"#/priority", "#/callback_url"}
        assert "TASKFLOW_WEBHOOK_SECRETS" in errors["#/callback_url"]
        assert "taskflow secret new" in errors["#/callback_url"]
        answer = server.post(b"[" + body + b', {"payload": 1, "callback_url": null}]')
        assert answer.status == 422
        assert "#/0/callback_url" in [one["pointer"] for one in answer.json["errors"]]
        assert server.post(b'{"payload": 1, "callback_url": null}').status == 201
    path = tmp_path / "secrets"
    path.write_text(f"{OTHER}\n")
    path.chmod(0o600)
    with LiveServer(
        database_url=MEMORY_URL, webhook_secrets="", webhook_secrets_file=str(path)
    ) as server:
        task = run(server, target, f"{receiver.url}/file")
        [received] = receiver.wait_for("/file")
        assert received.verified(OTHER) == task


def test_a_callback_for_a_large_task(server, target, receiver):
    """With a payload and a result near their bounds; a page of it is bounded as any other."""
    payload = {"url": f"{target.url}/big", "headers": {"x-filler": "x" * 8000}}
    task = run(server, target, f"{receiver.url}/big?{server.url}", payload=payload)
    [received] = receiver.wait_for(f"/big?{server.url}")
    assert len(received.body) > 2**20
    assert received.verified() == task


def test_the_example_of_the_docs(server, target, receiver):
    """The lines that the docs have for receivers verify a callback, and refuse another."""
    [lines] = re.findall(
        r"```python\n(.*?import verify_webhook.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    task = run(server, target, f"{receiver.url}/readme?{server.url}")
    [received] = receiver.wait_for(f"/readme?{server.url}")
    names = {"secret": SECRET, "body": received.body, "headers": dict(received.headers)}
    exec(lines, names)
    assert names["task"] == task
    with pytest.raises(InvalidSignature):
        exec(lines, {**names, "secret": OTHER})
