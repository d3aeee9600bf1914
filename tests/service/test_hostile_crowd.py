"""A crowd of hostile targets at once: what the service is worth for everybody else meanwhile."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import psutil
import pytest

from tests.service.database import Tasks
from tests.service.processes import REPOSITORY, Running, clean_environ, running, wait_until

CROWD = 216
POSTING_THREADS = 8
ALL_BOUND_SECONDS = 5.0
HEAVY_BOUND_SECONDS = 60.0  # what they end as must not hang on how fast the machine is
SLACK_SECONDS = 2.0
QUIET_LOOKS = 10
MAX_SLOWDOWN = 20  # of the API, in the median
GROWTH_BYTES = CROWD * 2 * 2**20

HEAVY = (
    *("gzip-bomb", "deflate-bomb", "endless-gzip", "gzip-of-nothings", "gzip-without-yield"),
    *("endless-chunks", "endless-small-chunks", "extended-chunks", "endless-body"),
    *(
        "many-fields",
        "many-trailers",
        "endless-trailers",
        "large-1xx",
        "deep-json",
        "many-objects",
        "error-in-small-chunks",
    ),
)
"""What costs work rather than time."""


class HostileProcess(NamedTuple):
    """A hostile target in a process of its own, so that it takes no time from who measures."""

    good_url: str
    attacks: list[dict[str, Any]]


@pytest.fixture
def hostile() -> Iterator[HostileProcess]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fetch.hostile"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env=clean_environ(),
    ) as process:
        reported = json.loads(process.stdout.readline())
        yield HostileProcess(reported["good"], reported["attacks"])
        process.stdin.close()


class Watch:
    """Asks the service for things as a client would, notes how long it takes, and its memory."""

    def __init__(self, service: Running, good_url: str) -> None:
        self._service = service
        self._process = psutil.Process(service.process.pid)
        self._good_url = good_url
        self.answered: list[float] = []
        self.good: list[str] = []
        self.rss_before = self.rss_peak = self._process.memory_info().rss

    def look(self) -> None:
        """Submit a valid task, and get it and the last one."""
        self.good.append(self._timed("POST", "/tasks", {"payload": self._good_url})["id"])
        self._timed("GET", f"/tasks/{self.good[-1]}")
        self._timed("GET", "/tasks?limit=1")
        self.rss_peak = max(self.rss_peak, self._process.memory_info().rss)

    def _timed(self, method: str, path: str, body: object = None) -> Any:
        began = time.perf_counter()
        answer = self._service.ask(method, path, body)
        self.answered.append(time.perf_counter() - began)
        assert answer.status in (200, 201), answer
        return answer.body

    @property
    def median(self) -> float:
        return statistics.median(self.answered)

    @property
    def growth_bytes(self) -> int:
        return self.rss_peak - self.rss_before


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("wanted", "bound_seconds"),
    [
        pytest.param(None, ALL_BOUND_SECONDS, id="all"),
        pytest.param(HEAVY, HEAVY_BOUND_SECONDS, id="heavy", marks=pytest.mark.long),
    ],
)
def test_hostile_crowd(tmp_path, tasks, hostile, wanted, bound_seconds):
    """Over 200 hostile tasks at once: each ends as it should, good ones run, the API answers."""
    attacks = [one for one in hostile.attacks if wanted is None or one["name"] in wanted]
    crowd = [attacks[n % len(attacks)] for n in range(CROWD)]
    settings = {"TASKFLOW_WORKERS": 250, "TASKFLOW_FETCH_TIMEOUT_SECONDS": bound_seconds}
    with running("serve", tmp_path, DATABASE_URL=tasks.url, **settings) as service:
        watch = Watch(service, hostile.good_url)
        for _ in range(QUIET_LOOKS):
            watch.look()
        quiet = watch.median
        watch.answered.clear()
        with ThreadPoolExecutor(POSTING_THREADS) as threads:
            posted = threads.map(lambda attack: service.post(attack["url"]), crowd)
            while not have_ended(tasks, CROWD + len(watch.good)):
                watch.look()
        expected = {
            task_id: attack["ends_as"] for task_id, attack in zip(posted, crowd, strict=True)
        }
        wait_until(lambda: have_ended(tasks, CROWD + len(watch.good)))
        report(watch, tasks, quiet)
        assert ends(tasks, expected) == expected
        assert ends(tasks, watch.good) == dict.fromkeys(watch.good)
        assert longest_seconds(tasks) < bound_seconds + SLACK_SECONDS
        assert watch.median < MAX_SLOWDOWN * quiet
        assert watch.growth_bytes < GROWTH_BYTES
        assert service.end().code == 0
    assert "internal error" not in service.log


def have_ended(tasks: Tasks, count: int) -> bool:
    ended = tasks.execute("SELECT FROM taskflow_tasks WHERE status IN ('COMPLETED', 'FAILED')")
    return ended.rowcount >= count


def ends(tasks: Tasks, ids) -> dict[str, str | None]:
    """As what these tasks ended; ``None`` is well."""
    rows = tasks.execute(
        "SELECT id::text, error_type FROM taskflow_tasks WHERE id::text = ANY(%s)"
        " AND (status = 'COMPLETED') = (error_type IS NULL)",
        list(ids),
    )
    return dict(rows.fetchall())


def longest_seconds(tasks: Tasks) -> float:
    return tasks.execute("SELECT max(elapsed_ms) / 1000 FROM taskflow_tasks").fetchone()[0]


def report(watch: Watch, tasks: Tasks, quiet: float) -> None:
    print(
        f"\n{CROWD} hostile tasks, {len(watch.good)} good ones meanwhile; "
        f"API: {watch.median * 1000:.1f} ms in the median of {len(watch.answered)}, "
        f"{quiet * 1000:.1f} ms before; "
        f"{max(watch.answered) * 1000:.0f} ms at most; "
        f"longest fetch {longest_seconds(tasks):.2f} s; "
        f"memory grew by {watch.growth_bytes / 2**20:.0f} MiB"
    )
