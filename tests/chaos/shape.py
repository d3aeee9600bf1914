"""How long and how hard: the short form of every run, and the long one of ``--chaos``."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

SHORT_BOUNDS = {
    "TASKFLOW_HEARTBEAT_SECONDS": 0.5,
    "TASKFLOW_LEASE_SECONDS": 2,
    "TASKFLOW_POLL_SECONDS": 0.5,
    "TASKFLOW_DATABASE_TIMEOUT_SECONDS": 2,
    "TASKFLOW_WORKERS": 5,
}
LONG_BOUNDS = {"TASKFLOW_HEARTBEAT_SECONDS": 5, "TASKFLOW_LEASE_SECONDS": 20}
# For scenarios in which no lease may be lost, however busy the machine is.
LONG_LEASE = {"TASKFLOW_LEASE_SECONDS": LONG_BOUNDS["TASKFLOW_LEASE_SECONDS"]}
SHORT_RATE, SHORT_SECONDS = 80.0, 4.0
LONG_RATE, LONG_SECONDS = 80.0, 180.0


class Shape(NamedTuple):
    """What a run is like.

    Attributes:
        seed: Drives all that is random.
        rate: Number of tasks submitted per second.
        seconds: How long that goes on, at least.
        settle_seconds: Timeout for all tasks to finish afterwards.
        lease_seconds: How long after its last heartbeat a node counts as dead.
        freeze_seconds: How long the path to the database is frozen.
        members: The number of tasks of a large group.
        dead_entries: The number of dead index entries that an open transaction keeps.
        bounds: The settings of every node.
    """

    seed: int
    rate: float
    seconds: float
    settle_seconds: float
    lease_seconds: float
    freeze_seconds: float
    members: int
    dead_entries: int
    bounds: dict[str, object]

    def random(self, who: object) -> random.Random:
        """Return a random generator of its own for one thread or scenario."""
        return random.Random(f"{self.seed}-{who}")


def shape_of(*, is_long: bool, seed: int, rate: float | None, seconds: float | None) -> Shape:
    """The short form or the long one, with what was asked for otherwise."""
    bounds: dict[str, object] = dict(LONG_BOUNDS if is_long else SHORT_BOUNDS)
    return Shape(
        seed=seed,
        rate=rate or (LONG_RATE if is_long else SHORT_RATE),
        seconds=seconds or (LONG_SECONDS if is_long else SHORT_SECONDS),
        settle_seconds=120.0 if is_long else 20.0,
        lease_seconds=float(bounds["TASKFLOW_LEASE_SECONDS"]),
        freeze_seconds=30.0 if is_long else 3.0,
        members=10_000 if is_long else 400,
        dead_entries=50_000 if is_long else 20_000,
        bounds=bounds,
    )


def shape_from(config: pytest.Config) -> Shape:
    """Return the form of this run. The options exist only where these tests are named to pytest."""
    seed = config.getoption("--chaos-seed", None)
    return shape_of(
        is_long=config.getoption("--chaos", False),
        seed=random.SystemRandom().randrange(10**6) if seed is None else seed,
        rate=config.getoption("--chaos-rate", None),
        seconds=config.getoption("--chaos-seconds", None),
    )
