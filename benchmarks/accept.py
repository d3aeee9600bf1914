"""Submission throughput, over HTTP and through the store."""

from __future__ import annotations

import contextlib
import functools
import http
import http.client
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import trio

from benchmarks import peers, processes, workly
from benchmarks.clients import Load, Report, send
from benchmarks.processes import Service
from benchmarks.references import pgbench_inserts
from benchmarks.scene import FOR_EVER_MS, Scene
from benchmarks.table import Figure
from taskflow.api.reading.request_headers import LINES
from taskflow.model.task import NewTask
from taskflow.schema.tasks import MAX_TASKS
from taskflow.settings import Settings
from taskflow.store.postgres.store import open_postgres

Server = Callable[[Scene], contextlib.AbstractContextManager[Service]]
CONNECTIONS = (16, 64)
MIN_BULK_PER_SECOND = 25_000


@contextlib.contextmanager
def taskflow_that_only_accepts(
    scene: Scene, *, processes_: int = 1, hold_ms: int = FOR_EVER_MS
) -> Iterator[Service]:
    """Run TaskFlow with five workers that are busy with a target of this delay."""
    with (
        scene.database() as database,
        scene.taskflow(database, processes_=processes_, fetch_timeout_seconds=86_400) as service,
    ):
        database.fill(f"{scene.target}/{hold_ms}", 5 * processes_)
        time.sleep(0.5)
        yield service


def posts(scene: Scene, server: Server, connections: int) -> Report:
    """Send POSTs as fast as they are answered; their target takes a second."""
    with server(scene) as service:
        report = send(
            Load(
                port=service.port,
                url=f"{scene.target}/1000",
                submission=service.submission,
                connections=connections,
                seconds=scene.pick(quick=1.5, full=6.0),
            )
        )
    assert not report.failures, f"{report.failures} POSTs were not taken"
    return report


@functools.cache
def accepted_posts(scene: Scene, connections: int) -> Report:
    """Send POSTs to an otherwise idle TaskFlow; measured once per run."""
    return posts(scene, taskflow_that_only_accepts, connections)


def accept(scene: Scene) -> Iterator[Figure]:
    """Compare ``POST /tasks`` with routes that store nothing, and with FastAPI and one INSERT."""
    for connections in CONNECTIONS:
        ours = accepted_posts(scene, connections)
        quart = posts(scene, lambda s: processes.reference(s.folder, "quart"), connections)
        bare = posts(scene, lambda s: processes.reference(s.folder, "hypercorn"), connections)
        what = f"POST, {connections} connections"
        load = f"the client took {ours.cpu_share:.2f} of a core"
        beside = Figure(
            what=what,
            value=ours.per_second,
            unit="/s",
            beside="bare Quart-Trio",
            reference=quart.per_second,
            at_least=0.75,
            note=load,
        )
        yield beside
        yield msgspec.structs.replace(
            beside, beside="bare Hypercorn", reference=bare.per_second, at_least=None, note=""
        )
        yield from _beside_pgbench(scene, connections, beside)
        yield from _times(what, ours, quart)
        if scene.peers:
            yield from _beside_peers(scene, connections, beside)


def _beside_pgbench(scene: Scene, connections: int, ours: Figure) -> Iterator[Figure]:
    seconds = scene.pick(quick=1.0, full=5.0)
    with scene.database() as database:
        rows = pgbench_inserts(database, connections=connections, seconds=seconds)
    if rows is not None:
        yield msgspec.structs.replace(
            ours, beside="rows by pgbench", reference=rows, at_least=None, note=""
        )


def _times(what: str, ours: Report, quart: Report) -> Iterator[Figure]:
    beside = "bare Quart-Trio"
    yield Figure(
        what=f"{what}, p50", value=ours.p50_ms, unit="ms", beside=beside, reference=quart.p50_ms
    )
    yield Figure(
        what=f"{what}, p99",
        value=ours.p99_ms,
        unit="ms",
        beside=beside,
        reference=quart.p99_ms,
        at_most=3.0,
    )


