"""``/nodes``, ``/hosts`` and ``/stats/history`` over HTTP."""

from __future__ import annotations

import datetime as dt
import json
import os

import pytest

from taskflow.version import __version__
from tests.api.client import check_problem
from tests.api.live import LiveServer


@pytest.fixture
def server(empty_url, target):
    """One that has run a task that went well and one that did not."""
    with LiveServer(database_url=empty_url) as server:
        for path in ("/json", "/404"):
            server.run(json.dumps(target.url + path).encode())
        yield server


def ask(server, path):
    answer = server.ask("GET", path)
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    return answer.json


def test_the_node_is_listed(server):
    """It has its version, workers and heartbeat."""
    [node] = ask(server, "/nodes")
    assert node["name"].endswith(f":{os.getpid()}")
    assert (node["version"], node["alive"], node["running"]) == (__version__, True, 0)
    assert node["workers"] >= 1
    renewed_at, expires_at = (
        dt.datetime.fromisoformat(node[name]) for name in ("renewed_at", "expires_at")
    )
    assert renewed_at < dt.datetime.now(dt.UTC) < expires_at


def test_hosts_are_listed(server, target):
    """They have the statistics of fetched tasks."""
    [host] = ask(server, "/hosts")
    assert host["host"] == target.url.removeprefix("http://")
    assert (host["fetched"], host["failed"], host["running"], host["held"]) == (2, 1, 0, None)
    assert 0 < host["median_seconds"] <= host["slowest_seconds"]


@pytest.mark.parametrize(("query", "ended"), [("", 1), ("?queue=default", 1), ("?queue=other", 0)])
def test_history(server, query, ended):
    """Finished tasks are counted by minute, of all queues or of one."""
    minutes = ask(server, f"/stats/history{query}")["minutes"]
    assert len(minutes) == 60
    for status in ("COMPLETED", "FAILED"):
        assert sum(minute["finished"][status] for minute in minutes) == ended


def test_unknown_parameters_are_rejected(server):
    check_problem(server.ask("GET", "/stats/history?minutes=5"), 422, "no parameter 'minutes'")
