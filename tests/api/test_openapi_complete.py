"""``/openapi.json`` against a running service: nothing that it takes or answers is left out.

Every operation is asked for, with each parameter and each body that is an example in the
document, by a page of another origin and under a limit of rate, so that all fields of heads are
there that can be.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from taskflow.api.document.examples import URL
from taskflow.model.problem_types import TASK_NOT_FOUND
from taskflow.service import MEMORY_URL
from tests.api.client import Answer
from tests.api.conftest import PUBLIC_URL
from tests.api.deferred import Parked, Worker
from tests.api.documented import (
    DOCUMENT,
    FRAMING,
    OPERATIONS,
    PARAMETER_IN_PATH,
    check,
    check_head,
    check_response,
    resolved,
)
from tests.api.live import LiveServer
from tests.api.target import Target

KEY = "the-key-of-the-completeness"
READER = "the-key-that-only-reads"
ORIGIN = "https://app.example"
WAIT = {"prefer": "wait=10"}
JSON = "application/json"
JSON_TYPES = (JSON, "application/merge-patch+json")
LINES = "application/x-ndjson"
# What has to be so that an operation on one task can be carried out; others take what has ended.
STANDING = {"skipTask": "FAILED", "cancelTask": "PENDING", "retryTask": "CANCELED"}


class World(NamedTuple):
    """A service, and web servers that it fetches from: one answers 202 and reports later."""

    server: LiveServer
    target: Target
    worker: Worker

    def ask(self, method: str, target: str, body: object = None, head=None) -> Answer:
        """A request of a page of another origin; what would go to the internet stays here."""
        sent = body if body is None or isinstance(body, str) else json.dumps(body)
        data = sent and sent.replace(URL, f"{self.target.url}/json").encode()
        return self.server.ask(method.upper(), target, data, {"origin": ORIGIN, **(head or {})})

    def look(self, target: str, head=None, *, method: str = "get") -> Answer:
        """The beginning of an answer that may go on without end."""
        with self.server.connect() as connection:
            fields = {"authorization": f"Bearer {KEY}", "origin": ORIGIN, **(head or {})}
            lines = [f"{name}: {value}" for name, value in {"host": "x", **fields}.items()]
            connection.send(
                "\r\n".join([f"{method.upper()} {target} HTTP/1.1", *lines, "", ""]).encode()
            )
            return Answer(*connection.read_raw_head(), b"")

    def task(self, standing: str = "COMPLETED") -> str:
        """The id of a new task that stands so."""
        made: dict[str, Any] = {"payload": URL}
        head = WAIT if standing == "COMPLETED" else {}
        if standing == "FAILED":
            made = {"payload": "x:", "order_key": str(uuid.uuid4()), "on_failure": "hold"}
            head = WAIT
        elif standing != "COMPLETED":
            made["delay_seconds"] = 3600
        task = self.ask("post", "/tasks", made, head).json
        if standing == "CANCELED":
            task = self.ask("post", f"/tasks/{task['id']}/cancel").json
        assert task["status"] == standing, task
        return task["id"]

    def failure(self) -> str:
        """The id of a failure."""
        self.task("FAILED")
        return self.ask("get", "/failures").json[0]["id"]

    def place(self, method: str, path: str) -> str:  # noqa: PLR0911 - a kind of path each
        """The path of an operation, leading to something that it can be carried out on."""
        name = OPERATIONS[method, path]["operationId"]
        if path.startswith("/completions/{id}/{token}"):
            parked = Parked(self.server, self.worker)
            return path.replace("/completions/{id}/{token}", parked.path)
        if path.startswith("/ping/"):
            url = self.ask("put", f"/heartbeats/{uuid.uuid4()}", {"every_seconds": 60}).json
            token = url["ping_url"].rpartition("/")[2]
            return path.replace("{token}", token).replace("{signal}", "start")
        if path.startswith("/groups/{id}"):
            group = self.ask("post", "/groups", {"name": name}).json
            return path.replace("{id}", group["id"])
        if path.startswith("/topics/{topic}"):
            return self.endpoint_place(method, path)
        if "{id}" in path:
            task_id = self.task(STANDING.get(name, "COMPLETED"))
            return path.replace("{id}", self.failure() if "/failures" in path else task_id)
        if "{name}" not in path:
            return path.replace("{type}", TASK_NOT_FOUND.name)
        [reported] = [one for one in OPERATIONS[method, path]["parameters"] if one["in"] == "path"]
        whole = path.partition("}")[0] + "}"  # of what the operation is done to
        named = whole.replace("{name}", reported["example"])
        assert self.ask("put", named, first_body("put", whole)).status in (200, 201)
        return path.replace("{name}", reported["example"])

    def endpoint_place(self, method: str, path: str) -> str:
        """The path of an operation on an endpoint of a new topic."""
        topic = uuid.uuid4().hex
        assert self.ask("put", f"/topics/{topic}", {}).status == 201
        place = f"/topics/{topic}/endpoints/a"
        if (method, path) != ("put", "/topics/{topic}/endpoints/{name}"):
            assert self.ask("put", place, {"url": URL}).status == 201
        return path.replace("{topic}", topic).replace("{name}", "a")


@pytest.fixture(scope="module")
def world(target: Target) -> Iterator[World]:
    """A service that has a key, a limit of rate, and an origin whose pages may ask."""
    with (
        LiveServer(
            database_url=MEMORY_URL,
            key=KEY,
            api_keys=f"tests:admin:{KEY},reader:read:{READER}",
            public_url=PUBLIC_URL,
            cors_origins=(ORIGIN,),
            rate_limit=1e4,
            rate_burst=10**4,
            read_rate_limit=1e4,
            read_rate_burst=10**4,
        ) as server,
        Worker() as worker,
    ):
        yield World(server, target, worker)


def first_body(method: str, path: str) -> object:
    """A body that the operation takes, if it takes any."""
    return next((body for kind, _, body in bodies(method, path) if kind in JSON_TYPES), None)


def bodies(method: str, path: str) -> Iterator[tuple[str, str, object]]:
    """The examples of bodies: media type, name and value."""
    body = OPERATIONS[method, path].get("requestBody", {})
    for kind, reported in {**body.get("content", {}), **body.get("x-streams", {})}.items():
        for name, example in reported.get("examples", {}).items():
            yield kind, name, example["value"]
        if "example" in reported:
            yield kind, "lines", reported["example"]


def good(method: str, path: str) -> set[int]:
    """The statuses of an operation's answers that are no problems."""
    return {int(status) for status in OPERATIONS[method, path]["responses"] if status < "400"}


