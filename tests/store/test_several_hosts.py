"""Several hosts in the address of the database: which one is used, and what a dead one costs."""

from __future__ import annotations

import contextlib
import contextvars
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskflow.model.errors import StoreUnavailable
from taskflow.model.monitoring import DatabaseState, ReplicationMode
from taskflow.settings import Settings
from taskflow.store.postgres.address import DatabaseAddress
from taskflow.store.postgres.database import connect, open_database
from taskflow.store.postgres.migrate import migrate_database
from taskflow.store.postgres.store import open_postgres
from taskflow.telemetry import Event
from tests.folders import open_folder
from tests.replicas import (
    Silent,
    free_port,
    make_synchronous,
    primary_in,
    standby_of,
    url_of_hosts,
)
from tests.service.targets import Way
from tests.store.contract import new_task

CONNECTIONS = 4
SETTINGS = Settings(database_timeout_seconds=2.0, database_connections=CONNECTIONS)
ALL_CONNECTIONS = CONNECTIONS + 2  # heartbeats and LISTEN
TWO = "postgresql://me@one:1,two:2/tasks"


def attributes_of(conninfo: str) -> str | None:
    found = conninfo_to_dict(DatabaseAddress(conninfo).conninfo()).get("target_session_attrs")
    return None if found is None else str(found)


def hosts_of(address: DatabaseAddress) -> list[tuple[str, str]]:
    parts = conninfo_to_dict(address.conninfo())
    return list(zip(str(parts["host"]).split(","), str(parts["port"]).split(","), strict=True))


def ask(connection, statement="SELECT 1"):
    return connection.execute(statement).fetchone()[0]


class TestAddress:
    def test_several_hosts_are_asked_for_one_that_accepts_writes(self):
        assert attributes_of(TWO) == "read-write"
        assert attributes_of("host=one,two port=1,2") == "read-write"
        assert attributes_of("hostaddr=127.0.0.1,127.0.0.2") == "read-write"

    @pytest.mark.parametrize("value", ["any", "primary", "prefer-standby"])
    def test_the_url_decides(self, value):
        assert attributes_of(f"{TWO}?target_session_attrs={value}") == value

    def test_the_environment_decides(self, monkeypatch):
        """Libpq reads the variables itself, so the address has none of them."""
        monkeypatch.setenv("PGTARGETSESSIONATTRS", "primary")
        assert attributes_of(TWO) is None
        monkeypatch.delenv("PGTARGETSESSIONATTRS")
        monkeypatch.setenv("PGHOST", "one,two")
        assert attributes_of("postgresql:///tasks") == "read-write"

    def test_a_service_file_decides(self, monkeypatch, tmp_path):
        """Psycopg ignores hosts in it, so that one timeout would be for all: they are copied."""
        file = tmp_path / "services"
        file.write_text(
            "[two]\nhost=one,two\nport=1,2\n[other]\nhost=one,two\ntarget_session_attrs=primary\n"
        )
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        assert attributes_of("postgresql:///?service=two") == "read-write"
        assert hosts_of(DatabaseAddress("service=two")) == [("one", "1"), ("two", "2")]
        assert attributes_of("service=other") is None

    @pytest.mark.parametrize(
        "conninfo",
        [
            "postgresql://me@one:1/tasks",
            "postgresql:///tasks",
            "host=/tmp",
            "service=there-is-none",
            "postgresql://one:1,two:2,three/x?port=1,2",  # libpq reports it
            "postgresql://[x/y",
            "",
        ],
    )
    def test_any_other_address_stays_as_it_is(self, conninfo):
        address = DatabaseAddress(conninfo)
        assert (address.conninfo(), address.number_of_hosts) == (conninfo, 1)

    def test_all_other_parts_are_kept(self):
        url = (
            "postgresql://me:p%20w@one,two:2/tasks?sslmode=require&application_name=x&hostaddr=,::1"
        )
        parts = conninfo_to_dict(DatabaseAddress(url).conninfo())
        assert parts == {
            "user": "me",
            "password": "p w",
            "dbname": "tasks",
            "sslmode": "require",
            "application_name": "x",
            "host": "one,two",
            "port": ",2",
            "hostaddr": ",::1",
            "target_session_attrs": "read-write",
        }


