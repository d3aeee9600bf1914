"""Searches and other reads that may take long never keep submissions, claims or settles waiting."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from taskflow import BlockingClient
from taskflow.store.postgres import pool
from tests.api.client import Answer
from tests.api.live import LiveServer
from tests.api.test_metrics import scrape

PATIENCE_SECONDS = 60.0
TYPE = "/problems/too-many-searches"
# Of twice as many connections: the others are enough for what the engine does, which waits too.
SEARCHES = 8
LINES = {"accept": "application/x-ndjson"}
LOCKED = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%scanned%'
"""


def fill(uri: str, count: int, *, size: int = 1) -> None:
    """Insert ``count`` COMPLETED tasks with payloads of about this size."""
    with psycopg.connect(uri) as connection:
        connection.execute(
            "INSERT INTO taskflow_tasks (payload, size_bytes, status, attempt, finished_at, result)"
            " SELECT to_json(repeat(md5(n::text), %s)), %s, 'COMPLETED', 1, now(), '{}'"
            " FROM generate_series(1, %s) AS n",
            [size, 32 * size, count],
        )


@contextlib.contextmanager
def busy(uri: str, server: LiveServer, *, searches: int = SEARCHES) -> Iterator[None]:
    """A lock holds up so many searches within the block."""
    with (
        psycopg.connect(uri) as holder,
        psycopg.connect(uri, autocommit=True) as observer,
        contextlib.ExitStack() as stack,
    ):
        holder.execute("LOCK TABLE taskflow_tasks IN ACCESS EXCLUSIVE MODE")
        for _ in range(searches):
            client = stack.enter_context(server.connect())
            client.send(b"GET /tasks?url_contains=zzzz&limit=1 HTTP/1.1\r\nhost: x\r\n\r\n")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while observer.execute(LOCKED).fetchone() < (searches,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
        holder.rollback()


@pytest.fixture
def server(database_uri, monkeypatch) -> Iterator[LiveServer]:
    """A server with SEARCHES slow reads at a time, whose statements may last as long as a test."""
    monkeypatch.setattr(pool, "WAIT_SECONDS", 0.2)
    with LiveServer(
        database_url=database_uri,
        database_connections=2 * SEARCHES,
        database_timeout_seconds=60.0,
        workers=1,
    ) as server:
        yield server


def check_rejected(answer: Answer) -> None:
    """It says what is the matter, and when to come again."""
    assert (answer.status, answer.json["type"]) == (503, TYPE), answer
    assert int(answer.header("retry-after")) > 0
    assert "try again" in answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/tasks?url_contains=a",
            "/tasks?queue=a&status=FAILED",
            "/tasks?status=FAILED,COMPLETED",
        ),
        *("/stats", "/stats?queue=a", "/stats/history", "/nodes", "/hosts", "/queues"),
        *("/queues/a", "/schedules"),
    ],
)
def test_excess_reads_are_rejected(database_uri, server, path):
    """Each slow read: 503 with a type of its own and ``Retry-After``."""
    with busy(database_uri, server):
        check_rejected(server.ask("GET", path))


def test_all_slow_reads_are_limited(database_uri, server):
    """Streams, moves of many, the dashboard; scrapes have what needs no search."""
    with busy(database_uri, server), ThreadPoolExecutor() as pool:
        requested = {
            "export": pool.submit(server.ask, "GET", "/tasks?url_contains=a", None, LINES),
            "overview": pool.submit(server.ask, "GET", "/ui"),
            "search page": pool.submit(server.ask, "GET", "/ui/tasks?url_contains=a"),
            "scrape": pool.submit(scrape, server),
            "livez": pool.submit(server.ask, "GET", "/livez"),
        }
        got = {name: future.result() for name, future in requested.items()}
    check_rejected(got["export"])
    for name in ("overview", "search page"):
        page = got[name]
        assert (page.status, page.header("content-type")) == (503, "text/html; charset=utf-8")
        assert "Too many searches" in page.body.decode()
        assert int(page.header("retry-after")) > 0
    assert got["scrape"].value("taskflow_store_up") == 1
    assert got["livez"].status == 200


def test_the_client_retries(database_uri, server):
    """The client retries after ``Retry-After``, and the caller gets no error."""
    with ThreadPoolExecutor() as pool, BlockingClient(server.url) as client:
        with busy(database_uri, server):
            found = pool.submit(client.list_tasks, url_contains="zzzz")
            rejected = {"route": "/tasks", "code": "503"}
            while not scrape(server).sum("taskflow_http_requests_total", **rejected):
                time.sleep(0.02)
            assert not found.done()
        assert found.result(PATIENCE_SECONDS) == []


def test_an_export_that_has_begun_waits(database_uri, server):
    """It is not broken off for want of a place: what comes later is all of it."""
    fill(database_uri, 350, size=2_000)  # more than buffers hold
    with server.connect() as connection, ThreadPoolExecutor() as pool:
        connection.send(b"GET /tasks HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\n\r\n")
        with busy(database_uri, server):
            exported = pool.submit(connection.read)
            check_rejected(server.ask("GET", "/stats"))
            assert not exported.done()
        lines = exported.result(PATIENCE_SECONDS).body.splitlines()
    assert len(lines) == 350
    assert all(b'"id"' in line for line in lines)


@pytest.mark.parametrize(("connections", "count"), [(1, 5), (4, 40)])
def test_searches_of_many_clients_stop_no_task(database_uri, connections, count):
    """With 40 clients that search 30,000 rows, every POST is a 201, and every task finishes."""
    is_over = threading.Event()

    def search() -> list[Answer]:
        answers = []
        while not is_over.is_set():
            answers.append(server.ask("GET", "/tasks?url_contains=zzzz&limit=1"))
        return answers

    with (
        LiveServer(database_url=database_uri, database_connections=connections) as server,
        ThreadPoolExecutor(40) as pool,
    ):
        fill(database_uri, 30_000)
        try:
            searches = [pool.submit(search) for _ in range(40)]
            added = [server.post(b'{"payload": "no url"}') for _ in range(count)]
            assert [answer.status for answer in added] == [201] * count
            ends = [server.wait(answer.json["id"], PATIENCE_SECONDS) for answer in added]
        finally:
            is_over.set()
        assert {end["error_type"] for end in ends} == {"invalid_url"}
        answers = [answer for one in searches for answer in one.result()]
    assert {answer.status for answer in answers} <= {200, 503}
    assert any(answer.status == 200 for answer in answers)
    for answer in answers:
        if answer.status == 503:
            assert int(answer.header("retry-after")) > 0


def test_a_write_returns_the_counts(database_uri, server):
    """The response to a change of a queue has its counts, despite concurrent searches."""
    with ThreadPoolExecutor() as pool:
        with busy(database_uri, server):
            put = pool.submit(server.ask, "PUT", "/queues/a", b'{"paused": true}')
            check_rejected(server.ask("GET", "/stats"))
        assert put.result(PATIENCE_SECONDS).status == 201
