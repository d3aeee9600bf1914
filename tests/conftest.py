"""What all tests share: a PostgreSQL of their own."""

from __future__ import annotations

import gc
import os
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import hypothesis
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow.api import problems
from taskflow.serving.process_tuning import raise_file_limit
from taskflow.store.embedded.shared_server import embedded_postgres
from taskflow.telemetry import log
from taskflow.telemetry.log import Throttle
from tests.databases import drop_template, new_database, quicken
from tests.folders import open_folder
from tests.routing import keep_rules
from tests.templates import keep_templates

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# The files that take longest, in that order: started first, so that none is the last to end.
LONG = (
    "tests/deploy/test_dockerfile.py",  # it installs packages
    *("tests/test_pages.py", "tests/browser/", "tests/store/test_sessions.py"),
    *("tests/store/test_several_hosts.py", "tests/store/test_postgres.py"),
    *("tests/store/test_pgbouncer.py", "tests/api/test_event_loop_crowds.py"),
    *(
        "tests/fuzz/",
        "tests/upgrade/",
        "tests/api/test_event_loop.py",
        "tests/fetch/test_hostile.py",
    ),
    *("tests/api/test_hostile_rows.py", "tests/service/", "tests/test_installation.py"),
    *("tests/store/test_stateful.py", "tests/test_costs.py", "tests/cli/"),
)
# What --fast leaves out: databases, processes, browsers, and tests whose files are about those.
SLOW_FIXTURES = {"postgres_server", "heavy", "chromium", "browser"}
SLOW_PLACES = (
    *("tests/service/", "tests/cli/", "tests/upgrade/", "tests/browser/", "tests/deploy/"),
    *("tests/fuzz/", "tests/chaos/", "tests/failover/", "tests/frameworks/", "tests/mcp_server/"),
    *("tests/test_pages.py", "tests/test_installation.py"),
    *("tests/store/test_embedded.py", "tests/store/test_database.py", "tests/test_costs.py"),
    "tests/store/test_several_hosts.py",
    # Bounds on what the worst requests and targets cost.
    *("tests/api/test_event_loop.py", "tests/api/test_event_loop_crowds.py"),
    "tests/fetch/test_hostile.py",
)

# Each store keeps the same contract (tests/store), and the contract of the API is tested on each.
# The rest above the stores is tested on PostgreSQL, and on memory where requests and responses
# decide; with --fast on memory, with --fuzz on both.
ABOVE_STORES = tuple(f"tests/{name}/" for name in ("api", "cli", "client"))
ON_BOTH_STORES = "tests/api/test_contract.py"
ON_MEMORY = tuple(
    f"tests/api/test_{name}.py"
    for name in (
        *("any_json", "attempts", "audit", "bad_requests", "by_hand", "callbacks", "completions"),
        *("credential_kinds", "credentials", "event_streams", "graphs", "groups", "many_by_hand"),
        *("masking", "named_credentials", "openapi", "options", "order_keys", "patches"),
        *("queue_proxy", "queues", "references", "requests", "results", "schedules", "scope"),
        *("signing", "text_formats", "topics"),
    )
)

