"""Browsers, and the pages of others in them."""

from __future__ import annotations

import pytest

from taskflow.api.access.browser import CrossOrigin
from taskflow.api.access.request_head import RequestHead
from taskflow.model.errors import Forbidden
from taskflow.service import MEMORY_URL
from tests.api.client import Answer, check_problem
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
            ("DELETE", "/tasks", None, 405),
        ],
    )
    def test_headers_of_every_response(self, memory_server, method, target, body, status):
        """They are on what routes answer, what Quart answers and what the middleware answers."""
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


APP = "https://app.example"
CORS = "access-control-allow-origin"


@pytest.fixture(scope="module")
def shared():
    """A server whose answers pages of one origin may read, with a key."""
    with LiveServer(
        database_url=MEMORY_URL, cors_origins=("https://other.example", APP), api_keys="me:" + KEY
    ) as server:
        yield server


KEY = "a-key-of-one-client"
BEARING = {"authorization": f"Bearer {KEY}"}


def check_is_refused(answer: Answer) -> None:
    check_problem(answer, 403, "TASKFLOW_CORS_ORIGINS")
    assert answer.header(CORS) is None
    check_defences(answer)


class TestCrossSiteRequests:
    @pytest.mark.parametrize("site", ["cross-site", "same-site", "", "nonsense", "none, none"])
    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    @pytest.mark.parametrize("target", ["/tasks", "/nothing"])
    def test_requests_of_other_sites_are_rejected(self, memory_server, site, method, target):
        """Requests from pages of other sites are rejected, whatever they request."""
        body = BODY if method == "POST" else None
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        check_is_refused(memory_server.ask(method, target, body, headers))

    @pytest.mark.parametrize(
        "origin", ["null", "http://evil.example", "http://localhost", "http://127.0.0.1", "x", ""]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_by_the_origin(self, memory_server, origin, method):
        """So it is where a browser only says the page's origin; another port is another origin."""
        body = BODY if method == "POST" else None
        check_is_refused(memory_server.ask(method, "/tasks", body, {"origin": origin}))

    def test_a_form_of_another_site(self, memory_server):
        """A form with text/plain, which any page could use to submit tasks, is rejected."""
        headers = {
            "content-type": "text/plain",
            "origin": "https://evil.example",
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
        }
        check_is_refused(memory_server.ask("POST", "/tasks", BODY, headers))

    def test_own_pages(self, memory_server):
        """Pages of this service itself may ask, and what a person types in."""
        for site in ("same-origin", "none"):
            assert memory_server.ask("GET", "/tasks", None, {"sec-fetch-site": site}).status == 200
        with memory_server.connect() as connection:
            for scheme in ("http", "https"):
                headers = {"origin": f"{scheme}://{connection.host}"}
                assert connection.ask("POST", "/tasks", BODY, headers).status == 201

    def test_a_link_is_followed(self, memory_server):
        """From a chat or a wiki to a task; but not into a frame, and not as anything else."""
        link = {
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
        }
        assert memory_server.ask("GET", "/tasks?limit=1", None, link).status == 200
        for dest in ("iframe", "image", "script", "empty"):
            headers = {**link, "sec-fetch-dest": dest}
            check_is_refused(memory_server.ask("GET", "/tasks", None, headers))

    def test_origins_behind_a_tls_proxy(self):
        """What came encrypted did not come from a page that came in the clear."""
        head = RequestHead(
            "POST", "/tasks", "https", None, None, {"origin": "http://x", "host": "x"}
        )
        with pytest.raises(Forbidden):
            CrossOrigin([]).check(head)


class TestSharing:
    def test_without_origins_there_is_no_cors(self, memory_server):
        """Without configured origins no response has CORS headers."""
        answer = memory_server.ask("GET", "/tasks?limit=1")
        assert not [name for name, _ in answer.fields if name.startswith("access-control")]
        assert answer.header("vary") is None
        preflight = {"origin": APP, "access-control-request-method": "POST"}
        check_is_refused(memory_server.ask("OPTIONS", "/tasks", None, preflight))

    def test_a_preflight(self, shared):
        """Preflights, which have no key, are answered with what the page may send."""
        headers = {
            "origin": APP,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "cors",
        }
        answer = shared.ask("OPTIONS", "/tasks", None, headers)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header(CORS) == APP
        assert "POST" in answer.header("access-control-allow-methods")
        allowed = answer.header("access-control-allow-headers").split(", ")
        wanted = {"Authorization", "Content-Type", "Idempotency-Key", "traceparent"}
        assert wanted | {"If-None-Match", "Last-Event-ID", "Prefer"} <= set(allowed)
        assert answer.header("access-control-allow-credentials") is None
        assert answer.header("vary") == "Origin"
        assert answer.header("content-length") is None
        check_defences(answer)

    @pytest.mark.parametrize(
        ("method", "target", "body", "headers", "status"),
        [
            ("GET", "/tasks", None, BEARING, 200),
            ("POST", "/tasks", BODY, BEARING, 201),
            ("POST", "/tasks", b"{", BEARING, 400),
            ("GET", "/nothing", None, BEARING, 404),
            ("GET", "/tasks", None, {}, 401),
        ],
    )
    def test_its_pages_may_read(self, shared, method, target, body, headers, status):
        """Pages of allowed origins can read errors, too. Cookies are never accepted."""
        headers = {"origin": APP, "sec-fetch-site": "cross-site", **headers}
        answer = shared.ask(method, target, body, headers)
        assert answer.status == status
        assert answer.header(CORS) == APP
        exposed = answer.header("access-control-expose-headers").split(", ")
        assert {"Location", "Idempotent-Replayed"} <= set(exposed)
        assert answer.header("access-control-allow-credentials") is None
        assert answer.header("vary") == "Origin"

    @pytest.mark.parametrize(
        "origin", ["https://app.example.evil", "http://app.example", "https://app.example:8443"]
    )
    def test_others_may_not(self, shared, origin):
        """What only looks like a configured origin is another one."""
        answer = shared.ask("GET", "/tasks", None, {"origin": origin, **BEARING})
        check_is_refused(answer)
        assert answer.header("vary") == "Origin"

    def test_options_without_preflight_needs_a_key(self, shared):
        """An OPTIONS request that is no preflight needs a key like any other."""
        assert shared.ask("OPTIONS", "/tasks", None, {"origin": APP}).status == 401
