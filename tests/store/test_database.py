"""The way to PostgreSQL: what happens when it freezes, breaks, or leads to a standby."""

from __future__ import annotations

import contextlib
import gc
import time
import weakref
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow.model.errors import StoreUnavailable
from taskflow.settings import Settings
from taskflow.store.embedded.account import account_for, make_folder
from taskflow.store.embedded.cluster import Cluster
from taskflow.store.embedded.process import Deadline
from taskflow.store.postgres.database import open_database
from taskflow.store.postgres.migrate import migrate_database
from taskflow.store.postgres.pool import is_lost
from taskflow.store.postgres.store import open_postgres
from tests.folders import open_folder
from tests.service.targets import Way
from tests.store.contract import new_task

TIMEOUT_SECONDS = 0.5
WAIT_SECONDS = TIMEOUT_SECONDS  # for a connection: the timeout, as that is under two seconds
HOLD_SECONDS = TIMEOUT_SECONDS + 1.0
SETTINGS = Settings(database_timeout_seconds=2.0)

open_quick_database = partial(open_database, connections=3, timeout_seconds=TIMEOUT_SECONDS)


@pytest.fixture
async def database(database_url):
    async with open_quick_database(database_url) as database:
        yield database


@pytest.fixture
def connection(database_url):
    """A connection in addition to the pool."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def way(database_url):
    """A way to the database that can freeze; ``url`` leads over it."""
    parts = conninfo_to_dict(database_url)
    with open_folder() as folder:
        real = Path(parts["host"], f".s.PGSQL.{parts['port']}")
        with Way(folder, real) as way:
            way.url = make_conninfo(database_url, host=str(folder))
            yield way


def ask(connection, statement="SELECT 1"):
    return connection.execute(statement).fetchone()[0]


async def until(condition):
    """Look again and again until it is so."""
    with trio.fail_after(90):
        while not condition():
            await trio.sleep(0.01)


async def until_reached(database, work=ask):
    """Call again and again until it works, and say after how long it did."""
    began = trio.current_time()
    with trio.fail_after(90):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await database.run(work)
                return trio.current_time() - began
            await trio.sleep(0.05)


# A frozen path


async def test_calls_on_a_frozen_path_end(way):
    """More calls than connections: all fail within their bound, and afterwards nothing is held."""

    async def call(database):
        with pytest.raises(StoreUnavailable), trio.fail_after(90):
            await database.run(ask)

    async with open_quick_database(way.url) as database:
        await database.run(ask)
        way.freeze()
        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(call, database)
        way.thaw()
        await until(lambda: database._threads.borrowed_tokens == 0)
        await until_reached(database)
        async with trio.open_nursery() as nursery:
            for _ in range(7):
                nursery.start_soon(database.run, ask)


async def test_abandoned_calls_on_a_frozen_path_end(way):
    """The watchdog ends their threads, although no caller waits for them."""
    async with open_quick_database(way.url) as database:
        await until(lambda: len(database._pool._pool) == 3)
        way.freeze()
        began = trio.current_time()
        with trio.move_on_after(0.1):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(database.run, ask)
        assert database._threads.borrowed_tokens == 3
        await until(lambda: database._threads.borrowed_tokens == 0)
        assert trio.current_time() - began > HOLD_SECONDS - 0.1
        way.thaw()
        await until_reached(database)


async def test_closing_ends_calls_on_a_frozen_path(way):
    """It does not wait for them, and leaves no thread behind that does."""
    async with open_quick_database(way.url, timeout_seconds=600.0) as database:
        await database.run(ask)
        way.freeze()
        with trio.move_on_after(0.1):
            await database.run(ask)
        began = trio.current_time()
    await until(lambda: database._threads.borrowed_tokens == 0)
    assert trio.current_time() - began < 90  # the watchdog comes after ten minutes


async def test_calls_that_end_in_time_are_not_cut(database):
    """A connection is cut for the call that outlasts its time, never for an earlier one."""
    pids = {await database.run(partial(ask, statement="SELECT pg_backend_pid()"))}
    began = trio.current_time()
    while trio.current_time() - began < 2 * HOLD_SECONDS:
        await database.run(partial(ask, statement="SELECT pg_sleep(0.05)"))
        pids.add(await database.run(partial(ask, statement="SELECT pg_backend_pid()")))
    assert len(pids) <= 3


# Lost connections


async def test_a_lost_connection_is_known_without_asking(database_url, connection):
    """An idle one has nothing to read; one whose server process ended has, and a closed one."""
    with psycopg.connect(database_url, autocommit=True) as one:
        assert not is_lost(one)
        one.execute("SELECT 1")
        assert not is_lost(one)
        assert ask(connection, f"SELECT pg_terminate_backend({one.info.backend_pid}, 5000)")
        assert is_lost(one)
    assert is_lost(one)


async def test_terminated_connections_are_replaced(database, connection):
    """Callers see no error; the next calls use new connections."""
    await until(lambda: len(database._pool._pool) == 3)
    for _ in range(3):
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _ in range(4):
            await database.run(ask)


async def test_an_outage_leaves_nothing_behind(database_url):
    """What failed calls were to do is let go at once, not when the database is back."""
    refs = []

    class Work:
        def __call__(self, connection):
            raise AssertionError

    nowhere = make_conninfo(database_url, host="/nowhere")
    async with open_quick_database(nowhere) as database:
        for _ in range(5):
            work = Work()
            refs.append(weakref.ref(work))
            with pytest.raises(StoreUnavailable):
                await database.run(work)
        del work
        gc.collect()
        # The last one may still be known to the thread that was its own.
        assert not [ref for ref in refs[:-1] if ref()]
        assert not database._pool._waiting


# Sessions


@pytest.mark.parametrize("connections", [1, 3])
async def test_the_size_of_the_pool_is_fixed(database_url, connection, connections):
    """All connections are there from the start."""
    async with open_quick_database(database_url, connections=connections) as database:
        await until(lambda: len(database._pool._pool) == connections)


async def test_session_settings(database):
    """Every statement has a bound of the server's, and times are UTC."""
    for name, value in {
        "statement_timeout": "500ms",
        "idle_in_transaction_session_timeout": "500ms",
        "TimeZone": "UTC",
    }.items():
        assert await database.run(partial(ask, statement=f"SHOW {name}")) == value
    with pytest.raises(StoreUnavailable, match="statement timeout"):
        await database.run(partial(ask, statement="SELECT pg_sleep(10)"))


