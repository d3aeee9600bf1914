"""Keys that may use some queues: everything in another queue does not exist for them.

Two clients share a server, on each store. ``shop`` has tasks, schedules and settings in its queue;
``mail`` must neither read, change, count nor infer any of it.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator
from itertools import pairwise

import pytest

from taskflow.api.access.scoped_store import (
    ScopedFailures,
    ScopedGroups,
    ScopedMonitoring,
    ScopedQueues,
    ScopedRollups,
    ScopedSchedules,
    ScopedStore,
    ScopedTopics,
    ScopedViews,
)
from taskflow.api.app import ROUTES
from taskflow.service import MEMORY_URL
from taskflow.store.base.grouped_failures import FailureStore
from taskflow.store.base.groups import GroupStore
from taskflow.store.base.listing import MonitoringStore
from taskflow.store.base.queues import QueueStore
from taskflow.store.base.rollups import RollupStore
from taskflow.store.base.schedules import ScheduleStore
from taskflow.store.base.store import TaskStore
from taskflow.store.base.topics import TopicStore
from taskflow.store.base.views import ViewStore
from tests.api.cells import cells_in
from tests.api.client import check_problem
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.api.sse import open_stream

KEYS = {name: f"key-of-{name}-0123456789" for name in ("boss", "mail", "shop")}
SETTING = ",".join(
    (
        f"boss:write:{KEYS['boss']}",
        f"mail:write:queues=mail,reports-*:{KEYS['mail']}",
        f"shop:write:queues=shop:{KEYS['shop']}",
    )
)
CELLS = pytest.param("cells", marks=pytest.mark.long)
# Queues with limits are in one cell, with what makes tasks for them.
BESIDE = {
    "schedule a-shop": "shop",
    "schedule c-shop": "shop",
    "schedule moved": "shop",
    "schedule b-mail": "mail",
    "topic a-shop": "shop",
}
UNKNOWN = str(uuid.UUID(int=7))
HIDDEN = "hidden-word"
JSON = {"content-type": "application/json"}
LINES = {"accept": "application/x-ndjson"}
PATCH = {"content-type": "application/merge-patch+json"}


class Client:
    """A client of the server, with its key."""

    def __init__(self, server: LiveServer, name: str) -> None:
        self.server = server
        self.headers = {"authorization": f"Bearer {KEYS[name]}"}

    def ask(self, method: str, path: str, document=None, **headers: str):
        is_raw = document is None or isinstance(document, bytes)
        body = document if is_raw else json.dumps(document).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            fields.setdefault("content-type", "application/json")
        return self.server.ask(method, path, body, {**self.headers, **fields})

    def get(self, path: str, **headers: str):
        answer = self.ask("GET", path, **headers)
        assert answer.status == 200, (path, answer)
        return answer.json

    def add(self, queue: str, payload: object = 1, **fields: object) -> str:
        answer = self.ask("POST", "/tasks", {"payload": payload, "queue": queue, **fields})
        assert answer.status == 201, answer
        return answer.json["id"]


@pytest.fixture(scope="module", params=["memory", "postgres", CELLS])
def shared(request) -> Iterator[LiveServer]:
    place = {"database_url": MEMORY_URL}
    if request.param == "postgres":
        place = {"database_url": request.getfixturevalue("module_database")}
    elif request.param == "cells":
        place = {"cells_file": request.getfixturevalue("module_cells")}
    with LiveServer(api_keys=SETTING, **place) as server:
        yield server


@pytest.fixture(scope="module")
def module_cells(postgres_server, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cells")
    with cells_in(folder, postgres_server, BESIDE):
        yield str(folder / "cells")


@pytest.fixture(scope="module")
def module_database(postgres_server) -> Iterator[str]:
    with open_database(postgres_server, is_migrated=True) as url:
        yield url


@pytest.fixture(scope="module")
def boss(shared) -> Client:
    return Client(shared, "boss")


@pytest.fixture(scope="module")
def mail(shared, boss) -> Client:
    """Its tasks stay as they are: its queue is paused."""
    assert boss.ask("PUT", "/queues/mail", {"paused": True}).status == 201
    client = Client(shared, "mail")
    for number in range(3):
        client.add("mail", f"https://mail.example/{number}", tags={"n": number})
    schedule = {"every_seconds": 3600, "paused": True, "task": {"payload": 1, "queue": "mail"}}
    assert client.ask("PUT", "/schedules/b-mail", schedule).status == 201
    return client


@pytest.fixture(scope="module")
def shop(shared, boss) -> Client:
    assert boss.ask("PUT", "/queues/shop", {"paused": True, "rate": 7}).status == 201
    return Client(shared, "shop")


@pytest.fixture(scope="module")
def hidden(shop) -> str:
    """The id of a task of ``shop``, which also has a schedule."""
    for name in ("a-shop", "c-shop"):
        body = {"every_seconds": 3600, "task": {"payload": HIDDEN, "queue": "shop"}}
        assert shop.ask("PUT", f"/schedules/{name}", body).status == 201
    url = f"https://{HIDDEN}.example/"
    return shop.add("shop", url, tags={"n": 1, HIDDEN: HIDDEN}, priority=9)


@pytest.fixture(scope="module")
def hidden_group(shop) -> str:
    """The id of a group of ``shop``."""
    answer = shop.ask("POST", "/groups", {"queue": "shop", "name": HIDDEN})
    assert answer.status == 201
    return answer.json["id"]


@pytest.fixture(scope="module")
def hidden_topic(shop) -> str:
    """The name of a topic of ``shop``, with the endpoint ``a``."""
    assert shop.ask("PUT", "/topics/a-shop", {"queue": "shop"}).status == 201
    endpoint = {"url": f"https://{HIDDEN}.example/"}
    assert shop.ask("PUT", "/topics/a-shop/endpoints/a", endpoint).status == 201
    return "a-shop"


# What a client with a scope asks, by the name of the route. A path with {id} or {name} is asked
# with what exists in another queue, and with what does not exist: the answers must not differ.
ABSENT = {
    "showTask": ("GET", "/tasks/{id}?wait=20", None),
    "listAttempts": ("GET", "/tasks/{id}/attempts", None),
    "showResult": ("GET", "/tasks/{id}/result", None),
    "watchTask": ("GET", "/tasks/{id}/events", None),
    "cancelTask": ("POST", "/tasks/{id}/cancel", None),
    "retryTask": ("POST", "/tasks/{id}/retry", None),
    "skipTask": ("POST", "/tasks/{id}/skip", None),
    "deleteTask": ("DELETE", "/tasks/{id}", None),
    "showQueue": ("GET", "/queues/{queue}", None),
    "putQueue": ("PUT", "/queues/{queue}", {}),
    "patchQueue": ("PATCH", "/queues/{queue}", {"paused": False}),
    "pauseQueue": ("POST", "/queues/{queue}/pause", None),
    "resumeQueue": ("POST", "/queues/{queue}/resume", None),
    "purgeQueue": ("POST", "/queues/{queue}/purge", None),
    "showGroup": ("GET", "/groups/{group}", None),
    "watchGroup": ("GET", "/groups/{group}/events", None),
    "closeGroup": ("POST", "/groups/{group}/close", None),
    "cancelGroup": ("POST", "/groups/{group}/cancel", None),
    "retryGroup": ("POST", "/groups/{group}/retry", None),
    "showTopic": ("GET", "/topics/{topic}", None),
    "deleteTopic": ("DELETE", "/topics/{topic}", None),
    "publishEvent": ("POST", "/topics/{topic}/events", {"type": "x", "data": 1}),
    "listEndpoints": ("GET", "/topics/{topic}/endpoints", None),
    "putEndpoint": ("PUT", "/topics/{topic}/endpoints/a", {"url": "http://a.example/"}),
    "showEndpoint": ("GET", "/topics/{topic}/endpoints/a", None),
    "deleteEndpoint": ("DELETE", "/topics/{topic}/endpoints/a", None),
    "listDeliveries": ("GET", "/topics/{topic}/endpoints/a/deliveries", None),
    "testEndpoint": ("POST", "/topics/{topic}/endpoints/a/test", None),
    "rotateEndpoint": ("POST", "/topics/{topic}/endpoints/a/rotate", {}),
    "recoverEndpoint": (
        "POST",
        "/topics/{topic}/endpoints/a/recover",
        {"since": "2026-01-01T00:00:00Z"},
    ),
    "showSchedule": ("GET", "/schedules/{schedule}", None),
    "showNextRuns": ("GET", "/schedules/{schedule}/next?count=2", None),
    "patchSchedule": ("PATCH", "/schedules/{schedule}", {"task": {"queue": "mail"}}),
    "deleteSchedule": ("DELETE", "/schedules/{schedule}", None),
    "runSchedule": ("POST", "/schedules/{schedule}/run", None),
}
# What lists and counts: nothing that another client does may change the answers.
LISTED = {
    "listTasks": (
        *("/tasks", "/tasks?queue=shop", "/tasks?tag=n:1", "/tasks?status=PENDING&limit=2"),
        *(f"/tasks?host={HIDDEN}.example", f"/tasks?url_contains={HIDDEN}"),
        *("/tasks?status=CANCELED,FAILED", f"/tasks?tag={HIDDEN}:{HIDDEN}&queue=mail"),
        *("/tasks?order_key=shared", "/tasks?order_key=shared&queue=shop"),
        *("/tasks?error_type=internal", "/tasks?created_after=2020-01-01T00:00:00Z"),
    ),
    "showStatistics": ("/stats", "/stats?queue=shop", "/stats?queue=mail"),
    "showHistory": ("/stats/history", "/stats/history?queue=shop"),
    "showSeries": ("/stats/series?span=90d", "/stats/series?span=90d&queue=shop"),
    "listFailures": ("/failures", "/failures?state=all", "/failures?queue=shop&state=all"),
    "listQueues": ("/queues",),
    "listGroups": ("/groups", "/groups?queue=shop", "/groups?limit=1&status=OPEN"),
    "listTopics": ("/topics", "/topics?limit=1"),
    "listSchedules": ("/schedules", "/schedules?limit=1", "/schedules?cursor=b"),
}
BULK = {"cancelTasks", "retryTasks", "deleteTasks"}
# Tested on their own below, or in test_groups.py, test_topics.py and test_failures.py.
OTHERS = {"showFailure", "addTask", "addTasks", "addGroup", "putTopic", "putSchedule", "watchTasks"}
WHOLE = {
    "listNodes": "/nodes",
    "listHosts": "/hosts",
    "showMetrics": "/metrics",
    "listHeartbeats": "/heartbeats",
    "showHeartbeat": "/heartbeats/backup",
    "showHeartbeatHistory": "/heartbeats/backup/history",
}
# Heartbeats are of no queue: test_heartbeats.py.
# Changes of several resources: test_configuration.py.
WHOLE_WRITES = {
    *("putHeartbeat", "patchHeartbeat", "rotateHeartbeat", "deleteHeartbeat"),
    "applyConfiguration",
}
# They watch all queues, and notify of what they see.
ALERTS = {
    *("putAlert", "patchAlert", "listAlerts", "showAlert", "deleteAlert", "testAlert"),
    *("silenceAlert", "listAlertNotifications"),
}
# For admins alone: test_credentials.py, test_audit.py.
ADMINS = {
    "listAuditEntries",
    "putCredential",
    "listCredentials",
    "showCredential",
    "deleteCredential",
}
# About the service itself, and the same for everybody.
PUBLIC = {
    *("isAlive", "isReady", "describe", "readDocument", "listProblems", "explainProblem"),
    *("showConfiguration", "listPublicKeys"),
}
# Their URLs have a token for one attempt or one heartbeat, and the key of a caller is not read:
# test_completions.py, test_heartbeats.py.
BY_TOKEN = {
    *("completeAttempt", "failAttempt", "extendAttempt"),
    *("pingHeartbeat", "pingHeartbeatWithNote", "signalHeartbeat", "signalHeartbeatWithNote"),
}
PAGES = {
    "/ui": "GET",
    "/ui/live": "stream",
    "/ui/tasks": "GET",
    "/ui/tasks/live": "stream",
    "/ui/many/<string:name>": "many",
    "/ui/selected/<string:name>": "selected",
    "/ui/jump": "jump",
    "/ui/views": "view",
    "/ui/views/delete": "view",
    "/ui/tasks/<task_id>": "GET",
    "/ui/tasks/<task_id>/live": "stream",
    "/ui/tasks/<task_id>/result": "GET",
    "/ui/tasks/<task_id>/preview": "GET",
    "/ui/tasks/<task_id>/cancel": "POST",
    "/ui/tasks/<task_id>/retry": "POST",
    "/ui/tasks/<task_id>/skip": "POST",
    "/ui/tasks/<task_id>/delete": "POST",
    "/ui/queues": "GET",
    "/ui/live/queues": "stream",
    "/ui/queues/<string:name>": "GET",
    "/ui/queues/<string:name>/live": "stream",
    "/ui/queues/<string:name>/pause": "POST",
    "/ui/queues/<string:name>/resume": "POST",
    "/ui/failures": "GET",
    "/ui/failures/<failure_id>": "GET",
    "/ui/groups": "GET",
    "/ui/groups/<group_id>": "GET",
    "/ui/groups/<group_id>/close": "POST",
    "/ui/groups/<group_id>/cancel": "POST",
    "/ui/groups/<group_id>/retry": "POST",
    "/ui/topics": "GET",
    "/ui/topics/<topic>": "GET",
    "/ui/topics/<topic>/endpoints/<name>": "GET",
    "/ui/topics/<topic>/endpoints/<name>/test": "POST",
    "/ui/topics/<topic>/endpoints/<name>/recover": "POST",
    "/ui/topics/<topic>/endpoints/<name>/enable": "POST",
    "/ui/topics/<topic>/endpoints/<name>/disable": "POST",
    "/ui/schedules": "GET",
    "/ui/live/schedules": "stream",
    "/ui/schedules/<string:name>": "GET",
    "/ui/schedules/<string:name>/live": "stream",
    "/ui/schedules/<string:name>/run": "POST",
    "/ui/schedules/<string:name>/pause": "POST",
    "/ui/schedules/<string:name>/resume": "POST",
    "/ui/schedules/<string:name>/delete": "POST",
    "/ui/hosts": "whole",
    "/ui/live/hosts": "whole",
    "/ui/hosts/<string:host>": "whole",
    "/ui/hosts/<string:host>/live": "whole",
    "/ui/nodes": "whole",
    "/ui/live/nodes": "whole",
    "/ui/nodes/<node_id>": "whole",
    "/ui/nodes/<node_id>/live": "whole",
    "/ui/heartbeats": "whole",
    "/ui/live/heartbeats": "whole",
    "/ui/new-heartbeat": "whole",
    "/ui/heartbeats/<string:name>": "whole",
    "/ui/heartbeats/<string:name>/live": "whole",
    "/ui/heartbeats/<string:name>/edit": "whole",
    "/ui/heartbeats/<string:name>/pause": "whole POST",
    "/ui/heartbeats/<string:name>/resume": "whole POST",
    "/ui/heartbeats/<string:name>/rotate": "whole POST",
    "/ui/heartbeats/<string:name>/delete": "whole POST",
    "/ui/submit": "submit",
    "/ui/alerts": "whole",
    "/ui/alerts/<name>": "whole",
    "/ui/alerts/<name>/test": "whole POST",
    "/ui/alerts/<name>/silence": "whole POST",
    "/ui/alerts/<name>/delete": "whole POST",
    "/ui/audit": "admin",
    "/ui/credentials": "admin",
    "/ui/credentials/<name>/delete": "admin",
    "/ui/sign-in": "public",
    "/ui/sign-out": "public",
    "/ui/docs": "public",
    "/ui/assets/<name>": "public",
    "/ui/<path:_>": "public",
    "/": "public",
}


def test_every_route_is_classified():
    """A new route is limited to the queues of a key, or says that it shows the whole service."""
    names = {route.name for route in ROUTES}
    whole = {*WHOLE, *WHOLE_WRITES, *ADMINS, *ALERTS}
    assert names == {*ABSENT, *LISTED, *BULK, *OTHERS, *whole, *PUBLIC, *BY_TOKEN}
    assert {route.name for route in ROUTES if route.has_whole_view} == whole


def test_every_page_is_classified(shared):
    """The pages of the dashboard, too."""
    rules = set()
    with LiveServer(
        database_url=MEMORY_URL,
        configure=lambda app: rules.update(rule.rule for rule in app.url_map.iter_rules()),
    ):
        pass
    assert {rule for rule in rules if rule == "/" or rule.startswith("/ui")} == set(PAGES)


@pytest.mark.parametrize(
    ("scoped", "whole"),
    [
        (ScopedStore, TaskStore),
        (ScopedQueues, QueueStore),
        (ScopedSchedules, ScheduleStore),
        (ScopedGroups, GroupStore),
        (ScopedTopics, TopicStore),
        (ScopedMonitoring, MonitoringStore),
        (ScopedRollups, RollupStore),
        (ScopedFailures, FailureStore),
        (ScopedViews, ViewStore),
    ],
)
def test_the_store_has_no_other_verbs(scoped, whole):
    """Each verb is one of the whole store: none is inherited, so none is without the scope."""
    assert scoped.__bases__ == (object,)
    verbs = {name for name in vars(scoped) if not name.startswith("_")}
    assert verbs <= set(dir(whole))


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_elsewhere_does_not_exist(mail, shop, hidden, hidden_group, hidden_topic, name):
    """The answer is that for something that does not exist, and nothing changes."""
    method, path, document = ABSENT[name]
    headers = PATCH if method == "PATCH" else {}
    places = (f"/tasks/{hidden}", f"/groups/{hidden_group}", "/queues/shop", "/schedules")
    places += (f"/topics/{hidden_topic}", f"/topics/{hidden_topic}/endpoints/a")
    before = [shop.get(one) for one in places]
    answers = []
    for values in (
        {
            "id": hidden,
            "queue": "shop",
            "schedule": "a-shop",
            "group": hidden_group,
            "topic": hidden_topic,
        },
        {
            "id": UNKNOWN,
            "queue": "unknown",
            "schedule": "unknown",
            "group": UNKNOWN,
            "topic": "unknown",
        },
    ):
        answer = mail.ask(method, path.format(**values), document, **headers)
        text = answer.body.decode()
        for value in values.values():
            text = text.replace(value, "X")
        answers.append((answer.status, text, answer.header("etag")))
    assert answers[0] == answers[1]
    assert answers[0][0] == (200 if name == "purgeQueue" else 404)
    after = [shop.get(one) for one in places]
    assert without_ages(after) == without_ages(before)


def without_ages(document: object) -> str:
    text = json.dumps(document)
    return re.sub(r'("oldest_waiting_seconds": )[0-9.]+', r"\1X", text)


def seen_by(client: Client) -> list[object]:
    """Everything that a client can list."""
    seen: list[object] = []
    for paths in LISTED.values():
        for path in paths:
            answer = client.ask("GET", path)
            assert answer.status == 200, (path, answer)
            text = without_ages(answer.json)
            seen.append((path, re.sub(r'"at": "[^"]*"', "", text), answer.header("link")))
    seen.append(client.ask("GET", "/tasks", accept="application/x-ndjson").body)
    seen.append(client.ask("GET", "/tasks?tag=n:1", accept="application/x-ndjson").body)
    for action in ("cancel", "retry", "delete"):
        document = {"all": True, "dry_run": True}
        seen.append(client.ask("POST", f"/tasks/{action}", document).json)
    return seen


def test_nothing_that_others_do_is_seen(mail, shop, boss, hidden):
    """Whatever happens in another queue, all lists, counts, cursors and exports stay the same."""
    before = seen_by(mail)
    assert HIDDEN not in re.sub(r"/tasks\?[^']*", "", str(before))
    assert '"shop"' not in str([one for one in before if "queue=shop" not in str(one)])
    for number in range(12):
        shop.add("shop", f"https://{HIDDEN}.example/{number}", tags={"n": 1})
    failed = [boss.add("free", "no url", tags={"n": 1}) for _ in range(3)]
    for task_id in failed:
        boss.ask("GET", f"/tasks/{task_id}?wait=60")
    canceled = shop.add("shop")
    assert shop.ask("POST", f"/tasks/{canceled}/cancel").status == 200
    assert shop.ask("PATCH", "/queues/shop", {"rate": 9}, **PATCH).status == 200
    assert seen_by(mail) == before
    assert shop.get("/stats")["total"]["counts"]["PENDING"] == 13
    counts = mail.get("/stats")
    assert counts["total"]["counts"]["PENDING"] == 3
    assert [queue["queue"] for queue in counts["queues"]] == ["mail"]
    assert [queue["name"] for queue in mail.get("/queues")] == ["mail"]
    assert [one["name"] for one in mail.get("/schedules")] == ["b-mail"]
    assert mail.ask("GET", "/schedules?limit=1").header("link") is None
    assert boss.get("/stats")["total"]["counts"]["PENDING"] >= 16


def test_pages_are_complete_and_their_cursors_are_own_ids(mail, shop, boss):
    """With tasks of others in between."""
    own = []
    for number in range(8):
        own.append(mail.add(f"reports-{number % 3}", run_at="2999-01-01T00:00:00Z"))
        shop.add("shop")
    for filters in ("", "&status=PENDING"):
        path, found = f"/tasks?limit=3{filters}", []
        while path:
            answer = mail.ask("GET", path)
            found += [task["id"] for task in answer.json if task["queue"] != "mail"]
            link = answer.header("link") or ""
            path = link.partition(">")[0].removeprefix("<")
            if path:
                cursor = re.search("cursor=([^&]+)", path)[1]
                last = uuid.UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
                assert boss.get(f"/tasks/{last}")["queue"] != "shop"
        assert found == own[::-1]
    assert mail.ask("POST", "/tasks/cancel", {"queue": "reports-1"}).json["count"] == 3
    assert mail.ask("POST", "/tasks/delete", {"status": "CANCELED"}).json["count"] == 3


@pytest.mark.parametrize("action", ["cancel", "retry", "delete"])
@pytest.mark.parametrize("selection", [{"all": True}, {"queue": "shop"}, {"tags": {"n": 1}}])
def test_bulk_actions_stay_in_the_queues(shared, boss, shop, hidden, action, selection):
    """Also if a filter names another queue."""
    reader = Client(shared, "mail")
    before = boss.get("/tasks?queue=shop")
    assert reader.ask("POST", f"/tasks/{action}", {**selection, "dry_run": True}).status == 200
    if selection != {"tags": {"n": 1}} and action != "cancel":
        assert reader.ask("POST", f"/tasks/{action}", selection).status == 200
    answer = reader.ask("POST", f"/tasks/{action}", {"queue": "shop"})
    assert (answer.status, answer.json["count"]) == (200, 0)
    assert boss.get("/tasks?queue=shop") == before


@pytest.mark.parametrize("fields", [{"queue": "shop"}, {"queue": "mailx"}, {}, {"queue": "report"}])
def test_submissions_go_to_own_queues(mail, boss, fields):
    """A 403 that names the queues of the key, whether or not the other queue exists."""
    count = len(boss.get("/tasks?limit=1000"))
    answer = mail.ask("POST", "/tasks", {"payload": 1, **fields})
    queue = fields.get("queue", "default")
    check_problem(answer, 403, "mail,reports-*", f"goes to {queue}")
    own = {"payload": 1, "queue": "mail"}
    check_problem(mail.ask("POST", "/tasks", [own, {"payload": 1, **fields}]), 403, queue)
    schedule = {"every_seconds": 60, "task": {"payload": 1, **fields}}
    check_problem(mail.ask("PUT", "/schedules/new", schedule), 403, queue)
    if fields:
        moved = mail.ask("PATCH", "/schedules/b-mail", {"task": fields}, **PATCH)
        check_problem(moved, 403, queue)
    assert len(boss.get("/tasks?limit=1000")) == count
    assert mail.get("/schedules/b-mail")["task"]["queue"] == "mail"


def test_lines_of_a_stream(mail, boss):
    """A line for another queue is rejected, and the others are stored."""
    lines = [{"payload": 1, "queue": queue} for queue in ("reports-x", "shop", "reports-x")]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    answer = mail.ask("POST", "/tasks", body, content_type="application/x-ndjson")
    outcomes = [json.loads(line) for line in answer.body.splitlines()]
    assert [outcome.get("error", {}).get("status") for outcome in outcomes[:3]] == [None, 403, None]
    assert (outcomes[3]["accepted"], outcomes[3]["rejected"]) == (2, 1)
    for outcome in (outcomes[0], outcomes[2]):
        boss.ask("GET", f"/tasks/{outcome['id']}?wait=60")
        assert mail.ask("DELETE", f"/tasks/{outcome['id']}").status == 204


def test_a_name_that_is_taken(mail, shop, hidden):
    """The schedule of another client stays, and its masked values are not used."""
    mine = {"every_seconds": 60, "task": {"payload": 1, "queue": "mail"}}
    check_problem(mail.ask("PUT", "/schedules/a-shop", mine), 403, "this name")
    assert shop.get("/schedules/a-shop")["task"] == {"payload": HIDDEN, "queue": "shop"}


def test_a_schedule_that_was_moved(mail, shop, boss):
    """Its last task is still in the other queue, and hidden."""
    body = {"every_seconds": 3600, "paused": True, "task": {"payload": 1, "queue": "shop"}}
    assert shop.ask("PUT", "/schedules/moved", body).status == 201
    task_id = shop.ask("POST", "/schedules/moved/run").json["id"]
    assert shop.get("/schedules/moved")["last_task_id"] == task_id
    moved = boss.ask("PATCH", "/schedules/moved", {"task": {"queue": "reports-m"}}, **PATCH)
    assert moved.json["last_task_id"] == task_id
    assert shop.ask("GET", "/schedules/moved").status == 404
    for shown in (mail.get("/schedules/moved"), mail.get("/schedules?cursor=m")[0]):
        assert shown["name"] == "moved"
        assert (shown["last_task_id"], shown["last_task_status"]) == (None, None)
    assert mail.ask("DELETE", "/schedules/moved").status == 204


def test_a_session_has_the_queues_of_its_key(mail, hidden):
    """Signing in gives no more than the key."""
    form = {"content-type": "application/x-www-form-urlencoded", "origin": mail.server.url}
    answer = mail.server.ask("POST", "/ui/sign-in", f"key={KEYS['mail']}".encode(), form)
    cookie = {"cookie": answer.header("set-cookie").partition(";")[0]}
    page = mail.server.ask("GET", "/ui/tasks", headers=cookie)
    assert page.status == 200
    assert HIDDEN not in page.body.decode()
    assert mail.server.ask("GET", f"/ui/tasks/{hidden}", headers=cookie).status == 404


def test_idempotency_keys_do_not_collide(mail, shop):
    """Each client has its own, and a replay is the client's own task."""
    made = [
        client.ask("POST", "/tasks", {"payload": 1, "queue": queue}, idempotency_key="same")
        for client, queue in ((mail, "reports-i"), (shop, "shop"), (mail, "reports-i"))
    ]
    assert [answer.status for answer in made] == [201, 201, 200]
    assert made[0].json["id"] == made[2].json["id"] != made[1].json["id"]
    other = mail.ask("POST", "/tasks", {"payload": 1, "queue": "shop"}, idempotency_key="same")
    check_problem(other, 403)
    mail.ask("GET", f"/tasks/{made[0].json['id']}?wait=60")
    assert mail.ask("DELETE", f"/tasks/{made[0].json['id']}").status == 204


