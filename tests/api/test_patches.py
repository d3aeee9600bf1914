"""Queues and schedules are changed in part, by JSON merge patches (RFC 7396)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from taskflow.schema.merge_patch import MAX_PATCH_NESTING, patch_fields_of, patched
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.api.test_queues import asked_of, put

# Appendix A of the RFC, as far as both are objects.
EXAMPLES = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
    ('{"a":"b"}', '{"a":{"b":1}}', '{"a":{"b":1}}'),
    ('{"a":1.00,"b":{"c":1e400}}', '{"b":{"d":[ 1 ]}}', '{"a":1.00,"b":{"c":1e400,"d":[ 1 ]}}'),
]
LIMITS = {
    "paused": True,
    "max_concurrency": 3,
    "rate": {"per_second": 50.0, "burst": 10},
    "per_host": {"max_concurrency": 2, "rate": {"per_second": 1.0, "burst": 1}},
    "sign": True,
    "credential": None,
    "egress_proxy": None,
}
SCHEDULE = {
    "cron": "30 6 * * *",
    "timezone": "Europe/Berlin",
    "missed": "skip",
    "paused": True,
    "task": {"payload": {"url": "http://x.invalid/", "headers": {"X-A": "1"}}, "queue": "mail"},
}


def fields(text: str) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


@pytest.mark.parametrize(("target", "patch", "expected"), EXAMPLES)
def test_the_examples_of_the_rfc(target, patch, expected):
    """Values that are not named stay as they are, to the byte."""
    result = patched(fields(target), patch_fields_of(patch.encode(), how="x"))
    assert msgspec.json.encode(result).decode() == expected


@pytest.fixture
def own_server(empty_url):
    """A server of each kind without tasks in it."""
    with LiveServer(database_url=empty_url) as server:
        yield server


def patch(server, path: str, change: object, media_type: str = "application/merge-patch+json"):
    body = json.dumps(change).encode()
    return server.ask("PATCH", path, body, {"content-type": media_type})


class TestQueues:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, {}),
            ({"rate": 5}, {"rate": {"per_second": 5.0, "burst": 1}}),
            ({"rate": {"per_second": 5}}, {"rate": {"per_second": 5.0, "burst": 10}}),
            ({"rate": {"burst": 7}}, {"rate": {"per_second": 50.0, "burst": 7}}),
            ({"rate": {"burst": None}}, {"rate": {"per_second": 50.0, "burst": 5}}),
            ({"rate": None}, {"rate": None}),
            ({"max_concurrency": None}, {"max_concurrency": None}),
            ({"per_host": None}, {"per_host": None}),
            ({"sign": None}, {"sign": None}),
            ({"sign": False}, {"sign": False}),
            (
                {"per_host": {"rate": None}},
                {"per_host": {"max_concurrency": 2, "rate": None}},
            ),
            ({"per_host": {"rate": None, "max_concurrency": None}}, {"per_host": None}),
            ({"paused": False}, {"paused": False}),
            ({"paused": None}, {"paused": False}),
        ],
    )
    @pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
    def test_only_named_fields_change(self, module_server, change, expected, media_type):
        """Null removes; a pause is never a side effect."""
        put(module_server, "mail", LIMITS)
        answer = patch(module_server, "/queues/mail", change, media_type)
        assert answer.status == 200
        assert asked_of(answer.json) == LIMITS | expected
        assert module_server.ask("GET", "/queues/mail").json == answer.json

    def test_a_put_keeps_the_pause(self, module_server):
        """It replaces the limits; it pauses and resumes only if it says so."""
        put(module_server, "mail", LIMITS)
        for settings, is_paused in (({}, True), ({"paused": False}, False), ({"rate": 1}, False)):
            assert put(module_server, "mail", settings).json["paused"] is is_paused
        assert put(module_server, "mail", {"rate": 1}).json["max_concurrency"] is None

    def test_of_a_queue_without_settings(self, own_server):
        """It has them from then on."""
        answer = patch(own_server, "/queues/new", {"max_concurrency": 1})
        assert (answer.status, answer.json["max_concurrency"]) == (201, 1)
        assert patch(own_server, "/queues/new", {}).status == 200

    def test_invalid_patches(self, own_server):
        """Each error has its pointer, and nothing changes."""
        put(own_server, "mail", LIMITS)
        wrong = {"max_concurrency": 0, "max_concurency": 1, "per_host": {"rate": -1}}
        answer = patch(own_server, "/queues/mail", wrong)
        check_problem(answer, 422, "max_concurrency must be a whole number")
        assert {error["pointer"] for error in answer.json["errors"]} == {
            "#/max_concurrency",
            "#/max_concurency",
            "#/per_host/rate",
        }
        assert asked_of(own_server.ask("GET", "/queues/mail").json) == LIMITS
        check_problem(patch(own_server, "/queues/new", {"rate": {"burst": 1}}), 422, "rate must be")
        check_problem(own_server.ask("GET", "/queues/new"), 404)
        check_problem(patch(own_server, "/queues/-no", {}), 404)
        for change in ([], None, "x", [{"op": "remove", "path": "/rate"}]):
            check_problem(patch(own_server, "/queues/mail", change), 400, "not a JSON object")

    @pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 400, "[1e400]", '{"burst":1e400}'])
    def test_numbers_out_of_range(self, module_server, number):
        """They are faults of the patch, as of any other body."""
        for name in ("rate", "max_concurrency", "per_host", "paused", "other"):
            body = f'{{"{name}": {number}}}'.encode()
            check_problem(module_server.ask("PATCH", "/queues/mail", body), 422, name)

    def test_concurrent_patches_are_all_applied(self, own_server):
        """Each names another setting."""
        changes = [{"paused": True}, {"max_concurrency": 3}, {"rate": 5}]
        changes += [{"per_host": {"max_concurrency": 2}}, {"per_host": {"rate": 1}}]
        changes.append({"sign": True})
        with ThreadPoolExecutor(6) as threads:
            answers = threads.map(lambda one: patch(own_server, "/queues/mail", one), changes)
            assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
        shown = own_server.ask("GET", "/queues/mail").json
        assert asked_of(shown) == LIMITS | {"rate": {"per_second": 5.0, "burst": 1}}


class TestSchedules:
    @pytest.fixture
    def own_server(self, module_server):
        """A server of each kind, without the schedule that a test makes."""
        yield module_server
        assert module_server.ask("DELETE", "/schedules/one").status == 204

    @pytest.fixture
    def made(self, own_server) -> dict:
        return self.put(own_server, SCHEDULE).json

    def put(self, server, schedule: object):
        answer = server.ask("PUT", "/schedules/one", json.dumps(schedule).encode())
        assert answer.status in (200, 201), answer
        return answer

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, {}),
            ({"cron": "0 7 * * *"}, {"cron": "0 7 * * *"}),
            ({"cron": None, "every_seconds": 60}, {"cron": None, "every_seconds": 60.0}),
            ({"timezone": None}, {"timezone": "UTC"}),
            ({"missed": None}, {"missed": "once"}),
            ({"conditional": True}, {"conditional": True}),
            ({"task": {"queue": None}}, {"task": {"payload": SCHEDULE["task"]["payload"]}}),
            (
                {"task": {"payload": {"headers": {"X-A": None, "X-B": "2"}}, "priority": 5}},
                {
                    "task": {
                        "payload": {"url": "http://x.invalid/", "headers": {"X-B": "2"}},
                        "queue": "mail",
                        "priority": 5,
                    }
                },
            ),
            ({"task": {"payload": "http://y"}}, {"task": {"payload": "http://y", "queue": "mail"}}),
            ({"name": "one", "last_task_status": None, "created_at": "x"}, {}),
        ],
    )
    def test_only_named_fields_change(self, own_server, made, change, expected):
        """A pause is never a side effect."""
        answer = patch(own_server, "/schedules/one", change)
        assert answer.status == 200, answer
        assert answer.json | {"updated_at": None} == made | expected | {"updated_at": None}
        assert own_server.ask("GET", "/schedules/one").json == answer.json

    def test_a_put_keeps_the_pause(self, own_server, made):
        """It replaces the rest; it pauses and resumes only if it says so."""
        schedule = {"every_seconds": 60, "task": {"payload": "x"}}
        assert self.put(own_server, schedule).json["paused"] is True
        assert self.put(own_server, schedule | {"paused": None}).json["paused"] is True
        resumed = self.put(own_server, schedule | {"paused": False}).json
        assert (resumed["paused"], resumed["missed"]) == (False, "once")
        assert self.put(own_server, schedule).json["paused"] is False

    def test_it_keeps_its_times(self, own_server):
        """Another task does not move them; a resumed one is due from now on."""
        self.put(own_server, {"every_seconds": 3600, "task": {"payload": "x"}})
        first = own_server.ask("GET", "/schedules/one").json
        changed = patch(own_server, "/schedules/one", {"task": {"payload": "y"}}).json
        assert changed["next_run_at"] == first["next_run_at"]
        assert patch(own_server, "/schedules/one", {"paused": True}).json["next_run_at"] is None
        assert patch(own_server, "/schedules/one", {"paused": False}).json["next_run_at"]

    def test_invalid_patches(self, own_server, made):
        """Each error has its pointer, and nothing changes."""
        check_problem(patch(own_server, "/schedules/none", {"paused": True}), 404)
        wrong = {"every_seconds": 60, "task": {"priority": 101}, "pausd": True}
        answer = patch(own_server, "/schedules/one", wrong)
        check_problem(answer, 422, "every_seconds must not be given together with cron")
        assert {error["pointer"] for error in answer.json["errors"]} == {
            "#/every_seconds",
            "#/task/priority",
            "#/pausd",
        }
        check_problem(patch(own_server, "/schedules/one", {"task": None}), 422, "task is missing")
        check_problem(patch(own_server, "/schedules/one", []), 400, "not a JSON object")
        deep: object = 1
        for _ in range(MAX_PATCH_NESTING + 1):
            deep = {"a": deep}
        check_problem(patch(own_server, "/schedules/one", {"task": {"payload": deep}}), 422, "PUT")
        text = b'{"a":' * 2000 + b"1" + b"}" * 2000
        check_problem(own_server.ask("PATCH", "/schedules/one", text), 422, "nested")
        assert own_server.ask("GET", "/schedules/one").json == made

    def test_credentials_stay_with_their_origin(self, own_server):
        """What a client is not shown, it cannot have sent to a server of its own."""
        headers = {"Authorization": "Bearer s3cr3t", "X-A": "1"}
        request = {"url": "http://x.invalid/", "headers": headers}
        self.put(own_server, {"every_seconds": 60, "paused": True, "task": {"payload": request}})

        def change_of(payload: object):
            return patch(own_server, "/schedules/one", {"task": {"payload": payload}})

        for url in ("http://y.invalid/", "https://x.invalid/", "http://x.invalid:81/", "x"):
            answer = change_of({"url": url})
            check_problem(answer, 422, "send its value again, or null to remove it")
            pointers = [error["pointer"] for error in answer.json["errors"]]
            assert pointers == ["#/task/payload/headers/Authorization"]
        assert change_of({"url": "http://X.invalid:80/other"}).status == 200
        assert change_of({"headers": {"X-A": "2"}, "body": 1e300}).status == 200
        sent = {"url": "http://y.invalid/", "headers": {"Authorization": headers["Authorization"]}}
        assert change_of(sent).status == 200
        assert (
            change_of({"url": "http://z.invalid/", "headers": {"Authorization": None}}).status
            == 200
        )
        assert change_of("http://y.invalid/").status == 200

    @pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 400, "[1e400]"])
    def test_numbers_out_of_range(self, own_server, made, number):
        """They are faults of the patch; in a body they are kept to the byte."""
        for name in ("every_seconds", "cron", "start_at", "missed", "paused", "task"):
            body = f'{{"{name}": {number}}}'.encode()
            check_problem(own_server.ask("PATCH", "/schedules/one", body), 422, name)
        body = f'{{"task": {{"payload": {{"method": "PUT", "body": {{"a": {number}}}}}}}}}'
        assert own_server.ask("PATCH", "/schedules/one", body.encode()).status == 200
        assert own_server.ask("PATCH", "/schedules/one", b'{"missed": "all"}').status == 200

    def test_concurrent_patches_are_all_applied(self, own_server, made):
        """Each names another field."""
        changes = [
            {"cron": "0 7 * * *"},
            {"missed": "all"},
            {"paused": False},
            {"task": {"priority": 1}},
            {"task": {"tags": {"a": 1}}},
        ]
        with ThreadPoolExecutor(5) as threads:
            answers = threads.map(lambda one: patch(own_server, "/schedules/one", one), changes)
            assert [answer.status for answer in answers] == [200] * 5
        shown = own_server.ask("GET", "/schedules/one").json
        assert (shown["cron"], shown["missed"], shown["paused"]) == ("0 7 * * *", "all", False)
        assert shown["task"] == SCHEDULE["task"] | {"priority": 1, "tags": {"a": 1}}
