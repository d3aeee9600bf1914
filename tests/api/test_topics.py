"""Topics over HTTP: from an event to the request that each endpoint verifies."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from taskflow.model.signature import new_secret
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.loopback import SECRET
from tests.receiver import Receiver
from tests.service.processes import wait_until

KEYS = {name: f"key-of-{name}-0123456789" for name in ("boss", "mail")}
NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(scope="module", params=["memory", "postgres"])
def served(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server with a key for all queues, and one for a single queue."""
    keys = f"boss:write:{KEYS['boss']},mail:write:queues=mail:{KEYS['mail']}"
    with contextlib.ExitStack() as stack:
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url, api_keys=keys))


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


class Client:
    """A client with a key."""

    def __init__(self, server: LiveServer, key: str = "boss") -> None:
        self.server = server
        self.headers = {"authorization": f"Bearer {KEYS[key]}"}

    def ask(self, method: str, path: str, document: Any = None, **headers: str):
        body = None if document is None else json.dumps(document).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.ask(method, path, body, {**self.headers, **fields})

    def done(self, method: str, path: str, document: Any = None) -> Any:
        answer = self.ask(method, path, document)
        assert answer.status in (200, 201, 204), answer
        return answer.json if answer.body else None

    def topic(self, **fields: Any) -> str:
        """A new topic; returns its path."""
        path = f"/topics/{uuid.uuid4().hex}"
        answer = self.ask("PUT", path, fields)
        assert (answer.status, answer.header("location")) == (201, path), answer
        return path

    def endpoint(self, topic: str, name: str, url: str = NOWHERE, **fields: Any) -> str:
        """A new endpoint; returns its path."""
        path = f"{topic}/endpoints/{name}"
        answer = self.ask("PUT", path, {"url": url, **fields})
        assert (answer.status, answer.header("location")) == (201, path), answer
        return path

    def publish(self, topic: str, kind: str = "invoice.paid", data: Any = None) -> Any:
        return self.done("POST", f"{topic}/events", {"type": kind, "data": data})

    def task(self, task_id: str) -> Any:
        return self.done("GET", f"/tasks/{task_id}?wait=30")

    def refused(self, method: str, path: str, document: Any) -> dict[str, str]:
        """What is wrong, by places."""
        problem = check_problem(self.ask(method, path, document), 422)
        return {error["pointer"]: error["detail"] for error in problem.get("errors", ())}


@pytest.fixture
def boss(served: LiveServer) -> Client:
    return Client(served)


@pytest.fixture
def mail(served: LiveServer) -> Client:
    return Client(served, "mail")


def test_each_endpoint_gets_the_event(boss: Client, receiver: Receiver):
    """Signed by its own secret or the shared one; with one id, and the data as it was sent."""
    topic, own = boss.topic(queue="hooks"), new_secret()
    path = f"/{uuid.uuid4().hex}"
    boss.endpoint(topic, "a", f"{receiver.url}{path}/a", event_types=["invoice.*"])
    boss.endpoint(
        topic, "b", f"{receiver.url}{path}/b", headers={"X-Tenant": "42"}, signing_secret=own
    )
    boss.endpoint(topic, "c", f"{receiver.url}{path}/c", event_types=["customer.*"])
    event = boss.publish(topic, data={"n": 1.5, "text": "h\xe9llo"})
    assert (event["topic"], event["type"], len(event["tasks"])) == (
        topic.removeprefix("/topics/"),
        "invoice.paid",
        2,
    )
    for task_id, name, secret in zip(event["tasks"], "ab", (SECRET, own), strict=True):
        task = boss.task(task_id)
        assert (task["status"], task["queue"]) == ("COMPLETED", "hooks")
        assert task["delivery"]["event_id"] == event["id"]
        assert task["delivery"]["endpoint"] == name
        [received] = receiver.wait_for(f"{path}/{name}")
        body = received.verified(secret)
        assert body == {
            "type": "invoice.paid",
            "timestamp": event["created_at"],
            "data": {"n": 1.5, "text": "h\xe9llo"},
        }
        assert received.headers["webhook-id"] == event["id"]
        assert received.headers["content-type"] == "application/json"
        assert received.headers.get("x-tenant") == (None if name == "a" else "42")
        listed = boss.done("GET", f"{topic}/endpoints/{name}/deliveries")
        assert [one["id"] for one in listed] == [task_id]
    assert boss.done("GET", f"{topic}/endpoints/c/deliveries") == []


