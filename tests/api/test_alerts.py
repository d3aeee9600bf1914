"""Alerts over HTTP: from a failed task to each destination that is notified."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from taskflow.engine import alerts
from taskflow.service import MEMORY_URL
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.deferred import CALLBACK, Worker
from tests.api.live import LiveServer
from tests.mail_server import MailServer
from tests.receiver import Receiver
from tests.service.processes import wait_until

NOWHERE = "http://127.0.0.1:9/"
MAIL = {"kind": "email", "addresses": ["ops@example.com"]}
TOKEN = "T0/B0/the-secret-of-a-channel"


@pytest.fixture(scope="module")
def mail_server(tmp_path_factory) -> Iterator[MailServer]:
    with MailServer(tmp_path_factory.mktemp("mail")) as server:
        yield server


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module", params=["memory", "postgres"])
def served(request, mail_server: MailServer) -> Iterator[LiveServer]:
    """A server that evaluates its alerts all the time."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(alerts, "EVALUATE_SECONDS", 0.05)
        patch.setattr(alerts, "TAKEN_SECONDS", 0.0)
        patch.setattr(alerts, "SLOW_EVALUATE_SECONDS", 0.0)
        patch.setenv("SSL_CERT_FILE", str(mail_server.authority))
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(
            LiveServer(
                database_url=url,
                smtp_url=mail_server.url,
                smtp_from="taskflow@example.com",
                public_url="https://tasks.example.com",
                breaker_failures=1,
            )
        )