class TestOrder:
    @pytest.fixture
    def hosts(self, database_url):
        """The folder of the socket, and a link to it: two hosts that are one server."""
        parts = conninfo_to_dict(database_url)
        with open_folder() as folder:
            link = folder / "link"
            link.symlink_to(str(parts["host"]))
            (folder / "empty").mkdir()
            yield (str(folder / "empty"), str(link), str(parts["host"]))

    def address_of(self, database_url, hosts, **parameters) -> DatabaseAddress:
        return DatabaseAddress(make_conninfo(database_url, host=",".join(hosts), **parameters))

    def test_the_host_that_worked_is_tried_first(self, database_url, hosts):
        address = self.address_of(database_url, hosts)
        empty, link, folder = hosts
        connect(address, timeout_seconds=2.0).close()
        assert [host for host, _ in hosts_of(address)] == [link, empty, folder]
        connect(address, timeout_seconds=2.0).close()
        assert [host for host, _ in hosts_of(address)] == [link, empty, folder]

    def test_connections_to_other_hosts_are_told_apart(self, database_url, hosts, monkeypatch):
        """A change is an event; connections to the host before it are not used any more."""
        events = []
        monkeypatch.setattr(
            "taskflow.store.postgres.address.emit", lambda event, **fields: events.append(event)
        )
        address = self.address_of(database_url, hosts)
        _, link, folder = hosts
        with (
            psycopg.connect(database_url, host=link) as one,
            psycopg.connect(database_url, host=folder) as other,
        ):
            assert address.is_current(one)
            address.note(one)
            assert (address.is_current(one), address.is_current(other)) == (True, False)
            assert events == []
            address.note(other)
            assert (address.is_current(one), address.is_current(other)) == (False, True)
            assert events == [Event.DATABASE_HOST_CHANGED]
            assert [address.host_number(each) for each in (one, other)] == [2, 3]

    def test_an_attempt_from_before_a_failover_does_not_undo_it(self, database_url, hosts):
        """It waited for a primary that hung, and that answers again when there is another one."""
        address = self.address_of(database_url, hosts)
        _, link, folder = hosts
        with (
            psycopg.connect(database_url, host=link) as one,
            psycopg.connect(database_url, host=folder) as other,
        ):
            address.note(one)
            hanging = contextvars.copy_context()
            hanging.run(address.conninfo)
            address.conninfo()
            address.note(other)
            hanging.run(address.note, one)
            assert (address.is_current(one), address.is_current(other)) == (False, True)
            # An attempt that began later has not found the other one: that has failed, too.
            address.conninfo()
            address.note(one)
            assert address.is_current(one)

    def test_a_host_that_did_not_respond_is_tried_last(self, database_url, hosts):
        """Until it is connected to again: then no other one accepts writes."""
        address = self.address_of(database_url, hosts)
        empty, link, folder = hosts
        with (
            psycopg.connect(database_url, host=link) as one,
            psycopg.connect(database_url, host=folder) as other,
        ):
            address.note(one)
            address.suspect(other)  # a former host
            assert [host for host, _ in hosts_of(address)] == [link, empty, folder]
            address.suspect(one)
            assert [host for host, _ in hosts_of(address)] == [empty, folder, link]
            address.note(one)
            assert [host for host, _ in hosts_of(address)] == [link, empty, folder]
            one.close()
            address.suspect(one)

    def test_a_random_order_stays_random(self, database_url, hosts):
        address = self.address_of(database_url, hosts, load_balance_hosts="random")
        with psycopg.connect(database_url, host=hosts[1]) as one:
            address.note(one)
            assert [host for host, _ in hosts_of(address)] == list(hosts)
        with psycopg.connect(database_url, host=hosts[2]) as other:
            assert address.is_current(other)

    def test_the_errors_of_all_hosts_are_reported(self, database_url, hosts):
        address = self.address_of(database_url, [hosts[0], "/nowhere"])
        with pytest.raises(StoreUnavailable) as raised:
            connect(address, timeout_seconds=2.0)
        assert str(raised.value).count("No such file") == 2
        assert "\n" not in str(raised.value)


@pytest.fixture
def silent():
    with Silent() as silent:
        yield silent


def connections_to(database_url) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with psycopg.connect(database_url) as connection:
        return ask(connection, query) - 1


def terminate_all(database_url) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_a_dead_first_host_costs_its_timeout_once(database_url, silent):
    """The first connection of a process tries it, and none of the others, nor any later one."""
    parts = conninfo_to_dict(database_url)
    url = make_conninfo(
        database_url, host=f"127.0.0.1,{parts['host']}", port=f"{silent.port},{parts['port']}"
    )
    async with open_postgres(url, SETTINGS) as store:
        node = await store.register("here", lease_seconds=3600)

        async def use_until_connected() -> None:
            """Lost connections are replaced when they are taken."""
            with trio.fail_after(90):
                while connections_to(database_url) < ALL_CONNECTIONS:
                    with contextlib.suppress(StoreUnavailable):
                        await store.check()
                        await store.renew(node)
                    await trio.sleep(0.01)

        for _ in range(2):
            await use_until_connected()
            terminate_all(database_url)
        await use_until_connected()
        state = await store.check()
        assert (state.host, state.hosts) == (2, 2)
    assert silent.accepted == 1


