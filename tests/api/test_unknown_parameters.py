"""No route ignores a parameter that it does not have."""

from __future__ import annotations

import re

import pytest

from taskflow.api.app import ROUTES
from tests.api.client import check_problem

TASK_ID = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if not route.ignores_query],
    ids=lambda route: f"{route.method} {route.path}",
)
def test_on_each_route(memory_server, route):
    """422 names it, whatever else may be wrong with the request."""
    path = route.path.replace("{id}", TASK_ID)
    path = re.sub(r"\{.*?\}", "backlog-full", path)
    body = b'{"payload": "no url"}' if route.body else None
    answer = memory_server.ask(route.method, f"{path}?nosuch=1", body)
    check_problem(answer, 422, "there is no parameter 'nosuch'")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/nodes?limit=5", "none is known here"),
        ("/stats?queu=a", "did you mean queue?"),
        ("/stats/history?queues=a", "did you mean queue?"),
        ("/tasks?statu=FAILED", "did you mean status?"),
        ("/schedules?page_size=5", "did you mean limit?"),
        ("/events?queu=a", "did you mean queue?"),
        (f"/tasks/{TASK_ID}?field=id", "did you mean fields?"),
    ],
)
def test_the_nearest_name(memory_server, target, words):
    """Or that there is none."""
    check_problem(memory_server.ask("GET", target), 422, words)


@pytest.mark.parametrize(
    "target", ["/nodes?=", "/nodes?&&", "/metrics?", "/nodes?%ff=1", "/nodes?a"]
)
def test_odd_queries(memory_server, target):
    """What has no name is no parameter; anything else is one."""
    is_empty = target in ("/nodes?&&", "/metrics?")
    assert memory_server.ask("GET", target).status == (200 if is_empty else 422)
