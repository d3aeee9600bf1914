"""The audit log over HTTP: what is recorded, of whom, and who may read it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from taskflow.api.app import ROUTES
from taskflow.model.audit import Action
from taskflow.service import MEMORY_URL
from tests.api.client import Answer, check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer

KEYS = {role: f"key-that-may-{role}-and-no-more" for role in ("read", "write", "admin")}
SCOPED = "key-of-an-admin-of-one-queue"
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LINES = {"accept": "application/x-ndjson"}
SECRET = "the-secret-of-somebody"
TASK = {"payload": {"url": f"http://a:{SECRET}@127.0.0.1:9/", "body": SECRET}, "delay_seconds": 999}
CREDENTIAL = {"kind": "bearer", "token": SECRET, "hosts": ["api.example.com"]}

ALERT = {
    "on": "task_failed",
    "to": [
        {"kind": "webhook", "url": f"http://127.0.0.1:9/?token={SECRET}"},
        {"kind": "slack", "url": f"http://127.0.0.1:9/{SECRET}"},
    ],
}


class Audited:
    """A server, and the entries since the last call."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self._last = self._newest()

    def ask(self, method: str, target: str, body: object = None, *, role: str = "write") -> Answer:
        data = None if body is None else json.dumps(body).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"authorization": f"Bearer {KEYS[role]}"}
        return self.server.ask(
            method, target, data, {**headers, **({"content-type": kind} if data else {})}
        )

    def done(self, method: str, target: str, body: object = None, *, role: str = "write") -> Any:
        answer = self.ask(method, target, body, role=role)
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    def new_task(self, **options) -> str:
        return self.done("POST", "/tasks", {**TASK, **options})["id"]

    def canceled_task(self, **options) -> str:
        task_id = self.new_task(**options)
        self.done("POST", f"/tasks/{task_id}/cancel")
        return task_id

    def holder(self, key: str) -> str:
        """A task that FAILED and holds its order key."""
        task_id = self.new_task(order_key=key, on_failure="hold", delay_seconds=None)
        while self.done("GET", f"/tasks/{task_id}?wait=20")["status"] != "FAILED":
            pass
        return task_id

    def group(self, **fields) -> str:
        group_id: str = self.done("POST", "/groups", fields)["id"]
        return group_id

    def failed_group(self) -> str:
        """A group with a task that FAILED."""
        group_id = self.group(tasks=[{"payload": "x:"}])
        while self.done("GET", f"/groups/{group_id}")["status"] != "COMPLETED":
            time.sleep(0.02)
        return group_id

    def endpoint(self, topic: str) -> str:
        """An endpoint of a new topic: their names."""
        self.done("PUT", f"/topics/{topic}", {})
        url = f"http://127.0.0.1:9/?token={SECRET}"
        self.done("PUT", f"/topics/{topic}/endpoints/a", {"url": url, "max_attempts": 1})
        return f"{topic}/a"

    def failing_endpoint(self, topic: str) -> str:
        """An endpoint with a delivery that FAILED."""
        target = self.endpoint(topic)
        event = self.done("POST", f"/topics/{topic}/events", {"type": "x", "data": SECRET})
        [task_id] = event["tasks"]
        while self.done("GET", f"/tasks/{task_id}?wait=20")["status"] != "FAILED":
            pass
        return target

    def entries(self, query: str = "limit=1000") -> list[dict[str, Any]]:
        """The oldest first."""
        found: list[dict[str, Any]] = self.done("GET", f"/audit?{query}", role="admin")
        return found[::-1]

    def news(self) -> list[dict[str, Any]]:
        """The entries since the last call, the oldest first."""
        found = [one for one in self.entries() if self._last is None or one["id"] > self._last]
        self._last = self._newest()
        return found

    def _newest(self) -> str | None:
        newest = self.entries("limit=1")
        return newest[0]["id"] if newest else None


@pytest.fixture(scope="module", params=["memory", "postgres"])
def served(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    keys = [f"{role}r:{role}:{key}" for role, key in KEYS.items()]
    keys.append(f"scoped:admin:queues=mail:{SCOPED}")
    with contextlib.ExitStack() as stack:
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url, api_keys=",".join(keys)))


@pytest.fixture
def audited(served: LiveServer) -> Audited:
    return Audited(served)