@pytest.mark.parametrize("name", WHOLE)
def test_what_shows_the_whole_service_is_refused(mail, boss, name):
    assert boss.ask("PUT", "/heartbeats/backup", {"every_seconds": 60}).status in (200, 201)
    check_problem(mail.ask("GET", WHOLE[name]), 403, "all queues")
    assert boss.ask("GET", WHOLE[name]).status == 200


def test_events(mail, shop, boss):
    """A stream has the events of own queues, and ids that count no others; it can be resumed."""
    with (
        open_stream(mail.server.url, "/events", headers=mail.headers) as mine,
        open_stream(mail.server.url, "/events", headers=boss.headers) as all_events,
    ):
        mine.begin()
        all_events.begin()
        for number in range(3):
            shop.add("shop")
            mail.add("mail", f"https://mail.example/event-{number}", tags={"event": 1})
        found = mine.take(3)
        whole = all_events.take(6)
    assert [message.json["queue"] for message in found] == ["mail"] * 3
    positions = {message.json["task_id"]: int(message.last_event_id) for message in whole}
    for message in found:
        assert message.last_event_id == str(message.json["id"])
        assert int(message.last_event_id) != positions[message.json["task_id"]]
    gaps = {int(two.last_event_id) - int(one.last_event_id) for one, two in pairwise(found)}
    assert not gaps & {1, 2}
    after = found[0].last_event_id
    for path in ("/events", "/events?queue=mail"):
        with open_stream(mail.server.url, path, after=after, headers=mail.headers) as resumed:
            assert [one.data for one in resumed.take(2)] == [one.data for one in found[1:]]
    with open_stream(
        mail.server.url, "/events?queue=shop", after="1", headers=mail.headers
    ) as nothing:
        nothing.begin()
        shop.add("shop")
        last = mail.add("mail", tags={"event": 1})
        with open_stream(mail.server.url, f"/tasks/{last}/events", headers=mail.headers) as one:
            assert one.take(1)[0].json["task_id"] == last
    assert mail.ask("POST", "/tasks/cancel", {"tags": {"event": 1}}).json["count"] == 4
    assert mail.ask("POST", "/tasks/delete", {"tags": {"event": 1}}).json["count"] == 4