class Client:
    """Asks for alerts."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server

    def ask(self, method: str, path: str, document: Any = None):
        body = None if document is None else json.dumps(document).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return self.server.ask(method, path, body, {"content-type": kind} if body else {})

    def done(self, method: str, path: str, document: Any = None) -> Any:
        answer = self.ask(method, path, document)
        assert answer.status in (200, 201, 204), answer
        return answer.json if answer.body else None

    def alert(self, **fields: Any) -> str:
        """A new alert; returns its path."""
        path = f"/alerts/a-{uuid.uuid4().hex}"
        answer = self.ask("PUT", path, {"to": [MAIL], **fields})
        assert (answer.status, answer.header("location")) == (201, path), answer
        return path

    def wait_for(self, path: str, status: str) -> Any:
        wait_until(lambda: self.done("GET", path)["status"] == status)
        return self.done("GET", path)

    def notified(self, path: str, kind: str = "firing") -> Any:
        def found() -> list[Any]:
            return [one for one in self.done("GET", f"{path}/notifications") if one["kind"] == kind]

        wait_until(found)
        return found()

    def fail(self, queue: str, url: str = "x:") -> Any:
        task = self.done("POST", "/tasks", {"payload": url, "queue": queue})
        return self.server.wait(task["id"])

    def refused(self, method: str, path: str, document: Any) -> dict[str, str]:
        """What is wrong, by places."""
        problem = check_problem(self.ask(method, path, document), 422)
        return {error["pointer"]: error["detail"] for error in problem["errors"]}


@pytest.fixture
def client(served: LiveServer) -> Client:
    return Client(served)


def test_a_failed_task_notifies_everybody(client: Client, receiver: Receiver, mail_server):
    """Each destination gets what it expects, and the secret URL is shown nowhere."""
    queue, path = f"q-{uuid.uuid4().hex}", f"/{uuid.uuid4().hex}"
    urls = {kind: f"{receiver.url}{path}/{kind}/{TOKEN}" for kind in ("slack", "teams", "discord")}
    to = [{"kind": kind, "url": url} for kind, url in urls.items()]
    to += [{"kind": "webhook", "url": f"{receiver.url}{path}/signed?token={TOKEN}"}, MAIL]
    before = len(mail_server.mail)
    alert = client.alert(on="task_failed", queue=queue, to=to)
    name = alert.removeprefix("/alerts/")
    failed = client.fail(queue)
    [notification] = client.notified(alert)
    assert len(notification["tasks"]) == 5
    tasks = [client.server.wait(task_id) for task_id in notification["tasks"]]
    assert [task["status"] for task in tasks] == ["COMPLETED"] * 5, tasks
    for kind, url in urls.items():
        [received] = receiver.wait_for(url.removeprefix(receiver.url))
        body = json.loads(received.body)
        text = json.dumps(body)
        assert name[:20] in text, kind
        assert "https://tasks.example.com/ui/alerts/" in text
        assert failed["id"].split("-")[0] in text
        assert "webhook-signature" not in received.headers
    [slack, teams, discord] = (
        json.loads(receiver.wait_for(url.removeprefix(receiver.url))[0].body)
        for url in urls.values()
    )
    assert slack["attachments"][0]["blocks"][0]["text"]["type"] == "mrkdwn"
    card = teams["attachments"][0]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["type"] == "AdaptiveCard"
    assert discord["embeds"][0]["title"].startswith("Firing: ")
    assert discord["allowed_mentions"] == {"parse": []}
    [signed] = receiver.wait_for(f"{path}/signed?token={TOKEN}")
    event = signed.verified()
    assert (event["type"], event["data"]["alert"]) == ("alert.firing", name)
    assert event["data"]["subjects"][0]["name"] == queue
    message = mail_server.wait_for(before + 1)[before]
    assert message["X-Recipients"] == "ops@example.com"
    assert name in message["Subject"]
    assert failed["id"] in message.get_content()
    shown = json.dumps([client.done("GET", alert), client.done("GET", "/alerts"), *tasks])
    for task_id in notification["tasks"]:
        shown += json.dumps(client.done("GET", f"/tasks/{task_id}/attempts"))
    assert TOKEN not in shown


def test_credentials_in_errors_are_masked(client: Client, receiver: Receiver, mail_server):
    """No notification has those of an error that a target reported, nor has the failure's page."""
    queue, path = f"q-{uuid.uuid4().hex}", f"/{uuid.uuid4().hex}"
    schedule = f"s-{queue}"
    error = f"GET https://user:SECRETPW@db.example/x?api_key=SECRETKEY1 failed for {queue}"
    to = [
        {"kind": kind, "url": f"{receiver.url}{path}/{kind}"}
        for kind in ("webhook", "slack", "teams", "discord")
    ]
    before = len(mail_server.mail)
    with Worker() as worker:
        task = {"payload": {"url": f"{worker.url}/accept", "method": "POST"}, "queue": queue}
        task |= {"completion": CALLBACK, "max_attempts": 1}
        client.done("PUT", f"/schedules/{schedule}", {"every_seconds": 86400, "task": task})
        task_id = client.done("POST", f"/schedules/{schedule}/run")["id"]
        report = json.dumps({"error": error}).encode()
        answer = client.server.ask("POST", f"{worker.path()}/failure", report)
    assert answer.json == {"task_id": task_id, "status": "FAILED"}
    texts = []
    for condition in (
        {"on": "task_failed", "queue": queue},
        {"on": "failure_rate", "queue": queue, "rate": 0.1, "minimum": 1},
        {"on": "schedule_failed", "schedule": schedule},
    ):
        alert = client.alert(to=[*to, MAIL], **condition)
        [notification] = client.notified(alert)
        texts.append(json.dumps(notification))
        texts.append(json.dumps(client.done("GET", alert)))
        texts += [json.dumps(client.server.wait(sent)) for sent in notification["tasks"]]
    bodies = [
        received.body.decode()
        for one in to
        for received in receiver.wait_for(one["url"].removeprefix(receiver.url), times=3)
    ]
    bodies += [
        one.get_content() for one in mail_server.wait_for(before + 3)[before:] if queue in str(one)
    ]
    assert len(bodies) == 15
    for body in bodies:
        assert "https://***@db.example/x?api_key=***" in body.replace("\\", ""), body
    [failure] = client.done("GET", f"/failures?queue={queue}")
    page = client.server.ask("GET", f"/ui/failures/{failure['id']}").body.decode()
    assert page.count("https://***@db.example/x?api_key=***") >= 2
    assert "SECRET" not in "".join([*texts, *bodies, page])
    assert "SECRETPW" in client.done("GET", f"/tasks/{task_id}")["error"]


def test_a_notification_that_fails(client: Client):
    """It alerts nobody about itself, although all queues and hosts are watched."""
    watched = client.alert(on="task_failed", to=[{"kind": "webhook", "url": NOWHERE}])
    hosts = client.alert(on="host_open", to=[{"kind": "webhook", "url": NOWHERE}])
    task_ids = client.done("POST", f"{hosts}/test")["tasks"]
    wait_until(lambda: client.done("GET", f"/tasks/{task_ids[0]}")["attempt"] >= 1)
    wait_until(lambda: [host for host in client.done("GET", "/hosts") if host["held"]])
    client.done("POST", f"/tasks/{task_ids[0]}/cancel")
    before = client.done("GET", watched)["evaluated_at"]
    wait_until(lambda: (client.done("GET", watched)["evaluated_at"] or "") > (before or ""))
    assert client.done("GET", hosts)["status"] != "firing"
    for path in (watched, hosts):
        client.done("DELETE", path)