def is_stream(method: str, path: str) -> bool:
    content = OPERATIONS[method, path]["responses"].get("200", {}).get("content", {})
    return "text/event-stream" in content


def carry_out(world: World, method: str, path: str, query: str = "", head=None) -> Answer:
    """Ask for an operation, with a body that it takes, and see that all is well and as told."""
    place = world.place(method, path) + query
    if is_stream(method, path):
        answer = world.look(place, head)
        check_head(answer, resolved(OPERATIONS[method, path]["responses"][str(answer.status)]))
    else:
        answer = world.ask(method, place, first_body(method, path), head)
        check(answer, method, path)
    assert answer.status in good(method, path), answer
    return answer


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operations(world, method, path):
    """Each operation can be carried out, and its response has no undocumented header."""
    answer = carry_out(world, method, path)
    if OPERATIONS[method, path].get("security") != []:
        assert answer.header("access-control-allow-origin") == ORIGIN
        assert (answer.header("ratelimit") is None) == (method not in ("get", "post"))


PARAMETERS = [
    (method, path, one["name"])
    for (method, path), operation in OPERATIONS.items()
    for one in operation["parameters"]
    if one["in"] != "path"
]


@pytest.mark.parametrize(("method", "path", "name"), PARAMETERS)
def test_parameters(world, method, path, name):
    """The example of each is taken."""
    [reported] = [one for one in OPERATIONS[method, path]["parameters"] if one["name"] == name]
    example = reported["example"]
    if reported["in"] == "header":
        head = {name: str(example)}
        if head == {"If-None-Match": "*"}:  # only if there is none yet
            answer = world.ask(
                method, f"{path.partition('{')[0]}new", first_body(method, path), head
            )
            assert answer.status == 201
        else:
            carry_out(world, method, path, head=head)
        return
    values = example if isinstance(example, list) else [example]
    texts = values if reported.get("explode") else [",".join(str(value) for value in values)]
    query = "&".join(f"{name}={quote(str(text), safe=',')}" for text in texts)
    carry_out(world, method, path, f"?{query}")


BODIES = [
    (method, path, kind, name)
    for method, path in OPERATIONS
    for kind, name, _ in bodies(method, path)
]


