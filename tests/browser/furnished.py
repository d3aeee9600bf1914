"""A service with something to show on each page of the dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.browser.furnished_past import add_past
from tests.browser.target import SlowTarget
from tests.service.processes import wait_until

LATER = {"delay_seconds": 86_400}
FAILING_HOST = "billing.example.com"
PATIENCE_SECONDS = 90.0
JSON = {"content-type": "application/json"}


class Furnished(NamedTuple):
    """The service, and the ids that paths of its pages contain, by name."""

    server: LiveServer
    ids: dict[str, str]


@contextmanager
def open_furnished(postgres_server: str, target: SlowTarget) -> Iterator[Furnished]:
    """A service with tasks of several kinds, their failures, and the past of a busy service."""
    with open_database(postgres_server) as url, LiveServer(database_url=url) as server:
        _put_settings(server, target.url)
        ids = {
            **_add_tasks(server, target.url),
            **_add_group(server),
            **_add_topic(server, target.url),
        }
        ids["failure"] = _add_failures(server, target.url)
        _add_views(server)
        _add_alerts(server, target.url)
        _add_heartbeats(server)
        ids["host"] = target.authority
        add_past(url, target.authority, FAILING_HOST, (ids["fine"], ids["failed"], ids["image"]))
        ids["node"] = server.ask("GET", "/nodes").json[0]["id"]
        yield Furnished(server, ids)


def _put(server: LiveServer, path: str, body: object) -> None:
    answer = server.ask("PUT", path, json.dumps(body).encode())
    assert answer.status == 201, answer


def _post(server: LiveServer, path: str, body: object) -> Any:
    answer = server.ask("POST", path, json.dumps(body).encode())
    assert answer.status == 201, answer
    return answer.json


def _put_settings(server: LiveServer, url: str) -> None:
    rate = {"per_second": 5, "burst": 10}
    limits = {"rate": rate, "max_concurrency": 3, "per_host": {"max_concurrency": 2}}
    _put(server, "/queues/mail", limits)
    _put(server, "/queues/reports", {"paused": True})
    task = {"payload": f"{url}/reports/daily"}
    cron = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "task": task}
    _put(server, "/schedules/nightly-report", cron)
    _put(server, "/schedules/heartbeat", {"every_seconds": 300, "task": task})
    token = {"kind": "bearer", "token": "a-token-for-tests", "hosts": ["example.com"]}
    _put(server, "/credentials/shop", token)


def _add_tasks(server: LiveServer, url: str) -> dict[str, str]:
    for number in range(12):
        _post(server, "/tasks", {"payload": f"{url}/orders/{4700 + number}", "queue": "orders"})
    backoff = {"max_attempts": 4, "backoff": [0.2, 0.4, 0.6]}
    ordered = {"payload": f"{url}/down", "queue": "orders", "order_key": "4711"}
    _post(server, "/tasks", {**ordered, "on_failure": "hold"})
    request = {"method": "POST", "headers": {"X-Shop": "7"}, "body": {"order": 4711, "total": 12.5}}
    failing = {
        "queue": "orders",
        "max_attempts": 3,
        "backoff": [0.3, 0.6],
        "tags": {"customer": 42},
    }
    tasks = {
        "held": {"payload": f"{url}/reports/weekly", "queue": "reports"},
        "invalid": {"payload": "htp://example.com/typo", "queue": "mail"},
        "retried": {"payload": f"{url}/down", "queue": "mail", **backoff},
        "later": {"payload": f"{url}/orders/1", "queue": "later", **LATER},
        "behind": ordered,
        "image": {"payload": f"{url}/image", "queue": "images"},
        "failed": {"payload": {"url": f"{url}/down", **request}, **failing},
        "fine": {"payload": {"url": f"{url}/orders/4711", **request}, "queue": "orders"},
    }
    ids = {name: _post(server, "/tasks", task)["id"] for name, task in tasks.items()}
    for name in ("invalid", "retried", "image", "failed", "fine"):
        server.wait(ids[name])
    child = {"payload": f"{url}/orders/2", "queue": "orders", "after": [ids["later"]]}
    return {**ids, "child": _post(server, "/tasks", child)["id"]}


def _add_group(server: LiveServer) -> dict[str, str]:
    tasks = [{"payload": "x:"}, {"payload": "y:", **LATER}]
    return {"group": _post(server, "/groups", {"name": "import of May", "tasks": tasks})["id"]}


def _add_topic(server: LiveServer, url: str) -> dict[str, str]:
    _put(server, "/topics/orders", {})
    _put(server, "/topics/orders/endpoints/billing", {"url": f"{url}/hook", "max_attempts": 1})
    [task_id] = _post(server, "/topics/orders/events", {"type": "invoice.paid", "data": 1})["tasks"]
    server.wait(task_id)
    return {"delivery": task_id}


def _add_failures(server: LiveServer, url: str) -> str:
    """Add tasks that fail for several causes; return the id of the failure of most of them."""
    failing = {"queue": "mail", "success_on": [204], "tags": {"customer": 7}}
    tasks = [{"payload": f"{url}/newsletter/{n}", **failing} for n in range(23)]
    tasks += [
        {"payload": f"{url}/images/{n}", "queue": "images", "success_on": [201]} for n in (1, 2)
    ]
    added = server.ask("POST", "/tasks/batch", json.dumps(tasks).encode(), JSON)
    assert added.status == 201, added
    for task in added.json:
        server.wait(task["id"])
    held = {"payload": f"https://{FAILING_HOST}/invoices", "queue": "orders", **LATER}
    for _ in range(3):
        _post(server, "/tasks", held)
    query = "/failures?queue=mail&error_type=http_status"
    wait_until(
        lambda: [one["failed"] for one in server.ask("GET", query).json][:1] == [23],
        PATIENCE_SECONDS,
    )
    return str(server.ask("GET", query).json[0]["id"])


def _add_views(server: LiveServer) -> None:
    for view in (
        "name=Failed+mail&query=queue%3Dmail%26status%3DFAILED",
        "name=Held&query=state%3Dheld",
    ):
        assert server.ask("POST", "/ui/views", view.encode()).status == 303


def _add_alerts(server: LiveServer, url: str) -> None:
    to = [{"kind": "webhook", "url": f"{url}/alerts"}]
    _put(server, "/alerts/failed-mail", {"on": "task_failed", "queue": "mail", "to": to})
    _put(server, "/alerts/lost-nodes", {"on": "node_lost", "to": to})
    late = {"on": "oldest_waiting", "after_seconds": 86_400, "to": to}
    _put(server, "/alerts/late-orders", {**late, "queue": "orders"})
    wait_until(lambda: _is_firing(server), PATIENCE_SECONDS)


def _is_firing(server: LiveServer) -> bool:
    return bool(server.ask("GET", "/alerts/failed-mail").json["status"] == "firing")


def _add_heartbeats(server: LiveServer) -> None:
    pings = {"backup": ("/start", "", "/start", "/0", "/0"), "sync": ("/0", "/3"), "report": ()}
    for name, signals in pings.items():
        fields = {"cron": "30 2 * * *", "description": f"Nightly {name}"}
        answer = server.ask("PUT", f"/heartbeats/{name}", json.dumps(fields).encode())
        assert answer.status == 201, answer
        for signal in signals:
            ping = urlsplit(answer.json["ping_url"]).path + signal
            assert server.ask("GET", ping).status == 204
