"""Large results, crowds of clients and very many rows do not hold the event loop for long.

Measured as in ``test_event_loop``, which has the bound.
"""

from __future__ import annotations

import contextlib
import functools
import json
import selectors
import time
from collections.abc import Iterator

import pytest

from taskflow.service import MEMORY_URL
from tests.api.client import Connection
from tests.api.target import RawTarget
from tests.api.test_event_loop import STORES, Measured, measuring
from tests.api.worst import Asked
from tests.api.worst_answers import MIB, answer, bodies, heads

CLIENTS = 300
LATER = b'{"payload": {"url": "http://a.invalid/", "body": "%b"}, "delay_seconds": 86400%b}'
TAGS = b", ".join(b'"%03d": "%b"' % (number, b"v" * 200) for number in range(16))
QUIET_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
GZIP = {"accept-encoding": "gzip"}
LINES = {"accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """A server on the store in memory, where all of the work is done by the event loop."""
    with measuring(MEMORY_URL) as measured:
        yield measured


@pytest.fixture(scope="module")
def raw_target() -> Iterator[RawTarget]:
    """A target with the worst answers."""
    answers = {f"/{name}": answer for name, answer in (bodies() | heads()).items()}
    with RawTarget(answers | {"/received": answer()}) as target:
        yield target


@pytest.mark.long
@pytest.mark.parametrize("kind", ["memory", "postgres"])
def test_results(kind, database_uri, raw_target):
    """The worst responses are fetched, stored, sent to callbacks, and shown everywhere."""
    with measuring(MEMORY_URL if kind == "memory" else database_uri) as measured:
        for name in bodies():
            show(measured, name, run(measured, raw_target, name))
        for target in ("/tasks?limit=1000", "/tasks?url_contains=a", "/ui/tasks?limit=1000"):
            for head in (GZIP, LINES, GZIP | LINES):
                measured.check(Asked(target, "GET", target, None, head))


def test_heads(measured, raw_target):
    """The worst heads of responses, and redirects."""
    for name in heads():
        run(measured, raw_target, name)


def run(measured: Measured, target: RawTarget, name: str) -> dict:
    """Run a task and its callback, and return it at its end."""
    task = {"payload": f"{target.url}/{name}", "callback_url": f"{target.url}/received"}
    ended = []

    def fetch() -> None:
        added = measured.server.post(json.dumps(task).encode()).json
        ended.append(measured.server.wait(added["id"]))
        measured.server.wait(ended[-1]["callback_id"])

    measured.watch(f"fetch {name}", fetch)
    return ended[-1]


def show(measured: Measured, name: str, task: dict) -> None:
    """Read a task and its callback in all ways."""
    for task_id in (task["id"], task["callback_id"]):
        for target in (
            *(f"/tasks/{task_id}", f"/tasks/{task_id}/attempts", f"/tasks/{task_id}/result"),
            *(f"/ui/tasks/{task_id}", f"/ui/submit?from={task_id}"),
        ):
            measured.check(Asked(f"{name}: {target}", "GET", target, None, GZIP))


def test_waiting(measured, raw_target):
    """Very many clients wait for one task with a large result."""
    server = measured.server
    task = {"payload": f"{raw_target.url}/members", "delay_seconds": 1}

    def wait() -> None:
        task_id = server.post(json.dumps(task).encode()).json["id"]
        with clients(measured, CLIENTS) as waiting:
            for client in waiting:
                client.send(head_of(client, f"/tasks/{task_id}?wait=60"))
            assert server.wait(task_id)["status"] == "COMPLETED"
            read_all(waiting, more_than=CLIENTS * 900_000)

    measured.watch("clients that wait", wait)


@pytest.mark.long
def test_watching(measured):
    """Very many clients watch all tasks while a thousand are added."""
    tasks = b"[%b]" % b",".join([LATER % (b"", b"")] * 1000)

    def watch() -> None:
        with clients(measured, CLIENTS) as watching:
            for client in watching:
                client.send(head_of(client, "/events"))
            read_all(watching, more_than=CLIENTS * 100)
            assert measured.server.post(tasks).status == 201
            read_all(watching, more_than=CLIENTS * 1000 * 100)

    measured.watch("clients that watch", watch)


def test_catching_up(measured):
    """A client that comes back reads thousands of large events, or finds none among them."""
    task = LATER % (b"", b', "tags": {%b}' % TAGS)
    for _ in range(3):
        assert measured.server.post(b"[%b]" % b",".join([task] * 1000)).status == 201

    def catch_up(query: str) -> None:
        with clients(measured, 1) as [client]:
            client.send(head_of(client, f"/events{query}", "last-event-id: 1"))
            read_all([client], more_than=0 if query else 3000 * 3000)

    for query in ("", "?tag=000:none", "?queue=none"):
        measured.watch(f"catching up {query}", functools.partial(catch_up, query))


def test_bulk_actions(measured):
    """Tasks with large payloads and callbacks are canceled, retried and deleted."""
    more = b', "queue": "bulk", "callback_url": "http://a.invalid/"'

    def act() -> None:
        for _ in range(60):
            assert measured.server.post(LATER % (b"x" * 1_000_000, more)).status == 201
        for verb in ("cancel", "retry", "cancel", "delete"):
            done = measured.server.ask("POST", f"/tasks/{verb}", b'{"queue": "bulk"}')
            assert done.json["count"] == 60
        for verb in ("cancel", "delete"):
            measured.server.ask("POST", f"/tasks/{verb}", b'{"queue": "callbacks"}')

    measured.watch("bulk actions", act)


@pytest.mark.long
def test_schedules():
    """A thousand schedules are due at the same moments, whenever they were made."""
    task = {"payload": "http://a.invalid/", "delay_seconds": 86400}
    schedule = {"every_seconds": 5, "start_at": "2026-01-01T00:00:00Z", "task": task}
    body = json.dumps(schedule).encode()
    with measuring(MEMORY_URL) as measured:
        measured.watch("schedules", lambda: fire_schedules(measured, body))
        measured.check(Asked("schedules", "GET", "/schedules?limit=1000", None, GZIP))


def fire_schedules(measured: Measured, body: bytes) -> None:
    """Create schedules that are due at once, and wait until the last has fired."""
    with measured.server.connect() as connection:
        for number in range(1000):
            assert connection.ask("PUT", f"/schedules/s{number}", body).status in (200, 201)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not measured.server.ask("GET", "/schedules/s999").json["last_run_at"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("kind", STORES)
def test_queues(kind, database_uri):
    """Each of ten thousand tasks has a queue of its own, and all are due."""
    tasks = b",".join(
        b'{"payload": "http://h%d.invalid/", "queue": "q%d"}' % (number, number)
        for number in range(10_000)
    )
    with measuring(MEMORY_URL if kind == "memory" else database_uri, workers=1) as measured:
        measured.server.ask("PUT", "/queues/q1", b'{"max_concurrency": 1}')

        def submit() -> None:
            assert measured.server.post(b"[%b]" % tasks).status == 201

        measured.watch("an array with queues", submit)
        for target in ("/metrics", "/stats", "/queues", "/hosts", "/ui", "/tasks?limit=1000"):
            measured.check(Asked(target, "GET", target, None, GZIP))


def test_first_use():
    """What is built when it is first asked for."""
    with measuring(MEMORY_URL) as measured:
        for target in ("/docs", "/openapi.json", "/ui", "/ui/tasks", "/ui/submit", "/metrics"):
            measured.check(Asked(target, "GET", target, None, {"accept": "*/*"}))


@contextlib.contextmanager
def clients(measured: Measured, count: int) -> Iterator[list[Connection]]:
    """Connections of very many clients."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(measured.server.connect()) for _ in range(count)]


def head_of(client: Connection, target: str, *more: str) -> bytes:
    """A request without a body."""
    lines = (f"GET {target} HTTP/1.1", f"host: {client.host}", *more, "", "")
    return "\r\n".join(lines).encode()


def read_all(connections: list[Connection], *, more_than: int) -> None:
    """Read more than so many bytes, and then until nothing comes for some time."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ)
        count, last = 0, time.monotonic()
        while time.monotonic() < last + (PATIENCE_SECONDS if count <= more_than else QUIET_SECONDS):
            for key, _ in selector.select(QUIET_SECONDS):
                data = key.fileobj.recv(MIB)
                if not data:
                    selector.unregister(key.fileobj)
                count, last = count + len(data), time.monotonic()
    assert count > more_than
