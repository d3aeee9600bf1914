"""The PostgreSQL store keeps the contract through a PgBouncer in transaction mode as well."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow.api.live.feed import Feed
from taskflow.api.live.waiting import wait_until_finished
from taskflow.model.errors import StoreError, StoreUnavailable
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.embedded.account import account_for
from taskflow.store.postgres.inspection import examine_database
from taskflow.store.postgres.store import open_postgres
from tests import debian
from tests.folders import open_folder
from tests.service.processes import wait_until
from tests.store.contract import StoreContract, completed, new_task
from tests.store.test_sessions import MATRIX, use

SETTINGS = Settings(database_timeout_seconds=2.0, database_pooler="transaction")
PORT = 6432  # only part of the socket's name

CONFIGURATION = """
[databases]
* = {server}

[pgbouncer]
pool_mode = transaction
auth_type = any
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
unix_socket_mode = 0777
max_client_conn = 100
default_pool_size = 2
"""


@pytest.fixture(scope="module")
def bouncer(postgres_server):
    """How to reach a PgBouncer before the server, all but the database."""
    found = debian.find("usr/sbin/pgbouncer")
    if not found:
        pytest.skip("pgbouncer is not installed")
    parts = conninfo_to_dict(postgres_server)
    server = {name: parts[name] for name in ("host", "port", "user", "password") if name in parts}
    with open_folder() as folder:
        account = account_for(folder / "pgdata")  # as with PostgreSQL, root will not do
        shutil.chown(folder, account.uid, account.gid)
        # Where the user it runs as can reach them, too.
        for file in [
            *found,
            *debian.find("usr/lib/*/libevent-2.1.so.7"),
            *debian.find("usr/lib/*/libcares.so.2"),
        ]:
            shutil.copy(file, folder)
        path = folder / "pgbouncer.ini"
        path.write_text(
            CONFIGURATION.format(server=make_conninfo(**server), port=PORT, folder=folder)
        )
        path.chmod(0o644)
        with subprocess.Popen(
            [folder / "pgbouncer", "--quiet", path],
            env={"LD_LIBRARY_PATH": str(folder)},
            **account.process_arguments(),
        ) as process:
            try:
                wait_until((folder / f".s.PGSQL.{PORT}").exists)
                yield {"host": str(folder), "port": PORT}
            finally:
                process.terminate()


@pytest.fixture
def bouncer_url(database_url, bouncer):
    return make_conninfo(database_url, **bouncer)


@pytest.fixture
async def store(bouncer_url):
    async with open_postgres(bouncer_url, SETTINGS) as store:
        yield store


@pytest.fixture
def connection(database_url):
    """A connection to the same database, past PgBouncer."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def set_for_database(connection, name, value):
    """Set it for the database, whose sessions the pooler has yet to open."""
    database = psycopg.sql.Identifier(connection.info.dbname)
    shown = psycopg.sql.SQL(value) if name == "search_path" else psycopg.sql.Literal(value)
    connection.execute(
        psycopg.sql.SQL("ALTER DATABASE {} SET {} = {}").format(
            database, psycopg.sql.Identifier(name), shown
        )
    )


@pytest.mark.long  # a minute; the tests below have what a pooler can do wrong
class TestPostgresStoreThroughPgBouncer(StoreContract):
    @pytest.fixture
    async def store(self, bouncer_url):
        async with open_postgres(bouncer_url, SETTINGS) as store:
            yield store


async def test_many_more_calls_than_server_connections(store):
    """Statements that psycopg would prepare work on whichever server connection they meet."""
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            [task] = await store.add([new_task()])
            for _ in range(10):
                nursery.start_soon(store.get, task.id)
    assert len((await store.page(limit=100)).tasks) == 20


async def test_a_hanging_statement_is_aborted(store, connection):
    """The watchdog is what bounds it here; afterwards all works."""
    with connection.transaction():
        connection.execute("LOCK TABLE taskflow_tasks")
        with pytest.raises(StoreUnavailable), trio.fail_after(90):
            await store.add([new_task()])
    assert await store.add([new_task()])


async def test_times_are_utc_with_any_setting_of_the_server(bouncer_url, connection):
    """The time zone of the server has no effect."""
    connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''',"
        " current_database()); END $$"
    )
    async with open_postgres(bouncer_url, SETTINGS) as store:
        [added] = await store.add([new_task()])
        found = await store.get(added.id)
        assert found == added
        for task in (added, found):
            assert task.created_at.utcoffset() == dt.timedelta(0)
            assert abs(task.created_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


async def test_a_cancel_on_another_node_is_found_by_polling(bouncer_url, store):
    """Without notifications, the node finds at its heartbeat that the claim is over."""
    async with open_postgres(bouncer_url, SETTINGS) as other:
        node = await other.register("there", lease_seconds=30)
        [task] = await store.add([new_task()])
        [claim] = await other.claim(node, limit=1)
        await store.cancel(task.id)
        with trio.move_on_after(0.3) as timeout:
            await other.wait_for_cancellations(node)
        assert timeout.cancelled_caught
        assert await other.lost_claims([claim.key]) == {claim.key}


async def test_waiting_works_without_notifications(bouncer_url, store):
    """Events are looked for several times a second: the end that another node made is seen."""
    async with open_postgres(bouncer_url, SETTINGS) as other, trio.open_nursery() as nursery:
        feed = Feed(store, poll_seconds=7200.0)
        nursery.start_soon(feed.run)
        node = await other.register("there", lease_seconds=30)
        for _ in range(3):
            [task] = await store.add([new_task()])
            async with trio.open_nursery() as waiting:

                async def wait(task=task):
                    seen = await wait_until_finished(feed, task, 90.0)
                    assert seen.status is TaskStatus.COMPLETED

                waiting.start_soon(wait)
                await trio.sleep(0.1)
                claims = await other.claim(node, limit=1)
                await other.settle([completed(claim) for claim in claims])
        feed.end()


# What no statement can do anything about, as the next one may use another session.
CANNOT_BE_PINNED = {
    *("array_nulls", "client_min_messages", "row_security", "standard_conforming_strings"),
    *("default_transaction_deferrable", "default_transaction_isolation"),
    *("transform_null_equals", "xmloption"),
    *("idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"),
    *("statement_timeout", "transaction_timeout"),
}


@pytest.mark.parametrize(
    ("name", "value"), [one for one in MATRIX if one != ("client_min_messages", "debug5")]
)
async def test_settings_of_the_database(bouncer_url, connection, name, value):
    """Each changes nothing, or is named at the start with what to run; by the doctor, too."""
    if name == "transaction_timeout" and connection.info.server_version < 170_000:
        pytest.skip("PostgreSQL 17 and later have it")
    set_for_database(connection, name, "500ms" if value == "1ms" else value)
    if name not in CANNOT_BE_PINNED:
        await use(bouncer_url, SETTINGS)
        return
    with pytest.raises(StoreError, match=f"{name} is .*, .* SET {name} = "):
        await use(bouncer_url, SETTINGS)
    report = await examine_database(bouncer_url, timeout_seconds=5.0, pooler="transaction")
    [unfit] = report.unfit
    assert f"{name} is " in unfit.detail
    assert f" SET {name} = " in unfit.advice
