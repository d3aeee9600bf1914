"""What the tests over HTTP share: servers on both stores, and a web server to fetch from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import psycopg
import pytest

from taskflow.service import MEMORY_URL
from taskflow.telemetry import Event
from tests.api.live import LiveServer
from tests.api.target import Target
from tests.databases import new_database
from tests.logs import capture_logs

PUBLIC_URL = "https://tasks.example.com"
FAULTS = {Event.REQUEST_ERROR.value[1], Event.CONNECTION_ERROR.value[1], Event.CRASHED.value[1]}


@pytest.fixture(scope="package")
def target() -> Iterator[Target]:
    """A web server to fetch from."""
    with Target() as target:
        yield target


@pytest.fixture(scope="package")
def memory_server() -> Iterator[LiveServer]:
    """A server that keeps its tasks in memory, shared by the tests here."""
    with LiveServer(database_url=MEMORY_URL, public_url=PUBLIC_URL) as server:
        yield server


@pytest.fixture(scope="package")
def postgres_api(postgres_server: str) -> Iterator[LiveServer]:
    """A server on a PostgreSQL database, shared by the tests here."""
    with (
        open_database(postgres_server) as url,
        LiveServer(database_url=url, public_url=PUBLIC_URL) as server,
    ):
        yield server


@pytest.fixture(params=["memory", "postgres"])
def server(request: pytest.FixtureRequest) -> LiveServer:
    """Each of the shared servers in turn."""
    name = {"memory": "memory_server", "postgres": "postgres_api"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture(scope="module", params=["memory", "postgres"])
def module_server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server of each kind in turn for the tests of a module, which may leave queues paused."""
    with contextlib.ExitStack() as stack:
        url = MEMORY_URL
        if request.param == "postgres":
            server = request.getfixturevalue("postgres_server")
            url = stack.enter_context(open_database(server, is_migrated=True))
        yield stack.enter_context(LiveServer(database_url=url))


@pytest.fixture(params=["memory", "postgres"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """``DATABASE_URL`` of each store in turn, without tasks."""
    if request.param == "memory":
        return MEMORY_URL
    return request.getfixturevalue("database_uri")


@pytest.fixture
def database_uri(postgres_server: str) -> Iterator[str]:
    """A new database as a URL, with its tables, dropped at the end."""
    with open_database(postgres_server, is_migrated=True) as url:
        yield url


@pytest.fixture(autouse=True)
def events() -> Iterator[list[dict[str, object]]]:
    """What the servers log; a fault of theirs among it fails the test, unless it takes it out."""
    with capture_logs() as events:
        yield events
    assert [event for event in events if event["event"] in FAULTS] == []


@contextlib.contextmanager
def open_database(server: str, *, is_migrated: bool = False) -> Iterator[str]:
    """The URL of a new database on the server."""
    with new_database(server, is_migrated=is_migrated) as conninfo:
        name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
        yield "postgresql:///?" + url_query(server, name)


def url_query(conninfo: str, name: str) -> str:
    """What is behind the question mark of the URL of a database on the server."""
    parameters = psycopg.conninfo.conninfo_to_dict(conninfo) | {"dbname": name}
    return urlencode(parameters, quote_via=quote)
