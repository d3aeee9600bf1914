"""Queues are read, limited, paused and purged over HTTP."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.api.client import check_problem
from tests.api.live import LiveServer

NOTHING = {
    "paused": False,
    "max_concurrency": None,
    "rate": None,
    "per_host": None,
    "sign": None,
    "credential": None,
    "egress_proxy": None,
}


@pytest.fixture
def own_server(empty_url):
    """A server of each kind without tasks in it."""
    with LiveServer(database_url=empty_url) as server:
        yield server


def put(server, name: str, settings: object):
    return server.ask("PUT", f"/queues/{name}", json.dumps(settings).encode())


def asked_of(queue: dict) -> dict:
    return {name: queue[name] for name in NOTHING}


class TestPut:
    def test_settings_are_returned(self, own_server):
        """At once and afterwards, a rate with its burst; 201 at first, 200 from then on."""
        requested = {
            "max_concurrency": 3,
            "rate": 25,
            "per_host": {"rate": {"per_second": 0.5, "burst": 4}},
            "sign": False,
        }
        answer = put(own_server, "mail", requested)
        assert answer.status == 201
        assert asked_of(answer.json) == {
            "paused": False,
            "max_concurrency": 3,
            "rate": {"per_second": 25.0, "burst": 2},
            "per_host": {"max_concurrency": None, "rate": {"per_second": 0.5, "burst": 4}},
            "sign": False,
            "credential": None,
            "egress_proxy": None,
        }
        assert own_server.ask("GET", "/queues/mail").json == answer.json
        assert own_server.ask("GET", "/queues").json == [answer.json]
        again = put(own_server, "mail", {})
        assert (again.status, asked_of(again.json)) == (200, NOTHING)

    def test_a_queue_that_was_read_can_be_put_again(self, own_server):
        """The whole document, with all that only the service sets; by PATCH, too."""
        own_server.add(b'"no url"')
        for settings in (
            {"rate": 100, "per_host": {"max_concurrency": 1}, "paused": True, "sign": True},
            {},
        ):
            put(own_server, "mail", settings)
            first = own_server.ask("GET", "/queues/mail").json
            for method in ("PUT", "PATCH"):
                again = own_server.ask(method, "/queues/mail", json.dumps(first).encode())
                assert (again.status, asked_of(again.json)) == (200, asked_of(first))

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_the_document_of_another_queue(self, own_server, method):
        """Its name is not that in the path."""
        put(own_server, "mail", {})
        document = own_server.ask("GET", "/queues/mail").json
        answer = own_server.ask(method, "/queues/post", json.dumps(document).encode())
        [error] = check_problem(answer, 422, "name must be post, as in the path")["errors"]
        assert error["pointer"] == "#/name"

    def test_all_errors_are_reported_at_once(self, own_server):
        """Each error has its pointer, and nothing changes."""
        answer = put(
            own_server,
            "mail",
            {
                "paused": "yes",
                "max_concurrency": 0,
                "rate": {"per_second": 0},
                "per_host": {"max_concurrency": 1.5, "rate": 1},
                "max_concurency": 1,
            },
        )
        check_problem(answer, 422, "max_concurrency must be a whole number from 1 to 1000000")
        assert {problem["pointer"] for problem in answer.json["errors"]} == {
            "#/paused",
            "#/max_concurrency",
            "#/rate",
            "#/per_host/max_concurrency",
            "#/max_concurency",
        }
        check_problem(own_server.ask("GET", "/queues/mail"), 404)

    @pytest.mark.parametrize(
        "rate",
        [-1, 0, "5", 1e6, True, [], {}, {"burst": 1}, {"per_second": 1, "burst": 0}, {"a": 1}],
    )
    def test_no_rate(self, module_server, rate):
        """What cannot be one is refused."""
        check_problem(put(module_server, "mail", {"rate": rate}), 422, "rate must be a number of")

    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"mail"'])
    def test_no_object(self, module_server, body):
        """400 says what to send."""
        answer = module_server.ask("PUT", "/queues/mail", body)
        check_problem(answer, 400, 'such as {"max_concurrency": 10}')

    @pytest.mark.parametrize("name", ["a%20b", "-a", "x" * 65, "%C3%A9", "a%0A"])
    def test_no_name(self, module_server, name):
        """404 says which names there can be."""
        for method, path, body in (("PUT", "", b"{}"), ("GET", "", None), ("POST", "/pause", None)):
            answer = module_server.ask(method, f"/queues/{name}{path}", body)
            check_problem(answer, 404, "a queue's name is")


class TestShow:
    def test_a_queue_exists_with_its_first_task(self, own_server):
        """A queue has counts once it has a task; other queues are a 404."""
        check_problem(own_server.ask("GET", "/queues/default"), 404, "No queue has this name")
        own_server.add(b'"http://x.example/"')
        own_server.ask("POST", "/tasks", b'{"payload": "http://x.example", "queue": "cancel"}')
        queue = own_server.ask("GET", "/queues/cancel").json
        assert asked_of(queue) == NOTHING
        assert sum(queue["counts"].values()) == 1
        names = [queue["name"] for queue in own_server.ask("GET", "/queues").json]
        assert names == ["cancel", "default"]

    def test_methods(self, own_server):
        """405 says which are taken."""
        for method, path, allowed in (
            ("POST", "/queues", "GET"),
            ("DELETE", "/queues/mail", "PUT"),
            ("GET", "/queues/mail/pause", "POST"),
        ):
            answer = own_server.ask(method, path)
            check_problem(answer, 405)
            assert allowed in answer.header("allow")


class TestVerbs:
    def test_pause_and_resume(self, own_server, target):
        """Tasks wait and say for what; then they run. What else is asked stays."""
        put(own_server, "mail", {"max_concurrency": 1})
        assert own_server.ask("POST", "/queues/mail/pause", b"whatever").json["paused"] is True
        body = json.dumps({"payload": f"{target.url}/json", "queue": "mail"}).encode()
        task_id = own_server.ask("POST", "/tasks", body).json["id"]
        shown = own_server.show(task_id)
        assert (shown["status"], shown["held"]) == (
            "PENDING",
            {"reason": "queue_paused", "detail": "queue mail is paused", "until": None},
        )
        resumed = own_server.ask("POST", "/queues/mail/resume").json
        assert (resumed["paused"], resumed["max_concurrency"]) == (False, 1)
        assert own_server.wait(task_id)["status"] == "COMPLETED"
        assert own_server.show(task_id)["held"] is None

    def test_purge(self, own_server):
        """What waits is canceled, also what is for later; other queues are left alone."""
        own_server.ask("POST", "/queues/mail/pause")
        tasks = [{"payload": "http://x.example", "queue": "mail"}] * 3
        tasks += [{"payload": "http://x.example", "queue": "mail", "delay_seconds": 3600}]
        tasks += [{"payload": "http://x.example", "queue": "other", "delay_seconds": 3600}]
        added = own_server.ask("POST", "/tasks", json.dumps(tasks).encode()).json
        answer = own_server.ask("POST", "/queues/mail/purge")
        assert answer.json == {"count": 4, "complete": True, "dry_run": False}
        statuses = [own_server.show(task["id"])["status"] for task in added]
        assert statuses == ["CANCELED"] * 4 + ["PENDING"]
        assert own_server.ask("POST", "/queues/nothing/purge").json["count"] == 0

    def test_changes_need_a_role_that_may_write(self, empty_url):
        """The role read can only read."""
        keys = "reader:read:" + "r" * 40 + ",writer:write:" + "w" * 40
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(LiveServer(database_url=empty_url, api_keys=keys))
            for letter, status in (("r", 403), ("w", 200)):
                head = {"authorization": f"Bearer {letter * 40}"}
                for verb in ("pause", "resume", "purge"):
                    assert server.ask("POST", f"/queues/a/{verb}", None, head).status == status
                assert server.ask("GET", "/queues", None, head).status == 200
                assert server.ask("PUT", "/queues/a", b"{}", head).status == status
