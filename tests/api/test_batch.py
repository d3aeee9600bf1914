"""``POST /tasks/batch``: arrays and streams, as ``POST /tasks`` accepts them from older clients."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.api.client import check_problem
from tests.api.documented import check
from tests.api.live import LiveServer

BATCH = "/tasks/batch"
LINES = {"content-type": "application/x-ndjson"}
LATER = {"delay_seconds": 3600}


def post(server, document, headers=None, path=BATCH):
    return server.ask("POST", path, json.dumps(document).encode(), headers)


def test_an_array_is_stored_in_order(server):
    """201 and the tasks in the order of the request, as the document describes them."""
    answer = post(server, [{"payload": n, **LATER} for n in range(30)])
    assert answer.status == 201
    assert [task["payload"] for task in answer.json] == list(range(30))
    assert answer.header("location") is None
    check(answer, "post", BATCH)


@pytest.mark.parametrize("first", [BATCH, "/tasks"])
def test_a_key_holds_on_both_paths(server, first):
    """The same array with the same key is stored once, also while a client changes its path."""
    tasks = [{"payload": n, **LATER} for n in range(3)]
    key = {"idempotency-key": str(uuid.uuid4())}
    [second] = {BATCH, "/tasks"} - {first}
    stored, again = post(server, tasks, key, first), post(server, tasks, key, second)
    assert (stored.status, again.status) == (201, 200)
    assert again.header("idempotent-replayed") == "true"
    assert again.json == stored.json
    check_problem(post(server, tasks[:2], key), 422, "Idempotency-Key")


def test_an_invalid_task_rejects_the_array(server):
    """422 with the place of each error, and nothing is stored."""
    queue = uuid.uuid4().hex
    tasks = [{"payload": 1, "queue": queue, **LATER}, {"payload": None}, {"priority": "high"}]
    problem = check_problem(post(server, tasks), 422)
    assert {error["pointer"].split("/")[1] for error in problem["errors"]} == {"1", "2"}
    assert server.ask("GET", f"/tasks?queue={queue}").json == []


@pytest.mark.parametrize("body", [b'{"payload": 1}', b'"https://example.com/"', b"null", b"", b"["])
def test_only_arrays(server, body):
    """A single task is a 400 that says what to send: it belongs to ``POST /tasks``."""
    problem = check_problem(server.ask("POST", BATCH, body), 400)
    assert "array" in problem["detail"]


@pytest.mark.parametrize("size", [0, 10_001])
def test_too_few_and_too_many(server, size):
    check_problem(post(server, [{"payload": 1}] * size), 422, "1 to 10000")


def test_a_stream(server):
    """The outcome of each line, and a summary; with ``return=minimal`` the rejected lines alone."""
    body = b'{"payload": 1, "delay_seconds": 3600}\n{"payload": null}\n'
    answer = server.ask("POST", BATCH, body, LINES)
    check(answer, "post", BATCH)
    accepted, rejected, summary = map(json.loads, answer.body.splitlines())
    assert server.show(accepted["id"])["payload"] == 1
    assert (rejected["index"], summary["accepted"], summary["rejected"]) == (1, 1, 1)
    minimal = server.ask("POST", BATCH, body, LINES | {"prefer": "return=minimal"})
    assert minimal.header("preference-applied") == "return=minimal"
    assert [json.loads(line).get("index") for line in minimal.body.splitlines()] == [1, None]


def test_a_stream_is_answered_while_it_is_sent(server):
    """The outcome of a line arrives before the next line is sent."""
    with server.connect() as connection:
        head = f"POST {BATCH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        connection.send(f"{head}content-type: {LINES['content-type']}\r\n\r\n".encode())
        line = b'{"payload": 7, "delay_seconds": 3600}\n'
        connection.send(b"%x\r\n%b\r\n" % (len(line), line))
        status, _ = connection.read_raw_head()
        assert status == 200
        connection.send(b"0\r\n\r\n")


def test_a_stream_has_no_key(server):
    check_problem(server.ask("POST", BATCH, b"", LINES | {"idempotency-key": "a"}), 422, "stream")


def test_compressed_bodies(server):
    """415 for arrays and streams."""
    for kind in ({}, LINES):
        check_problem(server.ask("POST", BATCH, b"x", kind | {"content-encoding": "gzip"}), 415)


def test_it_is_no_task(server):
    """Other methods are a 405 with the supported one, and no parameter is accepted."""
    for method in ("GET", "DELETE"):
        answer = server.ask(method, BATCH)
        check_problem(answer, 405)
        assert answer.header("allow") == "OPTIONS, POST"
    check_problem(server.ask("POST", f"{BATCH}?wait=1", b"[]"), 422, "wait")


def test_the_limit_of_arrays():
    """An array may exceed the limit of a single task, up to its own limit."""
    with LiveServer(database_url="memory://", max_array_bytes=2_000_000) as server:
        large = [{"payload": "x" * 600_000, **LATER}] * 3
        assert post(server, large).status == 201
        check_problem(post(server, [*large, *large]), 413, "2000000 bytes")


def test_a_full_backlog():
    """429 if not all of them fit, and nothing is stored."""
    with LiveServer(database_url="memory://", max_pending=5) as server:
        check_problem(post(server, [{"payload": 1, **LATER}] * 6), 429)
        assert post(server, [{"payload": 1, **LATER}] * 5).status == 201
