"""Browsers, and the pages of others in them."""

from __future__ import annotations

import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import Answer
from tests.api.live import LiveServer

BODY = b'{"payload": 1}'


def check_defences(answer: Answer) -> None:
    """What every answer tells a browser is there, once, and nothing says what serves it."""
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-security-policy") == (
        "default-src 'none'; frame-ancestors 'none'"
    )
    assert answer.header("server") is None
    assert answer.header("x-powered-by") is None


class TestDefences:
    @pytest.mark.parametrize(
        ("method", "target", "body", "status"),
        [
            ("GET", "/tasks", None, 200),
            ("POST", "/tasks", BODY, 201),
            ("HEAD", "/tasks", None, 200),
            ("OPTIONS", "/tasks", None, 200),
            ("GET", "/livez", None, 200),
            ("GET", "/readyz", None, 200),
            ("GET", "/tasks/x", None, 404),
            ("GET", "/nothing", None, 404),
            ("POST", "/tasks", b"{", 400),
            ("PUT", "/tasks", BODY, 405),
            ("GET", "/tasks?" + "x" * 9_000, None, 414),
            ("GET", "*", None, 404),
        ],
    )
    def test_every_answer(self, memory_server, method, target, body, status):
        """They are on what routes answer, what Quart answers and what the edge answers."""
        answer = memory_server.ask(method, target, body)
        assert answer.status == status
        check_defences(answer)

    def test_a_fault(self, events):
        """They are on the answer to a fault of ours, too."""

        def break_it(app):
            @app.before_request
            async def fail():
                raise RuntimeError("on purpose")

        with LiveServer(database_url=MEMORY_URL, configure=break_it) as server:
            answer = server.ask("GET", "/tasks")
        assert answer.status == 500
        check_defences(answer)
        events.clear()

    def test_a_route_may_say_otherwise(self):
        """What an answer says itself is left as it is."""

        def say_it(app):
            @app.after_request
            async def cached(response):
                response.headers["Cache-Control"] = "max-age=60"
                return response

        with LiveServer(database_url=MEMORY_URL, configure=say_it) as server:
            answer = server.ask("GET", "/livez")
        assert answer.header("cache-control") == "max-age=60"
        assert answer.header("x-content-type-options") == "nosniff"