def test_an_event_is_published_once(boss: Client):
    """For each Idempotency-Key of a topic."""
    topic, key = boss.topic(), uuid.uuid4().hex
    boss.endpoint(topic, "a")
    document = {"type": "x", "data": None}
    first = boss.ask("POST", f"{topic}/events", document, idempotency_key=key)
    again = boss.ask("POST", f"{topic}/events", document, idempotency_key=key)
    assert (first.status, again.status, again.json) == (201, 200, first.json)
    assert again.header("idempotent-replayed") == "true"
    other = {**document, "type": "y"}
    check_problem(boss.ask("POST", f"{topic}/events", other, idempotency_key=key), 422)
    assert len(boss.done("GET", f"{topic}/endpoints/a/deliveries")) == 1
    elsewhere = boss.ask("POST", f"{boss.topic()}/events", document, idempotency_key=key)
    assert (elsewhere.status, elsewhere.json["tasks"]) == (201, [])


def test_an_endpoint_is_shown_and_put_again(boss: Client):
    """Without its secret; what is masked, and what is not given, stays as it is."""
    topic = boss.topic()
    path = boss.endpoint(
        topic,
        "a",
        "http://127.0.0.1:9/hook?token=t0ken",
        headers={"Authorization": "Bearer s3cret", "X-Tenant": "42"},
        signing_secret=new_secret(),
        backoff=[1, 2],
        max_attempts=5,
        timeout_seconds=7,
    )
    shown = boss.done("GET", path)
    assert shown["url"] == "http://127.0.0.1:9/hook?token=***"
    assert shown["headers"] == {"Authorization": "***", "X-Tenant": "42"}
    assert (shown["backoff"], shown["max_attempts"], shown["timeout_seconds"]) == ([1, 2], 5, 7)
    assert (shown["signing"], shown["enabled"], shown["event_types"]) == ("own", True, ["*"])
    assert "signing_secret" not in shown
    disabled = boss.done("PUT", path, {**shown, "enabled": False})
    assert (disabled["id"], disabled["disabled_reason"]) == (shown["id"], "by request")
    again = boss.done("PUT", path, {**shown, "enabled": None})
    assert (again["enabled"], again["signing"]) == (False, "own")
    assert again["headers"] == shown["headers"]
    moved = {**shown, "url": "http://127.0.0.2:9/hook?token=***"}
    assert set(boss.refused("PUT", path, moved)) == {"#/url", "#/headers/Authorization"}
    enabled = boss.done("PUT", path, {**shown, "backoff": None, "max_attempts": None})
    assert (len(enabled["backoff"]), enabled["max_attempts"]) == (9, 10)
    task = boss.publish(topic)["tasks"][0]
    payload = boss.done("GET", f"/tasks/{task}")["payload"]
    assert (payload["url"], payload["headers"]) == (shown["url"], shown["headers"])
    text = boss.ask("GET", f"/tasks/{task}").body + boss.ask("GET", f"{topic}/endpoints").body
    assert b"s3cret" not in text
    assert b"t0ken" not in text


def test_a_secret_is_rotated_without_a_gap(boss: Client, receiver: Receiver):
    """Both secrets sign for a time. The new one is shown once."""
    topic, first = boss.topic(), new_secret()
    place = f"/{uuid.uuid4().hex}"
    path = boss.endpoint(topic, "a", receiver.url + place, signing_secret=first)
    rotated = boss.done("POST", f"{path}/rotate", {})
    assert rotated["former_secret_until"] is not None
    assert boss.done("GET", path)["former_secret_until"] == rotated["former_secret_until"]
    boss.publish(topic)
    [received] = receiver.wait_for(place)
    for secret in (first, rotated["signing_secret"]):
        received.check(secret)
    given = new_secret()
    last = boss.done("POST", f"{path}/rotate", {"signing_secret": given, "overlap_seconds": 0})
    assert last == {"signing_secret": given, "former_secret_until": None}
    boss.publish(topic)
    received = receiver.wait_for(place, times=2)[1]
    received.check(given)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(first).verify(received.body, dict(received.headers), json_parse=False)
    shared = boss.endpoint(topic, "b")
    assert boss.done("POST", f"{shared}/rotate", {})["former_secret_until"] is None


