"""What the tests of the client share: services on both stores, a client, and a target.

Each asynchronous test runs on Trio and on asyncio. A test with a clock of Trio runs on Trio.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from taskflow import Client
from tests.api.conftest import (  # noqa: F401 - fixtures
    events,
    memory_server,
    open_database,
    postgres_api,
    target,
)
from tests.api.live import LiveServer
from tests.client.loops import LOOPS, run

LOOP = "event_loop"


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


@pytest.fixture(params=["memory", "postgres"])
def service(request: pytest.FixtureRequest) -> LiveServer:
    """Each of the shared services in turn."""
    name = {"memory": "memory_server", "postgres": "postgres_api"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def client(service: LiveServer) -> Client:
    """A client, which is closed on the event loop of the test, at its end."""
    return Client(service.url)


@pytest.fixture
def queue() -> str:
    """A queue of no other test: each runs on two event loops against the same service."""
    return f"q-{uuid.uuid4().hex}"


@pytest.hookimpl(trylast=True)  # the store comes first in the names of tests
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each asynchronous test on both event loops."""
    if inspect.iscoroutinefunction(metafunc.function) and not any(
        name.endswith("_clock") for name in metafunc.fixturenames
    ):
        metafunc.fixturenames.append(LOOP)
        metafunc.parametrize(LOOP, LOOPS)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Close the client at the end of a test; give Trio's plugin no test that runs on asyncio."""
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        return

    @functools.wraps(test)
    async def work(**fixtures):
        try:
            await test(**fixtures)
        finally:
            for client in fixtures.values():
                if isinstance(client, Client):
                    await client.aclose()

    item.obj = work
    if hasattr(item, "callspec") and item.callspec.params.get(LOOP) == "asyncio":
        item.obj = functools.wraps(test)(
            lambda **given: run("asyncio", functools.partial(work, **given))
        )
        del item.obj.__wrapped__  # by which it would be taken for a coroutine function