def test_recovery_and_history(client: Client, receiver: Receiver):
    """A queue that no longer waits: both notifications are in the history, newest first."""
    queue, path = f"q-{uuid.uuid4().hex}", f"/{uuid.uuid4().hex}"
    client.done("POST", f"/queues/{queue}/pause")
    to = [{"kind": "webhook", "url": f"{receiver.url}{path}"}]
    alert = client.alert(on="oldest_waiting", queue=queue, after_seconds=1, to=to)
    client.done("POST", "/tasks", {"payload": "x:", "queue": queue})
    shown = client.wait_for(alert, "firing")
    assert [one["name"] for one in shown["subjects"]] == [queue]
    client.done("POST", f"/queues/{queue}/resume")
    client.notified(alert, "recovered")
    kinds = [one.verified()["type"] for one in receiver.wait_for(path, times=2)]
    assert sorted(kinds) == ["alert.firing", "alert.recovered"]
    history = client.done("GET", f"{alert}/notifications")
    assert [one["kind"] for one in history] == ["recovered", "firing"]
    assert client.done("GET", alert)["status"] == "ok"


def test_a_failure_rate(client: Client):
    """It needs a minimum of tasks."""
    queue = f"q-{uuid.uuid4().hex}"
    alert = client.alert(on="failure_rate", queue=queue, rate=0.5, minimum=3)
    for _ in range(2):
        client.fail(queue)
    before = client.done("GET", alert)["evaluated_at"]
    wait_until(lambda: (client.done("GET", alert)["evaluated_at"] or "") > (before or ""))
    assert client.done("GET", alert)["status"] == "ok"
    client.fail(queue)
    shown = client.wait_for(alert, "firing")
    assert shown["subjects"][0]["detail"].startswith("3 of 3 FAILED")


def test_a_schedule_whose_task_failed(client: Client):
    """It fires until a later task succeeds."""
    name = f"s-{uuid.uuid4().hex}"
    alert = client.alert(on="schedule_failed", schedule=name)
    client.done("PUT", f"/schedules/{name}", {"every_seconds": 3600, "task": {"payload": "x:"}})
    client.done("POST", f"/schedules/{name}/run")
    shown = client.wait_for(alert, "firing")
    assert shown["subjects"][0]["name"] == name
    assert "invalid url" in shown["subjects"][0]["detail"]


def test_a_heartbeat_that_reports_a_failure(client: Client):
    """Also one that is up again before the alert is evaluated."""
    name = f"h-{uuid.uuid4().hex}"
    alert = client.alert(on="heartbeat_missed", heartbeat=name)
    made = client.done("PUT", f"/heartbeats/{name}", {"every_seconds": 3600})
    ping = f"/ping/{made['ping_url'].rpartition('/')[2]}"
    assert client.server.ask("POST", f"{ping}/fail").status == 204
    assert client.server.ask("POST", ping).status == 204
    [notification] = client.notified(alert)
    assert name in notification["title"]
    client.wait_for(alert, "ok")


def test_a_credential_that_is_missing(client: Client):
    """The alert names it."""
    queue, name = f"q-{uuid.uuid4().hex}", f"c-{uuid.uuid4().hex}"
    credential = {"kind": "bearer", "token": "x", "hosts": ["127.0.0.1"]}
    client.done("PUT", f"/credentials/{name}", credential)
    client.done("PUT", f"/queues/{queue}", {"credential": name})
    client.done("DELETE", f"/credentials/{name}?force=true")
    alert = client.alert(on="credential_failing", credential=name)
    client.done("POST", "/tasks", {"payload": NOWHERE, "queue": queue, "max_attempts": 3})
    assert client.wait_for(alert, "firing")["subjects"][0]["name"] == name


