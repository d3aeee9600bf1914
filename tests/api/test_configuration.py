"""``POST /config`` on both stores: changes of several resources, all or nothing."""

from __future__ import annotations

import json

import pytest

from taskflow.schema.configuration import MAX_CHANGES
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.live import LiveServer

URL = "https://example.com/hook?token=abc"
CREDENTIAL = {"kind": "bearer", "token": "s3cr3t", "hosts": ["example.com"]}
SCHEDULE = {"every_seconds": 60, "task": {"payload": URL, "credential": "c"}}


def change(kind: str, name: str, fields: object, **more) -> dict[str, object]:
    return {"kind": kind, "name": name, "fields": fields, **more}


ALL = [
    change("schedule", "s", SCHEDULE, before=None),
    change("endpoint", "t/e", {"url": URL, "credential": "c"}, before=None),
    change("topic", "t", {"queue": "q"}, before=None),
    change("queue", "q", {"rate": 5, "credential": "c"}, before={"rate": None, "paused": False}),
    change("credential", "c", CREDENTIAL, before=None),
]
PATHS = ("/schedules/s", "/topics/t/endpoints/e", "/topics/t", "/queues/q", "/credentials/c")


@pytest.fixture
def service(module_server):
    """A service without these resources."""
    for path in PATHS[:3]:
        module_server.ask("DELETE", path)
    module_server.ask("PUT", "/queues/q", b'{"paused": false, "egress_proxy": null}')
    module_server.ask("DELETE", PATHS[4])
    return module_server


def config(server, *changes, headers=None):
    return server.ask("POST", "/config", json.dumps({"changes": changes}).encode(), headers or {})


def made(server, *changes) -> list[str]:
    answer = config(server, *changes)
    assert answer.status == 200, answer
    return [one["outcome"] for one in answer.json["changes"]]


def shown(server) -> list[int]:
    """The statuses of these resources; of the queue, whether it has settings."""
    statuses = [server.ask("GET", path).status for path in PATHS]
    statuses[3] = 200 if server.ask("GET", PATHS[3]).json.get("rate") else 404
    return statuses


def pointers_of(answer, status: int = 422) -> dict[str, str]:
    return {one["pointer"]: one["detail"] for one in check_problem(answer, status)["errors"]}


def test_the_order_does_not_matter(service):
    """What others refer to is made first and deleted last."""
    answer = config(service, *ALL)
    assert answer.json["changes"][0] == {"kind": "schedule", "name": "s", "outcome": "created"}
    assert shown(service) == [200] * 5
    assert made(service, *({**one, "before": {}} for one in ALL)) == ["changed"] * 5
    deletions = [{**one, "fields": None, "before": {}} for one in ALL]
    assert made(service, *deletions[::-1]) == ["deleted"] * 5
    assert shown(service) == [404] * 5


@pytest.mark.parametrize(
    ("last", "status", "words"),
    [
        (change("schedule", "s", {**SCHEDULE, "every_seconds": None, "cron": "x"}),
         422, "schedule s: cron must have five fields"),
        (change("schedule", "s", {"every_seconds": 1, "task": {"payload": 1, "credential": "d"}}),
         422, "schedule s: there is no credential d"),
        (change("endpoint", "none/e", {"url": URL}), 404, "endpoint none/e: its topic does not"),
        (change("endpoint", "t/e", {"url": "https://***@example.com/"}), 422, "endpoint t/e: "),
        (change("topic", "none", None), 404, "topic none: No topic has this name."),
        (change("queue", "q2", {"rate": {"burst": 3}}), 422, "queue q2: rate must be"),
        (change("topic", "t", {}, before={}), 412, "topic t does not exist any more"),
    ],
)  # fmt: skip
def test_one_rejection_leaves_nothing(service, last, status, words):
    """Each is rejected at another moment; the rest is not made, and the message names it."""
    rest = [one for one in ALL if (one["kind"], one["name"]) != (last["kind"], last["name"])]
    check_problem(config(service, *rest, last), status, words)
    assert shown(service) == [404] * 5


def test_a_credential_that_is_used(service):
    """It is deleted only together with what uses it."""
    made(service, *ALL)
    gone = change("credential", "c", None)
    answer = config(service, change("queue", "q", None), gone)
    check_problem(answer, 409, "credential c: the credential c is used by schedule s, endpoint t/e")
    assert shown(service) == [200] * 5
    answer = config(service, gone, change("queue", "q", {"credential": "c"}))
    check_problem(answer, 422, "queue q: there is no credential c")


