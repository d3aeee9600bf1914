"""What fuzzing takes: how long it goes on, and a server on each store."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from taskflow.service import MEMORY_URL
from tests.api.conftest import FAULTS, open_database
from tests.api.live import LiveServer
from tests.fuzz.fuzzer import KEY, Length
from tests.fuzz.idle import open_idle_app
from tests.logs import capture_logs

# With a URL at which targets could report.
IDLE = {"open_app": open_idle_app, "key": KEY, "public_url": "https://tasks.example.com"}
SHORT = Length(examples=1, edge_step=60)
LONG_EXAMPLES = 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz", action="store_true", help="the long form: minutes on each store")
    group.addoption("--fuzz-seed", type=int, help="repeat the randomness of an earlier run")
    group.addoption("--fuzz-examples", type=int, help="how many examples of each operation")


@pytest.fixture(scope="session")
def length(pytestconfig: pytest.Config) -> Length:
    """The form of this run. The options exist only where these tests are named to pytest."""
    if not pytestconfig.getoption("--fuzz", False):
        return SHORT
    seed = pytestconfig.getoption("--fuzz-seed")
    return Length(
        examples=pytestconfig.getoption("--fuzz-examples") or LONG_EXAMPLES,
        seed=random.SystemRandom().randrange(10**6) if seed is None else seed,
    )


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.long), "postgres"])
def idle_server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server on each store in turn that fetches nothing, and has a task of every status."""
    if request.param == "memory":
        with LiveServer(database_url=MEMORY_URL, **IDLE) as server:
            yield server
    else:
        with (
            open_database(request.getfixturevalue("postgres_server")) as url,
            LiveServer(database_url=url, **IDLE) as server,
        ):
            yield server


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    """A fault that a server logs fails the test, whatever was answered."""
    with capture_logs() as events:
        yield
    assert [event for event in events if event["event"] in FAULTS] == []
