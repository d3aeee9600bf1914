"""Cost of a plain task, compared with earlier commits in interleaved runs on one server.

Each commit is unpacked into a folder, and run with the packages of this environment. A round
measures each commit once. Values are medians; a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import processes
from benchmarks.accept import CONNECTIONS
from benchmarks.clients import Load, send
from benchmarks.database import Database
from benchmarks.meter import Cost, metered
from benchmarks.references import bare_fetches
from benchmarks.scene import FOR_EVER_MS, Scene
from benchmarks.table import Figure, paired

_WORKERS: Final = (5, 100)
# The last commit that spoke HTTP by h11.
_BEFORE_LLHTTP: Final = "fbb3fa9"
# A worker that starts claims nothing while this lock is held.
_HOLD_CLAIMS: Final = "LOCK TABLE taskflow_tasks IN EXCLUSIVE MODE"
_UNITS: Final = {
    "rate": "/s",
    "CPU of the service": "us/task",
    "CPU of PostgreSQL": "us/task",
    "WAL": "bytes/task",
    "commits that write": "/1,000 tasks",
}


def beside(scene: Scene) -> Iterator[Figure]:
    """Measure each phase of a plain task: ``POST``, work off, and both at once."""
    if not scene.beside:
        return
    with contextlib.ExitStack() as stack:
        commits = {
            name: stack.enter_context(checked_out(scene.folder, name)) for name in scene.beside
        }
        rounds = [
            {name: _phases(scene, folder) for name, folder in commits.items()}
            | {"": _phases(scene, processes.REPOSITORY)}
            for _ in range(scene.pick(quick=3, full=5))
        ]
    for phase, measured in rounds[0][""].items():
        for what in measured:
            for name in commits:
                yield paired(
                    f"{phase}: {what}",
                    _UNITS[what],
                    name,
                    [(one[""][phase][what], one[name][phase][what]) for one in rounds],
                )


def fetches(scene: Scene) -> Iterator[Figure]:
    """Compare the CPU of a bare fetch over a kept connection before and after llhttp."""
    count = scene.pick(quick=1_000, full=5_000)
    with checked_out(scene.folder, _BEFORE_LLHTTP) as folder:
        for workers in _WORKERS:
            pairs = [
                (
                    bare_fetches(scene.target, workers=workers, count=count, repository=folder),
                    bare_fetches(scene.target, workers=workers, count=count),
                )
                for _ in range(scene.pick(quick=3, full=9))
            ]
            figure = paired(
                f"bare fetches by h11 ({_BEFORE_LLHTTP}), {workers} in flight: CPU",
                "us/fetch",
                "by llhttp",
                [(before.cpu_us, after.cpu_us) for before, after in pairs],
            )
            yield msgspec.structs.replace(figure, at_least=1.7)


@contextlib.contextmanager
def checked_out(folder: Path, commit: str) -> Iterator[Path]:
    """Unpack a commit of this repository, and remove the files at the end."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        command = ["git", "archive", commit, "taskflow"]
        files = subprocess.run(
            command, cwd=processes.REPOSITORY, check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(name, filter="data")
        yield Path(name)


def _phases(scene: Scene, repository: Path) -> dict[str, dict[str, float]]:
    """Return what each phase costs a task."""
    seconds = scene.pick(quick=1.5, full=3.0)
    connections = CONNECTIONS[-1]
    found = {}
    for workers in _WORKERS:
        with scene.database() as database:
            rate, posted = _posted(scene, database, repository, connections, seconds)
            count = database.ask("SELECT count(*) FROM taskflow_tasks")
            found[f"POST, {connections} connections"] = {"rate": rate, **_each(posted, count)}
            worked = _worked_off(scene, database, repository, workers)
            found[f"work off, {workers} workers"] = _each(worked, count)
    with scene.database() as database:
        count, cost = _both(scene, database, repository, connections, seconds)
        found["POST and work off"] = _each(cost, count)
    return found


def _posted(
    scene: Scene, database: Database, repository: Path, connections: int, seconds: float
) -> tuple[float, Cost]:
    """Store tasks, one per POST, while the only worker waits for its target."""
    with scene.taskflow(
        database, repository=repository, workers=1, fetch_timeout_seconds=86_400
    ) as service:
        database.hold_worker(f"{scene.target}/{FOR_EVER_MS}")
        database.do("CHECKPOINT")
        with metered(database, [service]) as cost:
            report = send(
                Load(
                    port=service.port,
                    url=f"{scene.target}/",
                    connections=connections,
                    seconds=seconds,
                    warm_up_seconds=0.0,
                )
            )
    assert not report.failures
    database.do("DELETE FROM taskflow_tasks WHERE status = 'RUNNING'")
    return report.per_second, cost


def _worked_off(scene: Scene, database: Database, repository: Path, workers: int) -> Cost:
    """Work off the stored tasks by a node that first claims when the meters have been read."""
    with contextlib.ExitStack() as stack:
        with database.held(_HOLD_CLAIMS):
            service = stack.enter_context(
                scene.taskflow(database, repository=repository, serves=False, workers=workers)
            )
            database.do("CHECKPOINT")
            cost = stack.enter_context(metered(database, [service]))
        database.wait_until_worked_off()
    return cost


def _both(
    scene: Scene, database: Database, repository: Path, connections: int, seconds: float
) -> tuple[int, Cost]:
    with scene.taskflow(database, repository=repository) as service:
        database.do("CHECKPOINT")
        with metered(database, [service]) as cost:
            send(
                Load(
                    port=service.port,
                    url=f"{scene.target}/",
                    connections=connections,
                    seconds=seconds,
                    warm_up_seconds=0.0,
                )
            )
            database.wait_until_worked_off()
    return database.completed(), cost


def _each(cost: Cost, count: int) -> dict[str, float]:
    return {
        "CPU of the service": cost.service / count * 1e6,
        "CPU of PostgreSQL": cost.postgres / count * 1e6,
        "WAL": cost.wal_bytes / count,
        "commits that write": cost.commits / count * 1000,
    }