def test_a_stale_plan(service):
    """Each value that has changed is named, with its place; nothing is changed."""
    made(service, *ALL)
    service.ask("PATCH", "/queues/q", b'{"rate": 7}')
    before = service.ask("GET", "/topics/t/endpoints/e").json
    put = {"url": URL.replace("abc", "def")}
    service.ask("PUT", "/topics/t/endpoints/e", json.dumps(put).encode())
    answer = config(
        service,
        change("queue", "q", {"paused": True}, before={"rate": {"per_second": 5, "burst": 1}}),
        change("topic", "t", None, before=None),
        change("schedule", "s2", SCHEDULE, before={"cron": None}),
        change("schedule", "s", SCHEDULE, before={"every_seconds": 60.0, "missed": "skip"}),
        change("endpoint", "t/e", None, before={"url": before["url"]}),
        change("credential", "c", CREDENTIAL, before={"kind": "bearer", "hosts": ["a", "b"] * 30}),
    )
    assert pointers_of(answer, 412) == {
        "#/changes/0/before/rate": 'queue q: rate is {"per_second":7.0,"burst":1}, and was '
        '{"per_second":5,"burst":1}',
        "#/changes/1/before": "topic t exists now",
        "#/changes/2/before": "schedule s2 does not exist any more",
        "#/changes/3/before/missed": 'schedule s: missed is "once", and was "skip"',
        "#/changes/5/before/hosts": "credential c: hosts has another value now",
    }
    assert "6 in all" not in answer.json["detail"]
    assert answer.json["detail"].endswith("; and so on, 5 in all; nothing was changed")
    assert answer.json["type"] == "/problems/configuration-changed"
    assert service.ask("GET", "/queues/q").json["paused"] is False
    unseen = change("endpoint", "t/e", None, before={"updated_at": before["updated_at"]})
    [detail] = pointers_of(config(service, unseen), 412).values()
    assert detail == "endpoint t/e: it was changed, in a value that is not shown"


def test_without_a_precondition(service):
    """Whatever is there is replaced; masked values stay."""
    made(service, *ALL)
    masked = service.ask("GET", "/topics/t/endpoints/e").json
    assert "abc" not in json.dumps(masked)
    assert made(service, change("endpoint", "t/e", {**masked, "timeout_seconds": 9})) == ["changed"]
    assert service.ask("GET", "/topics/t/endpoints/e").json["timeout_seconds"] == 9
    assert made(service) == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/changes": "changes must be a list"}),
        ({"changes": [], "change": 1}, {"/change": "there is no field 'change'; did you mean"}),
        ({"changes": [1]}, {"/changes/0": "a change must be an object"}),
        ({"changes": [{}]}, {
            f"/changes/0/{name}": f"{name} of a change is missing"
            for name in ("kind", "name", "fields")
        }),
        (
            {"changes": [change("que", "a b", 1, befor=1)]},
            {
                "/changes/0/kind": "kind must be one of credential, queue, topic, endpoint",
                "/changes/0/fields": "fields of a change must be an object, or null",
                "/changes/0/befor": "has no field 'befor'; did you mean before",
            },
        ),
        (
            {"changes": [change("queue", "a b", {}), change("endpoint", "a", {})]},
            {"/changes/0/name": "the name 'a b' must be", "/changes/1/name": "with a slash"},
        ),
        ({"changes": [change("queue", "a", {})] * 2}, {"/changes/1/name": "queue a is in several"}),
        (
            {"changes": [change("topic", "a", {"queu": "x"}), change("endpoint", "b/c", {})]},
            {
                "/changes/0/fields/queu": "topic a: there is no field 'queu'; did you mean queue",
                "/changes/1/fields/url": "endpoint b/c: url is missing",
            },
        ),
        ({"changes": [{}] * (MAX_CHANGES + 1)}, {"/changes": f"at most {MAX_CHANGES} are made"}),
    ],
)  # fmt: skip
def test_invalid_requests(memory_server, body, pointers):
    """All errors at once, with their places and the names of the resources."""
    answer = memory_server.ask("POST", "/config", json.dumps(body).encode())
    found = pointers_of(answer)
    assert found.keys() == {f"#{pointer}" for pointer in pointers}
    assert [one for one in pointers if pointers[one] not in found[f"#{one}"]] == [], found


@pytest.mark.parametrize(
    "half", [20, pytest.param(MAX_CHANGES // 2, marks=pytest.mark.long)], ids=["some", "most"]
)
def test_many_changes(module_server, half):
    """The greatest request is answered in time; a second one that changes all of it, too."""
    task = {"payload": URL, "queue": "q1"}
    changes = [change("queue", f"q{n}", {"rate": 5}, before={"rate": None}) for n in range(half)]
    changes += [
        change("schedule", f"s{n}", {"every_seconds": 9e5, "task": task}, before=None)
        for n in range(half)
    ]
    assert set(made(module_server, *changes)) == {"created"}
    deletions = [{**one, "fields": None, "before": {}} for one in changes]
    assert set(made(module_server, *deletions)) == {"deleted"}
    assert module_server.ask("GET", "/schedules/s0").status == 404


def test_roles():
    """A write key changes all but credentials and proxies; a key for some queues, nothing."""
    keys = {"w": "write", "a": "admin", "s": "admin:queues=mail"}
    setting = ",".join(f"{name}:{role}:key-number-{name}-0123456" for name, role in keys.items())
    with LiveServer(database_url=MEMORY_URL, api_keys=setting) as server:

        def asked(name, *changes):
            return config(
                server, *changes, headers={"authorization": f"Bearer key-number-{name}-0123456"}
            )

        queue = change("queue", "mail", {"rate": 1})
        assert asked("w", queue).status == 200
        check_problem(asked("s", queue), 403, "all queues")
        check_problem(asked("w", queue, ALL[4]), 403, "credentials need a key with the role admin")
        check_problem(asked("w", change("credential", "c", None)), 403, "role admin")
        proxy = change("queue", "mail", {"egress_proxy": "direct"})
        check_problem(asked("w", ALL[2], proxy), 403, "queue mail: egress_proxy needs a key")
        assert asked("a", *ALL, proxy).status == 200
        check_problem(asked("w", change("queue", "mail", None)), 403, "egress_proxy needs a key")
