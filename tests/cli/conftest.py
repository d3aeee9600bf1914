"""What the tests of the command line share: services, a web server to fetch from, a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.conftest import (  # noqa: F401 - fixtures
    events,
    memory_server,
    open_database,
    postgres_api,
    target,
)
from tests.api.live import LiveServer
from tests.cli.command import CommandLine

KEY = "k" * 32


@pytest.fixture(params=["memory", "postgres"])
def service(request) -> LiveServer:
    """Each of the shared services in turn."""
    name = {"memory": "memory_server", "postgres": "postgres_api"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def cli(memory_server, tmp_path) -> CommandLine:  # noqa: F811 - a fixture
    """The command line of the service that keeps its tasks in memory."""
    return CommandLine(tmp_path, url=memory_server.url)


@pytest.fixture
def cli_of_each(service, tmp_path) -> CommandLine:
    """The command line of each of the services in turn."""
    return CommandLine(tmp_path, url=service.url)


@pytest.fixture(scope="package")
def locked_server() -> Iterator[LiveServer]:
    """A service that requires a key."""
    with LiveServer(database_url="memory://", key=KEY) as server:
        yield server
