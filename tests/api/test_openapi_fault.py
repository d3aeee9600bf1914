"""A document that cannot be built takes nothing but itself away."""

from __future__ import annotations

import pytest

from taskflow.api import app as application
from taskflow.service import MEMORY_URL
from taskflow.telemetry import Event
from tests.api.client import check_problem
from tests.api.live import LiveServer


@pytest.fixture
def builds(monkeypatch) -> list[bool]:
    """Makes every attempt to build the document fail, and counts them."""
    attempts: list[bool] = []

    def fail(routes, *, has_keys: bool):
        attempts.append(has_keys)
        raise TypeError("issubclass() arg 1 must be a class")

    monkeypatch.setattr(application, "document", fail)
    return attempts


def test_it_is_a_problem_of_its_own_and_tasks_run(builds, events):
    """It is tried once, at the first request; the log has the reason, and tasks run."""
    with LiveServer(database_url=MEMORY_URL) as server:
        task_id = server.add(b'"no url"')
        assert builds == []
        for path in ("/openapi.json", "/docs", "/openapi.json"):
            check_problem(server.ask("GET", path), 500, "OpenAPI document cannot be built")
        assert builds == [False]
        assert server.wait(task_id)["status"] == "FAILED"
    [error] = [event for event in events if event["event"] == Event.DOCUMENT_ERROR.value[1]]
    assert "issubclass" in str(error)