SLOW_FOLDERS = tuple(place for place in SLOW_PLACES if place.endswith("/"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the whole suite."""
    parser.addoption("--screenshots", action="store_true", help="write docs/images")
    parser.addoption("--fast", action="store_true", help="no databases, processes and browsers")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what ``--fast`` leaves out."""
    if not config.getoption("--fast") or not collection_path.is_relative_to(config.rootpath):
        return None
    place = collection_path.relative_to(config.rootpath).as_posix()
    return True if f"{place}/".startswith(SLOW_FOLDERS) or place in SLOW_PLACES else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with what takes longest; leave out what is for a scheduled job, or for no --fast."""
    items.sort(key=_place)
    is_fast = config.getoption("--fast")
    is_long = any(config.getoption(name, default=False) for name in ("--fuzz", "--chaos"))
    if not is_long:
        _leave_out(config, items, lambda item: item.get_closest_marker("long") is not None)
        if not is_fast:
            ids = {item.nodeid for item in items}
            _leave_out(config, items, lambda item: _is_on_the_other_store(item, ids))
    if is_fast:
        _leave_out(config, items, _is_slow)


def pytest_collection_finish() -> None:
    """Keep the collected tests, and all that they import, out of later garbage collections.

    Those are rare: they find little, and take a twentieth of the time of the tests otherwise.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    gc.enable()


def _leave_out(
    config: pytest.Config, items: list[pytest.Item], is_left_out: Callable[[pytest.Item], bool]
) -> None:
    left_out = {item for item in items if is_left_out(item)}
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_on_the_other_store(item: pytest.Item, ids: Collection[str]) -> bool:
    """Whether a test above the stores repeats on one of them what it proves on the other."""
    stores = ["[memory", "[postgres"]
    if item.nodeid.startswith(ON_MEMORY):
        stores.reverse()
    other = item.nodeid.replace(*stores)
    return (
        item.nodeid.startswith(ABOVE_STORES)
        and not item.nodeid.startswith(ON_BOTH_STORES)
        and other != item.nodeid
        and other in ids
    )


def _place(item: pytest.Item) -> int:
    places = (n for n, start in enumerate(LONG) if item.nodeid.startswith(start))
    return next(places, len(LONG))


def _is_slow(item: pytest.Item) -> bool:
    return (
        item.nodeid.startswith(SLOW_PLACES)
        or not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or item.get_closest_marker("heavy") is not None
        or "[postgres" in item.nodeid
    )


gc.disable()  # until all tests are collected: little of that is garbage
# Hundreds of clients and the server that they talk to are in one process here.
raise_file_limit()
keep_rules()
keep_templates()


@pytest.fixture(scope="session")
def is_long(pytestconfig: pytest.Config) -> bool:
    """True if tests with random examples take many more of them, as ``--fuzz`` asks."""
    return bool(pytestconfig.getoption("--fuzz", default=False))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Conninfo of a server: TASKFLOW_TEST_DATABASE_URL, or an embedded one for the session."""
    if url := os.environ.get("TASKFLOW_TEST_DATABASE_URL"):
        yield url
        drop_template(url)
        return
    with open_folder() as folder:
        with EmbeddedInThread(folder / "data") as conninfo:
            quicken(conninfo)
        with EmbeddedInThread(folder / "data") as conninfo:
            yield conninfo


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """A new database without tables, dropped at the end."""
    with new_database(postgres_server, is_migrated=False) as url:
        yield url


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """The same; in ``tests/store`` the database has its tables."""
    return empty_database_url


@pytest.fixture
def migrated_url(postgres_server: str) -> Iterator[str]:
    """A new database that has its tables already, dropped at the end."""
    with new_database(postgres_server, is_migrated=True) as url:
        yield url


class EmbeddedInThread:
    """An embedded server for tests that each have a Trio run of their own."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._started: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=[self._run])

    def __enter__(self) -> str:
        self._thread.start()
        conninfo, self._token, self._stop = self._started.get(timeout=60)
        # As the address of another server is written, without the options that TaskFlow pins.
        parts = conninfo_to_dict(conninfo)
        place = ("host", "port", "user", "dbname")
        return make_conninfo(**{name: str(parts[name]) for name in place})

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        stop = trio.Event()
        async with embedded_postgres(self._data_dir) as server:
            self._started.put((server.conninfo, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()


@pytest.fixture(autouse=True)
def answers_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the service waits for its store, rather than answering 503.

    How long it waits otherwise is tested in ``tests/api/test_outage.py``.
    """
    monkeypatch.setattr(problems, "STORE_ANSWER_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def said_by_others_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is not throttled by what other tests logged."""
    monkeypatch.setattr(log, "_throttle", Throttle())


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary values by their argument.

    Compressed data contain the time, and all processes that share the tests need the same names.
    """
    is_binary = isinstance(val, bytes) and not val.decode("latin-1").isprintable()
    return argname if is_binary else None
