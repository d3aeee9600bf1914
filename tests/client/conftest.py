"""What the tests of the client share: services on both stores, and a web server to fetch from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.api.conftest import (  # noqa: F401 - fixtures
    events,
    memory_server,
    open_database,
    postgres_api,
    target,
)
from tests.api.live import LiveServer


class Node(NamedTuple):
    """A service that hears of work by notifications alone, and its database."""

    server: LiveServer
    database_url: str


@pytest.fixture(scope="package")
def node(postgres_server: str) -> Iterator[Node]:
    with (
        open_database(postgres_server) as url,
        LiveServer(database_url=url, poll_seconds=7200.0) as live,
    ):
        yield Node(live, url)
