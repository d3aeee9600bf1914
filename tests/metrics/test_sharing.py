"""Metrics that several processes share, with real processes that end in every way."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskflow.metrics import Metrics
from taskflow.metrics.exposition import expose
from taskflow.metrics.sharing import shared
from tests.metrics.scrape import Scrape

REPOSITORY = Path(__file__).resolve().parents[2]
ACCEPTED, WORKERS, PROCESSES = (
    "taskflow_accepted_tasks_total",
    "taskflow_workers",
    "taskflow_processes",
)


class Sibling:
    """A process beside this one. ``siblings`` starts it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._hear()

    def accept(self, count: int) -> None:
        """Count this many tasks there, and return when that is done."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self._hear()

    def end(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(10) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _hear(self) -> None:
        assert self.process.stdout.readline() == "ok\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the files are, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def start(folder):
    """Starts siblings, which are gone at the end."""
    with contextlib.ExitStack() as stack:

        def start() -> Sibling:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.metrics.sibling", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
                env={**os.environ, "TMPDIR": str(folder)},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return Sibling(process)

        yield start


@contextlib.contextmanager
def sharing(is_main_ending=lambda: True) -> Iterator[Metrics]:
    metrics = Metrics()
    metrics.declare_routes([("/tasks", ("GET",))])
    with shared(metrics.registry, os.getpid(), is_main_ending):
        yield metrics


def look(metrics: Metrics) -> tuple[float, float, float]:
    """What is accepted, how many workers there are, and of how many processes that is."""
    reported = Scrape(expose(metrics.registry, (), "").body.decode())
    return reported.value(ACCEPTED), reported.value(WORKERS), reported.value(PROCESSES)


def files_in(folder: Path) -> int:
    return len(list(folder.glob("*/*.cells")))


def test_each_process_exposes_all(folder, start):
    """Counters and gauges are sums over all processes, at once."""
    with sharing() as metrics:
        first, second = start(), start()
        first.accept(2)
        second.accept(3)
        metrics.accepted(10)
        metrics.workers.set(1)
        assert look(metrics) == (15, 11, 3)


def test_counters_of_dead_processes_stay(folder, start):
    """Also after ``kill -9``; their gauges do not."""
    with sharing() as metrics:
        first, second = start(), start()
        first.accept(2)
        second.accept(3)
        assert look(metrics) == (5, 10, 3)
        first.kill()
        assert look(metrics) == (5, 5, 2)
        second.end()
        assert look(metrics) == (5, 0, 1)


def test_a_new_process_reuses_files_of_dead_ones(folder, start):
    """Nothing is counted twice or lost, and files do not accumulate."""
    with sharing() as metrics:
        metrics.accepted(100)
        for number in range(5):
            sibling = start()
            sibling.accept(1)
            assert look(metrics) == (101 + number, 5, 2)
            assert files_in(folder) == 2
            sibling.kill()
            assert look(metrics) == (101 + number, 0, 1)
        assert files_in(folder) == 2


def test_own_counts_are_kept(folder):
    """Before, while and after they are shared."""
    metrics = Metrics()
    metrics.accepted(1)
    with shared(metrics.registry, os.getpid(), lambda: True):
        metrics.accepted(1)
        assert look(metrics)[0] == 2
    metrics.accepted(1)
    assert look(metrics)[0] == 3


def test_the_last_process_removes_the_folder(folder, start):
    """Only if the main process is ending; otherwise other processes may start."""
    with sharing(is_main_ending=lambda: True):
        sibling = start()
        sibling.accept(1)
    assert files_in(folder) == 2, "another process is alive"
    sibling.end()
    with sharing(is_main_ending=lambda: False) as metrics:
        assert look(metrics) == (1, 0, 1)
    assert files_in(folder) == 1
    with sharing(is_main_ending=lambda: True) as metrics:
        assert look(metrics) == (1, 0, 1)
    assert list(folder.iterdir()) == []


def test_abandoned_folders_are_removed(folder, start):
    """A folder is abandoned if its main process and all its workers are dead."""
    gone = folder / f"taskflow-metrics-{os.getuid()}-1-1"
    gone.mkdir(mode=0o700)
    (gone / "old.cells").write_bytes(b"")
    other_name = folder / f"taskflow-metrics-{os.getuid()}-not-ours"
    other_name.mkdir()
    with sharing():
        assert not gone.exists()
        assert other_name.exists()


def test_pipes_and_links_are_not_opened(folder):
    """Any user can create them, and opening a pipe would block."""
    trap = folder / f"taskflow-metrics-{os.getuid()}-1-1"
    trap.mkdir(mode=0o755)
    os.mkfifo(trap / "trap.cells")
    link = folder / f"taskflow-metrics-{os.getuid()}-1-2"
    link.symlink_to(trap)
    with sharing() as metrics:
        assert look(metrics) == (0, 0, 1)
        assert link.is_symlink()
        assert (trap / "trap.cells").exists()


def test_a_full_disk(folder, monkeypatch):
    """It is detected at the start, and no file is left."""

    def no_room(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(OSError, match="no space"), sharing():
        pass
    assert list(folder.iterdir()) == []


def test_a_folder_of_another_user_is_not_used(folder):
    """Any user can create a folder of that name first."""
    with sharing(is_main_ending=lambda: False):
        [path] = folder.iterdir()
    path.chmod(0o755)
    with pytest.raises(PermissionError, match="belongs to another user"), sharing():
        pass


def test_another_layout_is_ignored(folder):
    """Values of a process with another layout are not added."""
    other = Metrics()
    other.declare_routes([("/other", ("GET",))])
    other.accepted(1)
    with shared(other.registry, os.getpid(), lambda: False), sharing() as metrics:
        assert look(metrics) == (0, 0, 1)


def test_a_folder_that_was_removed(folder):
    """After a cleanup of the temporary directory, a process exposes its own values."""
    with sharing() as metrics:
        for path in folder.iterdir():
            shutil.rmtree(path)
        metrics.accepted(2)
        metrics.workers.set(1)
        assert look(metrics) == (2, 1, 1)