def test_each_host_of_a_service_file_has_the_timeout(database_url, silent, monkeypatch, tmp_path):
    """Left to libpq, all hosts together would have it, and the second one would not be tried."""
    parts = conninfo_to_dict(database_url)
    file = tmp_path / "services"
    hosts, ports = f"127.0.0.1,{parts['host']}", f"{silent.port},{parts['port']}"
    file.write_text(f"[two]\nhost={hosts}\nport={ports}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    url = f"postgresql:///{parts['dbname']}?service=two&user={parts['user']}"
    connect(url, timeout_seconds=2.0).close()
    assert silent.accepted == 1


async def test_connections_to_a_frozen_host_are_not_used_once_another_is(database_url):
    """Each of them would hang until its timeout: some calls do, until one connection is made."""
    parts = conninfo_to_dict(database_url)
    real = Path(str(parts["host"]), f".s.PGSQL.{parts['port']}")
    with (
        open_folder() as folder,
        open_folder() as other,
        Way(folder, real) as way,
        Way(other, real),
    ):
        url = make_conninfo(database_url, host=f"{folder},{other}")
        count = 12
        async with open_database(url, connections=count, timeout_seconds=0.5) as database:

            def work(connection):
                ask(connection)
                return database.address.host_number(connection)

            await trio.to_thread.run_sync(database._pool.wait)
            hosts = [await database.run(work) for _ in range(count)]
            assert hosts == [1] * count
            way.freeze()
            failed = 0
            while True:
                with contextlib.suppress(StoreUnavailable):
                    if await database.run(work) == 2:
                        break
                failed += 1
            assert 0 < failed < count
            hosts = [await database.run(work) for _ in range(count)]
            assert hosts == [2] * count


@pytest.fixture(scope="module")
def pair():
    """A primary and a standby that streams from it."""
    with open_folder() as folder, primary_in(folder) as primary, standby_of(primary) as standby:
        yield primary, standby


async def test_a_standby_is_passed_over(pair):
    """With one address for all, whichever host is first; a single standby is an error."""
    primary, standby = pair
    url = url_of_hosts("postgres", standby.port, primary.port)
    async with open_postgres(url, SETTINGS) as store:
        await store.add([new_task()])
        state = await store.check()
    assert state == DatabaseState(host=2, hosts=2, replication=ReplicationMode.ASYNCHRONOUS)
    only = url_of_hosts("postgres", standby.port, free_port())
    with pytest.raises(StoreUnavailable, match="promote a standby"):
        await migrate_database(only, timeout_seconds=2.0)
    make_synchronous(primary, "second")
    async with open_postgres(url, SETTINGS) as store:
        assert (await store.check()).replication is ReplicationMode.SYNCHRONOUS


class TestFailover:
    async def test_a_frozen_primary(self):
        """Its machine hangs; the standby is promoted, and has each task that was accepted."""
        with open_folder() as folder, primary_in(folder) as primary, standby_of(primary) as standby:
            make_synchronous(primary, "second")
            url = url_of_hosts("postgres", primary.port, standby.port)
            async with open_postgres(url, SETTINGS) as store:
                before = [(await store.add([new_task()]))[0].id for _ in range(10)]
                primary.freeze()
                with pytest.raises(StoreUnavailable):
                    await store.add([new_task()])
                await trio.to_thread.run_sync(standby.promote)
                after = await self.added(store)
                assert (await store.check()).host == 2
                # None of the connections leads to the old primary, however they are chosen.
                for _ in range(3 * CONNECTIONS):
                    await store.check()
                for task_id in [*before, after]:
                    assert await store.get(task_id) is not None
                # The frozen server sends nothing, not even an end; its listener leaves it.
                query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
                with psycopg.connect(standby.conninfo, autocommit=True) as connection:
                    with trio.fail_after(90):
                        while not (ask(connection, query) and store.statistics().is_listening):
                            await trio.sleep(0.1)

    async def test_a_primary_that_goes_on_after_it_was_replaced(self):
        """Its manager has died. It accepts writes, which wait for ever: the node leaves it."""
        with open_folder() as folder, primary_in(folder) as primary, standby_of(primary) as standby:
            make_synchronous(primary, "second")
            url = url_of_hosts("postgres", primary.port, standby.port)
            async with open_postgres(url, SETTINGS) as store:
                before = await store.add([new_task()])
                await trio.to_thread.run_sync(standby.promote)
                assert (await store.check()).host == 1
                after = await self.added(store)
                assert (await store.check()).host == 2
                for task_id in (before[0].id, after):
                    assert await store.get(task_id) is not None
                with psycopg.connect(primary.conninfo) as connection:
                    assert ask(connection, "SELECT pg_is_in_recovery()") is False
                    assert not self.has(connection, after)
                with psycopg.connect(standby.conninfo) as connection:
                    assert self.has(connection, after)
                await self.wait_for_listeners(standby, 1)
                await self.wait_for_listeners(primary, 0)

    async def wait_for_listeners(self, server, count: int) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
        with psycopg.connect(server.conninfo, autocommit=True) as connection, trio.fail_after(90):
            while ask(connection, query) != count:
                await trio.sleep(0.05)

    def has(self, connection, task_id) -> bool:
        query = "SELECT FROM taskflow_tasks WHERE id = %s"
        return connection.execute(query, [task_id]).rowcount == 1

    async def added(self, store):
        """Add a task, as soon as that works."""
        with trio.fail_after(90):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    return (await store.add([new_task()]))[0].id
