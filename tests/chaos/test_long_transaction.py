"""A transaction that stays open, so that nothing that is over can be cleaned away."""

from __future__ import annotations

import contextlib
import re
import statistics
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from tests.chaos.postgres import Server
from tests.service.database import Tasks
from tests.service.processes import wait_until

TASKS = 40  # as many at least finish in each part of the run
# The dead rows of many claims, created at once: no transaction ever sees these tasks.
LEAVE_BEHIND = """
    WITH taken AS (
        INSERT INTO taskflow_tasks (payload, size_bytes)
        SELECT '"http://127.0.0.1:1/"', 21 FROM generate_series(1, %s) RETURNING id
    ) SELECT count(*) FROM taken
"""
CLEAR_AWAY = "DELETE FROM taskflow_tasks WHERE payload::text = '\"http://127.0.0.1:1/\"'"
# PostgreSQL writes down how long each statement of the nodes took; ours begins like that.
LOGGED = re.compile(r"duration: ([\d.]+) ms  (?:execute [^:]*|statement): (.*(?:\n\t.*)*)")
OF_CLAIMS, OF_SURVEYS = "SET status = 'RUNNING'", "FROM taskflow_present_priorities"
WAITED = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at))
    FROM (
        SELECT started_at, created_at FROM taskflow_tasks
        WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 100
    ) AS latest
"""


@pytest.fixture
def nodes_url(server: Server, nodes_url: str) -> str:
    """Of a database that logs how long every statement takes."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        [[name]] = connection.execute("SELECT current_database()").fetchall()
        for setting in ("log_min_duration_statement = 0", "log_parameter_max_length = 0"):
            connection.execute(f'ALTER DATABASE "{name}" SET {setting}')
    return nodes_url


class Times(NamedTuple):
    """How long statements took in the median, and how long tasks waited: milliseconds."""

    claim: float
    survey: float
    wait: float

    def __str__(self) -> str:
        return f"claim {self.claim:.2f}, survey {self.survey:.2f}, tasks wait {self.wait:.1f} ms"


class Watch:
    """What the server's log and the tasks say of a part of the run."""

    def __init__(self, server: Server, tasks: Tasks) -> None:
        self._log, self._tasks = server.log_path, tasks
        self._seen = server.log_path.stat().st_size

    def lap(self) -> Times:
        """Of the part since the last call."""
        with self._log.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._seen)
            logged = LOGGED.findall(file.read())
            self._seen = file.tell()
        [[waited]] = self._tasks.execute(WAITED).fetchall()

        def median(mark: str) -> float:
            took = [float(duration) for duration, statement in logged if mark in statement]
            return statistics.median(took) if took else 0.0

        return Times(median(OF_CLAIMS), median(OF_SURVEYS), (waited or 0.0) * 1000)


@contextlib.contextmanager
def held_snapshot(conninfo: str, dead_entries: int) -> Iterator[None]:
    """Hold what is there now against all cleaning, and leave much that is over behind."""
    with psycopg.connect(conninfo) as idle, psycopg.connect(conninfo) as busy:
        idle.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        idle.execute("SELECT count(*) FROM taskflow_tasks")
        busy.execute("SET LOCAL session_replication_role = replica")  # past the record of moves
        busy.execute(LEAVE_BEHIND, [dead_entries])
        busy.execute(CLEAR_AWAY)
        busy.commit()
        yield


def test_a_transaction_stays_open(scene):
    """Claims take no longer than twice as long, with entries that cannot be cleaned away."""
    with scene.under_load() as load, scene.look() as tasks:
        watch = Watch(scene.server, tasks)
        load.wait_for_share(0.4)
        wait_until(lambda: tasks.finished() >= TASKS)
        before = watch.lap()
        with held_snapshot(scene.server.conninfo, scene.shape.dead_entries):
            watch.lap()
            number = tasks.finished() + TASKS
            load.wait_for_share(1.0)
            wait_until(lambda: tasks.finished() >= number)
            after = watch.lap()
    print(f"\nbefore: {before}; while it is open: {after}")
    scene.judge()
    assert 0 < after.claim <= 2 * before.claim