def _beside_peers(scene: Scene, connections: int, ours: Figure) -> Iterator[Figure]:
    most = connections == CONNECTIONS[-1]
    theirs = posts(scene, peers.fastapi, connections)
    beside = msgspec.structs.replace(
        ours,
        beside="FastAPI, uvicorn, asyncpg",
        reference=theirs.per_second,
        at_least=0.9 if most else 0.7,
        note="",
    )
    yield beside
    if most:
        theirs = posts(scene, workly.that_only_accepts, connections)
        yield msgspec.structs.replace(
            beside, beside="Workly, on all cores", reference=theirs.per_second, at_least=None
        )


def accept_slow(scene: Scene) -> Iterator[Figure]:
    """The same while five workers run tasks whose target takes a second."""
    connections = CONNECTIONS[-1]
    idle = posts(scene, taskflow_that_only_accepts, connections)
    busy = posts(scene, lambda s: taskflow_that_only_accepts(s, hold_ms=1000), connections)
    yield Figure(
        what=f"POST, {connections} connections, targets of 1 s",
        value=busy.per_second,
        unit="/s",
        beside="with workers that wait",
        reference=idle.per_second,
        at_least=0.9,
    )


def bulk(scene: Scene) -> Iterator[Figure]:
    """Add a thousand tasks at a time to the store, with one caller and with four."""
    count = scene.pick(quick=20_000, full=200_000)
    reference = peers.pgqueuer_adds(scene, count) if scene.peers else None
    for callers in (1, 4):
        with scene.database() as database:
            per_second = trio.run(_add, database.url, scene.target, count, callers)
        yield Figure(
            what=f"store.add of 1,000, callers: {callers}",
            value=per_second,
            unit="tasks/s",
        )
        if reference:
            yield Figure(
                what=f"the same, callers: {callers}",
                value=per_second,
                unit="tasks/s",
                beside="pgqueuer's enqueue of 1,000",
                reference=reference,
            )


def bulk_over_http(scene: Scene) -> Iterator[Figure]:
    """Submit arrays of 10,000 tasks, and a stream of lines, over one connection."""
    arrays = scene.pick(quick=2, full=20)
    task = {"payload": scene.target}
    array = json.dumps([task] * MAX_TASKS).encode()
    lines = (json.dumps(task).encode() + b"\n") * 1000
    count = arrays * MAX_TASKS
    with taskflow_that_only_accepts(scene) as service:
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        began = time.monotonic()
        for _ in range(arrays):
            _ask(client, array, {})
        yield Figure(
            what=f"POST /tasks with arrays of {MAX_TASKS:,}",
            value=count / (time.monotonic() - began),
            unit="tasks/s",
            at_least=MIN_BULK_PER_SECOND,
        )
        began = time.monotonic()
        stream = itertools.repeat(lines, count // 1000)
        _ask(client, stream, {"Content-Type": LINES, "Prefer": "return=minimal"})
        yield Figure(
            what="POST /tasks with a stream of lines",
            value=count / (time.monotonic() - began),
            unit="tasks/s",
            at_least=MIN_BULK_PER_SECOND,
        )


def _ask(
    client: http.client.HTTPConnection, body: bytes | Iterable[bytes], headers: dict[str, str]
) -> None:
    client.request("POST", "/tasks", body, headers)
    answer = client.getresponse()
    reported = answer.read()
    assert answer.status < http.HTTPStatus.BAD_REQUEST, reported
    assert b'"error":{' not in reported


async def _add(url: str, target: str, count: int, callers: int) -> float:
    task = NewTask(msgspec.Raw(json.dumps(target).encode()))

    async def add(store: Any) -> None:
        for _ in range(count // callers // 1000):
            await store.add([task] * 1000)

    async with open_postgres(url, Settings()) as store:
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(add, store)
        return count / (time.monotonic() - began)
