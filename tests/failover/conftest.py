"""One cluster for all scenarios, each with a database, nodes and clients of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.counting import CountingTarget
from tests.chaos.fleet import Fleet
from tests.chaos.reporting import PUBLIC_URL, Reporter
from tests.chaos.shape import Shape, shape_from
from tests.failover.cluster import Cluster, missing_tool
from tests.failover.stage import Stage
from tests.folders import open_folder
from tests.loopback import SECRET

FOLDER = Path(__file__).parent
LOGGER = logging.getLogger(__name__)
NODES = 2
SHORT_TIMINGS = {"ttl": 5, "loop_wait": 1, "retry_timeout": 2}
ORDINARY_RATE = 30.0  # in each run of all tests, which have other things to do
# Failovers take longer than the shortest lease of the chaos suite.
SHORT_LEASE = {"TASKFLOW_LEASE_SECONDS": 4}
# Patroni's defaults, and the lease that the guide recommends with them.
LONG_LEASE = {"TASKFLOW_LEASE_SECONDS": 60}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("failover")
    group.addoption(
        "--failover", action="store_true", help="all failovers, with timings of seconds"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an ordinary run has no time for."""
    is_whole = config.getoption("--failover", False) or config.getoption("--chaos", False)
    ours = [item for item in items if item.path.is_relative_to(FOLDER)]
    for item in ours:
        item.add_marker("heavy")
    left_out = [item for item in ours if item.get_closest_marker("failover") and not is_whole]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def shape(pytestconfig: pytest.Config) -> Shape:
    """The form of this run."""
    shape = shape_from(pytestconfig)
    if pytestconfig.getoption("--chaos", False):
        return shape._replace(bounds=shape.bounds | LONG_LEASE)
    if not pytestconfig.getoption("--failover", False):
        shape = shape._replace(rate=ORDINARY_RATE)
    return shape._replace(settle_seconds=90.0, bounds=shape.bounds | SHORT_LEASE)


@pytest.fixture(scope="package")
def shared_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster of all scenarios."""
    if tool := missing_tool():
        pytest.skip(f"{tool} is not installed")
    timings = {} if pytestconfig.getoption("--chaos", False) else SHORT_TIMINGS
    with open_folder() as folder:
        running = Cluster(folder, timings)
        try:
            with running:
                yield running
        finally:
            for name, log in running.logs():
                LOGGER.debug("%s:\n%s", name, log)


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """The cluster with all members at work, and a new database."""
    shared_cluster.repair()
    shared_cluster.change_database()
    return shared_cluster


@pytest.fixture
def stage(request, tmp_path, shape, cluster) -> Iterator[Stage]:
    """The cluster, nodes that use it, a target, and clients."""
    name = request.node.name.removeprefix("test_")
    settings = {
        "DATABASE_URL": cluster.url(),
        "TASKFLOW_PUBLIC_URL": PUBLIC_URL,
        "TASKFLOW_WEBHOOK_SECRETS": SECRET,
        **shape.bounds,
    }
    with (
        CountingTarget() as target,
        Fleet(tmp_path, settings, size=NODES) as fleet,
        Reporter(fleet, shape.random("reporter")) as reporter,
    ):
        target.accept = reporter.accept
        yield Stage(name, shape, cluster, fleet, target, reporter)
