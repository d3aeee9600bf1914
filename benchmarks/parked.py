"""Measures parked attempts: what they cost an idle service, and how fast they begin and end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec
import trio

from benchmarks.accept import CONNECTIONS, accepted_posts
from benchmarks.clients import Client, Load
from benchmarks.database import Database
from benchmarks.meter import Cost, metered
from benchmarks.processes import Service
from benchmarks.scene import Scene
from benchmarks.table import Figure
from benchmarks.work_off import worked_off
from taskflow.model.completion import Completion, CompletionMode, completion_url
from taskflow.model.options import TaskOptions
from taskflow.model.task import NewTask
from taskflow.settings import Settings
from taskflow.store.postgres.store import open_postgres

PORTION = 10_000
WORKERS = 100
PAUSE_SECONDS = 0.05
COMPLETION = Completion(CompletionMode.CALLBACK, 86_400.0)
PUBLIC_URL = "http://benchmarks.example"
COUNT = "SELECT count(*) FROM taskflow_parked"
# Each row has the time at which it was parked, plus a constant.
SECONDS = (
    "SELECT extract(epoch FROM max(overdue_at) - min(overdue_at))::float8 FROM taskflow_parked"
)
ATTEMPTS = """
    SELECT json_agg(json_build_array(id, claim_token)) FROM (
        SELECT id, claim_token FROM taskflow_tasks
        WHERE id IN (SELECT task_id FROM taskflow_parked LIMIT %(limit)s)
    ) AS attempts
"""


def parked(scene: Scene) -> Iterator[Figure]:
    """Park attempts, leave them alone for a while, and complete some of them."""
    count = scene.pick(quick=10_000, full=100_000)
    plain = worked_off(scene, scene.pick(quick=3_000, full=20_000), workers=WORKERS)
    with (
        scene.database() as database,
        scene.taskflow(database, workers=WORKERS, public_url=PUBLIC_URL) as service,
    ):
        without = _idle(scene, database, service)
        per_second = _parked_per_second(database, scene.target, count)
        with_parked = _idle(scene, database, service)
        completed_per_second = _completed_per_second(scene, database, service)
        assert database.ask(COUNT) < count
    yield Figure(
        what=f"park {count:,} attempts, {WORKERS} workers",
        value=per_second,
        unit="tasks/s",
        beside="tasks without completion",
        reference=plain.per_second,
    )
    for part, field in (("the service", "service"), ("PostgreSQL", "postgres")):
        yield Figure(
            what=f"CPU of {part} while it is idle, {count:,} parked",
            value=_milliseconds_per_second(with_parked, field),
            unit="ms/s",
            beside="none parked",
            reference=_milliseconds_per_second(without, field),
            at_most=1.5,
        )
    yield Figure(
        what=f"POST to completion URLs, {CONNECTIONS[0]} connections",
        value=completed_per_second,
        unit="/s",
        beside="POST /tasks",
        reference=accepted_posts(scene, CONNECTIONS[0]).per_second,
    )


def _idle(scene: Scene, database: Database, service: Service) -> Cost:
    # As autovacuum does later; so no other writes disturb the measurement.
    database.do("VACUUM ANALYZE")
    database.do("CHECKPOINT")
    with metered(database, [service]) as cost:
        time.sleep(scene.pick(quick=5.0, full=60.0))
    return cost


def _milliseconds_per_second(cost: Cost, field: str) -> float:
    spent: float = getattr(cost, field)
    return 1000 * spent / cost.seconds


def _parked_per_second(database: Database, target: str, count: int) -> float:
    trio.run(partial(_add, database, target, count))
    while database.ask(COUNT) < count:
        time.sleep(PAUSE_SECONDS)
    seconds: float = database.ask(SECONDS)
    return count / seconds


async def _add(database: Database, target: str, count: int) -> None:
    task = NewTask(
        msgspec.Raw(msgspec.json.encode(f"{target}/accepted")),
        options=TaskOptions(completion=COMPLETION),
    )
    async with open_postgres(database.url, Settings()) as store:
        for begin in range(0, count, PORTION):
            await store.add([task] * min(PORTION, count - begin))


def _completed_per_second(scene: Scene, database: Database, service: Service) -> float:
    seconds = scene.pick(quick=1.5, full=6.0)
    load = Load(port=service.port, url="", connections=CONNECTIONS[0], seconds=seconds)
    client = _Target(load, _paths(database, scene.pick(quick=10_000, full=50_000)))
    began = time.monotonic()
    client.run(seconds)
    assert not client.failures, f"{client.failures} reports were not accepted"
    return len(client.took) / (time.monotonic() - began)


def _paths(database: Database, limit: int) -> Sequence[str]:
    attempts = database.ask(ATTEMPTS, limit=limit)
    return [
        completion_url("", *pair)
        for pair in msgspec.convert(attempts, list[tuple[uuid.UUID, uuid.UUID]])
    ]


class _Target(Client):
    """Completes attempts, each once."""

    def __init__(self, load: Load, paths: Sequence[str]) -> None:
        super().__init__(load)
        self._paths = iter(paths)

    def _send(self, number: int) -> None:
        self._path = next(self._paths).encode()
        super()._send(number)
