"""The cost of limits: tasks for a thousand hosts, with a limit for each and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, LiteralString

from benchmarks.scene import Scene
from benchmarks.table import Figure

HOSTS: Final = 1_000
_LIMIT: LiteralString = """
INSERT INTO taskflow_queues (name, settings, paused, is_limited)
VALUES ('default', '{"per_host": {"max_concurrency": 2}}', false, true)
"""


def pacing(scene: Scene) -> Iterator[Figure]:
    """Measure hosts in turn, one host after the other, and one host alone, which needs scans."""
    count = scene.pick(quick=5_000, full=20_000)
    for workers in (5, 100):
        for name, hosts_in_turn in (("in turn", True), ("one after the other", False)):
            free = _per_second(scene, count, workers, hosts_in_turn=hosts_in_turn)
            paced = _per_second(scene, count, workers, hosts_in_turn=hosts_in_turn, is_limited=True)
            yield Figure(
                what=f"{HOSTS:,} hosts {name}, two at once each, {workers} workers",
                value=paced,
                unit="tasks/s",
                beside="without a limit",
                reference=free,
                at_least=0.7,
            )


def _per_second(
    scene: Scene, count: int, workers: int, *, hosts_in_turn: bool, is_limited: bool = False
) -> float:
    with scene.database() as database, scene.taskflow(database, serves=False, workers=workers):
        if is_limited:
            database.do(_LIMIT)
        database.fill(f"{scene.target}/", count, hosts=HOSTS, in_turn=hosts_in_turn)
        database.wait_until_worked_off()
        assert database.completed() == count
        return count / database.working_seconds()
