"""A key for some queues learns nothing of the others, whatever it asks.

Requests are made up from the document, aimed at what the client has and at what another client has,
and sent to two services: one with the data of both, one with the client's own alone. The answers
must be the same, apart from ids and times.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator

import pytest
from quart_trio import QuartTrio

from taskflow.model.queue_limits import QueueSettings, Rate
from taskflow.service import MEMORY_URL
from taskflow.serving.shutdown import Shutdown
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore
from tests.api.conftest import open_database
from tests.api.live import LiveServer
from tests.fuzz.fuzzer import Length, fuzz
from tests.fuzz.idle import fill, idle_app
from tests.fuzz.twins import NEW_TASK, Twins

KEYS = {name: f"key-of-{name}-0123456789" for name in ("boss", "mail", "shop")}
SETTING = ",".join(
    (
        f"boss:admin:{KEYS['boss']}",
        f"mail:write:queues=mail,reports-*:{KEYS['mail']}",
        f"shop:write:queues=shop:{KEYS['shop']}",
    )
)
HIDDEN = "hidden-word"
MAX_EXAMPLES = 1
"""Number of random requests of an operation and kind in a short run."""


@contextlib.asynccontextmanager
async def open_with_others(settings: Settings, _: Shutdown) -> AsyncIterator[QuartTrio]:
    async with idle_app(settings, fill_both) as app:
        yield app


@contextlib.asynccontextmanager
async def open_alone(settings: Settings, _: Shutdown) -> AsyncIterator[QuartTrio]:
    async with idle_app(settings, fill_own) as app:
        yield app


async def fill_own(store: TaskStore) -> None:
    await fill(store, "mail")
    await store.queues.put("mail", QueueSettings(paused=True, rate=Rate(7.0)))


async def fill_both(store: TaskStore) -> None:
    hidden = json.dumps(f"https://{HIDDEN}.example/").encode()
    await fill(store, "shop", hidden)
    await fill_own(store)
    await fill(store, "shop", hidden)
    await store.queues.put("shop", QueueSettings(paused=True, rate=Rate(9.0)))


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.long), "postgres"])
def services(request: pytest.FixtureRequest) -> Iterator[tuple[LiveServer, LiveServer]]:
    """A service with the data of both clients, and one with that of one client."""
    with contextlib.ExitStack() as stack:

        def start(open_app) -> LiveServer:
            url = MEMORY_URL
            if request.param == "postgres":
                server = request.getfixturevalue("postgres_server")
                url = stack.enter_context(open_database(server))
            return stack.enter_context(
                LiveServer(database_url=url, open_app=open_app, api_keys=SETTING)
            )

        yield start(open_with_others), start(open_alone)


def ask(server: LiveServer, key: str, path: str, method: str = "GET", document: object = None):
    body = None if document is None else json.dumps(document).encode()
    headers = {"authorization": f"Bearer {KEYS[key]}", "content-type": "application/json"}
    return server.ask(method, path, body, headers)


def held_by_others(server: LiveServer) -> object:
    """All that the other client has."""
    paths = ("/tasks?limit=1000", "/queues/shop", "/schedules", "/stats/history")
    seen = [ask(server, "shop", path) for path in paths]
    assert {answer.status for answer in seen} == {200}
    tasks, queue, schedules, _ = [answer.json for answer in seen]
    assert len(tasks) == 10
    assert len(schedules) == 2
    queue["oldest_waiting_seconds"] = None
    attempts = [ask(server, "shop", f"/tasks/{task['id']}/attempts").json for task in tasks]
    return tasks, {**queue, "finished": None}, schedules, attempts


def cursor_of(task_id: str) -> str:
    return urlsafe_b64encode(uuid.UUID(task_id).bytes).decode().rstrip("=")


@pytest.mark.long
def test_nothing_of_another_client(services, length, tmp_path):
    """No answer tells whether the data of another client exists, and none of it changes."""
    both, _ = services
    for name in ("a-shop", "c-shop"):
        template = {"payload": HIDDEN, "queue": "shop"}
        schedule = {"every_seconds": 3600, "paused": True, "task": template}
        assert ask(both, "shop", f"/schedules/{name}", "PUT", schedule).status == 201
    before = held_by_others(both)
    others = [task["id"] for task in before[0]]
    new_task = json.dumps({"payload": "http://x.example/", "queue": "mail"}).encode()
    with Twins(*(service.url for service in services), new_task) as twins:
        key = {"authorization": f"Bearer {KEYS['mail']}"}
        own = [task["id"] for task in twins.ask("GET", "/tasks", None, key).json]
        assert len(own) == 5
        aims = {
            "tasks.id": [one for other in others for one in (other, NEW_TASK)],
            "queues.name": ["shop", "mail", "unknown"],
            "schedules.name": ["a-shop", "b-mail", "c-shop"],
            # That a name is taken is known: schedules share one set of names.
            "PUT schedules.name": ["b-mail", "d-mail"],
            "queue": ["mail", "shop", "reports-x"],
            "cursor": [cursor_of(one) for one in (*others, *own)],
            "url_contains": [HIDDEN, "URL"],
            "host": [f"{HIDDEN}.example", "x.example"],
        }
        report = fuzz(
            twins.url,
            length if length.is_long else Length(examples=MAX_EXAMPLES),
            tmp_path,
            modes=("examples", "fuzzing"),
            key=KEYS["mail"],
            checks="not_a_server_error",
            aims=aims,
        )
    print(report.text, twins.statuses, *twins.differences, sep="\n")
    assert report.code == 0, report.text
    assert twins.differences == []
    assert not [text for text in twins.answers if HIDDEN in text]
    assert held_by_others(both) == before
    assert min(twins.statuses[status] for status in (200, 201, 204, 403, 404, 422)) > 0