def put_schedule(audited: Audited, name: str, **fields) -> None:
    audited.done("PUT", f"/schedules/{name}", {"every_seconds": 3600, "task": TASK, **fields})


def put_alert(audited: Audited, name: str) -> str:
    audited.done("PUT", f"/alerts/{name}", ALERT)
    return name


def put_heartbeat(audited: Audited, name: str) -> str:
    audited.done("PUT", f"/heartbeats/{name}", {"every_seconds": 3600})
    return name


def paused_heartbeat(audited: Audited, name: str) -> str:
    put_heartbeat(audited, name)
    audited.done("PATCH", f"/heartbeats/{name}", {"paused": True})
    return name


def put_credential(audited: Audited, name: str) -> None:
    audited.done("PUT", f"/credentials/{name}", CREDENTIAL, role="admin")


# What to do before each request, the request, and its action.
REQUESTS = {
    "POST /tasks/{id}/cancel": (lambda a: a.new_task(), None, Action.TASK_CANCEL),
    "POST /tasks/{id}/retry": (lambda a: a.canceled_task(), None, Action.TASK_RETRY),
    "POST /tasks/{id}/skip": (lambda a: a.holder("api"), None, Action.TASK_SKIP),
    "DELETE /tasks/{id}": (lambda a: a.canceled_task(), None, Action.TASK_DELETE),
    "POST /tasks/cancel": (
        lambda a: a.new_task(queue="bulk"),
        {"queue": "bulk"},
        Action.TASKS_CANCEL,
    ),
    "POST /tasks/retry": (
        lambda a: a.canceled_task(queue="retry"),
        {"queue": "retry"},
        Action.TASKS_RETRY,
    ),
    "POST /tasks/delete": (
        lambda a: a.canceled_task(queue="delete"),
        {"queue": "delete"},
        Action.TASKS_DELETE,
    ),
    "POST /groups/{id}/close": (lambda a: a.group(open=True), None, Action.GROUP_CLOSE),
    "POST /groups/{id}/cancel": (lambda a: a.group(open=True), None, Action.GROUP_CANCEL),
    "POST /groups/{id}/retry": (lambda a: a.failed_group(), None, Action.GROUP_RETRY),
    "PUT /topics/{name}": (lambda _: "new", {"queue": "hooks"}, Action.TOPIC_PUT),
    "DELETE /topics/{name}": (
        lambda a: a.endpoint("deleted").partition("/")[0],
        None,
        Action.TOPIC_DELETE,
    ),
    "PUT /topics/{topic}/endpoints/{name}": (
        lambda a: a.endpoint("changed"),
        {"url": f"http://127.0.0.1:9/?token={SECRET}", "headers": {"X-Api-Key": SECRET}},
        Action.ENDPOINT_PUT,
    ),
    "DELETE /topics/{topic}/endpoints/{name}": (
        lambda a: a.endpoint("without"),
        None,
        Action.ENDPOINT_DELETE,
    ),
    "POST /topics/{topic}/endpoints/{name}/rotate": (
        lambda a: a.endpoint("rotated"),
        {},
        Action.ENDPOINT_ROTATE,
    ),
    "POST /topics/{topic}/endpoints/{name}/recover": (
        lambda a: a.failing_endpoint("recovered"),
        {"since": "2026-01-01T00:00:00Z"},
        Action.ENDPOINT_RECOVER,
    ),
    "PUT /alerts/{name}": (lambda _: "new", ALERT, Action.ALERT_PUT),
    "PATCH /alerts/{name}": (lambda a: put_alert(a, "patched"), {"minimum": 3}, Action.ALERT_PUT),
    "DELETE /alerts/{name}": (lambda a: put_alert(a, "deleted"), None, Action.ALERT_DELETE),
    "POST /alerts/{name}/test": (lambda a: put_alert(a, "tested"), None, Action.ALERT_TEST),
    "POST /alerts/{name}/silence": (
        lambda a: put_alert(a, "silenced"),
        {"seconds": 60},
        Action.ALERT_SILENCE,
    ),
    "PUT /queues/{name}": (lambda _: "put", {"max_concurrency": 5}, Action.QUEUE_CHANGE),
    "PATCH /queues/{name}": (lambda _: "patched", {"rate": 5}, Action.QUEUE_CHANGE),
    "POST /queues/{name}/pause": (lambda _: "paused", None, Action.QUEUE_PAUSE),
    "POST /queues/{name}/resume": (
        lambda a: (a.done("POST", "/queues/resumed/pause"), "resumed")[1],
        None,
        Action.QUEUE_RESUME,
    ),
    "POST /queues/{name}/purge": (
        lambda a: (a.new_task(queue="purged"), "purged")[1],
        None,
        Action.QUEUE_PURGE,
    ),
    "PUT /schedules/{name}": (
        lambda _: "put",
        {"every_seconds": 60, "task": TASK},
        Action.SCHEDULE_PUT,
    ),
    "PATCH /schedules/{name}": (
        lambda a: (put_schedule(a, "patched"), "patched")[1],
        {"paused": True},
        Action.SCHEDULE_PAUSE,
    ),
    "POST /schedules/{name}/run": (
        lambda a: (put_schedule(a, "run"), "run")[1],
        None,
        Action.SCHEDULE_RUN,
    ),
    "DELETE /schedules/{name}": (
        lambda a: (put_schedule(a, "deleted"), "deleted")[1],
        None,
        Action.SCHEDULE_DELETE,
    ),
    "PUT /heartbeats/{name}": (
        lambda _: "put",
        {"every_seconds": 60, "description": "d"},
        Action.HEARTBEAT_PUT,
    ),
    "PATCH /heartbeats/{name}": (
        lambda a: put_heartbeat(a, "patched"),
        {"paused": True},
        Action.HEARTBEAT_PAUSE,
    ),
    "POST /heartbeats/{name}/rotate": (
        lambda a: put_heartbeat(a, "rotated"),
        None,
        Action.HEARTBEAT_ROTATE,
    ),
    "DELETE /heartbeats/{name}": (
        lambda a: put_heartbeat(a, "deleted"),
        None,
        Action.HEARTBEAT_DELETE,
    ),
    "PUT /credentials/{name}": (lambda _: "billing", CREDENTIAL, Action.CREDENTIAL_PUT),
    "POST /config": (
        lambda _: "together",
        {"changes": [{"kind": "credential", "name": "together", "fields": CREDENTIAL}]},
        Action.CREDENTIAL_PUT,
    ),
    "DELETE /credentials/{name}": (
        lambda a: (put_credential(a, "gone"), "gone")[1],
        None,
        Action.CREDENTIAL_DELETE,
    ),
}
WRITES = [f"{route.method} {route.path}" for route in ROUTES if route.method != "GET"]
# Submissions are not recorded: each has its task, its group, or its event.
SUBMISSIONS = {
    *("POST /tasks", "POST /tasks/batch", "POST /groups", "POST /topics/{name}/events"),
    "POST /topics/{topic}/endpoints/{name}/test",
}
# Neither are reports of targets and pings of jobs, which have no key: each is in another history.
REPORTS = {one for one in WRITES if one.startswith(("POST /completions/", "POST /ping/"))}
AUDITED = [one for one in WRITES if one not in SUBMISSIONS | REPORTS]


