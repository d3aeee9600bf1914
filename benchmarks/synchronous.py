"""The price of synchronous replication, with a delay between the primary and its standby.

A round measures each kind of replication once. Values are medians; a ratio is the median of the
ratios of the rounds. With ``--beside``, the same is measured of other commits, in the same rounds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, LiteralString

import psycopg

from benchmarks import processes
from benchmarks.beside import checked_out
from benchmarks.clients import Load, Report, percentile, send
from benchmarks.database import check_durability
from benchmarks.delayed_path import DelayedPath
from benchmarks.delayed_standby import standby_behind
from benchmarks.latency import IDLE_RATE, arrival_waits_ms
from benchmarks.processes import Service
from benchmarks.scene import FOR_EVER_MS, Scene
from benchmarks.table import Figure, paired
from tests.replicas import (
    Server,
    make_synchronous,
    primary_in,
    server_gone_afterwards,
    standbys_of,
)
from tests.service.processes import wait_until

_STANDBY: Final = "standby"
_ROUND_TRIPS_MS: Final = (0, 1, 5)
# The standby is stopped for minutes, and streams what it has missed.
_SETTINGS: Final = {"fsync": "on", "shared_buffers": "128MB", "wal_keep_size": "16GB"}
_WORKERS: Final = 100
_NO_STANDBY: Final = "no standby"
_WRITERS: Final = 16
_INSERT: Final[LiteralString] = "INSERT INTO numbers VALUES (1)"
_NOTIFY: Final[LiteralString] = "SELECT pg_notify('benchmarks', '')"
_COMMITS: Final[dict[str, list[LiteralString]]] = {
    "one INSERT": [_INSERT],
    "one INSERT and NOTIFY": [f"WITH kept AS ({_INSERT} RETURNING 1) {_NOTIFY} FROM kept"],
    "one INSERT, then NOTIFY": [_INSERT, _NOTIFY],
}

Measured = dict[str, tuple[float, str]]
"""Values and their units, by what they are."""


def synchronous(scene: Scene) -> Iterator[Figure]:
    """Measure submission, work off and wake-ups without a standby, and with delayed ones."""
    with contextlib.ExitStack() as stack:
        commits = {"": processes.REPOSITORY} | {
            name: stack.enter_context(checked_out(scene.folder, name)) for name in scene.beside
        }
        replicas = stack.enter_context(_replicas(scene.folder))
        own = Scene(
            replicas.primary.conninfo,
            scene.target,
            scene.folder,
            is_quick=scene.is_quick,
            peers=None,
        )
        rounds = [
            {
                (name, kind): _measured(own, folder)
                for kind in replicas.kinds()
                for name, folder in commits.items()
            }
            for _ in range(scene.pick(quick=1, full=3))
        ]
    for (name, kind), measured in rounds[0].items():
        reference = (name, _NO_STANDBY) if kind != _NO_STANDBY else ("", _NO_STANDBY)
        beside = _NO_STANDBY if kind != _NO_STANDBY else "this commit"
        for what, (_, unit) in measured.items():
            pairs = [(one[name, kind][what][0], one[reference][what][0]) for one in rounds]
            title = ", ".join(filter(None, [kind, what, name]))
            yield paired(title, unit, beside if reference != (name, kind) else "", pairs)


class _Replicas:
    """A primary, and a standby behind a path with a delay."""

    def __init__(self, primary: Server, standby: Server, path: DelayedPath) -> None:
        self.primary = primary
        self._standby = standby
        self._path = path

    def kinds(self) -> Iterator[str]:
        """Yield each kind of replication while it is set up."""
        yield _NO_STANDBY
        self._standby.start(**_SETTINGS)
        try:
            make_synchronous(self.primary, _STANDBY)
            for milliseconds in _ROUND_TRIPS_MS:
                self._path.round_trip_seconds = milliseconds / 1000
                yield f"standby at {milliseconds} ms"
        finally:
            self._path.round_trip_seconds = 0.0
            self._make_asynchronous()
            self._standby.stop()
            wait_until(lambda: not standbys_of(self.primary))

    def _make_asynchronous(self) -> None:
        with psycopg.connect(self.primary.conninfo, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def _replicas(folder: Path) -> Iterator[_Replicas]:
    with (
        primary_in(folder, "primary", **_SETTINGS) as primary,
        DelayedPath(primary.port) as path,
    ):
        check_durability(primary.conninfo)
        standby = standby_behind(path, primary, _STANDBY)
        with server_gone_afterwards(standby):
            yield _Replicas(primary, standby, path)


def _measured(scene: Scene, repository: Path) -> Measured:
    found: Measured = _committed(scene)
    with _accepting(scene, repository) as service:
        for connections in (1, 64):
            report = _posts(scene, service, connections)
            found |= _figures(f"POST, {connections} connections", report)
    with _accepting(scene, repository, processes_=2) as service:
        report = _posts(scene, service, 64)
        found |= _figures("POST, 64 connections, two processes", report)
    found |= _worked_off(scene, repository)
    found |= _woken(scene, repository)
    return found


def _committed(scene: Scene) -> Measured:
    """Measure transactions of one row, without TaskFlow, and with a notification in or after it."""
    found: Measured = {}
    with scene.database() as database:
        database.do("CREATE TABLE numbers (number integer)")
        for what, statements in _COMMITS.items():
            rate = _commits_per_second(scene, database.conninfo, statements)
            found[f"commits of {_WRITERS} connections, {what}"] = (rate, "/s")
    return found


def _commits_per_second(scene: Scene, conninfo: str, statements: Sequence[LiteralString]) -> float:
    seconds = scene.pick(quick=1.0, full=2.0)
    end = time.monotonic() + seconds

    def commit(_: int) -> int:
        count = 0
        with psycopg.connect(conninfo, autocommit=True) as connection:
            while time.monotonic() < end:
                for statement in statements:
                    connection.execute(statement)
                count += 1
        return count

    with ThreadPoolExecutor(_WRITERS) as pool:
        return sum(pool.map(commit, range(_WRITERS))) / seconds


def _figures(what: str, report: Report) -> Measured:
    return {
        what: (report.per_second, "/s"),
        f"{what}, p50": (report.p50_ms, "ms"),
        f"{what}, p99": (report.p99_ms, "ms"),
    }


@contextlib.contextmanager
def _accepting(scene: Scene, repository: Path, *, processes_: int = 1) -> Iterator[Service]:
    """Run TaskFlow with workers that are busy, so that tasks of one process are for the others."""
    with (
        scene.database() as database,
        scene.taskflow(
            database, processes_=processes_, repository=repository, fetch_timeout_seconds=86_400
        ) as service,
    ):
        database.fill(f"{scene.target}/{FOR_EVER_MS}", 5 * processes_)
        time.sleep(0.5)
        yield service


def _posts(scene: Scene, service: Service, connections: int) -> Report:
    return send(
        Load(
            port=service.port,
            url=f"{scene.target}/1000",
            connections=connections,
            seconds=scene.pick(quick=1.5, full=3.0),
        )
    )


def _worked_off(scene: Scene, repository: Path) -> Measured:
    count = scene.pick(quick=2_000, full=6_000)
    with (
        scene.database() as database,
        scene.taskflow(database, repository=repository, workers=_WORKERS),
    ):
        database.fill(f"{scene.target}/", count)
        database.wait_until_worked_off()
        per_second = count / database.working_seconds()
    return {f"work off, {_WORKERS} workers": (per_second, "tasks/s")}


def _woken(scene: Scene, repository: Path) -> Measured:
    """Measure the time from the POST to the start on another node, which must be notified."""
    with (
        scene.database() as database,
        scene.taskflow(database, repository=repository, workers=1) as service,
    ):
        scene.hold_workers(database, workers=1)
        time.sleep(1.0)
        with scene.taskflow(database, repository=repository, serves=False):
            load = Load(
                port=service.port,
                url=f"{scene.target}/at/{{}}",
                connections=16,
                seconds=scene.pick(quick=3.0, full=5.0),
                rate=IDLE_RATE,
            )
            waits = arrival_waits_ms(scene, send(load))
    what = "from the POST to another node"
    return {
        f"{what}, p50": (percentile(waits, 0.5), "ms"),
        f"{what}, p99": (percentile(waits, 0.99), "ms"),
    }
