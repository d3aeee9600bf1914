"""Latency: the time from the POST of a task to the first byte at its target."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks import peers, processes, workly
from benchmarks.clients import Load, Report, percentile, send
from benchmarks.processes import Service, get
from benchmarks.scene import Scene
from benchmarks.table import Figure

IDLE_RATE = 25.0
BUSY_RATE = 300.0
_LAST_FETCHES_SECONDS = 60.0


def latency(scene: Scene) -> Iterator[Figure]:
    """Measure an idle node, 300 tasks per second, and idle workers on another node."""
    with processes.reference(scene.folder, "quart") as service:
        bare = _sent(scene, service, IDLE_RATE)
    with scene.database() as database, scene.taskflow(database) as service:
        idle, report = waits_ms(scene, service, IDLE_RATE)
        busy, _ = waits_ms(scene, service, BUSY_RATE)
    yield Figure(what="idle, until the POST is answered, p50", value=report.p50_ms, unit="ms")
    yield _figure("idle", idle, 0.5, "a bare Quart-Trio response", bare.p50_ms, at_most=1.5)
    yield _figure("idle", idle, 0.95, "a bare Quart-Trio response", bare.p95_ms, at_most=2.0)
    yield _figure("idle", idle, 0.99, at_most=8.0)
    yield _figure(f"at {BUSY_RATE:.0f}/s", busy, 0.5)
    yield _figure(f"at {BUSY_RATE:.0f}/s", busy, 0.95, at_most=15.0)
    if scene.peers:
        yield from _beside_peers(scene, idle, busy)
    yield from _on_another_node(scene, idle)


def _beside_peers(scene: Scene, idle: list[float], busy: list[float]) -> Iterator[Figure]:
    with scene.database() as database, workly.serving(scene, database) as service:
        theirs_idle, _ = waits_ms(scene, service, IDLE_RATE)
        theirs_busy, _ = waits_ms(scene, service, BUSY_RATE)
    yield from _beside("idle", idle, "Workly", theirs_idle)
    yield from _beside(f"at {BUSY_RATE:.0f}/s", busy, "Workly", theirs_busy)
    if peers.has_graphile(scene):
        count = round(IDLE_RATE * scene.pick(quick=3, full=10))
        sent_at = peers.graphile_sent_at(scene, count, IDLE_RATE)
        name = "Graphile Worker, added by SQL"
        yield from _beside("idle", idle, name, _waits_ms(scene, sent_at))


def _on_another_node(scene: Scene, idle: list[float]) -> Iterator[Figure]:
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


def _beside(what: str, ours: list[float], name: str, theirs: list[float]) -> Iterator[Figure]:
    for share in (0.5, 0.95):
        yield _figure(what, ours, share, name, percentile(theirs, share))


def _figure(
    what: str,
    waits: list[float],
    share: float,
    beside: str = "",
    reference: float | None = None,
    *,
    at_most: float | None = None,
) -> Figure:
    return Figure(
        what=f"{what}, p{share * 100:.0f}",
        value=percentile(waits, share),
        unit="ms",
        beside=beside,
        reference=reference,
        at_most=at_most,
    )


def waits_ms(scene: Scene, service: Service, rate: float) -> tuple[list[float], Report]:
    """Return the latency of each task in milliseconds, and the report of the POSTs."""
    report = _sent(scene, service, rate)
    return arrival_waits_ms(scene, report), report


def arrival_waits_ms(scene: Scene, report: Report) -> list[float]:
    """Return the time from each POST to the arrival at the target in milliseconds."""
    sent_at = {str(number): seconds for number, seconds in report.sent_at.items()}
    return _waits_ms(scene, sent_at)


def _sent(scene: Scene, service: Service, rate: float) -> Report:
    return send(
        Load(
            port=service.port,
            url=f"{scene.target}/at/{{}}",
            submission=service.submission,
            connections=16,
            seconds=scene.pick(quick=3.0, full=10.0),
            rate=rate,
        )
    )


def _waits_ms(scene: Scene, sent_at: dict[str, float]) -> list[float]:
    """Wait until all tasks have arrived at the target, and return the latency of each."""
    arrived_at: dict[str, float] = {}
    deadline = time.monotonic() + _LAST_FETCHES_SECONDS
    while sent_at.keys() - arrived_at.keys():
        assert time.monotonic() < deadline, "not all tasks were fetched"
        time.sleep(0.1)
        arrived_at |= json.loads(get(urlsplit(scene.target).port or 0, "/arrivals"))
    return [(arrived_at[number] - seconds) * 1000 for number, seconds in sent_at.items()]
