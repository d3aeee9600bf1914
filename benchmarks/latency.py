"""Latency: the time from the POST of a task to the first byte at its target."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.clients import Load, percentile, send
from benchmarks.processes import Service, get
from benchmarks.scene import Scene
from benchmarks.table import Figure

IDLE_RATE = 25.0
BUSY_RATE = 300.0
_LAST_FETCHES_SECONDS = 1.0


def latency(scene: Scene) -> Iterator[Figure]:
    """Measure an idle node, 300 tasks per second, and idle workers on another node."""
    with scene.database() as database, scene.taskflow(database) as service:
        idle, answered_ms = waits_ms(scene, service, IDLE_RATE)
        busy, _ = waits_ms(scene, service, BUSY_RATE)
    yield Figure(what="idle, until the POST is answered, p50", value=answered_ms, unit="ms")
    yield Figure(what="idle, p50", value=percentile(idle, 0.5), unit="ms", at_most=2.5)
    yield Figure(what="idle, p99", value=percentile(idle, 0.99), unit="ms", at_most=8.0)
    yield Figure(what="at 300/s, p50", value=percentile(busy, 0.5), unit="ms")
    yield Figure(what="at 300/s, p95", value=percentile(busy, 0.95), unit="ms", at_most=15.0)
    with scene.database() as database, scene.taskflow(database, workers=1) as service:
        # The only worker here stays busy; the other node is woken by NOTIFY.
        scene.hold_workers(database, workers=1)
        time.sleep(1.0)
        with scene.taskflow(database, serves=False):
            other, _ = waits_ms(scene, service, IDLE_RATE)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        more = percentile(other, share) - percentile(idle, share)
        yield Figure(
            what=f"on another node, {name}, more than idle here", value=more, unit="ms", at_most=6.0
        )


def waits_ms(scene: Scene, service: Service, rate: float) -> tuple[list[float], float]:
    """Return the latency of each task, and the median of its POST, in milliseconds."""
    report = send(
        Load(
            port=service.port,
            url=f"{scene.target}/at/{{}}",
            connections=16,
            seconds=scene.pick(quick=3.0, full=10.0),
            rate=rate,
        )
    )
    time.sleep(_LAST_FETCHES_SECONDS)
    arrived_at = json.loads(get(urlsplit(scene.target).port or 0, "/arrivals"))
    waits = [
        (arrived_at[str(number)] - sent_at) * 1000 for number, sent_at in report.sent_at.items()
    ]
    return waits, report.p50_ms
