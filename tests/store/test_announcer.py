"""Commits that wait for a synchronous standby: other nodes are notified after them.

PostgreSQL locks the notifications of a whole server from before the commit of a transaction that
notifies until its end. While the standby is frozen, no commit of a task ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import trio

from taskflow.model.errors import StatementRejected
from taskflow.model.options import TaskOptions
from taskflow.settings import Settings
from taskflow.store.base.claims import Settlement
from taskflow.store.postgres import database
from taskflow.store.postgres.database import open_database
from taskflow.store.postgres.session import WORK_CHANNEL
from taskflow.store.postgres.store import open_postgres
from tests.folders import open_folder
from tests.replicas import make_synchronous, primary_in, standby_of
from tests.service.processes import wait_until
from tests.store.contract import completed, failed, new_task

SETTINGS = Settings(database_timeout_seconds=60.0, database_connections=2)
LOCKS = "SELECT count(*) FROM pg_locks WHERE classid = 'pg_database'::regclass AND objid = 0"
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
ANNOUNCE = "SELECT taskflow_announce('me', ARRAY[3]::smallint[], ARRAY[to_timestamp(1)])"
ANNOUNCED = "me 3@1000000"


class Replicas:
    """A primary whose commits wait for a standby."""

    def __init__(self, primary, standby) -> None:
        self.url = primary.conninfo
        self._standby = standby

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let no commit end that waits, within the block."""
        self._standby.freeze()
        try:
            yield
        finally:
            self._standby.thaw()

    @contextlib.contextmanager
    def listening(self) -> Iterator[psycopg.Connection]:
        """A connection that gets the notifications of work; its own commits do not wait."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local")
            connection.execute("LISTEN taskflow_work")
            yield connection


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    with open_folder() as folder, primary_in(folder) as primary, standby_of(primary) as standby:
        make_synchronous(primary, "second")
        yield Replicas(primary, standby)


@pytest.fixture
async def store(replicas):
    async with open_postgres(replicas.url, SETTINGS) as store:
        await store._statements.database.run(
            lambda connection: connection.execute("DELETE FROM taskflow_tasks")
        )
        yield store


def ask(connection, query):
    return connection.execute(query).fetchone()[0]


def heard(connection, seconds: float = 60.0, count: int = 1) -> list[str]:
    """The next notifications that arrive within this time; more if they arrive together."""
    found = connection.notifies(timeout=seconds, stop_after=count)
    return [one.payload for one in found]


async def claimed(store, **fields):
    """A task that runs."""
    node = await store.register("here", lease_seconds=3600)
    await store.add([new_task(**fields)])
    while not (claims := await store.claim(node, limit=1)):
        await trio.sleep(0.01)
    return claims[0]


class TestCommitsThatWait:
    """They hold no lock of notifications; nodes are notified when the changes can be seen."""

    async def test_new_tasks(self, replicas, store):
        await self.check(replicas, store, lambda: store.add([new_task()]), "PENDING")

    async def test_a_retried_task(self, replicas, store):
        claim = await claimed(store)
        await store.settle([failed(claim)])
        await self.check(replicas, store, lambda: store.retry(claim.task_id), "PENDING")

    async def test_an_outcome_that_makes_room(self, replicas, store):
        one = completed(await claimed(store))
        one = Settlement(one.task_id, one.token, one.status, result=one.result, makes_room=True)
        await self.check(replicas, store, lambda: store.settle([one]), "COMPLETED")

    async def test_an_outcome_with_a_callback(self, replicas, store):
        """A trigger announces the callback, in the statement of the store."""
        options = TaskOptions(callback_url="http://example.com/", callback_host="example.com")
        claim = await claimed(store, options=options)
        await self.check(replicas, store, lambda: store.settle([completed(claim)]), "COMPLETED")

    async def check(self, replicas, store, verb, status) -> None:
        with replicas.listening() as connection:
            while heard(connection, 0.1):
                pass  # of what was done before
            async with trio.open_nursery() as nursery:
                with replicas.frozen():
                    nursery.start_soon(verb)
                    await trio.to_thread.run_sync(wait_until, lambda: ask(connection, WAITS))
                    assert ask(connection, LOCKS) == 0
                    connection.execute("SELECT pg_notify('taskflow_work', 'of others')")
                    assert heard(connection) == ["of others"]
                    assert heard(connection, 0.1) == []
            assert await trio.to_thread.run_sync(heard, connection)
            query = f"SELECT count(*) FROM taskflow_tasks WHERE status = '{status}'"
            assert ask(connection, query) > 0


class TestWhoNotifies:
    """The functions of the database, unless their session announces its commits, and they wait."""

    @pytest.fixture
    def later(self, monkeypatch) -> list[str]:
        """What is left to be announced after a commit, and is not."""
        messages: list[str] = []
        keep = lambda connection: messages.extend(  # noqa: E731
            message for channel, message in connection.unsent.take() if channel == WORK_CHANNEL
        )
        monkeypatch.setattr(database, "announce", keep)
        return messages

    @pytest.fixture
    async def pool(self, replicas, store):
        async with open_database(replicas.url, connections=1, timeout_seconds=60.0) as pool:
            yield pool

    async def test_a_commit_that_waits(self, replicas, pool, later):
        with replicas.listening() as connection:
            await pool.run(lambda one: one.execute(ANNOUNCE).fetchall())
            assert later == [ANNOUNCED]
            assert heard(connection, 0.1) == []

    @pytest.mark.parametrize("value", ["local", "off"])
    async def test_a_commit_that_does_not_wait(self, replicas, pool, later, value):
        def work(one):
            one.execute(f"SET synchronous_commit = {value}")
            one.execute(ANNOUNCE)
            one.execute("RESET synchronous_commit")

        with replicas.listening() as connection:
            await pool.run(work)
            assert heard(connection) == [ANNOUNCED]
        assert later == []

    async def test_no_synchronous_standby(self, database_url, later):
        """So a plain task costs no transaction more."""
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("LISTEN taskflow_work")
            async with open_database(database_url, connections=1, timeout_seconds=60.0) as pool:
                await pool.run(lambda one: one.execute(ANNOUNCE).fetchall())
            assert heard(connection) == [ANNOUNCED]
        assert later == []

    async def test_sessions_of_other_programs_and_versions(self, replicas, store):
        """No process announces their commits for them."""
        with replicas.listening() as connection:
            with psycopg.connect(replicas.url, autocommit=True) as other:
                other.execute(ANNOUNCE)
            assert heard(connection) == [ANNOUNCED]

    async def test_a_process_that_dies_before_it_announces(self, replicas, store, later):
        """Another node finds the task at its next poll."""
        node = await store.register("here", lease_seconds=3600)
        async with open_postgres(replicas.url, SETTINGS) as other:
            [task] = await other.add([new_task(priority=-3)])
        assert later
        with trio.fail_after(90):
            while not (claims := await store.claim(node, limit=1)):
                await trio.sleep(0.05)
        assert claims[0].task_id == task.id


class TestFailures:
    @pytest.fixture
    async def pool(self, replicas, store):
        async with open_database(replicas.url, connections=1, timeout_seconds=60.0) as pool:
            yield pool

    async def test_a_call_that_failed_after_a_commit(self, replicas, pool):
        """What was committed is announced, and the failure is raised."""

        def work(one):
            one.execute(ANNOUNCE)
            one.execute("SELECT 1 / 0")

        with replicas.listening() as connection:
            with pytest.raises(StatementRejected, match="zero"):
                await pool.run(work)
            assert heard(connection) == [ANNOUNCED]

    async def test_a_notification_that_postgresql_rejects(self, replicas, pool):
        """The call succeeds, for its commit did."""
        too_long = "SELECT taskflow_notify_work(repeat('x', 9000)), 1"
        with replicas.listening() as connection:
            [row] = await pool.run(lambda one: one.execute(too_long).fetchall())
            assert row[1] == 1
            await pool.run(lambda one: one.execute(ANNOUNCE).fetchall())
            assert heard(connection) == [ANNOUNCED]

    async def test_messages_of_a_call_are_sent_once(self, replicas, pool):
        """Also if several of its transactions leave the same one."""
        with replicas.listening() as connection:
            await pool.run(lambda one: [one.execute(ANNOUNCE) for _ in range(3)])
            await pool.run(lambda one: one.execute("SELECT 1"))
            connection.execute("SELECT pg_notify('taskflow_work', 'end')")
            assert heard(connection, count=2) == [ANNOUNCED, "end"]