@pytest.mark.parametrize("operation", AUDITED)
def test_every_route_that_changes_something(audited, operation):
    """Each has an entry: who, what, to what, from where; and no secret."""
    prepare, body, action = REQUESTS[operation]
    target = prepare(audited)
    audited.news()
    method, path = operation.split()
    topic, _, name = target.rpartition("/")
    place = path.format(id=target, topic=topic, name=name)
    audited.done(method, place, body, role="admin")
    [entry] = audited.news()
    assert (entry["action"], entry["actor"], entry["session"]) == (action, "adminr", None)
    assert entry["target_kind"] == action.target_kind
    assert (entry["address"], entry["count"]) == ("127.0.0.1", 1)
    is_bulk = action.target_kind == "tasks"
    assert entry["target"] == (None if is_bulk else target)
    assert SECRET not in json.dumps(audited.entries())


def test_what_is_not_recorded(audited):
    """Submissions and reads; and what was refused or changed nothing."""
    task_id = audited.new_task()
    audited.done("GET", f"/tasks/{task_id}")
    assert audited.ask("DELETE", f"/tasks/{task_id}").status == 409
    assert audited.ask("POST", f"/tasks/{task_id}/cancel", role="read").status == 403
    assert audited.ask("DELETE", "/schedules/no-such-schedule").status == 404
    audited.done("POST", "/tasks/cancel", {"queue": "no-such-queue"})
    audited.done("POST", "/tasks/cancel", {"all": True, "dry_run": True})
    assert audited.news() == []


