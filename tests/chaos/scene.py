"""A scenario's stage: database, nodes, target and clients, and the verdict at the end."""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from tests.chaos import audit
from tests.chaos.counting import CountingTarget
from tests.chaos.fleet import Fleet
from tests.chaos.load import UNIQUE_KEYS, Load
from tests.chaos.reporting import Reporter
from tests.chaos.shape import Shape
from tests.chaos.verdict import Verdict
from tests.service.database import Tasks
from tests.service.processes import wait_until

TAKE_OVER_SECONDS = 3.0
PROGRESS_SECONDS = 2.0
LOGGER = logging.getLogger(__name__)

HELD = """
    SELECT t.node_id::text, t.id::text FROM taskflow_tasks t JOIN taskflow_nodes n ON n.id = node_id
    WHERE t.status = 'RUNNING' AND n.name LIKE %s
"""

FINISHED_SINCE = "SELECT FROM taskflow_all_tasks WHERE finished_at > to_timestamp(%s) LIMIT 1"


class Database(Protocol):
    """Where the tasks are.

    Attributes:
        conninfo: Of the database of the scenario.
    """

    conninfo: str


class Death(NamedTuple):
    """A node that stopped working, when, and what it held then."""

    node_id: str
    tasks: list[str]
    at: float


class Scene:
    """What a scenario plays with. ``under_load`` is the play, ``judge`` the end of it."""

    def __init__(
        self,
        name: str,
        shape: Shape,
        server: Database,
        fleet: Fleet,
        target: CountingTarget,
        reporter: Reporter,
        *,
        load: type[Load] = Load,
    ) -> None:
        self.name, self.shape, self.server, self.fleet = name, shape, server, fleet
        self.random: random.Random = shape.random(name)
        self.load = load(shape, fleet, target.url)
        self._target, self._reporter = target, reporter
        self._deaths: list[Death] = []
        self._ends_of_harm: list[float] = []

    @contextlib.contextmanager
    def look(self) -> Iterator[Tasks]:
        """A look into the database, past TaskFlow."""
        with Tasks(self.server.conninfo) as tasks:
            yield tasks

    @contextlib.contextmanager
    def under_load(self) -> Iterator[Load]:
        """Record all transitions, and submit tasks while the block is open."""
        with self.look() as tasks:
            audit.install(tasks)
        with self.load:
            yield self.load

    def kill(self, place: int) -> None:
        """SIGKILL the node there while it holds tasks."""
        self.strike(place, signal.SIGKILL)
        self.fleet.end(place, signal.SIGKILL)

    def strike(self, place: int, signal_number: int) -> None:
        """Send the node there, while it holds tasks, a signal that stops its work at once."""
        with self.look() as tasks:
            wait_until(lambda: self.held(tasks, place))
            self.fleet[place].process.send_signal(signal_number)
            at = time.time()
            held = self.held(tasks, place)
        if held:
            self._deaths.append(Death(held[0][0], [task_id for _, task_id in held], at))

    def held(self, tasks: Tasks, place: int) -> list[tuple[str, str]]:
        """The ids of the node there and of each task that it runs."""
        return tasks.execute(HELD, f"%:{self.fleet[place].process.pid}").fetchall()

    def harm_ended(self, at: float | None = None) -> None:
        """Note that from now on, or since then, nothing keeps the nodes from working.

        The load goes on until a task has finished since.
        """
        since = time.time() if at is None else at
        self._ends_of_harm.append(since)
        with self.look() as tasks:
            wait_until(lambda: tasks.execute(FINISHED_SINCE, since).rowcount)

    def judge(self) -> Verdict:
        """Wait until all is quiet, say how it went, and assert what must always hold."""
        is_quiet, verdict = self.see()
        assert is_quiet, f"these have not finished: {verdict.open_rows}"
        assert not self.fleet.gone()
        assert not verdict.lost(), verdict.lost()
        assert not verdict.contradictions(), verdict.contradictions()[:3]
        assert verdict.ordered() >= self.shape.rate * self.shape.seconds / 50, "hardly any order"
        assert verdict.events, "no events"
        assert verdict.deferred(), "no reports"
        assert len(verdict.edges) >= self.shape.rate * self.shape.seconds / 50, "hardly any parents"
        # A machine may be too slow for more.
        assert self.load.returned >= self.load.with_unique_key - UNIQUE_KEYS
        assert len(verdict.ends) >= self.shape.rate * self.shape.seconds / 10, "hardly any load"
        self._assert_recovery(verdict)
        return verdict

    def see(self) -> tuple[bool, Verdict]:
        """Wait until all is quiet, if that is ever so, and say how it went."""
        with self.look() as tasks:
            is_quiet = self._settles(tasks)
            verdict = Verdict(tasks, self.load, self._target, self._reporter)
        self._print(verdict)
        return is_quiet, verdict

    def _settles(self, tasks: Tasks) -> bool:
        query = "SELECT FROM taskflow_tasks WHERE status IN ('PENDING', 'RUNNING') LIMIT 1"
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not tasks.execute(query).rowcount, self.shape.settle_seconds)
        return not tasks.execute(query).rowcount

    def _take_overs(self, verdict: Verdict) -> list[float]:
        return [verdict.taken_over(one.node_id, one.tasks, one.at) for one in self._deaths]

    def _recoveries(self, verdict: Verdict) -> list[float]:
        return [verdict.first_end_after(at) for at in self._ends_of_harm]

    def _print(self, verdict: Verdict) -> None:
        figures = {
            "posted": len(self.load.posted),
            "unknown": f"{len(self.load.unknown)} {dict(self.load.reasons) or ''}",
            "ended": len(verdict.ends),
            "events": len(verdict.events),
            "ordered": verdict.ordered(),
            "edges": len(verdict.edges),
            "returned": self.load.returned,
            "groups": len(verdict.groups),
            "deferred": f"{verdict.deferred()} {dict(self._reporter.statuses)}",
            "twice": len(verdict.twice()),
            "gap": f"{verdict.longest_gap():.2f}s",
            "taken over": _seconds(self._take_overs(verdict)),
            "progress": _seconds(self._recoveries(verdict)),
            "open": verdict.open(),
            "lost": len(verdict.lost()),
            "contradictions": len(verdict.contradictions()),
            "tracebacks": self.fleet.tracebacks(),
        }
        output = " | ".join(f"{name} {value}" for name, value in figures.items())
        print(f"\nchaos {self.name} (seed {self.shape.seed}) | {output}")
        # Shown by pytest if the scenario fails, or with -s at a debug level.
        for number, node in enumerate(self.fleet.everyone):
            LOGGER.debug("node %d, process %d:\n%s", number, node.process.pid, node.log)

    def _assert_recovery(self, verdict: Verdict) -> None:
        bound = self.shape.lease_seconds + TAKE_OVER_SECONDS
        assert max(self._take_overs(verdict), default=0.0) < bound
        assert max(self._recoveries(verdict), default=0.0) < PROGRESS_SECONDS


def _seconds(values: list[float]) -> str:
    return " ".join(f"{value:.2f}s" for value in values) or "-"