def test_recovery(boss: Client, receiver: Receiver):
    """What failed since a time is sent again to where the endpoint is now, with the same id."""
    topic, place = boss.topic(), f"/{uuid.uuid4().hex}"
    path = boss.endpoint(topic, "a", f"{receiver.url}/broken", max_attempts=1)
    events = [boss.publish(topic, data=n) for n in range(3)]
    for event in events:
        assert boss.task(event["tasks"][0])["status"] == "FAILED"
    failing = boss.done("GET", path)
    assert failing["failing_since"] is not None
    boss.done("PUT", path, {**failing, "url": receiver.url + place})
    since = {"since": events[1]["created_at"]}
    recovered = boss.done("POST", f"{path}/recover", since)
    assert recovered == {"count": 2, "complete": True}
    received = receiver.wait_for(place, times=2)
    assert {one.headers["webhook-id"] for one in received} == {one["id"] for one in events[1:]}
    assert sorted(one.verified()["data"] for one in received) == [1, 2]
    for event in events[1:]:
        task = boss.task(event["tasks"][0])
        assert (task["status"], task["attempt"]) == ("COMPLETED", 1)
    deadline = time.monotonic() + 60
    while boss.done("GET", path)["failing_since"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert boss.done("GET", path)["failing_since"] is None
    assert boss.done("POST", f"{path}/recover", since)["count"] == 0
    failed = boss.done("GET", f"{path}/deliveries?status=FAILED")
    assert [one["id"] for one in failed] == events[0]["tasks"]


def test_410_disables_an_endpoint(boss: Client, receiver: Receiver):
    """At once: no event is sent to it until it is enabled."""
    topic = boss.topic()
    path = boss.endpoint(topic, "a", f"{receiver.url}/gone")
    task = boss.task(boss.publish(topic)["tasks"][0])
    assert (task["status"], task["attempt"], task["error_type"]) == ("FAILED", 1, "http_status")
    deadline = time.monotonic() + 60
    while boss.done("GET", path)["enabled"] and time.monotonic() < deadline:
        time.sleep(0.02)
    shown = boss.done("GET", path)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "410 Gone")
    assert boss.publish(topic)["tasks"] == []
    check_problem(boss.ask("POST", f"{path}/test"), 409)
    since = {"since": "2026-01-01T00:00:00Z"}
    check_problem(boss.ask("POST", f"{path}/recover", since), 409)
    assert boss.done("PUT", path, {**shown, "enabled": True})["failing_since"] is None


def test_what_waits_for_an_endpoint_that_is_gone(boss: Client, receiver: Receiver):
    """Its attempts are not made: the deliveries fail as endpoint_disabled."""
    topic, place = boss.topic(), f"/{uuid.uuid4().hex}"
    path = boss.endpoint(topic, "a", receiver.url + place)
    boss.done("POST", "/queues/default/pause")
    try:
        event = boss.publish(topic)
        assert boss.done("DELETE", path) is None
    finally:
        boss.done("POST", "/queues/default/resume")
    task = boss.task(event["tasks"][0])
    assert (task["status"], task["error_type"]) == ("FAILED", "endpoint_disabled")
    check_problem(boss.ask("GET", path), 404)
    check_problem(boss.ask("DELETE", path), 404)


