"""One environment with the MCP SDK, one service, and one process for the clients of agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import open_database, target  # noqa: F401 - a fixture
from tests.api.live import LiveServer
from tests.frameworks.environment import EXTRAS, PROJECT, Environment
from tests.mcp_server.agents import Agents, open_agents

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
KEYS = {role: f"key-of-an-agent-that-may-{role}" for role in ("read", "write", "admin")}


@pytest.fixture(scope="package")
def environment(tmp_path_factory) -> Environment:
    """The extra ``mcp``, without the service."""
    environment = Environment(tmp_path_factory.mktemp("mcp"))
    environment.install("-r", str(REQUIREMENTS), *PROJECT["dependencies"], *EXTRAS["mcp"])
    return environment


@pytest.fixture(scope="package")
def service(postgres_server: str) -> Iterator[LiveServer]:
    """A service with a key for each role."""
    api_keys = ",".join(f"{role}-agent:{role}:{key}" for role, key in KEYS.items())
    with (
        open_database(postgres_server, is_migrated=True) as url,
        LiveServer(database_url=url, api_keys=api_keys) as server,
    ):
        yield server


@pytest.fixture(scope="package")
def agents(environment, tmp_path_factory) -> Iterator[Agents]:
    with open_agents(environment, tmp_path_factory.mktemp("agents")) as agents:
        yield agents
