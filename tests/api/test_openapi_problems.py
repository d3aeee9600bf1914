"""Problems in ``/openapi.json``: what its examples say is what is said to who runs into them."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from taskflow.api import middleware
from taskflow.api.app import create_app
from taskflow.service import MEMORY_URL, open_store
from taskflow.telemetry import Event
from tests.api.client import Answer
from tests.api.conftest import open_database
from tests.api.documented import DOCUMENT, check_response
from tests.api.live import LiveServer
from tests.api.test_slow_reads import SEARCHES, busy

PROBLEMS = DOCUMENT["components"]["responses"]
EXAMPLES = {
    (name.removeprefix("Problem"), short): example["value"]
    for name, told in PROBLEMS.items()
    for short, example in told["content"]["application/problem+json"]["examples"].items()
}
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TASK = json.dumps({"payload": 1}).encode()
WAITING = json.dumps({"payload": 1, "delay_seconds": 3600}).encode()
UNKNOWN_ID = str(uuid.UUID(int=0))
# Enough requests that one of them exceeds the rate limit.
PLACES = 10
KEYS = {"api_keys": "reader:read:a-key-that-reads"}


def serving(**settings: Any) -> LiveServer:
    return LiveServer(**{"database_url": MEMORY_URL, **settings})


def asked(*request: Any, **settings: Any) -> Callable[..., Answer]:
    """Ask a server that has these settings."""

    def ask(_: pytest.FixtureRequest) -> Answer:
        with serving(**settings) as server:
            return server.ask(*request)

    return ask


def followed(first: tuple, then: Callable[[Answer], tuple], **settings: Any):
    """Ask for one thing, and then for another that depends on how it was answered."""

    def ask(_: pytest.FixtureRequest) -> Answer:
        with serving(**settings) as server:
            return server.ask(*then(server.ask(*first)))

    return ask


def run_twice(_: pytest.FixtureRequest) -> Answer:
    """Run a schedule while its task waits."""
    schedule = {
        "every_seconds": 3600,
        "overlap": "skip",
        "task": {"payload": 1, "delay_seconds": 3600},
    }
    with serving() as server:
        server.ask("PUT", "/schedules/reports", json.dumps(schedule).encode())
        server.ask("POST", "/schedules/reports/run")
        return server.ask("POST", "/schedules/reports/run")


def submitted_twice(_: pytest.FixtureRequest) -> Answer:
    """Submit two tasks with one unique key, of which the second must not meet another one."""
    unique = {"key": "invoice-4711", "on_conflict": "reject"}
    body = json.dumps({"payload": 1, "delay_seconds": 3600, "unique": unique}).encode()
    with serving() as server:
        server.ask("POST", "/tasks", body)
        return server.ask("POST", "/tasks", body)


def joined_too_late(_: pytest.FixtureRequest) -> Answer:
    """Submit a task to a group that is closed, and has one."""
    group = {"tasks": [{"payload": 1, "delay_seconds": 3600}]}
    with serving() as server:
        group_id = server.ask("POST", "/groups", json.dumps(group).encode()).json["id"]
        body = json.dumps({"payload": 1, "group": group_id}).encode()
        return server.ask("POST", "/tasks", body)


def done_to(verb: str, body: bytes, *, method: str = "POST"):
    """Submit a task, wait for it, and apply an action to it."""
    path = f"/{verb}" if verb else ""
    return followed(
        ("POST", "/tasks?wait=0" if b"delay_seconds" in body else "/tasks", body),
        lambda answer: (method, f"/tasks/{answer.json['id']}{path}"),
    )


def deleted_since(_: pytest.FixtureRequest) -> Answer:
    head = {"idempotency-key": "one"}
    with serving() as server:
        task = server.ask("POST", "/tasks", WAITING, head).json["id"]
        server.ask("POST", f"/tasks/{task}/cancel")
        assert server.ask("DELETE", f"/tasks/{task}").status == 204
        return server.ask("POST", "/tasks", WAITING, head)


def done_at_its_end(verb: str) -> Callable[..., Answer]:
    """Request this of a COMPLETED task."""

    def ask(request: pytest.FixtureRequest) -> Answer:
        target = request.getfixturevalue("target")
        with serving() as server:
            task = server.run(json.dumps(f"{target.url}/json").encode())
            return server.ask("POST", f"/tasks/{task['id']}/{verb}")

    return ask


def half_a_body(_: pytest.FixtureRequest) -> Answer:
    with serving(request_seconds=0.2) as server, server.connect() as connection:
        connection.send(b"POST /tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
        return connection.read()


def another_version(_: pytest.FixtureRequest) -> Answer:
    with serving() as server, server.connect() as connection:
        connection.send(b"GET /tasks HTTP/2.0\r\nhost: x\r\n\r\n")
        return connection.read()


def a_fault(request: pytest.FixtureRequest) -> Answer:
    def configure(app: Any) -> None:
        @app.before_request
        async def fail() -> None:
            raise ZeroDivisionError

    with serving(configure=configure) as server:
        answer = server.ask("GET", "/tasks")
    events = request.getfixturevalue("events")
    error = Event.REQUEST_ERROR.value[1]
    assert [event["event"] for event in events].count(error) == 1
    events[:] = [event for event in events if event["event"] != error]
    return answer


def no_database(request: pytest.FixtureRequest) -> Answer:
    server = request.getfixturevalue("postgres_server")
    with open_database(server) as url, LiveServer(database_url=url) as service:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        return service.ask("POST", "/tasks", TASK)


def no_place_to_search(request: pytest.FixtureRequest) -> Answer:
    uri = request.getfixturevalue("database_uri")
    bounds = {"database_connections": 2 * SEARCHES, "database_timeout_seconds": 60.0}
    with LiveServer(database_url=uri, **bounds) as server, busy(uri, server):
        return server.ask("GET", "/tasks?url_contains=a")


def no_workers(_: pytest.FixtureRequest) -> Answer:
    @contextlib.asynccontextmanager
    async def open_app(settings, shutdown):
        async with open_store(settings) as store:
            yield create_app(store, settings, lambda: False)

    with serving(open_app=open_app) as server:
        return server.ask("GET", "/readyz")


def no_place(_: pytest.FixtureRequest) -> Answer:
    with serving(max_connections=PLACES) as server, contextlib.ExitStack() as stack:
        for _ in range(PLACES):
            client = stack.enter_context(server.connect())
            assert client.ask("GET", "/livez").status == 200
        return stack.enter_context(server.connect()).read()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


STALE = {"kind": "queue", "name": "mail", "fields": {}, "before": {"max_concurrency": 10}}


PROVOKED: dict[tuple[str, str], Callable[[pytest.FixtureRequest], Answer]] = {
    ("400", "no payload"): asked("POST", "/tasks", b"{}"),
    ("400", "no JSON"): asked("POST", "/tasks", b'{"payload":'),
    ("400", "two lengths"): asked(
        *("GET", "/livez", b"0\r\n\r\n"),
        {"content-length": "5", "transfer-encoding": "chunked"},
    ),
    ("401", "no key"): asked("GET", "/tasks", **KEYS),
    ("401", "unknown key"): asked("GET", "/tasks", None, bearer("not-this-one"), **KEYS),
    ("403", "role"): asked("POST", "/tasks", TASK, bearer("a-key-that-reads"), **KEYS),
    ("403", "origin"): asked("GET", "/tasks", None, {"origin": "https://else.example"}),
    ("404", "no path"): asked("GET", "/nowhere"),
    ("404", "no task"): asked("GET", f"/tasks/{UNKNOWN_ID}"),
    ("404", "no result"): done_to("result", WAITING, method="GET"),
    ("404", "no queue"): asked("GET", "/queues/none"),
    ("404", "no group"): asked("GET", f"/groups/{UNKNOWN_ID}"),
    ("404", "no failure"): asked("GET", f"/failures/{UNKNOWN_ID}"),
    ("404", "no topic"): asked("GET", "/topics/none"),
    ("404", "no endpoint"): followed(
        ("PUT", "/topics/a", b"{}"), lambda _: ("GET", "/topics/a/endpoints/none")
    ),
    ("404", "no schedule"): asked("GET", "/schedules/none"),
    ("404", "no heartbeat"): asked("GET", "/heartbeats/none"),
    ("405", "PUT"): asked("PUT", "/tasks", b"{}"),
    ("408", "slow body"): half_a_body,
    ("409", "cancel"): done_at_its_end("cancel"),
    ("409", "retry"): done_at_its_end("retry"),
    ("409", "delete"): done_to("", WAITING, method="DELETE"),
    ("409", "overlap"): run_twice,
    ("409", "not unique"): submitted_twice,
    ("409", "group"): joined_too_late,
    ("410", "deleted"): deleted_since,
    ("410", "over"): asked("POST", f"/completions/{uuid.UUID(int=1)}/no-token", b""),
    ("412", "exists"): followed(
        ("PUT", "/schedules/a", b'{"every_seconds": 3600, "task": {"payload": 1}}'),
        lambda _: (
            *("PUT", "/schedules/a", b'{"every_seconds": 60, "task": {"payload": 1}}'),
            {"if-none-match": "*"},
        ),
    ),
    ("412", "changed"): followed(
        ("PUT", "/queues/mail", b'{"max_concurrency": 20}'),
        lambda _: (
            "POST",
            "/config",
            json.dumps({"changes": [STALE]}).encode(),
        ),
    ),
    ("413", "too large"): asked("POST", "/tasks", b" " * (2**20 + 1)),
    ("414", "target too long"): asked("GET", f"/tasks?{'x' * middleware.MAX_TARGET_BYTES}"),
    ("415", "compressed"): asked("POST", "/tasks", TASK, {"content-encoding": "gzip"}),
    ("421", "another name"): asked(
        "GET", "/tasks", None, {"host": "else.example"}, allowed_hosts=("this.example",)
    ),
    ("422", "parameter"): asked("GET", "/tasks?limit=0"),
    ("422", "field"): asked("POST", "/tasks", b'{"payload": 1, "priority": 101}'),
    ("422", "another request"): followed(
        ("POST", "/tasks", TASK, {"idempotency-key": "one"}),
        lambda _: ("POST", "/tasks", WAITING, {"idempotency-key": "one"}),
    ),
    ("429", "rate"): followed(
        ("POST", "/tasks", TASK), lambda _: ("POST", "/tasks", TASK), rate_limit=1.0
    ),
    ("429", "backlog"): followed(
        ("POST", "/tasks", WAITING), lambda _: ("POST", "/tasks", TASK), max_pending=1
    ),
    ("431", "too long"): asked("GET", "/tasks", None, {"x": "x" * middleware.MAX_HEADER_BYTES}),
    ("431", "too many"): asked(
        "GET", "/tasks", None, {f"x{number}": "" for number in range(middleware.MAX_HEADERS)}
    ),
    ("500", "error"): a_fault,
    ("501", "coding"): asked("POST", "/tasks", b"", {"transfer-encoding": "gzip"}),
    ("503", "store"): no_database,
    ("503", "searches"): no_place_to_search,
    ("503", "workers"): no_workers,
    ("503", "clients"): no_place,
    ("505", "version"): another_version,
}


@pytest.mark.parametrize(("status", "name"), EXAMPLES)
def test_examples_are_exact(request, status, name):
    """Each example of a problem, to the letter, with a head that is as told."""
    answer = PROVOKED[status, name](request)
    assert (
        json.loads(_UUID.sub("019abf75-cdd0-7a45-8a3f-6f0bc45a6b6e", answer.body.decode()))
        == EXAMPLES[status, name]
    )
    assert answer.status == int(status)
    check_response(answer, PROBLEMS[f"Problem{status}"])


def test_all_provoked_problems_are_documented():
    """Each problem that these tests cause is in the document."""
    assert PROVOKED.keys() == EXAMPLES.keys()