def test_a_test_event(boss: Client, receiver: Receiver):
    """Whatever event types the endpoint receives."""
    topic, place = boss.topic(), f"/{uuid.uuid4().hex}"
    path = boss.endpoint(topic, "a", receiver.url + place, event_types=["other"])
    boss.endpoint(topic, "b", receiver.url + place)
    event = boss.done("POST", f"{path}/test")
    assert (event["type"], len(event["tasks"])) == ("endpoint.test", 1)
    assert boss.task(event["tasks"][0])["status"] == "COMPLETED"
    assert len(receiver.wait_for(place)) == 1


def test_what_is_wrong(boss: Client):
    """Each error has its place, and nothing is stored."""
    topic = boss.topic()
    path = f"{topic}/endpoints/a"
    for document, places in (
        ({}, {"#/url"}),
        ({"url": "ftp://example.com"}, {"#/url"}),
        ({"url": "http://example.com:99999/"}, {"#/url"}),
        ({"url": NOWHERE, "event_types": ["invoice*"]}, {"#/event_types/0"}),
        ({"url": NOWHERE, "event_types": []}, {"#/event_types"}),
        ({"url": NOWHERE, "headers": {"Host": "x"}}, {"#/headers/Host"}),
        ({"url": NOWHERE, "headers": {"Webhook-Id": "x"}}, {"#/headers/Webhook-Id"}),
        (
            {"url": NOWHERE, "headers": {"A": "x" * 8000, "B": "x" * 8000, "C": "x" * 8000}},
            {"#/headers"},
        ),
        ({"url": NOWHERE, "credential": "none"}, {"#/credential"}),
        ({"url": NOWHERE, "backoff": "fast"}, {"#/backoff"}),
        ({"url": NOWHERE, "max_attempts": 0}, {"#/max_attempts"}),
        ({"url": NOWHERE, "queue": "/"}, {"#/queue"}),
        ({"url": NOWHERE, "signing_secret": "whsec_short"}, {"#/signing_secret"}),
        ({"url": NOWHERE, "method": "PUT"}, {"#/method"}),
        ({"url": NOWHERE, "name": "other"}, {"#/name"}),
        ({"url": NOWHERE, "urls": 1, "enabled": 2}, {"#/urls", "#/enabled"}),
    ):
        assert set(boss.refused("PUT", path, document)) == places, document
    check_problem(boss.ask("GET", path), 404)
    for document, places in (
        ({}, {"#/type", "#/data"}),
        ({"type": "a b", "data": 1}, {"#/type"}),
        ({"type": "a.*", "data": 1}, {"#/type"}),
        ({"type": "a", "data": 1, "url": "x"}, {"#/url"}),
    ):
        assert set(boss.refused("POST", f"{topic}/events", document)) == places, document
    assert set(boss.refused("PUT", topic, {"queue": 1, "x": 2})) == {"#/queue", "#/x"}
    boss.endpoint(topic, "a")
    assert set(boss.refused("POST", f"{path}/recover", {})) == {"#/since"}
    assert set(boss.refused("POST", f"{path}/rotate", {"overlap_seconds": -1})) == {
        "#/overlap_seconds"
    }
    check_problem(boss.ask("PUT", "/topics/%20", {}), 422)
    check_problem(boss.ask("PUT", f"{topic}/endpoints/%20", {"url": NOWHERE}), 422)
    for method, missing in (
        ("GET", "/topics/none"),
        ("DELETE", "/topics/none"),
        ("GET", "/topics/none/endpoints"),
        ("GET", "/topics/none/endpoints/a"),
        ("GET", f"{topic}/endpoints/none"),
        ("GET", f"{topic}/endpoints/none/deliveries"),
        ("POST", f"{topic}/endpoints/none/test"),
    ):
        check_problem(boss.ask(method, missing), 404)
    check_problem(boss.ask("PUT", "/topics/none/endpoints/a", {"url": NOWHERE}), 404)
    check_problem(boss.ask("POST", "/topics/none/events", {"type": "a", "data": 1}), 404)


def test_an_event_that_is_too_large(boss: Client):
    """For all of its endpoints together."""
    topic = boss.topic()
    for number in range(20):
        boss.endpoint(topic, f"e{number}")
    problem = check_problem(
        boss.ask("POST", f"{topic}/events", {"type": "a", "data": "x" * 900_000}), 413
    )
    assert "20 endpoints" in problem["detail"]
    assert boss.done("GET", f"{topic}/endpoints/e1/deliveries") == []


