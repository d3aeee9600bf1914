"""What all tests share: a PostgreSQL of their own."""

from __future__ import annotations

import os
import queue
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from taskflow import telemetry
from taskflow.service import raise_file_limit
from taskflow.store.embedded import embedded_postgres
from taskflow.telemetry.throttling import Throttle
from tests.folders import open_folder

# Begun first, so that nobody waits for one of them at the end.
LONG = ("tests/test_pages.py", "tests/fuzz/", "tests/store/test_stateful.py", "tests/test_costs.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what writes the pictures of the docs anew."""
    parser.addoption("--screenshots", action="store_true", help="write docs/images")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


# Hundreds of clients and the server that they talk to are in one process here.
raise_file_limit()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Conninfo of a server: TASKFLOW_TEST_DATABASE_URL, or an embedded one for the session."""
    if url := os.environ.get("TASKFLOW_TEST_DATABASE_URL"):
        yield url
        return
    with open_folder() as folder, EmbeddedInThread(folder / "data") as conninfo:
        yield conninfo


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """A new and empty database, dropped at the end."""
    name = f"taskflow_test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield psycopg.conninfo.make_conninfo(postgres_server, dbname=name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class EmbeddedInThread:
    """An embedded server for tests that each have a Trio run of their own."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._started: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=[self._run])

    def __enter__(self) -> str:
        self._thread.start()
        conninfo, self._token, self._stop = self._started.get(timeout=60)
        return conninfo

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        stop = trio.Event()
        async with embedded_postgres(self._data_dir) as server:
            self._started.put((server.conninfo, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()


@pytest.fixture(autouse=True)
def said_by_others_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test logged does not keep this one from logging it."""
    monkeypatch.setattr(telemetry, "_throttle", Throttle())


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary values by their argument.

    Compressed data contain the time, and all processes that share the tests need the same names.
    """
    is_binary = isinstance(val, bytes) and not val.decode("latin-1").isprintable()
    return argname if is_binary else None