def test_a_bulk_action(audited):
    """One entry with the filter and the number of tasks, however many batches it takes."""
    tags = {"customer": 42, "of": "audit"}
    tasks = [{"payload": 1, "delay_seconds": 999, "queue": "many", "tags": tags}] * 1200
    audited.done("POST", "/tasks", tasks)
    audited.news()
    wanted = {"queue": "many", "tags": tags, "status": ["PENDING"]}
    assert audited.done("POST", "/tasks/cancel", wanted)["count"] == 1200
    [entry] = audited.news()
    assert (entry["action"], entry["target"], entry["count"]) == ("tasks.cancel", None, 1200)
    assert entry["detail"] == {
        "filter": {
            "statuses": ["PENDING"],
            "queue": "many",
            "tags": {"customer": "42", "of": "audit"},
        }
    }


# Pages of the dashboard that change something, with what to do before.
PAGES = {
    "/ui/tasks/<task_id>/cancel": lambda a: a.new_task(),
    "/ui/tasks/<task_id>/retry": lambda a: a.canceled_task(),
    "/ui/tasks/<task_id>/skip": lambda a: a.holder("page"),
    "/ui/tasks/<task_id>/delete": lambda a: a.canceled_task(),
    "/ui/groups/<group_id>/close": lambda a: a.group(open=True),
    "/ui/groups/<group_id>/cancel": lambda a: a.group(open=True),
    "/ui/groups/<group_id>/retry": lambda a: a.failed_group(),
    "/ui/alerts/<name>/test": lambda a: put_alert(a, "page-tested"),
    "/ui/alerts/<name>/silence": lambda a: put_alert(a, "page-silenced"),
    "/ui/alerts/<name>/delete": lambda a: put_alert(a, "page-deleted"),
    "/ui/topics/<topic>/endpoints/<name>/recover": lambda a: (
        a.failing_endpoint("page-recovered"),
        "page-recovered/endpoints/a",
    )[1],
    "/ui/topics/<topic>/endpoints/<name>/enable": lambda a: (
        a.endpoint("page-enabled"),
        "page-enabled/endpoints/a",
    )[1],
    "/ui/topics/<topic>/endpoints/<name>/disable": lambda a: (
        a.endpoint("page-disabled"),
        "page-disabled/endpoints/a",
    )[1],
    "/ui/many/<string:name>": lambda a: (a.new_task(), "cancel")[1],
    "/ui/queues/<string:name>/pause": lambda _: "page-paused",
    "/ui/queues/<string:name>/resume": lambda a: (
        a.done("POST", "/queues/page-resumed/pause"),
        "page-resumed",
    )[1],
    "/ui/queues/<string:name>": lambda _: "page-edited",
    "/ui/schedules/<string:name>": lambda a: (put_schedule(a, "page-edited"), "page-edited")[1],
    "/ui/schedules/<string:name>/run": lambda a: (put_schedule(a, "page"), "page")[1],
    "/ui/schedules/<string:name>/pause": lambda a: (put_schedule(a, "to-pause"), "to-pause")[1],
    "/ui/schedules/<string:name>/resume": lambda a: (
        put_schedule(a, "to-resume"),
        a.done("PATCH", "/schedules/to-resume", {"paused": True}),
        "to-resume",
    )[2],
    "/ui/schedules/<string:name>/delete": lambda a: (put_schedule(a, "to-delete"), "to-delete")[1],
    "/ui/heartbeats/<string:name>/pause": lambda a: put_heartbeat(a, "page-paused"),
    "/ui/heartbeats/<string:name>/resume": lambda a: paused_heartbeat(a, "page-resumed"),
    "/ui/heartbeats/<string:name>/rotate": lambda a: put_heartbeat(a, "page-rotated"),
    "/ui/heartbeats/<string:name>/delete": lambda a: put_heartbeat(a, "page-deleted"),
}
# What is sent to these, which are forms.
FORMS = {
    "/ui/queues/<string:name>": b"max_concurrency=5",
    "/ui/schedules/<string:name>": b"missed=skip",
    "/ui/many/<string:name>": b"all=1",
    "/ui/alerts/<name>/silence": b"hours=4",
}
# These are tested below, in test_alerts.py or test_credentials.py, or submit tasks; "/" answers no
# POST.
OTHER_PAGES = {
    *("/ui/submit", "/ui/sign-in", "/ui/sign-out", "/"),
    "/ui/topics/<topic>/endpoints/<name>/test",
    *("/ui/credentials", "/ui/credentials/<name>/delete", "/ui/selected/<string:name>"),
    *("/ui/views", "/ui/views/delete", "/ui/alerts", "/ui/alerts/<name>"),
    *("/ui/new-heartbeat", "/ui/heartbeats/<string:name>/edit"),
}