def test_lists(boss: Client):
    """Pages follow each other by their links."""
    topic = boss.topic()
    for name in "abcde":
        boss.endpoint(topic, name)
    events = [boss.publish(topic) for _ in range(3)]
    assert boss.done("GET", topic)["endpoints"] == 5
    assert _names(boss, f"{topic}/endpoints?limit=2") == list("abcde")
    ids = {event["tasks"][0] for event in events}
    wait_until(lambda: _delivered_by_status(boss, topic) == ids)  # one may change its status
    names = _names(boss, "/topics?limit=2")
    assert names == sorted(names)
    assert topic.removeprefix("/topics/") in names


def _delivered_by_status(boss: Client, topic: str) -> set[str]:
    pages = ("limit=2&status=FAILED", "limit=1&status=PENDING", "limit=1&status=RUNNING")
    found = (_all(boss, f"{topic}/endpoints/a/deliveries?{page}") for page in pages)
    return {one["id"] for part in found for one in part}


def _all(client: Client, path: str | None) -> list[Any]:
    found: list[Any] = []
    while path:
        answer = client.ask("GET", path)
        found += answer.json
        link = answer.header("link")
        path = link and link.partition(">")[0].removeprefix("<")
    return found


def _names(client: Client, path: str) -> list[str]:
    return [one["name"] for one in _all(client, path)]


def test_a_scoped_key(boss: Client, mail: Client):
    """Topics of other queues do not exist for it, nor do deliveries in other queues."""
    other, own = boss.topic(queue="shop"), mail.topic(queue="mail")
    path = boss.endpoint(other, "a")
    name = {"url": NOWHERE}
    for method, hidden, document in (
        ("GET", other, None),
        ("DELETE", other, None),
        ("GET", f"{other}/endpoints", None),
        ("GET", path, None),
        ("PUT", path, name),
        ("DELETE", path, None),
        ("GET", f"{path}/deliveries", None),
        ("POST", f"{path}/test", None),
        ("POST", f"{path}/rotate", {}),
        ("POST", f"{path}/recover", {"since": "2026-01-01T00:00:00Z"}),
        ("POST", f"{other}/events", {"type": "a", "data": 1}),
    ):
        check_problem(mail.ask(method, hidden, document), 404)
    check_problem(mail.ask("PUT", other, {"queue": "mail"}), 403)
    check_problem(mail.ask("PUT", f"/topics/{uuid.uuid4().hex}", {}), 403)
    check_problem(mail.ask("PUT", f"{own}/endpoints/b", {**name, "queue": "shop"}), 403)
    boss.endpoint(own, "a")
    boss.endpoint(own, "b", queue="shop")
    assert len(mail.publish(own)["tasks"]) == 1
    assert len(boss.publish(own)["tasks"]) == 2
    assert len(mail.done("GET", f"{own}/endpoints/a/deliveries")) == 2
    assert mail.done("GET", f"{own}/endpoints/b/deliveries") == []
    listed = mail.done("GET", "/topics?limit=1000")
    assert own.removeprefix("/topics/") in {one["name"] for one in listed}
    assert other.removeprefix("/topics/") not in {one["name"] for one in listed}


def test_a_service_without_secrets():
    """An endpoint needs a secret; a secret of its own needs a key to encrypt it with."""
    with LiveServer(database_url=MEMORY_URL, webhook_secrets="", encryption_keys="") as server:
        assert server.ask("PUT", "/topics/unsigned", b"{}").status == 201
        path, document = "/topics/unsigned/endpoints/a", {"url": NOWHERE}
        answer = server.ask("PUT", path, json.dumps(document).encode())
        assert "TASKFLOW_WEBHOOK_SECRETS" in check_problem(answer, 422)["detail"]
        document["signing_secret"] = new_secret()
        answer = server.ask("PUT", path, json.dumps(document).encode())
        assert "TASKFLOW_ENCRYPTION_KEYS" in check_problem(answer, 422)["detail"]
