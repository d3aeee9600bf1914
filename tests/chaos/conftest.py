"""What scenarios share: their form, and a stage with a database, nodes and a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.chaos.counting import CountingTarget
from tests.chaos.fleet import Fleet
from tests.chaos.postgres import Server
from tests.chaos.reporting import PUBLIC_URL, Reporter
from tests.chaos.scene import Scene
from tests.chaos.shape import Shape, shape_from
from tests.folders import open_folder
from tests.loopback import SECRET
from tests.service.database import url_of

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker("heavy")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--chaos", action="store_true", help="the long form: minutes of load each")
    group.addoption("--chaos-seed", type=int, help="repeat the randomness of an earlier run")
    group.addoption("--chaos-rate", type=float, help="tasks submitted per second")
    group.addoption("--chaos-seconds", type=float, help="duration of the submission")


@pytest.fixture(scope="session")
def shape(pytestconfig: pytest.Config) -> Shape:
    """The form of this run."""
    return shape_from(pytestconfig)


@pytest.fixture(scope="package")
def shared_server() -> Iterator[Server]:
    """The PostgreSQL of all scenarios."""
    with open_folder() as folder, Server(folder / "data") as running:
        yield running


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The PostgreSQL of the scenario, with a database of its own."""
    shared_server.change_database()
    return shared_server


@pytest.fixture
def nodes_url(server: Server) -> str:
    """Where the nodes find it."""
    return url_of(server.conninfo)


@pytest.fixture
def odd_settings() -> Mapping[int, Mapping[str, object]]:
    """Settings of single nodes; none, unless a module has its own."""
    return {}


@pytest.fixture
def scene(request, tmp_path, shape, server, nodes_url, odd_settings) -> Iterator[Scene]:
    """The whole stage, with three nodes at work."""
    name = request.node.name.removeprefix("test_")
    settings = {
        "DATABASE_URL": nodes_url,
        "TASKFLOW_PUBLIC_URL": PUBLIC_URL,
        "TASKFLOW_WEBHOOK_SECRETS": SECRET,
        **shape.bounds,
    }
    with (
        CountingTarget() as target,
        Fleet(tmp_path, settings, odd=odd_settings) as fleet,
        Reporter(fleet, shape.random("reporter")) as reporter,
    ):
        target.accept = reporter.accept
        yield Scene(name, shape, server, fleet, target, reporter)