def test_every_page_that_changes_something_is_known():
    """A new page is tested here, too."""
    rules: set[str] = set()

    def configure(app: Any) -> None:
        rules.update(
            rule.rule
            for rule in app.url_map.iter_rules()
            if rule.endpoint.startswith("dashboard.") and "POST" in rule.methods
        )

    with LiveServer(database_url=MEMORY_URL, configure=configure):
        pass
    assert rules == {*PAGES, *OTHER_PAGES}


@pytest.mark.parametrize("place", ["new-heartbeat", "heartbeats/page-form/edit"])
def test_the_form_of_a_heartbeat(audited, place):
    """It has an entry, as the API has."""
    put_heartbeat(audited, "page-form")
    session, name = session_of(audited.server, "write"), "page-form"
    if place == "new-heartbeat":
        audited.done("DELETE", "/heartbeats/page-form")
    audited.news()
    body = f"name={name}&every_seconds=60&description=by+hand".encode()
    assert audited.server.ask("POST", f"/ui/{place}", body, session).status == 303
    [entry] = audited.news()
    assert (entry["action"], entry["actor"], entry["target"]) == ("heartbeat.put", "writer", name)


@pytest.mark.parametrize("rule", PAGES)
def test_every_page_that_changes_something(audited, rule):
    """Each has an entry with the session."""
    session = session_of(audited.server, "write")
    target = PAGES[rule](audited)
    audited.news()
    path = rule.partition("<")[0] + target + rule.rpartition(">")[2]
    assert audited.server.ask("POST", path, FORMS.get(rule, b""), session).status in (200, 303)
    [entry] = audited.news()
    assert entry["actor"] == "writer"
    assert entry["session"] is not None


def test_selected_tasks(audited):
    """One entry with the tasks that were selected, and the number of those that changed."""
    session = session_of(audited.server, "write")
    canceled, pending = audited.canceled_task(), audited.new_task()
    audited.news()
    body = f"id={canceled}&id={pending}&back=queue%3Dmail".encode()
    answer = audited.server.ask("POST", "/ui/selected/delete", body, session)
    assert b"2 tasks will be deleted" in answer.body
    assert audited.news() == []
    answer = audited.server.ask("POST", "/ui/selected/delete", body + b"&confirmed=yes", session)
    assert b"1 task deleted. The status of 1 does not allow it." in answer.body
    assert b'href="/ui/tasks?queue=mail"' in answer.body
    [entry] = audited.news()
    assert (entry["action"], entry["actor"], entry["count"]) == ("tasks.delete", "writer", 1)
    assert entry["detail"] == {"tasks": [canceled, pending]}
    for body, status in ((b"id=x", 422), (b"id=x&" * 200, 400), (b"", 200)):
        assert audited.server.ask("POST", "/ui/selected/retry", body, session).status == status
    assert audited.server.ask("POST", "/ui/selected/explode", b"", session).status == 404
    assert audited.news() == []


