"""A scenario's stage: the scene of the chaos suite on a cluster, with the verdict on failovers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.chaos.counting import CountingTarget
from tests.chaos.fleet import Fleet
from tests.chaos.reporting import Reporter
from tests.chaos.scene import Scene
from tests.chaos.shape import Shape
from tests.chaos.verdict import Verdict
from tests.failover.cluster import Cluster, Member
from tests.failover.load import RepeatingLoad, vanished
from tests.service.processes import PATIENCE_SECONDS, Running, wait_until


class Stage(Scene):
    """What a scenario plays with."""

    load: RepeatingLoad

    def __init__(
        self,
        name: str,
        shape: Shape,
        cluster: Cluster,
        fleet: Fleet,
        target: CountingTarget,
        reporter: Reporter,
    ) -> None:
        super().__init__(name, shape, cluster, fleet, target, reporter, load=RepeatingLoad)
        self.cluster = cluster

    @contextlib.contextmanager
    def under_load(self) -> Iterator[RepeatingLoad]:
        """Submit tasks while the block is open; some are accepted before and after."""
        with super().under_load():
            self.load.publish_one()
            self.load.wait_for_share(0.2)
            self.load.wait_for_more()
            yield self.load
            self.load.wait_for_more()

    def pass_time_to_live(self) -> None:
        """Wait until a lock that is not renewed has expired, and others could have acted on it."""
        config = wait_until(lambda: next(filter(None, map(_config_of, self.cluster.members)), None))
        over = time.monotonic() + config["ttl"] + 3 * config["loop_wait"]
        wait_until(lambda: time.monotonic() >= over, config["ttl"] * 3 + PATIENCE_SECONDS)

    def wait_until_all_use(self, member: Member) -> None:
        """Wait until each node uses this member as its database."""
        number = self.cluster.members.index(member) + 1
        for place in range(self.fleet.size):
            wait_until(lambda node=self.fleet[place]: _host_of(node) == number)

    def forgive_reads_of_a_former_primary(self) -> None:
        """Accept that a node did not find a parent that was accepted by another node.

        A node cannot know that there is another primary before a write gets no response.
        """
        assert all(b"no task has the id" in body for body in self.load.odd_bodies)
        self.load.odd.pop(422, None)
        self.load.odd_bodies.clear()

    def judge(self) -> Verdict:
        """Assert also that all that was accepted is there, and that no node failed."""
        verdict = super().judge()
        self._report(verdict)
        assert not vanished(self.load, verdict)
        assert not self.fleet.tracebacks()
        return verdict

    def judge_losses(self) -> list[str]:
        """Return what was accepted and has vanished, without asserting anything."""
        _, verdict = self.see()
        self._report(verdict)
        return vanished(self.load, verdict)

    def _report(self, verdict: Verdict) -> None:
        keys = {record.key for record in verdict.records}
        figures = {
            "accepted": len(self.load.posted) + len(self.load.groups) + len(self.load.published),
            "vanished": len(vanished(self.load, verdict)),
            "twice by key": len(verdict.records) - len(keys),
            "repeated": self.load.repeated,
            "without a 201": f"{self.load.seconds_without():.1f}s",
        }
        print(f"failover {self.name} | {' | '.join(f'{n} {v}' for n, v in figures.items())}")


def _host_of(node: Running) -> int | None:
    """Return which host of DATABASE_URL a node uses."""
    answer = node.ask("GET", "/readyz", headers={"Accept": "application/json"})
    return answer.body["database"]["host"] if answer.status == 200 else None


def _config_of(member: Member) -> dict[str, int] | None:
    """Return the settings of the cluster, as a member knows them."""
    return member.ask("GET", "/config")[1]
