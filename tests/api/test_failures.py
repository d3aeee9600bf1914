"""``/failures``, ``/stats/series`` and the filter ``failure`` over HTTP."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer

KEYS = {"boss": "key-of-boss-0123456789", "mail": "key-of-mail-0123456789"}
SETTING = f"boss:write:{KEYS['boss']},mail:read:queues=mail:{KEYS['mail']}"
JSON = {"content-type": "application/json"}
FAILED = 23


@pytest.fixture(scope="module", params=["memory", "postgres"])
def server(request) -> Iterator[LiveServer]:
    with ExitStack() as stack:
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url, api_keys=SETTING))


@pytest.fixture(scope="module")
def failures(server, target) -> list[dict]:
    """The failures of a queue in which 23 tasks failed for one cause, and one for another."""
    paths = [f"/404?n={n}" for n in range(FAILED)] + ["/json", "/500"]
    tasks = [{"payload": target.url + path, "queue": "shop", "max_attempts": 1} for path in paths]
    added = ask(server, "POST", "/tasks", tasks).json
    for task in added:
        while not ask(server, "GET", f"/tasks/{task['id']}").json["finished_at"]:
            pass
    return ask(server, "GET", "/failures?queue=shop").json


def ask(server, method, path, document=None, *, name="boss"):
    body = None if document is None else json.dumps(document).encode()
    headers = {"authorization": f"Bearer {KEYS[name]}"}
    return server.ask(method, path, body, {**headers, **(JSON if body else {})})


def of_status(failures, status_code):
    [found] = [one for one in failures if one["status_code"] == status_code]
    return found


def test_failures_are_listed(server, failures, target):
    """With their cause, numbers and examples; the filters select them."""
    assert len(failures) == 2
    found = of_status(failures, 404)
    assert (found["failed"], found["occurrences"], sum(found["trend"])) == (FAILED,) * 3
    assert (found["queue"], found["error_type"]) == ("shop", "http_status")
    assert found["host"] == target.url.removeprefix("http://")
    assert "404" in found["message"]
    assert len(found["example_ids"]) == 3
    assert (
        ask(server, "GET", f"/failures/{found['id']}").json["example_ids"] == found["example_ids"]
    )
    for query, count in (
        ("", 2),
        (f"host={found['host']}", 2),
        ("host=a.example", 0),
        ("error_type=dns", 0),
        ("queue=other", 0),
        ("since=2026-01-01T00:00:00Z", 2),
        ("since=2999-01-01T00:00:00Z", 0),
        ("limit=1", 1),
        ("state=resolved", 0),
        ("state=all", 2),
    ):
        assert len(ask(server, "GET", f"/failures?{query}").json) == count, query


def test_a_failure_that_is_not_there(server, failures):
    for failure_id in (str(uuid.UUID(int=7)), "no-id"):
        check_problem(ask(server, "GET", f"/failures/{failure_id}"), 404, "failure")
    check_problem(ask(server, "GET", "/failures?state=odd"), 422, "state must be")
    check_problem(ask(server, "GET", "/tasks?failure=7"), 422, "failure must be")
    assert ask(server, "GET", f"/tasks?failure={uuid.UUID(int=7)}").json == []


def test_keys_see_the_failures_of_their_queues(server, failures):
    path = f"/failures/{failures[0]['id']}"
    assert ask(server, "GET", "/failures?state=all", name="mail").json == []
    check_problem(ask(server, "GET", path, name="mail"), 404, "failure")
    assert ask(server, "GET", f"/ui{path}", name="boss").status == 200
    assert ask(server, "GET", f"/ui{path}", name="mail").status == 404
    assert b"shop" not in ask(server, "GET", "/ui/failures?state=all", name="mail").body
    assert ask(server, "GET", f"/tasks?failure={failures[0]['id']}", name="mail").json == []


def test_the_series(server, failures, target):
    """Of all tasks, of a queue or of a host."""
    host = target.url.removeprefix("http://")
    for query in ("", "queue=shop", f"host={host}", "queue=shop&span=24h", "span=7d", "span=90d"):
        series = ask(server, "GET", f"/stats/series?{query}").json
        for status, count in (("COMPLETED", 1), ("FAILED", FAILED + 1)):
            assert sum(point["finished"][status] for point in series["points"]) == count, query
        assert 0 < series["run"]["p50"] <= series["run"]["p95"] <= series["run"]["p99"]
        assert series["wait"] is not None
    check_problem(ask(server, "GET", f"/stats/series?queue=a&host={host}"), 422, "choose one")
    check_problem(ask(server, "GET", "/stats/series?span=2h"), 422, "span must be")
    check_problem(ask(server, "GET", f"/stats/series?host={host}", name="mail"), 403, "all queues")
    mine = ask(server, "GET", "/stats/series", name="mail").json
    assert {count for point in mine["points"] for count in point["finished"].values()} == {0}


def test_all_tasks_of_a_failure_are_retried(server, failures):
    """They are counted before; a failure without FAILED tasks is resolved."""
    found = of_status(failures, 404)
    wanted = {"failure": found["id"]}
    counted = ask(server, "POST", "/tasks/retry", {**wanted, "dry_run": True}).json
    assert counted["count"] == FAILED
    listed = ask(server, "GET", f"/tasks?failure={found['id']}&limit=100").json
    assert len(listed) == FAILED
    assert ask(server, "POST", "/queues/shop/pause").status == 200
    assert ask(server, "POST", "/tasks/retry", wanted).json["count"] == FAILED
    assert ask(server, "GET", f"/tasks?failure={found['id']}").json == []
    left = ask(server, "GET", "/failures").json
    assert [one["status_code"] for one in left] == [500]
    [resolved] = ask(server, "GET", "/failures?state=resolved").json
    assert (resolved["id"], resolved["failed"], resolved["occurrences"]) == (
        found["id"],
        0,
        FAILED,
    )
    wanted = {"failure": left[0]["id"]}
    assert ask(server, "POST", "/tasks/delete", wanted).json["count"] == 1
    assert ask(server, "GET", "/failures").json == []