def test_views(audited):
    """Saving and deleting a view have entries; an invalid one has none."""
    session = session_of(audited.server, "write")
    audited.news()
    body = b"name=Held+mail&query=state%3Dheld%26queue%3Dmail%26cursor%3Dx%26evil%3D1"
    saved = audited.server.ask("POST", "/ui/views", body, session)
    assert (saved.status, saved.header("location")) == (303, "/ui/tasks?state=held&queue=mail")
    for other in (b"name=&query=", b"name=" + b"x" * 65, b"name=x&query=host%3D" + b"a" * 4096):
        assert audited.server.ask("POST", "/ui/views", other, session).status == 422
    deleted = audited.server.ask("POST", "/ui/views/delete?name=Held+mail", b"", session)
    assert deleted.status == 303
    again = audited.server.ask("POST", "/ui/views/delete?name=Held+mail", b"", session)
    assert again.status == 404
    scoped = own(audited.server, cookie=cookie_of(audited.server, SCOPED))
    assert audited.server.ask("POST", "/ui/views", b"name=x&query=", scoped).status == 403
    assert [(one["action"], one["target"]) for one in audited.news()] == [
        ("view.put", "Held mail"),
        ("view.delete", "Held mail"),
        ("session.sign_in", None),
    ]


# Reading


@pytest.fixture
def some(audited) -> list[dict[str, Any]]:
    """Entries of two actors, the newest first."""
    for name in ("one", "two", "three"):
        audited.done("POST", f"/queues/{name}/pause", role="admin")
        audited.done("POST", f"/queues/{name}/resume")
    return audited.entries()[::-1]


def test_pages(audited, some):
    """Links lead through all entries, newest first, with the filters."""
    target: str | None = "/audit?limit=2&target_kind=queue"
    found: list[dict[str, Any]] = []
    while target is not None:
        answer = audited.ask("GET", target, role="admin")
        assert len(answer.json) <= 2
        found += answer.json
        link = answer.header("link")
        target = None if link is None else link.partition(">")[0].removeprefix("<")
    assert found == [one for one in some if one["target_kind"] == "queue"]


def test_filters(audited, some):
    """The parameters select entries."""
    at = some[2]["at"]
    for query, matches in {
        "actor=adminr": lambda one: one["actor"] == "adminr",
        "action=queue.pause": lambda one: one["action"] == "queue.pause",
        "target=two&target_kind=queue": lambda one: one["target"] == "two",
        f"at_after={quote(at)}": lambda one: one["at"] >= at,
        f"at_before={quote(at)}&actor=writer": lambda one: (
            one["at"] < at and one["actor"] == "writer"
        ),
    }.items():
        found = audited.done("GET", f"/audit?limit=1000&{query}", role="admin")
        assert found == [one for one in some if matches(one)], query


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("action=queue.paused", "action must be one of"),
        ("actor=a%20b", "actor must be the name of an API key"),
        ("target=", "target must be an id or a name"),
        ("at_after=yesterday", "at_after must be"),
        ("cursor=x", "cursor must be"),
        ("limit=1001", "limit must be a whole number from 1 to 1000"),
        ("who=ops", "who"),
    ],
)
def test_invalid_queries(audited, query, words):
    """The response names the parameter and what it must be."""
    check_problem(audited.ask("GET", f"/audit?{query}", role="admin"), 422, words)


def test_lines(audited, some):
    """As NDJSON the whole log is one response."""
    headers = {"authorization": f"Bearer {KEYS['admin']}", **LINES}
    answer = audited.server.ask("GET", "/audit", None, headers)
    assert answer.header("content-type") == "application/x-ndjson"
    assert [json.loads(line) for line in answer.body.splitlines()] == some
    answer = audited.server.ask("GET", "/audit?limit=3", None, headers)
    assert [json.loads(line) for line in answer.body.splitlines()] == some[:3]
    assert audited.server.ask("HEAD", "/audit", None, headers).status == 200


@pytest.mark.parametrize("role", ["read", "write"])
def test_only_admins_may_read_it(audited, role):
    for target in ("/audit", "/ui/audit"):
        check_problem(audited.ask("GET", target, role=role), 403, "role admin")


def test_keys_with_a_scope_may_not(audited):
    """Whatever their role: the log is about all queues."""
    headers = {"authorization": f"Bearer {SCOPED}"}
    check_problem(audited.server.ask("GET", "/audit", None, headers), 403, "all queues")
    answer = audited.server.ask("GET", "/ui/audit", None, headers)
    assert answer.status == 403
    assert b"pause" not in answer.body


