"""Workly, an HTTP task queue in Go with the same parts: HTTP in, PostgreSQL, HTTP out.

It runs with its defaults, except: a queue runs as many tasks at once as TaskFlow, and it may have
as many database connections as TaskFlow's processes have together (by default four, with which it
accepts fewer tasks). One process uses all cores.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import time
from collections.abc import Iterator
from typing import LiteralString

from benchmarks.clients import Load, Submission, send
from benchmarks.database import Database
from benchmarks.meter import Cost, Work, metered
from benchmarks.processes import CORES, Service, free_port, started
from benchmarks.scene import Scene

_QUEUE = "/v1/queues/benchmarks"
_CONNECTIONS = 6 * CORES
_SUBMISSION = Submission(f"{_QUEUE}/tasks", '{"url": "URL", "method": "GET"}')
_PAUSE_SECONDS = 0.05
_MAX_SECONDS = 300

_FILL: LiteralString = """
INSERT INTO tasks (id, workspace_id, queue, state, method, url, headers, body, run_at,
                   attempt_count, replayed_attempts, created_at, updated_at)
SELECT 'task_' || lpad(n::text, 26, '0'), 'default', 'benchmarks', 'pending', 'GET', %(url)s,
       '{}', '', now(), 0, 0, now(), now()
FROM generate_series(1, %(count)s) AS n
"""
_OPEN: LiteralString = (
    "SELECT EXISTS (SELECT FROM tasks WHERE state = 'pending')"
    " OR EXISTS (SELECT FROM tasks WHERE state = 'running')"
)
# Tasks whose response is stored.
_COMPLETED: LiteralString = (
    "SELECT count(*) FROM tasks JOIN attempts ON attempts.task_id = tasks.id"
    " WHERE state = 'succeeded' AND response_body = '{\"ok\": true}'"
)
_WORKING_SECONDS: LiteralString = (
    "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM attempts"
)
_SECONDS: LiteralString = (
    "SELECT extract(epoch FROM max(finished_at) - min(created_at))::float8 FROM tasks"
)


@contextlib.contextmanager
def serving(
    scene: Scene, database: Database, *, in_flight: int = 5, is_paused: bool = False
) -> Iterator[Service]:
    """Run it with a queue that runs ``in_flight`` tasks at once, or none yet."""
    assert scene.peers is not None
    port = free_port()
    url = f"{database.url}&pool_max_conns={_CONNECTIONS}"
    command = [str(scene.peers.with_name("workly")), "serve", "--port", str(port)]
    environ = {"WORKLY_DATABASE_URL": url, "WORKLY_SIGNING_SECRET": os.urandom(32).hex()}
    with started(command, scene.folder, port=port, **environ) as service:
        service.submission = _SUBMISSION
        service.wait_for_words("dispatcher is leader")
        service.wait_for_answer()
        _ask(port, "PUT", _QUEUE, {"max_concurrency": in_flight})
        if is_paused:
            _ask(port, "POST", f"{_QUEUE}/pause")
        yield service


@contextlib.contextmanager
def that_only_accepts(scene: Scene) -> Iterator[Service]:
    """Run it with a paused queue."""
    with scene.database() as database, serving(scene, database, is_paused=True) as service:
        yield service


@functools.cache
def worked_off(scene: Scene, count: int, in_flight: int) -> Work:
    """Store ``count`` tasks in a paused queue, resume it, and measure as with TaskFlow's."""
    with (
        scene.database() as database,
        serving(scene, database, in_flight=in_flight, is_paused=True) as service,
    ):
        fetched = scene.target_requests()
        with metered(database, [service]) as cost:
            database.ask(f"{_FILL} RETURNING 1", url=f"{scene.target}/", count=count)
            _ask(service.port, "POST", f"{_QUEUE}/resume")
            _wait_until_worked_off(database)
        fetched = scene.target_requests() - fetched
        return _work(database, cost, database.ask(_WORKING_SECONDS), fetched)


@functools.cache
def end_to_end(scene: Scene, connections: int, in_flight: int) -> Work:
    """Submit for some seconds while it runs tasks, and wait until all have finished."""
    with scene.database() as database, serving(scene, database, in_flight=in_flight) as service:
        fetched = scene.target_requests()
        with metered(database, [service]) as cost:
            send(
                Load(
                    port=service.port,
                    url=f"{scene.target}/",
                    submission=service.submission,
                    connections=connections,
                    seconds=scene.pick(quick=2.0, full=8.0),
                    warm_up_seconds=0.0,
                )
            )
            _wait_until_worked_off(database)
        fetched = scene.target_requests() - fetched
        return _work(database, cost, database.ask(_SECONDS), fetched)


def _work(database: Database, cost: Cost, seconds: float, fetched: int) -> Work:
    count: int = database.ask(_COMPLETED)
    assert count == fetched, f"{fetched} fetches, {count} stored responses"
    return Work(count, count / seconds, cost, database.connections())


def _wait_until_worked_off(database: Database) -> None:
    deadline = time.monotonic() + _MAX_SECONDS
    while database.ask(_OPEN):
        assert time.monotonic() < deadline, "the tasks were not worked off"
        time.sleep(_PAUSE_SECONDS)


def _ask(port: int, method: str, path: str, body: object = None) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = client.getresponse()
        assert response.status < http.HTTPStatus.BAD_REQUEST, response.read()
