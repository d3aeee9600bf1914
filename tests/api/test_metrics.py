"""``GET /metrics``: who may ask, and what it says of tasks, with and without its store."""

from __future__ import annotations

import psycopg
import pytest

from taskflow.api import problems
from taskflow.api.app import create_app
from taskflow.metrics import Metrics
from taskflow.metrics.catalogue import CATALOGUE, CELL_HAS_NODES, CELL_UP, Kind
from taskflow.model.errors import StoreUnavailable
from taskflow.model.task import TaskStatus
from taskflow.service import MEMORY_URL
from taskflow.settings import Settings
from taskflow.store.memory.store import MemoryStore
from tests.api.client import check_problem
from tests.api.live import LiveServer
from tests.metrics.scrape import Scrape, promtool
from tests.service.processes import wait_until

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
KEYS = "reader:read:a-key-that-may-read-only,writer:a-key-that-may-write-too"


def scrape(server: LiveServer, **headers: str) -> Scrape:
    answer = server.ask("GET", "/metrics", headers=headers)
    assert (answer.status, answer.header("content-type")) == (200, PLAIN)
    return Scrape(answer.body.decode())


@pytest.fixture
def server(empty_url):
    """A server of each store with nothing in it."""
    with LiveServer(database_url=empty_url) as server:
        yield server


def test_every_metric_is_exposed(server):
    """All metrics of the catalogue are exposed, except those of cells, and no others."""
    reported = scrape(server)
    names = {
        name + "_total" * (family.type == "counter") for name, family in reported.families.items()
    }
    of_cells = {CELL_UP.name, CELL_HAS_NODES.name}
    assert names == {family.name for family in CATALOGUE} - of_cells
    kinds = {family.type for family in reported.families.values()}
    assert kinds == {str(kind) for kind in Kind}
    assert promtool("check", "metrics", given=reported.text) == ""


def test_tasks_by_queue_and_status(server):
    """As ``GET /stats`` counts them; statuses that no task has are there, too."""
    for _ in range(2):
        server.run(b"1")
    answer = server.post(b'{"payload": 2, "queue": "later", "delay_seconds": 3600}')
    assert answer.status == 201
    listed = scrape(server)
    assert listed.value("taskflow_store_up") == 1
    assert listed.value("taskflow_store_scrape_seconds") > 0
    assert listed.nonzero("taskflow_tasks", "status", queue="default") == {"FAILED": 2}
    assert listed.nonzero("taskflow_tasks", "status", queue="later") == {"PENDING": 1}
    assert len(list(listed.samples("taskflow_tasks"))) == 2 * len(TaskStatus)
    assert listed.sum("taskflow_tasks_unlisted") == 0
    assert listed.sum("taskflow_oldest_waiting_seconds") == 0
    assert listed.value("taskflow_oldest_waiting_of_all_seconds") == 0


def test_how_long_the_oldest_waits(server):
    """A queue that is paused has tasks that are due and do not start."""
    assert server.ask("POST", "/queues/slow/pause", b"").status == 200
    assert server.post(b'{"payload": 2, "queue": "slow"}').status == 201
    reported = scrape(server)
    waiting = reported.value("taskflow_oldest_waiting_seconds", queue="slow")
    assert 0 < waiting < 15
    assert reported.value("taskflow_oldest_waiting_of_all_seconds") >= waiting


def test_requests_are_counted_by_route(server):
    """The label is the route, not the path; requests that were rejected early have none."""
    for number in range(3):
        server.ask("GET", f"/tasks/{number}")
    server.ask("GET", "/tasks?limit=0")
    server.ask("GET", "/nothing")
    server.ask("PUT", "/tasks", b"{}")
    server.ask("GET", "/tasks", headers={"sec-fetch-site": "cross-site"})
    seen = {
        (s.labels["method"], s.labels["route"], s.labels["code"]): s.value
        for s in scrape(server).samples("taskflow_http_requests_total")
    }
    assert seen == {
        ("GET", "/tasks/{id}", "404"): 3,
        ("GET", "/tasks", "422"): 1,
        ("GET", "none", "404"): 1,
        ("PUT", "none", "405"): 1,
        ("GET", "none", "403"): 1,
    }
    reported = scrape(server)
    assert reported.value("taskflow_http_requests_total", route="/metrics", code="200") == 1
    assert reported.value("taskflow_http_requests_in_flight") == 1, "that for the metrics"
    name = "taskflow_http_request_seconds_count"
    assert reported.value(name, route="/tasks/{id}", method="GET") == 3


