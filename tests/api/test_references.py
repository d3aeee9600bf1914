"""References to results of parents over HTTP, from the submission to the request that is sent."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from taskflow.model.keyring import new_encryption_key
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.api.target import Target
from tests.receiver import Receiver

ENCRYPTED = {"encryption_keys": new_encryption_key(), "encrypt": ("payloads", "results")}


@pytest.fixture(scope="module", params=["memory", "postgres", "encrypted"])
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server; the last one with a database that has no value in plain text."""
    with contextlib.ExitStack() as stack:
        url, settings = MEMORY_URL, {}
        if request.param != "memory":
            postgres = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(postgres, is_migrated=True))
        if request.param == "encrypted":
            settings = ENCRYPTED
        yield stack.enter_context(LiveServer(database_url=url, **settings))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def submitted(server: LiveServer, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    answer = server.post(json.dumps(tasks).encode())
    assert answer.status == 201, answer
    added: list[dict[str, Any]] = answer.json
    return added


def test_values_of_a_parent_are_sent(server: LiveServer, target: Target, receiver: Receiver):
    """In the path, the query, headers and the body; what is shown keeps the references."""
    payload = {
        "url": f"{receiver.url}/at/{{{{p:/result/b}}}}?q={{{{p:/content_type}}}}",
        "headers": {"X-Value": "b {{p:/result/b}}"},
        "body": {"b": {"$from": "p", "pointer": "/result/b"}, "c": [1.50]},
    }
    parent, child = submitted(
        server,
        {"name": "p", "payload": f"{target.url}/json"},
        {"after": ["p"], "payload": payload},
    )
    task = server.wait(child["id"])
    assert (task["status"], task["payload"]) == ("COMPLETED", payload)
    [received] = receiver.wait_for("/at/1.50?q=application%2Fjson")
    assert received.body == b'{"b":1.50,"c":[1.5]}'
    assert received.headers["x-value"] == "b 1.50"
    [again] = submitted(
        server,
        {
            "after": [parent["id"]],
            "payload": {
                "url": f"{receiver.url}/by-id/{{{{{parent['id']}:/status_code}}}}",
                "method": "POST",
            },
        },
    )
    assert server.wait(again["id"])["status"] == "COMPLETED"
    assert receiver.wait_for("/by-id/200")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (
            "{}/{{{{p:/result/none}}}}",
            "reference missing: nothing at /result/none of the result of p",
        ),
        ("{}/{{{{p:/result}}}}", "is not text, a number or a boolean"),
        ("{}/{{{{p:/result/a/9}}}}", "nothing at /result/a/9"),
    ],
)
def test_references_that_find_nothing(server: LiveServer, target: Target, url: str, error: str):
    """The task fails without a request, and is not tried again."""
    _, child = submitted(
        server,
        {"name": "p", "payload": f"{target.url}/json"},
        {"after": ["p"], "payload": url.format(target.url), "max_attempts": 3},
    )
    task = server.wait(child["id"])
    assert (task["status"], task["error_type"], task["attempt"]) == (
        "FAILED",
        "reference_missing",
        1,
    )
    assert error in task["error"]


def test_a_parent_without_a_result(server: LiveServer, target: Target):
    """A task that runs although its parent failed cannot use what that has not."""
    _, child = submitted(
        server,
        {"name": "p", "payload": "x:"},
        {
            "after": ["p"],
            "on_parent_failure": "run",
            "payload": f"{target.url}/{{{{p:/result}}}}",
        },
    )
    task = server.wait(child["id"])
    assert task["error"] == "reference missing: the parent p has no result"


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        ("https://{{p:/result}}/", "#/1/payload"),
        ({"url": "https://example.com{{p:/result}}/"}, "#/1/payload/url"),
        ("https://example.com/{{other:/result}}", "#/1/payload"),
        ({"url": "https://example.com/", "headers": {"X-A": "{{p:x}}"}}, "#/1/payload/headers/X-A"),
        (
            {"url": "https://example.com/", "body": [{"$from": "q", "pointer": ""}]},
            "#/1/payload/body/0",
        ),
    ],
)
def test_references_that_are_refused(server: LiveServer, payload: object, pointer: str):
    """Those that could choose a host, name no parent, or have no pointer."""
    tasks = [{"name": "p", "payload": "x:"}, {"after": ["p"], "payload": payload}]
    problem = check_problem(server.post(json.dumps(tasks).encode()), 422)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_without_parents_nothing_is_a_reference(server: LiveServer, receiver: Receiver):
    """What looks like one is sent as it was submitted."""
    body = {"$from": "p", "pointer": "/a"}
    [task] = submitted(server, {"payload": {"url": f"{receiver.url}/{{{{p:/a}}}}", "body": body}})
    server.wait(task["id"])
    [received] = receiver.wait_for("/%7B%7Bp:/a%7D%7D")
    assert json.loads(received.body) == body


def test_the_guard_judges_the_url_that_results(database_uri, target: Target):
    """A path from a response does not make a request to a denied host possible."""
    with LiveServer(database_url=database_uri, deny_hosts=("localhost",)) as server:
        port = target.url.rpartition(":")[2]
        _, child = submitted(
            server,
            {"name": "p", "payload": f"{target.url}/json"},
            {"after": ["p"], "payload": f"http://localhost:{port}/{{{{p:/result/b}}}}"},
        )
        task = server.wait(child["id"])
    assert (task["status"], task["error_type"]) == ("FAILED", "blocked")
    with psycopg.connect(database_uri) as connection:
        [(stored,)] = connection.execute(
            "SELECT payload #>> '{}' FROM taskflow_tasks WHERE parents_left IS NOT NULL"
        )
    assert stored == task["payload"]
