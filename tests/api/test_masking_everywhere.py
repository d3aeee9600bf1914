"""A secret in each place of a credential is in nothing that a task is shown or sent in."""

from __future__ import annotations

import json

import pytest

from taskflow.service import MEMORY_URL
from tests.api.live import LiveServer
from tests.api.sse import open_stream
from tests.api.test_tracing import spans  # noqa: F401 - a fixture
from tests.cli.command import CommandLine
from tests.receiver import Receiver

SECRET = "s3cr3t0"
NAMES = (
    *("Authorization", "Cookie", "X-Api-Key", "Api-Key", "X-Auth-Token"),
    *("X-Access-Token", "X-Amz-Security-Token", "X-Csrf-Token", "X-Client-Secret", "X-Signature"),
    *("X-Session-Id", "X-Password", "X-Mine", "Private-Token", "X-Vault-Token", "X-Hub-Signature"),
)
PARAMETERS = (
    *("token", "access_token", "api_key", "apikey", "key", "sig", "signature", "secret", "auth"),
    *("password", "pwd", "jwt", "X-Amz-Signature", "X-Amz-Credential", "client_secret", "x-mine"),
)
LINES = {"accept": "application/x-ndjson"}


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def server(spans):  # noqa: F811 - a fixture
    settings = {"masked_headers": ("X-Mine",), "traces": "on", "log_level": "debug"}
    with LiveServer(database_url=MEMORY_URL, **settings) as server:
        yield server


def secret_url(receiver, path: str, userinfo: str = "") -> str:
    query = "&".join(f"{name}={SECRET}" for name in PARAMETERS)
    return f"{receiver.url.replace('//', f'//{userinfo}')}{path}?{query}"


def test_everywhere(server, receiver, spans, events, tmp_path):  # noqa: F811 - a fixture
    """Responses, events, exports, callbacks, commands, traces and the log."""
    payload = {"method": "POST", "headers": dict.fromkeys(NAMES, SECRET)}
    body = {
        "payload": {**payload, "url": secret_url(receiver, "/broken")},
        "callback_url": secret_url(receiver, "/back"),
        "success_on": [204],
        "retry_on": [200],
        "max_attempts": 2,
        "backoff": [0],
    }
    at_host = {**payload, "url": secret_url(receiver, "/", f"ada:{SECRET}@")}
    with open_stream(server.url, "/events") as stream:
        shown = submitted(server, body) + submitted(server, {**body, "payload": at_host})
        task = server.ask("GET", "/tasks").json[-1]
        server.wait(server.wait(task["id"])["callback_id"])
        shown += [message.data for message in stream.take(6)]
    shown += read(server, task["id"])
    shown += printed(CommandLine(tmp_path, url=server.url), task["id"], body["callback_url"])
    callbacks = [one for one in receiver.received if one.path.startswith("/back")]
    assert callbacks
    shown += [one.body.decode() for one in callbacks]
    shown += [f"{span.name} {span.attributes} {span.events}" for span in spans.all]
    shown.append(str(events))
    assert [one[:2000] for one in shown if SECRET in one] == []
    whole = [one for one in receiver.received if one.path.startswith("/broken")]
    assert [one.headers[name.lower()] for one in whole for name in NAMES] == [SECRET] * len(
        whole * len(NAMES)
    )


def submitted(server, body) -> list[str]:
    """Submit it in each form, also with an error and once more."""
    text = json.dumps(body)
    key = {"idempotency-key": f'"{len(text)}"'}
    lines = {"content-type": "application/x-ndjson"}
    answers = [
        server.ask("POST", "/tasks?wait=10", text.encode(), key),
        server.ask("POST", "/tasks", text.encode(), key),
        server.ask("POST", "/tasks", f"[{text}]".encode()),
        server.ask("POST", "/tasks", f"{text}\n".encode(), lines),
        server.ask("POST", "/tasks", json.dumps({**body, "priority": 99999}).encode()),
    ]
    assert [answer.status for answer in answers] == [201, 200, 201, 200, 422]
    return [answer.body.decode() for answer in answers]


def read(server, task_id: str) -> list[str]:
    """What the routes and pages show of it."""
    shown = []
    for path in (
        *("/tasks", "/ui", "/ui/tasks", "/hosts", "/nodes", "/metrics", "/stats", "/queues"),
        *(f"/tasks/{task_id}", f"/tasks/{task_id}/attempts", f"/tasks/{task_id}/result"),
        *(f"/tasks/{task_id}?fields=payload,callback_url,error", f"/ui/tasks/{task_id}"),
        f"/ui/submit?from={task_id}",
    ):
        answer = server.ask("GET", path)
        assert answer.status in (200, 404), (path, answer)
        shown.append(f"{path} {answer.fields} {answer.body.decode()}")
    shown.append(server.ask("GET", "/tasks", None, LINES).body.decode())
    with open_stream(server.url, f"/tasks/{task_id}/events") as stream:
        shown += [message.data for message in stream]
    return shown


def printed(cli: CommandLine, task_id: str, url: str) -> list[str]:
    """What commands print of it."""
    shown = []
    for words in (
        ["list"],
        ["list", "--json"],
        ["show", task_id],
        ["show", task_id, "--json"],
        ["export"],
        ["submit", url, "--json"],
        ["retry", task_id],
        ["hosts"],
    ):
        ended = cli.ok(*words)
        shown.append(f"{words} {ended.out}".replace(url, ""))
    return shown