def test_accepted_tasks(server):
    """One, an array, a stream; what a repeated request made before is not counted again."""
    assert server.post(b'{"payload": 1}').status == 201
    assert server.post(b'[{"payload": 1}, {"payload": 2}]').status == 201
    lines = b'{"payload": 1}\n{"payload": 2}\nno JSON\n{"payload": 3}\n'
    stream = {"content-type": "application/x-ndjson"}
    assert server.ask("POST", "/tasks", lines, stream).status == 200
    once = {"content-type": "application/json", "idempotency-key": '"once"'}
    for status in (201, 200):
        assert server.ask("POST", "/tasks", b'{"payload": 1}', once).status == status
    assert server.post(b"[]").status == 422
    assert scrape(server).value("taskflow_accepted_tasks_total") == 7


def test_pools_and_listener(database_uri):
    """Connections are counted by pool, and the listener is included."""
    with LiveServer(database_url=database_uri, database_connections=3) as server:
        reported = scrape(server)
        assert reported.sum("taskflow_database_connections", pool="work") == 3
        assert reported.sum("taskflow_database_connections", pool="heartbeats") == 1
        wait_until(lambda: scrape(server).sum("taskflow_database_calls_waiting") == 0)
        wait_until(lambda: scrape(server).value("taskflow_listeners", state="connected") == 1)
        assert reported.value("taskflow_workers") == 5
        assert reported.value("taskflow_claims_in_hand_limit") == 205


def test_the_memory_store_has_no_listener():
    with LiveServer(database_url=MEMORY_URL) as server:
        assert scrape(server).sum("taskflow_listeners") == 0


def test_a_key_that_may_read_is_enough():
    """Prometheus sends it as ``Authorization: Bearer``; without one it gets a 401."""
    with LiveServer(database_url=MEMORY_URL, api_keys=KEYS) as server:
        check_problem(server.ask("GET", "/metrics"), 401)
        reported = scrape(server, authorization="Bearer a-key-that-may-read-only")
        assert reported.value("taskflow_http_requests_total", code="401") == 1


class AwayStore(MemoryStore):
    """One that cannot be reached."""

    async def count(self, **_: object):
        raise StoreUnavailable("it is away")


async def test_without_its_store():
    """The rest comes, and what says so."""
    metrics = Metrics()
    app = create_app(AwayStore(), Settings(), lambda: True, metrics=metrics)
    metrics.store_lost()
    response = await app.test_client().get("/metrics")
    reported = Scrape((await response.get_data()).decode())
    assert response.status_code == 200
    assert reported.value("taskflow_store_up") == 0
    assert reported.value("taskflow_store_outages_total") == 1
    assert "taskflow_tasks" not in reported.families


def test_a_database_that_does_not_respond(database_uri, monkeypatch):
    """A scrape ends when the store has not answered in time, with the other metrics."""
    monkeypatch.setattr(problems, "STORE_ANSWER_SECONDS", 1.0)
    with LiveServer(database_url=database_uri) as server:
        server.run(b"1")
        with psycopg.connect(database_uri) as connection:
            for table in ("taskflow_tasks", "taskflow_counts", "taskflow_changes"):
                connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            listed = scrape(server)
        assert listed.value("taskflow_store_up") == 0
        assert listed.value("taskflow_store_scrape_seconds") >= 1
        assert listed.value("taskflow_attempts_total", outcome="failed", error_type="invalid_url")


def test_the_newer_format(server):
    """Clients that accept OpenMetrics get it, as Prometheus does."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = server.ask("GET", "/metrics", headers={"accept": accept})
    assert answer.header("content-type").startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_an_invalid_version_of_the_format(server, kind):
    """An invalid version in ``Accept`` gets the plain format."""
    answer = server.ask("GET", "/metrics", headers={"accept": f"{kind}; version=1.x.y"})
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/plain; version=0.0.4")


def test_a_route_that_was_added_later():
    """Its requests are counted without a route: all series are known from the start."""

    def add_route(app):
        @app.get("/late")
        async def late():
            return "here"

    with LiveServer(database_url=MEMORY_URL, configure=add_route) as server:
        assert server.ask("GET", "/late").body == b"here"
        assert scrape(server).value("taskflow_http_requests_total", route="none", code="200") == 1
