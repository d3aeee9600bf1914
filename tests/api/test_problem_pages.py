"""Every problem has a type of its own, which the service explains."""

from __future__ import annotations

import json
import re

import pytest

from taskflow.model import errors
from taskflow.model.errors import TaskFlowError
from taskflow.model.problem_types import PROBLEM_TYPES
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.documented import DOCUMENT
from tests.api.live import LiveServer

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KEY = "a-key-of-the-problem-pages"
EXAMPLES = [
    example["value"]
    for told in DOCUMENT["components"]["responses"].values()
    for example in told["content"]["application/problem+json"]["examples"].values()
]
NO_HTTP = {
    "400": b"nonsense\r\n\r\n",
    "431": b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    "505": b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    "web socket": b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
}


@pytest.fixture(scope="module")
def memory():
    with LiveServer(database_url=MEMORY_URL) as server:
        yield server


@pytest.mark.parametrize("name", PROBLEM_TYPES)
def test_each_has_a_page(memory, name):
    """For people by HTML, for programs by JSON; HEAD answers alike."""
    kind = PROBLEM_TYPES[name]
    assert re.fullmatch("[a-z]+(-[a-z]+)*", name)
    answer = memory.ask("GET", kind.type)
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    assert answer.json == {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "meaning": kind.meaning,
        "action": kind.action,
        "example_detail": kind.example_detail,
    }
    page = memory.ask("GET", kind.type, None, HTML)
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert page.header("vary") == "Accept"
    assert f"<h1>{kind.title}</h1>" in page.body.decode()
    assert f"<code>{kind.type}</code>" in page.body.decode()
    assert (
        memory.ask("HEAD", kind.type, None, HTML).header("content-type")
        == "text/html; charset=utf-8"
    )


def test_all_are_listed(memory):
    """And there are no others."""
    assert [one["type"] for one in memory.ask("GET", "/problems").json] == [
        one.type for one in PROBLEM_TYPES.values()
    ]
    text = memory.ask("GET", "/problems", None, HTML).body.decode()
    assert all(f'href="{one.type}"' in text for one in PROBLEM_TYPES.values())
    check_problem(memory.ask("GET", "/problems/none"), 404)
    check_problem(memory.ask("POST", "/problems/not-found"), 405)


def test_they_are_open_without_a_key():
    """The pages are open without a key, and nothing else is."""
    with LiveServer(database_url=MEMORY_URL, api_keys=f"one:{KEY}") as server:
        refused = server.ask("GET", "/tasks")
        check_problem(refused, 401)
        for path in (refused.json["type"], "/problems"):
            for head in ({}, HTML):
                assert server.ask("GET", path, None, head).status == 200
        for method, path in (("POST", "/problems"), ("GET", "/problemsx"), ("GET", "/tasks")):
            check_problem(server.ask(method, path), 401)


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda value: value["detail"][:30])
def test_examples_in_the_document_have_their_type(value):
    """With its title and status."""
    kind = PROBLEM_TYPES[value["type"].removeprefix("/problems/")]
    assert (value["type"], value["title"], value["status"]) == (kind.type, kind.title, kind.status)


def test_every_error_of_the_api_has_a_type():
    """Of two classes that mean different things two types."""
    kinds = {
        one.problem
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, TaskFlowError) and one.problem
    }
    assert kinds <= set(PROBLEM_TYPES.values())
    assert len(kinds) > 15


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_problems_before_routing(memory, sent):
    """Malformed or long request heads, and heads of another HTTP version."""
    with memory.connect() as connection:
        connection.send(sent)
        answer = connection.read()
    check_problem(answer, answer.status)
    assert answer.status >= 400


def test_within_streams(memory):
    """The errors of single lines have a type, too."""
    lines = b'{"payload": 1}\nnonsense\n{"payload": 1, "priority": 101}\n'
    answer = memory.ask("POST", "/tasks", lines, {"content-type": "application/x-ndjson"})
    told = [json.loads(line) for line in answer.body.splitlines()]
    assert [one["error"]["type"] for one in told[1:3]] == [
        "/problems/invalid-request",
        "/problems/validation-error",
    ]
