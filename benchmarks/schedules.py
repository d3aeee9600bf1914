"""Schedules: the delay of many that are due at once, and their cost while idle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, LiteralString

import msgspec

from benchmarks.clients import percentile
from benchmarks.database import Database
from benchmarks.meter import metered
from benchmarks.scene import Scene
from benchmarks.table import Figure
from taskflow.model.schedule import ScheduleDefinition, Timing
from taskflow.model.task import NewTask

_AHEAD_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.01
_PATIENCE_SECONDS: Final = 120.0
_SETTLE_SECONDS: Final = 5.0

_FILL: Final[LiteralString] = """
WITH kept AS (
    INSERT INTO taskflow_schedules (name, definition, size_bytes, anchor_at, next_at, created_at,
                                    updated_at)
    SELECT 's' || n, replace(replace(%(definition)s, '"s"', '"s' || n || '"'),
                             '"0 6 ', '"' || n %% 60 || ' ' || n / 60 %% 24 || ' ')::json,
           500, at, at, now(), now()
    FROM generate_series(1, %(count)s) AS n, (
        SELECT date_trunc('second', now()) + make_interval(secs => %(ahead_seconds)s) AS at
    ) AS due
)
SELECT pg_notify('taskflow_schedules', '')
"""

_QUEUES: Final[LiteralString] = """
WITH kept AS (
    INSERT INTO taskflow_queues (name, settings, paused, is_limited)
    SELECT 'q' || n, '{"max_concurrency": 9}', false, true FROM generate_series(1, %(count)s) AS n
)
SELECT 1
"""


def schedules(scene: Scene) -> Iterator[Figure]:
    """Two nodes fire the schedules while they run tasks."""
    count = scene.pick(quick=2_000, full=10_000)
    yield from _lateness(scene, count)
    yield from _idle(scene, count)


def _lateness(scene: Scene, count: int) -> Iterator[Figure]:
    with (
        scene.database() as database,
        scene.taskflow(database),
        scene.taskflow(database, serves=False),
    ):
        fill(scene, database, count, ahead_seconds=_AHEAD_SECONDS)
        late = _lateness_ms(database, count)
        database.wait_until_worked_off()
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        yield Figure(
            what=f"{count:,} due in one moment, two nodes: how late, {name}",
            value=percentile(late, share) if share < 1 else max(late),
            unit="ms",
            at_most=5000.0 if name == "max" else None,
        )


def fill(scene: Scene, database: Database, count: int, *, ahead_seconds: float) -> None:
    """Create ``count`` schedules that are due after ``ahead_seconds``, and notify nodes."""
    payload = msgspec.Raw(msgspec.json.encode(f"{scene.target}/"))
    definition = ScheduleDefinition(
        name="s",
        timing=Timing(cron="0 6 * * MON-FRI", timezone="Europe/Berlin"),
        task=payload,
        template=NewTask(payload),
    )
    text = msgspec.json.encode(definition).decode()
    database.ask(_FILL, definition=text, count=count, ahead_seconds=ahead_seconds)


def _lateness_ms(database: Database, count: int) -> list[float]:
    """Return the time until each task was committed after its scheduled time, in milliseconds."""
    late: list[float] = []
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(late) < count:
        assert time.monotonic() < deadline, f"{len(late)} of {count} schedules were fired"
        time.sleep(_LOOK_SECONDS)
        fired, late_ms = database.ask(
            "SELECT ARRAY[count(*), extract(epoch FROM clock_timestamp() - min(at)) * 1000]"
            "::float8[] FROM taskflow_firings"
        )
        late += [late_ms] * (int(fired) - len(late))
    return late


def _idle(scene: Scene, count: int) -> Iterator[Figure]:
    """Compare with the same service without schedules."""
    spent = []
    seconds = scene.pick(quick=10.0, full=30.0)
    for number in (0, count):
        with scene.database() as database, scene.taskflow(database) as service:
            fill(scene, database, number, ahead_seconds=3600.0)
            database.ask(_QUEUES, count=number // 10)
            time.sleep(_SETTLE_SECONDS)
            with metered(database, [service]) as cost:
                time.sleep(seconds)
            spent.append(cost)
    without, with_many = spent
    for name in ("service", "postgres"):
        yield Figure(
            what=f"idle with {count:,} schedules, {count // 10:,} limited queues: CPU of {name}",
            value=getattr(with_many, name) / seconds * 1000,
            unit="ms/s",
            beside="without any",
            reference=getattr(without, name) / seconds * 1000,
        )
