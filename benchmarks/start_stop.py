"""The durations of start and shutdown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.scene import Scene
from benchmarks.table import Figure


def start_stop(scene: Scene) -> Iterator[Figure]:
    """Measure from the start to the first response, and from SIGTERM to the exit."""
    starts, stops = [], []
    with scene.database() as database:
        with scene.taskflow(database):
            pass  # the first start migrates
        for _ in range(scene.pick(quick=2, full=7)):
            with scene.taskflow(database) as service:
                time.sleep(0.5)
                starts.append(service.start_seconds)
                stops.append(service.stop_seconds())
    yield Figure(
        what="start to the first answer", value=statistics.median(starts), unit="s", at_most=1.5
    )
    yield Figure(what="stop when idle", value=statistics.median(stops), unit="s", at_most=0.5)