def test_changes(client: Client):
    """A patch keeps what it does not name, a masked URL stays, and a silence is no field."""
    url = f"https://hooks.example.com/services/{TOKEN}"
    alert = client.alert(on="task_failed", queue="x", to=[{"kind": "slack", "url": url}, MAIL])
    shown = client.done("GET", alert)
    assert shown["to"][0]["url"].startswith("https://hooks.example.com/***-")
    assert (shown["minimum"], shown["every_seconds"], shown["window_seconds"]) == (1, 3600, 300)
    patched = client.done("PATCH", alert, {"minimum": 7})
    assert (patched["minimum"], patched["to"]) == (7, shown["to"])
    again = client.done("PUT", alert, patched)
    assert {**again, "updated_at": None} == {**patched, "updated_at": None}
    changed = [{**shown["to"][0], "kind": "webhook"}, MAIL]
    assert "#/to/0/url" in client.refused("PATCH", alert, {"to": changed})
    assert "#/to/0/url" in client.refused("PUT", alert, {**patched, "to": changed})
    assert client.done("GET", alert)["to"] == shown["to"]
    silenced = client.done("POST", f"{alert}/silence", {"seconds": 3600})
    assert silenced["silenced_until"] > silenced["updated_at"]
    assert client.done("PATCH", alert, {"paused": True})["silenced_until"] is not None
    assert client.done("POST", f"{alert}/silence", {"seconds": None})["silenced_until"] is None
    assert client.done("GET", alert)["status"] == "paused"
    client.done("DELETE", alert)
    for method, path in (
        *(("GET", alert), ("DELETE", alert), ("GET", f"{alert}/notifications")),
        *(("POST", f"{alert}/test"), ("GET", "/alerts/no%20name")),
    ):
        check_problem(client.ask(method, path), 404)
    check_problem(client.ask("PATCH", alert, {"minimum": 1}), 404)
    check_problem(client.ask("POST", f"{alert}/silence", {"seconds": 1}), 404)


def test_a_task_cannot_test_an_alert(client: Client):
    """Otherwise the notification of an alert could test it again, without end."""
    alert = client.alert(on="node_lost", to=[{"kind": "discord", "url": f"{NOWHERE}{TOKEN}"}])
    head = {"x-taskflow-id": str(uuid.uuid4())}
    answer = client.server.ask("POST", f"{alert}/test", b"", head)
    check_problem(answer, 403, "a task cannot test an alert")
    assert client.done("GET", f"{alert}/notifications") == []


def test_a_destination_that_was_removed(client: Client):
    """A notification that waits is not sent to it."""
    url = f"{NOWHERE}{TOKEN}"
    alert = client.alert(on="node_lost", to=[{"kind": "discord", "url": url}])
    [task_id] = client.done("POST", f"{alert}/test")["tasks"]
    client.done("DELETE", alert)
    wait_until(lambda: client.done("GET", f"/tasks/{task_id}")["status"] in ("PENDING", "FAILED"))
    client.ask("POST", f"/tasks/{task_id}/cancel")
    client.ask("POST", f"/tasks/{task_id}/retry")
    assert client.server.wait(task_id)["error_type"] == "endpoint_disabled"


FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_the_pages(client: Client):
    """An alert is created, shown, changed, silenced and deleted with forms, without a script."""
    name = f"ui-{uuid.uuid4().hex}"
    url = f"http://127.0.0.1:9/{TOKEN}"

    def send(path: str, **fields: str):
        return client.server.ask("POST", path, urlencode(fields).encode(), FORM)

    def shown(path: str) -> str:
        answer = client.server.ask("GET", path)
        assert answer.status == 200
        assert TOKEN not in answer.body.decode()
        return answer.body.decode()

    form = {"on": "failure_rate", "queue": "x", "minimum": "5", "to": f"slack {url}\nemail a@b.c"}
    answer = send("/ui/alerts", alert=name, **form)
    assert answer.status == 422
    assert "rate is missing" in answer.body.decode()
    assert send("/ui/alerts", alert=name, rate="0.25", **form).header("location") == (
        f"/ui/alerts/{name}"
    )
    stored = client.done("GET", f"/alerts/{name}")
    answer = send("/ui/alerts", alert=name, on="node_lost", to="email b@c.d")
    assert answer.status == 422
    assert "an alert with this name exists" in answer.body.decode()
    assert client.done("GET", f"/alerts/{name}") == stored
    assert name in shown("/ui/alerts")
    assert "Only this host" in shown("/ui/alerts?on=host_open")
    page = shown(f"/ui/alerts/{name}")
    assert "25 %" in page
    stored = client.done("GET", f"/alerts/{name}")
    masked = stored["to"][0]["url"]
    assert f"slack {masked}\nemail a@b.c" in page
    form |= {"to": f"slack {masked}", "rate": "0.5", "notify_recovery": "no", "paused": "yes"}
    assert send(f"/ui/alerts/{name}", **form).status == 303
    changed = client.done("GET", f"/alerts/{name}")
    assert (changed["rate"], changed["notify_recovery"], changed["paused"]) == (0.5, False, True)
    assert changed["to"] == stored["to"][:1]
    assert send(f"/ui/alerts/{name}", on="failure_rate", rate="x", to="fax 1").status == 422
    assert send(f"/ui/alerts/{name}/silence", hours="4").status == 303
    assert "silenced until" in shown(f"/ui/alerts/{name}")
    assert '<button class="button" name="hours" value="end">' in shown(f"/ui/alerts/{name}")
    silenced = client.done("GET", f"/alerts/{name}")
    for hours in ("", "abc", "-1", "0", "2", "nan", "1e308", "END"):
        assert send(f"/ui/alerts/{name}/silence", hours=hours).status == 422
    assert send(f"/ui/alerts/{name}/silence").status == 422
    assert client.done("GET", f"/alerts/{name}") == silenced
    assert send(f"/ui/alerts/{name}/silence", hours="end").status == 303
    assert "silenced until" not in shown(f"/ui/alerts/{name}")
    assert send(f"/ui/alerts/{name}/test").status == 303
    assert ">test</span>" in shown(f"/ui/alerts/{name}")
    assert send(f"/ui/alerts/{name}/delete").header("location") == "/ui/alerts"
    assert client.server.ask("GET", f"/ui/alerts/{name}").status == 404


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/on"),
        ({"on": "nothing"}, "#/on"),
        ({"on": "task_failed", "to": []}, "#/to"),
        ({"on": "task_failed", "to": None}, "#/to"),
        ({"on": "failure_rate"}, "#/rate"),
        ({"on": "failure_rate", "rate": 2}, "#/rate"),
        ({"on": "oldest_waiting"}, "#/after_seconds"),
        ({"on": "schedule_missed", "after_seconds": 1}, "#/after_seconds"),
        ({"on": "host_open", "queue": "x"}, "#/queue"),
        ({"on": "node_lost", "minimum": 3}, "#/minimum"),
        ({"on": "task_failed", "queue": "alerts"}, "#/queue"),
        ({"on": "task_failed", "every_seconds": 1}, "#/every_seconds"),
        ({"on": "task_failed", "to": [{"kind": "email", "addresses": ["no"]}]}, "#/to/0"),
        ({"on": "task_failed", "to": [{"kind": "email"}]}, "#/to/0"),
        ({"on": "task_failed", "to": [{"kind": "slack"}]}, "#/to/0"),
        ({"on": "task_failed", "to": [{"kind": "fax", "url": NOWHERE}]}, "#/to/0"),
        ({"on": "task_failed", "to": [{"kind": "slack", "url": "http://a:b@c/"}]}, "#/to/0/url"),
        (
            {"on": "task_failed", "to": [{"kind": "slack", "url": "https://a.example/***-1"}]},
            "#/to/0/url",
        ),
        *(
            (
                {
                    "on": "task_failed",
                    "to": [{"kind": "webhook", "url": f"https://a.example{path}"}],
                },
                "#/to/0/url",
            )
            for path in ("/***-47d8b157", "/***-47d8b157?a=b", "/?token=***")
        ),
        ({"on": "task_failed", "unknown": 1}, "#/unknown"),
    ],
)
def test_what_is_rejected(client: Client, fields, pointer):
    """The place of each error is named."""
    refused = client.refused("PUT", "/alerts/refused", {"to": [MAIL], **fields})
    assert pointer in refused, refused
    check_problem(client.ask("GET", "/alerts/refused"), 404)


def test_what_a_service_cannot_send():
    """Without keys, secrets or a mail server, destinations are rejected, and say what to set."""
    nothing = dict.fromkeys(("webhook_secrets", "encryption_keys", "smtp_url"), "")
    with LiveServer(database_url=MEMORY_URL, **nothing) as server:
        to = [{"kind": "webhook", "url": NOWHERE}, {"kind": "slack", "url": NOWHERE}, MAIL]
        refused = Client(server).refused("PUT", "/alerts/a", {"on": "node_lost", "to": to})
    needed = ("TASKFLOW_WEBHOOK_SECRETS", "TASKFLOW_ENCRYPTION_KEYS", "TASKFLOW_SMTP_URL")
    assert list(refused) == ["#/to/0", "#/to/1", "#/to/2"]
    for detail, variable in zip(refused.values(), needed, strict=True):
        assert variable in detail