@pytest.mark.parametrize(("method", "path", "kind", "name"), BODIES)
def test_bodies(world, method, path, kind, name):
    """The example of each is taken, and answered as told."""
    [body] = [value for k, n, value in bodies(method, path) if (k, n) == (kind, name)]
    answer = world.ask(method, world.place(method, path), body, {"content-type": kind})
    assert answer.status in good(method, path), answer
    check(answer, method, path)
    if kind == LINES:
        reported = OPERATIONS[method, path]["responses"][str(answer.status)]["content"][LINES]
        assert answer.header("content-type").partition(";")[0] == LINES
        assert reported["x-itemSchema"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_roles(world, method, path):
    """A key that may only read is refused just where the document asks for another role."""
    security = OPERATIONS[method, path]["security"]
    place = PARAMETER_IN_PATH.sub(UNKNOWN_ID, path)
    answer = world.look(place, {"authorization": f"Bearer {READER}"}, method=method)
    assert security in ([], *([{"key": [role]}] for role in ("read", "write", "admin")))
    assert (answer.status == 403) == (security in ([{"key": ["write"]}], [{"key": ["admin"]}]))


UNKNOWN_ID = str(uuid.UUID(int=0))
# What is wrong with requests: the query, the body and the head.
WRONG: dict[str, tuple[str, bytes | None, dict[str, str]]] = {
    "no key": ("", None, {"authorization": ""}),
    "another origin": ("", None, {"origin": "https://else.example"}),
    "no JSON": ("", b"{", {}),
    "another JSON": ("", b"[1]", {}),
    "no body": ("", b"", {}),
    "a large body": ("", b" " * (2**20 + 1), {}),
    "a compressed body": ("", b"{}", {"content-encoding": "gzip"}),
    "another coding": ("", b"", {"transfer-encoding": "gzip"}),
    "two lengths": ("", b"0\r\n\r\n", {"content-length": "5", "transfer-encoding": "chunked"}),
    "a long target": (f"?{'x' * 9000}", None, {}),
    "a long field": ("", None, {"x": "x" * 9000}),
    "an unknown parameter": ("?unknown=1", None, {}),
    "no number": ("?limit=x&wait=x", None, {}),
    "a preference": ("", None, {"prefer": "wait=x"}),
    "an event": ("", None, {"last-event-id": "x"}),
    "a key of idempotency": ("", b"{}", {"idempotency-key": '"'}),
    "a condition": ("", b"{}", {"if-none-match": "x"}),
}


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        pytest.param(method, path, found, id=f"{method}-{path}-{'found' if found else 'not found'}")
        for method, path in OPERATIONS
        for found in ((True, False) if "{" in path else (True,))
    ],
)
def test_whatever_is_wrong(world, method, path, found):
    """Nothing is answered that the operation does not have among its answers."""
    for wrong, (query, body, head) in WRONG.items():
        place = world.place(method, path) if found else PARAMETER_IN_PATH.sub(UNKNOWN_ID, path)
        fields = {"origin": ORIGIN, **head}
        if is_stream(method, path):
            answer = world.look(place + query, fields)
            reported = OPERATIONS[method, path]["responses"]
            assert str(answer.status) in reported, wrong
            check_head(answer, resolved(reported[str(answer.status)]))
        else:
            check(world.server.ask(method.upper(), place + query, body, fields), method, path)


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_options_and_head(world, path):
    """OPTIONS lists exactly the documented methods; HEAD responds like GET, without a body."""
    reported = {method.upper() for method in DOCUMENT["paths"][path]}
    place = world.place(next(iter(DOCUMENT["paths"][path])), path)
    answer = world.ask("OPTIONS", place)
    allowed = {"OPTIONS", "HEAD"} | reported if "GET" in reported else {"OPTIONS"} | reported
    assert (answer.status, answer.body) == (200, b"")
    assert set(answer.header("allow").split(", ")) == allowed
    if "GET" not in reported:
        return
    shown = world.look(place)
    head = world.ask("HEAD", place)
    assert head.status == shown.status
    assert {name for name, _ in head.fields} - FRAMING == {n for n, _ in shown.fields} - FRAMING
    assert head.header("content-type") == shown.header("content-type")


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_methods_that_are_not_allowed(world, path):
    """Other methods get the documented 405, with the allowed methods."""
    reported = {method.upper() for method in DOCUMENT["paths"][path]}
    missing = ({"GET", "POST", "PUT", "DELETE", "PATCH"} - reported).pop()
    answer = world.ask(missing, world.place(next(iter(DOCUMENT["paths"][path])), path))
    assert answer.status == 405
    check_response(answer, DOCUMENT["components"]["responses"]["Problem405"])
    assert reported <= set(answer.header("allow").split(", "))