def test_actions_with_a_scope(audited):
    """What a key with a scope does is recorded like everything else."""
    task_id = audited.new_task(queue="mail")
    headers = {"authorization": f"Bearer {SCOPED}"}
    assert audited.server.ask("POST", f"/tasks/{task_id}/cancel", None, headers).status == 200
    assert audited.server.ask("POST", "/queues/mail/pause", None, headers).status == 200
    assert audited.server.ask("POST", "/queues/other/pause", None, headers).status == 404
    assert [(one["actor"], one["target"]) for one in audited.news()] == [
        ("scoped", task_id),
        ("scoped", "mail"),
    ]


# The dashboard


def own(server: LiveServer, **fields) -> dict[str, str]:
    return {"origin": server.url, "sec-fetch-site": "same-origin", **fields}


def sign_in(server: LiveServer, key: str) -> Answer:
    return server.ask("POST", "/ui/sign-in", f"key={key}".encode(), own(server, **FORM))


def cookie_of(server: LiveServer, key: str) -> str:
    return sign_in(server, key).header("set-cookie").partition(";")[0]


def session_of(server: LiveServer, role: str) -> dict[str, str]:
    return own(server, cookie=cookie_of(server, KEYS[role]))


def test_a_session(audited):
    """Signing in, what is done with the mouse, and signing out have the id of the session."""
    server, task_id = audited.server, audited.new_task()
    audited.done("POST", "/tasks", {"payload": "http://127.0.0.1:9/", "delay_seconds": 3600})
    audited.news()
    session = session_of(server, "write")
    for target in (f"/ui/tasks/{task_id}/cancel", f"/ui/tasks/{task_id}/retry"):
        assert server.ask("POST", target, b"", session).status == 303
    assert server.ask("POST", "/ui/many/cancel?queue=no-such", b"", session).status == 200
    assert server.ask("POST", "/ui/many/cancel?url_contains=127.0.0.1", b"", session).status == 200
    assert server.ask("POST", f"/ui/tasks/{task_id}/delete", b"", session).status == 303
    assert server.ask("POST", "/ui/sign-out", b"", session).status == 303
    entries = audited.news()
    assert [one["action"] for one in entries] == [
        "session.sign_in",
        "task.cancel",
        "task.retry",
        "tasks.cancel",
        "task.delete",
        "session.sign_out",
    ]
    assert {(one["actor"], one["address"]) for one in entries} == {("writer", "127.0.0.1")}
    [session_id] = {one["session"] for one in entries}
    assert len(session_id) > 16


def test_the_page(audited, some):
    """Admins see the entries, and filter them; others see no link to the page."""
    server = audited.server
    session = session_of(server, "admin")
    page = server.ask("GET", "/ui/audit?target=two&action=queue.resume", None, session)
    assert page.status == 200
    text = page.body.decode()
    assert text.count("<tr><td") == len(audited.entries("target=two&action=queue.resume"))
    assert "queue.resume" in text
    assert "writer" in text
    assert 'href="/ui/audit"' in server.ask("GET", "/ui", None, session).body.decode()
    assert server.ask("GET", "/ui/audit?at_after=x", None, session).status == 422
    others = session_of(server, "write")
    assert 'href="/ui/audit"' not in server.ask("GET", "/ui", None, others).body.decode()
    assert server.ask("GET", "/ui/audit", None, others).status == 403


# Refused keys


def test_refused_keys_share_an_entry(audited):
    """Of one address there is one entry, whose count grows; it does not have the key."""
    before = [one["count"] for one in audited.entries("action=key.rejected")]
    server = audited.server
    for number in range(50):
        headers = {"authorization": f"Bearer unknown-{number}-{SECRET}"}
        assert server.ask("GET", "/tasks", None, headers).status == 401
    assert server.ask("GET", "/tasks").status == 401  # without a key
    for _ in range(3):
        assert sign_in(server, f"wrong-{SECRET}").status == 403
    deadline = time.monotonic() + 90
    while True:
        keys = audited.entries("action=key.rejected")
        sign_ins = audited.entries("action=session.rejected")
        counts = [one["count"] for one in keys + sign_ins]
        if counts == [50 + sum(before), 3]:
            break
        assert time.monotonic() < deadline, counts
        time.sleep(0.2)
    [entry] = keys
    assert (entry["actor"], entry["address"], entry["target"]) == (None, "127.0.0.1", None)
    assert SECRET not in json.dumps(audited.entries())