@pytest.mark.parametrize("rule", [rule for rule, kind in PAGES.items() if kind != "public"])
def test_pages_of_the_dashboard(  # noqa: PLR0912, PLR0915 - a case for each kind of page
    mail, shop, hidden, hidden_group, hidden_topic, rule
):
    """They show nothing of other queues, and change nothing there."""
    names = {"<string:name>": "a-shop" if "schedules" in rule else "shop", "<task_id>": hidden}
    names |= {"<group_id>": hidden_group, "<topic>": hidden_topic, "<name>": "a"}
    names["<failure_id>"] = UNKNOWN  # of another key: test_failures.py
    if PAGES[rule] in ("many", "selected"):
        names["<string:name>"] = "cancel"
    path = rule
    for parameter, value in names.items():
        path = path.replace(parameter, value)
    before = shop.get(f"/tasks/{hidden}"), without_ages(shop.get("/queues/shop"))
    form = {"content-type": "application/x-www-form-urlencoded"}
    match PAGES[rule]:
        case "stream":
            with open_stream(mail.server.url, path, headers=mail.headers) as stream:
                answer_text = stream.take(1)[0].data
            assert hidden not in answer_text
        case "submit":
            answer_text = mail.ask("GET", f"{path}?from={hidden}").body.decode()
            copied = f"url=https://a.example/&queue=shop&from={hidden}".encode()
            answer = mail.ask("POST", path, copied, **form)
            assert answer.status == 403
        case "many":
            answer = mail.ask("POST", f"{path}?queue=shop", b"", **form)
            answer_text = mail.ask("GET", path).body.decode()
            assert answer.status == 200
        case "selected":
            chosen = f"id={hidden}&confirmed=yes".encode()
            answer_text = mail.ask("POST", path, chosen, **form).body.decode()
            assert "0 tasks canceled" in answer_text
        case "jump":
            answer = mail.ask("GET", f"{path}?id={hidden}")
            answer_text = answer.header("location")
            assert answer_text == f"/ui/tasks?id_prefix={hidden}"
        case "view":
            answer = mail.ask("POST", path, b"name=a&query=", **form)
            answer_text = answer.body.decode()
            assert answer.status == 403
        case "POST":
            answer = mail.ask("POST", path, b"", **form)
            answer_text = answer.body.decode()
            assert answer.status == (303 if path.endswith("/delete") else 404)
        case "whole" | "whole POST":
            method = "POST" if PAGES[rule] == "whole POST" else "GET"
            answer = mail.ask(method, path, b"" if method == "POST" else None, **form)
            answer_text = answer.body.decode()
            assert answer.status == 403
            assert "all queues" in answer_text
        case "admin":
            answer_text = mail.ask("GET", path).body.decode()
            assert "needs a key with the role admin" in answer_text
        case _:
            answer = mail.ask("GET", path)
            answer_text = answer.body.decode()
            others = (hidden, hidden_group, "a-shop", "queues/shop", UNKNOWN)
            is_hidden = any(name in path for name in others)
            assert answer.status == (404 if is_hidden else 200)
    for word in (HIDDEN, "a-shop", "c-shop", "shop</a>"):
        assert word not in answer_text
    assert (shop.get(f"/tasks/{hidden}"), without_ages(shop.get("/queues/shop"))) == before


@pytest.mark.parametrize("path", ["/ui/queues/shop", "/ui/schedules/a-shop"])
@pytest.mark.parametrize("preview", ["", "&preview=yes"])
def test_forms_for_others_change_nothing(mail, shop, hidden, path, preview):
    """The answer is that for something that does not exist."""
    before = without_ages(shop.get("/queues/shop")), shop.get("/schedules/a-shop")
    form = f"max_concurrency=7&every_seconds=77{preview}".encode()
    answer = mail.ask("POST", path, form, content_type="application/x-www-form-urlencoded")
    assert answer.status == 404
    assert (without_ages(shop.get("/queues/shop")), shop.get("/schedules/a-shop")) == before


def test_the_overview_counts_own_tasks(mail, boss):
    text = mail.ask("GET", "/ui").body.decode()
    pending = mail.get("/stats")["total"]["counts"]["PENDING"]
    assert f"<b>{pending}</b>pending" in text
    for section in ("Nodes", "Slow and failing hosts"):
        assert section not in text
        assert section in boss.ask("GET", "/ui").body.decode()