async def test_options_of_the_operator_stay(database_url, monkeypatch):
    """Options of DATABASE_URL, else of PGOPTIONS, as in libpq; they come before TaskFlow's."""
    theirs = "-c search_path=theirs,public -c statement_timeout=400"
    url = make_conninfo(database_url, options=theirs)
    monkeypatch.setenv("PGOPTIONS", "-c search_path=env")
    for conninfo, path, timeout in (
        (url, "theirs,public", "400ms"),
        (database_url, "env", "500ms"),
    ):
        async with open_quick_database(conninfo) as database:
            for name, value in {
                "search_path": path,
                "statement_timeout": timeout,
                "TimeZone": "UTC",
            }.items():
                assert await database.run(partial(ask, statement=f"SHOW {name}")) == value


async def test_migrations_have_no_timeout(database_url, monkeypatch):
    """TaskFlow sets no timeout for their statements."""
    seen = []

    def migrate(connection):
        seen.append([ask(connection, f"SHOW {name}") for name in ("statement_timeout", "TimeZone")])
        return []

    monkeypatch.setattr("taskflow.store.postgres.migrate.migrate", migrate)
    await migrate_database(database_url, timeout_seconds=0.5)
    assert seen == [["0", "UTC"]]


# A server of the test's own


@pytest.fixture
async def cluster():
    """A server that can be stopped and started."""
    with open_folder() as folder:
        make_folder(folder / "data")
        cluster = Cluster(folder / "data", account_for(folder / "data" / "pgdata"))
        await start(cluster)
        yield cluster
        await stop(cluster)


async def start(cluster):
    await trio.to_thread.run_sync(cluster.start, Deadline(30))


async def stop(cluster):
    assert await trio.to_thread.run_sync(cluster.stop, Deadline(10))


async def test_a_database_that_is_back_is_found(cluster):
    """However long it was away: a waiting caller gets through within two seconds."""
    async with open_quick_database(cluster.conninfo()) as database:
        await database.run(ask)
        await seconds_to_find(cluster, database, outage_seconds=0.2)
        # A busy machine may be late, but not each time.
        for _ in range(3):
            took = await seconds_to_find(cluster, database, outage_seconds=3.5)
            if took < 2:
                break
        assert took < 2


async def seconds_to_find(cluster, database, outage_seconds) -> float:
    """Stop the server for this time, and return how long after its start it is reached."""
    await stop(cluster)
    began = time.monotonic()
    while time.monotonic() - began < outage_seconds:
        with pytest.raises(StoreUnavailable):
            await database.run(ask)
    await start(cluster)
    return await until_reached(database)


async def test_a_standby_is_no_store(cluster):
    """In recovery check and writes fail; after the promotion all works again by itself."""
    async with open_postgres(cluster.conninfo(), SETTINGS) as store:
        await store.check()
        await store.add([new_task()])
        await stop(cluster)
        signal = cluster.pgdata / "standby.signal"
        signal.touch()
        await start_standby(cluster)
        await until_reached(store._statements.database)
        with pytest.raises(StoreUnavailable, match="is in recovery and accepts no writes"):
            await store.check()
        with pytest.raises(StoreUnavailable):
            await store.add([new_task()])
        await replaces_what_cannot_write(cluster.conninfo())
        with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
            assert ask(connection, "SELECT pg_promote()")
        await store.check()
        assert await store.add([new_task()])


async def replaces_what_cannot_write(conninfo):
    """After a write that is refused the connection is another one: maybe to the primary."""
    process = partial(ask, statement="SELECT pg_backend_pid()")
    async with open_quick_database(conninfo, connections=1) as database:
        before = await database.run(process)
        with pytest.raises(StoreUnavailable, match="read-only transaction"):
            await database.run(partial(ask, statement="CREATE TABLE one ()"))
        assert await database.run(process) != before


async def start_standby(cluster):
    """Start it, as far as it can be: the last step wants to write."""
    with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction):
        await start(cluster)
