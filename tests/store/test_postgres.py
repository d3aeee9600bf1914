"""The PostgreSQL store keeps the contract, and what is its own."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import re
import threading
import uuid
from collections import Counter
from functools import partial
from importlib import resources

import psycopg
import pytest
import trio
import trio.testing

from taskflow.model.errors import (
    StatementRejected,
    StoreUnavailable,
    StoreUnusable,
    TooManySearches,
)
from taskflow.model.event import EventFilter
from taskflow.model.filter import TaskFilter
from taskflow.model.queue_limits import HoldReason, HostLimits, QueueSettings, Rate
from taskflow.model.queues import RecentCounts, shares
from taskflow.model.task import IdempotencyKey, TaskStatus
from taskflow.settings import Settings
from taskflow.store.postgres import claim_scan, listener, listing, migrate, pool
from taskflow.store.postgres.entries import entry_of, size_of
from taskflow.store.postgres.migrate import Migration, migrate_database, migrations
from taskflow.store.postgres.search import Found
from taskflow.store.postgres.store import open_postgres
from taskflow.telemetry import Event
from tests.store.alerts_contract import AlertContract
from tests.store.callbacks_contract import CallbacksContract
from tests.store.configuration_contract import ConfigurationContract
from tests.store.contract import completed, failed, new_task, released
from tests.store.credentials_contract import CredentialsContract
from tests.store.flow_contract import FlowContract
from tests.store.graphs_contract import GraphContract
from tests.store.groups_contract import GroupContract
from tests.store.heartbeats_contract import HeartbeatsContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.order_keys_contract import OrderContract
from tests.store.parking_contract import ParkingContract
from tests.store.signing_keys_contract import SigningKeysContract
from tests.store.topics_contract import TopicContract
from tests.store.uniqueness_contract import UniquenessContract

SETTINGS = Settings(database_timeout_seconds=2.0)
# Each connection is a process of PostgreSQL, which takes milliseconds of CPU to start.
FEW = Settings(database_timeout_seconds=2.0, database_connections=2)


class TestPostgresStore(
    FlowContract,
    OrderContract,
    GroupContract,
    GraphContract,
    CallbacksContract,
    MonitoringContract,
    CredentialsContract,
    HeartbeatsContract,
    SigningKeysContract,
    TopicContract,
    AlertContract,
    UniquenessContract,
    ParkingContract,
    ConfigurationContract,
):
    @pytest.fixture
    async def store(self, database_url):
        async with open_postgres(database_url, FEW) as store:
            yield store


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
def connection(database_url):
    """A connection to the same database, beside the store's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


# Limits


async def test_the_bound_for_all_hosts(database_url):
    """Queues may allow more, but a host runs no more tasks than its own limit."""
    async with open_postgres(database_url, Settings(max_per_host=1)) as store:
        node = await store.register("here", lease_seconds=30)
        hosts = ("a.example", "b.example", "a.example")
        added = await store.add([new_task(authority=host, queue=host) for host in hosts])
        claims = await store.claim(node, limit=10)
        assert sorted(claim.task_id for claim in claims) == [task.id for task in added[:2]]
        held = await store.get(added[2].id)
        assert held.held.reason is HoldReason.HOST_CONCURRENCY
        assert all(claim.is_limited for claim in claims)


async def test_scans_cover_all_lanes(database_url, monkeypatch):
    """Startable tasks are found after several scans, however many others are held."""
    monkeypatch.setattr(claim_scan, "MAX_LANES", 5)
    monkeypatch.setattr(claim_scan, "_MAX_ROWS", 7)
    async with open_postgres(database_url, SETTINGS) as store:
        node = await store.register("here", lease_seconds=30)
        settings = QueueSettings(per_host=HostLimits(rate=Rate(0.001)))
        await store.queues.put("default", settings)
        hosts = [f"{number:02}.example" for number in range(40)]
        await store.add([new_task(authority=host) for host in hosts for _ in range(3)])
        claimed: list[str] = []
        with trio.fail_after(90):
            while len(claimed) < len(hosts):
                found = await store.claim(node, limit=2)
                claimed += [claim.authority for claim in found]
                if len(found) < 2:
                    await store.wait_for_work()
        assert sorted(claimed) == hosts
        # When nothing more may start it is not looked for all the time.
        looks = 0
        with trio.move_on_after(0.5):
            while True:
                assert await store.claim(node, limit=2) == []
                looks += 1
                await store.wait_for_work()
        assert looks < 30


# Batches


async def test_concurrent_adds_share_statements(store, connection):
    """A hundred callers at once make a few commits: their tasks have few transaction ids."""
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(store.add, [new_task()])
    [(count, commits)] = connection.execute(
        "SELECT count(*), count(DISTINCT xmin::text) FROM taskflow_tasks"
    )
    assert count == 100
    assert commits <= 10


async def test_a_payload_that_postgresql_refuses_is_its_callers_loss_alone(store):
    """If one of many that share a statement cannot be stored, the others are."""
    results = []

    async def add(payload):
        try:
            results.extend(await store.add([new_task(payload)]))
        except StatementRejected:
            results.append(None)

    async with trio.open_nursery() as nursery:
        for n in range(10):
            nursery.start_soon(add, "not json" if n == 5 else str(n))
    assert results.count(None) == 1
    assert len({task.id for task in results if task}) == 9


# Wake-ups


async def test_work_is_heard_by_other_nodes(database_url, store):
    """What one node adds, releases, requeues or gives up wakes another one."""
    async with open_postgres(database_url, SETTINGS) as other:
        node = await store.register("here", lease_seconds=30)
        await other.register("there", lease_seconds=30)
        with trio.fail_after(90):
            await other.wait_for_work()  # rung once when the listener connects
            [task] = await store.add([new_task()])
            await other.wait_for_work()
            [claim] = await store.claim(node, limit=1)
            await store.release([released(claim)])
            await other.wait_for_work()
            await store.cancel(task.id)
            await store.retry(task.id)
            await other.wait_for_work()
            await store.claim(node, limit=1)
            await store.retire(node)
            await other.wait_for_work()


async def claim_soon(store, node) -> uuid.UUID:
    """The next task that is found, without waiting longer than a wake-up takes."""
    while True:
        if claims := await store.claim(node, limit=1):
            return claims[0].task_id
        await store.wait_for_work()


async def test_tasks_released_by_other_nodes_are_claimed_first(database_url, store):
    """A node that is far ahead looks back as soon as another says that there is something."""
    node = await store.register("here", lease_seconds=30)
    async with open_postgres(database_url, SETTINGS) as other:
        first, *_ = await store.add([new_task() for _ in range(10)])
        there = await other.register("there", lease_seconds=30)
        [claim] = await other.claim(there, limit=1)
        assert claim.task_id == first.id
        with trio.fail_after(90):
            await store.wait_for_work()
            await store.claim(node, limit=8)
            await other.release([released(claim)])
            await trio.sleep(0.1)  # the wake-up is under way
            assert await claim_soon(store, node) == first.id


async def test_a_priority_of_another_node_is_claimed_first(database_url, store):
    """Also one that the node which claims has never heard of."""
    node = await store.register("here", lease_seconds=30)
    async with open_postgres(database_url, SETTINGS) as other:
        await store.add([new_task() for _ in range(2)])
        with trio.fail_after(90):
            await claim_soon(store, node)
            [urgent] = await other.add([new_task(priority=9)])
            await trio.sleep(0.1)
            assert await claim_soon(store, node) == urgent.id


async def test_tasks_without_a_notification_are_found(store, connection):
    """Tasks that come in past TaskFlow, or whose announcement was lost: within about a second."""
    node = await store.register("here", lease_seconds=30)
    await store.add([new_task()])
    with trio.fail_after(90):
        await claim_soon(store, node)
        [[added]] = connection.execute(
            "INSERT INTO taskflow_tasks (payload, size_bytes, run_at, priority)"
            " VALUES ('1', 1, now() - interval '1 hour', -3) RETURNING id"
        ).fetchall()
        while not (claims := await store.claim(node, limit=1)):
            await trio.sleep(0.05)
    assert [claim.task_id for claim in claims] == [added]


async def test_a_node_ignores_its_own_notifications(database_url, store, connection):
    """Its own notifications come back to it and are passed over: it has been woken already."""
    with trio.fail_after(90):
        await store.wait_for_work()  # the listener has connected
        await store.add([new_task(delay_seconds=3600)])
        await store.wait_for_work()
        heard = trio.Event()

        async def wait():
            await store.wait_for_work()
            heard.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            # Notifications of one connection come in order: after this one the own is past.
            connection.execute(
                "SELECT pg_notify('taskflow_work', %s)", [store._announcements.sender]
            )
            await trio.sleep(0.1)
            assert not heard.is_set()
            connection.execute("SELECT pg_notify('taskflow_work', 'other-node')")
            await heard.wait()


async def test_the_listener_reconnects(store, connection, monkeypatch):
    """When its connection is cut it says so once, connects again, and rings for what it missed."""
    events: list[Event] = []
    monkeypatch.setattr(listener, "emit", lambda event, **_: events.append(event))
    with trio.fail_after(90):
        await store.wait_for_work()
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN %' AND datname = current_database()"
        )
        await store.wait_for_work()
        assert events == [Event.LISTENER_LOST, Event.LISTENER_BACK]
        connection.execute("SELECT pg_notify('taskflow_work', 'other-node')")
        await store.wait_for_work()


async def test_only_other_nodes_are_notified(database_url, store, connection):
    """While all nodes are in this process, new tasks cause no notification."""
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("LISTEN taskflow_work")

        async def senders():
            await store.add([new_task()])
            connection.execute("SELECT pg_notify('taskflow_work', 'end')")
            heard = (one.payload.split(" ")[0] for one in listening.notifies(timeout=30))
            return list(itertools.takewhile(lambda word: word != "end", heard))

        sender = store._announcements.sender
        assert await senders() == [sender]  # nodes may be registering
        node = await store.register("here", lease_seconds=30)
        assert await senders() == []
        async with open_postgres(database_url, SETTINGS) as other:
            await other.register("there", lease_seconds=30)
        assert await senders() == [sender]
        await store.retire(node)
        assert await senders() == [sender]


# Cancellations


@pytest.mark.parametrize("count", [1, 59, 60, 61, 1000])
async def test_other_processes_are_notified_of_cancellations(database_url, store, count):
    """The one that runs the tasks hears of each of them, as soon as they are canceled."""
    async with open_postgres(database_url, SETTINGS) as other:
        await other.wait_for_work()  # the listener has connected
        node = await other.register("there", lease_seconds=30)
        added = await store.add([new_task() for _ in range(count + 1)])
        claims = await other.claim(node, limit=count)
        assert len(await store.cancel_many([task.id for task in added])) == count + 1
        heard = set()
        with trio.fail_after(90):
            while len(heard) < count:
                heard |= await other.wait_for_cancellations(node)
        assert heard == {claim.key for claim in claims}


async def test_cancels_of_pending_tasks_are_not_notified(store, connection):
    """Only cancels of running tasks are notified, because a notification has a cost."""
    connection.execute("LISTEN taskflow_canceled")
    node = await store.register("here", lease_seconds=30)
    waiting, running = await store.add([new_task(), new_task(priority=1)])
    [claim] = await store.claim(node, limit=1)
    await store.cancel(waiting.id)
    await store.cancel(running.id)
    [reported] = connection.notifies(timeout=90, stop_after=1)
    assert reported.payload == f"{node}:{claim.token}:{running.id}"


async def test_others_may_say_anything(store, connection):
    """Words that make no sense on the channel are passed over, those beside them are not."""
    node = await store.register("here", lease_seconds=30)
    [task] = await store.add([new_task()])
    [claim] = await store.claim(node, limit=1)
    await store.wait_for_work()  # the listener has connected
    words = f"x {node}:{node} \u00e9:{node}:1 {uuid.uuid4()}:{claim.token}:{task.id} {'x:' * 9} "
    with trio.fail_after(90):
        connection.execute("SELECT pg_notify('taskflow_canceled', %s)", [words])
        sense = f"{node}:{claim.token}:{task.id}"
        connection.execute("SELECT pg_notify('taskflow_canceled', %s)", [words + sense])
        assert await store.wait_for_cancellations(node) == {claim.key}


# Outages


async def test_cut_connections_are_replaced(store, connection):
    """After all connections were cut the next calls get new ones, without an error."""
    await store.add([new_task()])
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    [task] = await store.add([new_task()])
    assert await store.get(task.id) == task
    await store.check()


async def test_a_hanging_statement_is_aborted(store, connection):
    """A call behind a lock that is never released fails within its timeout; later ones work."""
    with connection.transaction():
        connection.execute("LOCK TABLE taskflow_tasks")
        for verb in (store.add([new_task()]), store.get(uuid.uuid4()), store.page(limit=1)):
            with pytest.raises(StoreUnavailable), trio.fail_after(90):
                await verb
    assert await store.add([new_task()])


async def test_calls_are_bounded_and_cancellable(store, connection):
    """A caller that opens a scope gets out in time, whatever its thread still waits for."""
    with connection.transaction():
        connection.execute("LOCK TABLE taskflow_tasks")
        with trio.move_on_after(0.2) as scope:
            await store.get(uuid.uuid4())
        assert scope.cancelled_caught  # a caller that waits for a thread gets an error instead


@pytest.mark.parametrize(
    "change",
    [
        {"host": "127.0.0.1", "port": "1"},
        {"dbname": "no_such_database"},
    ],
)
async def test_a_database_that_cannot_be_reached(database_url, change):
    """It is unavailable, in one line that says what PostgreSQL says."""
    conninfo = psycopg.conninfo.make_conninfo(database_url, **change)
    with pytest.raises(StoreUnavailable, match=r"^PostgreSQL: .+") as caught:
        await migrate_database(conninfo, timeout_seconds=2.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@[bad",
        "postgresql://me:se%cret@host/db",
        "postgresql://me:secret@host/db?nonsense=1",
    ],
)
async def test_an_address_that_makes_no_sense(url):
    """It is not worth trying again; the message says which setting, and not the password."""
    with pytest.raises(StoreUnusable, match="DATABASE_URL cannot be used: ") as caught:
        await migrate_database(url, timeout_seconds=2.0)
    assert "cret" not in str(caught.value)


# Migrations


async def test_migrations_are_applied_once(empty_database_url):
    """The first call applies all, the second none; both say where and which version."""
    first = await migrate_database(empty_database_url, timeout_seconds=2.0)
    assert [step.version for step in first.applied] == [step.version for step in migrations()]
    second = await migrate_database(empty_database_url, timeout_seconds=2.0)
    assert second.applied == []
    assert re.match(r"\d+", second.version)


async def test_migrations_at_once(empty_database_url):
    """Eight processes that start together: one applies the steps, none fails."""
    applied = []

    async def one():
        applied.append((await migrate_database(empty_database_url, timeout_seconds=5.0)).applied)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(one)
    assert sorted(map(len, applied)) == [0] * 7 + [len(migrations())]


async def test_a_migration_in_a_deadlock(store, database_url, connection, monkeypatch):
    """It is repeated: nodes that work beside it lock its tables in another order."""
    locks = "LOCK TABLE taskflow_tasks; LOCK TABLE taskflow_nodes"
    steps = [*migrations(), Migration(9999, "locks", locks)]
    monkeypatch.setattr(migrate, "migrations", lambda: steps)
    waiting = """
        SELECT FROM pg_locks WHERE NOT granted AND relation = 'taskflow_nodes'::regclass
    """
    applied = []

    async def apply():
        applied.extend((await migrate_database(database_url, timeout_seconds=5.0)).applied)

    async with trio.open_nursery() as nursery:
        with connection.transaction():
            connection.execute("SET LOCAL deadlock_timeout = '1h'")  # the other one is ended
            connection.execute("LOCK TABLE taskflow_nodes")
            nursery.start_soon(apply)
            while not connection.execute(waiting).rowcount:
                await trio.sleep(0.01)
            lock = partial(connection.execute, "LOCK TABLE taskflow_tasks")
            await trio.to_thread.run_sync(lock)
    assert [step.name for step in applied] == ["locks"]


async def test_a_database_that_is_newer_than_the_code(store, database_url, connection):
    """It is refused, in a line that says what to do."""
    connection.execute("INSERT INTO taskflow_migrations (version, name) VALUES (9999, 'later')")
    with pytest.raises(StoreUnusable, match=r"newer than this TaskFlow \(it has migration 9999\)"):
        await migrate_database(database_url, timeout_seconds=2.0)


# The schema repeats the law


@pytest.mark.parametrize(
    "change",
    [
        "status = 'DONE'",
        "status = 'RUNNING'",
        "claim_token = gen_random_uuid()",
        "node_id = gen_random_uuid()",
        "status = 'COMPLETED', finished_at = now()",
        "status = 'COMPLETED', result = '1'",
        "result = '1'",
        "status = 'FAILED', finished_at = now()",
        "status = 'FAILED', finished_at = now(), error = 'e'",
        "status = 'CANCELED'",
        "finished_at = now()",
        "attempt = -1",
        "rescues = -1",
        "max_attempts = 0",
    ],
)
async def test_illegal_states_are_rejected(store, connection, change):
    """The database itself rejects states that no sequence of moves leads to."""
    await store.add([new_task()])
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"UPDATE taskflow_tasks SET {change}")


async def test_nothing_is_lost_when_a_node_vanishes_while_it_claims(store, connection):
    """A RUNNING task whose node has no row (any more) is rescued like any other."""
    [task] = await store.add([new_task()])
    node = await store.register("here", lease_seconds=30)
    await store.claim(node, limit=1)
    connection.execute("DELETE FROM taskflow_nodes")
    rescued = await store.rescue(limit=10, max_rescues=5)
    assert rescued.pending == [task.id]


async def test_dead_nodes_are_forgotten_in_time(store, connection):
    """The row of a node that died a while ago and holds nothing is removed; others stay."""
    await store.register("alive", lease_seconds=30)
    for name, seconds in (("just died", 1), ("long dead", 100)):
        node = await store.register(name, lease_seconds=30)
        connection.execute(
            "UPDATE taskflow_nodes SET expires_at = now() - %s * interval '1 second' WHERE id = %s",
            [seconds, node],
        )
    await store.rescue(limit=10, max_rescues=5)
    names = {row[0] for row in connection.execute("SELECT name FROM taskflow_nodes")}
    assert names == {"alive", "just died"}


async def test_times_are_utc_with_any_setting_of_the_server(database_url, connection):
    """The time zone of the server has no effect."""
    connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Asia/Tokyo''',"
        " current_database()); END $$"
    )
    async with open_postgres(database_url, SETTINGS) as store:
        [task] = await store.add([new_task()])
        assert task.created_at.utcoffset() == dt.timedelta(0)


# Ids before PostgreSQL 18


def test_own_ids_are_like_those_of_postgresql_18(connection):
    """The function for older servers makes UUIDs of version 7 that grow with the clock."""
    sql = (
        resources.files("taskflow.store.postgres")
        .joinpath("migrations/0001_tasks.sql")
        .read_text("utf-8")
    )
    body = re.search(
        r"ELSE\s+(CREATE FUNCTION taskflow_new_id.*?\$body\$.*?\$body\$;)", sql, re.DOTALL
    )
    connection.execute(body[1].replace("taskflow_new_id", "older_id"))
    rows = connection.execute(
        "SELECT older_id(), clock_timestamp() FROM generate_series(1, 2000)"
    ).fetchall()
    assert {one.version for one, _ in rows} == {7}
    assert {one.variant for one, _ in rows} == {uuid.RFC_4122}
    for one, now in rows:
        made = dt.datetime.fromtimestamp((one.int >> 80) / 1000, dt.UTC)
        assert abs((now - made).total_seconds()) < 10
    stamps = [one.int >> 64 for one, _ in rows]
    assert stamps == sorted(stamps)
    assert len({one for one, _ in rows}) == 2000


async def test_ids_of_a_statement_grow_in_its_order(database_url, connection):
    """They are UUIDs of version 7 of the database's clock, whatever options the tasks have."""
    async with open_postgres(database_url, SETTINGS) as store:
        ids = []
        for tags in ({}, {"customer": 42}):
            tasks = await store.add([new_task(tags=tags) for _ in range(300)])
            ids += [task.id for task in tasks]
    assert ids == sorted(set(ids))
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    [(now,)] = connection.execute("SELECT clock_timestamp()").fetchall()
    for one in ids:
        made = dt.datetime.fromtimestamp((one.int >> 80) / 1000, dt.UTC)
        assert abs((now - made).total_seconds()) < 60
    newer = connection.execute("SELECT taskflow_new_id()").fetchone()
    assert newer is not None
    assert newer[0] > ids[-1]


async def test_closing_is_quick_with_a_hanging_call(database_url, connection):
    """Closing the store does not wait for a thread that waits for the database."""
    async with contextlib.AsyncExitStack() as stack:
        settings = Settings(database_timeout_seconds=600.0)
        store = await stack.enter_async_context(open_postgres(database_url, settings))
        await store.check()
        with connection.transaction():
            connection.execute("LOCK TABLE taskflow_tasks")
            with trio.move_on_after(0.1):
                await store.get(uuid.uuid4())
            began = trio.current_time()
            await stack.aclose()
            assert trio.current_time() - began < 90


# The counts

REAL_COUNT = "SELECT queue, status, count(*) FROM taskflow_tasks GROUP BY queue, status"


async def told(store) -> dict[tuple[str, str], int]:
    statistics = await store.count(limit=100)
    return {
        (one.queue, status.value): count
        for one in statistics.queues
        for status, count in one.counts.items()
        if count
    }


def really(connection) -> dict[tuple[str, str], int]:
    return {(queue, status): count for queue, status, count in connection.execute(REAL_COUNT)}


async def test_nodes_that_fold_at_once(database_url, store, connection):
    """While two nodes move tasks in many queues and both fold, no change is lost or taken twice."""
    ended = Counter()

    async def work(store, name):
        node = await store.register(name, lease_seconds=60)
        for n in range(30):
            await store.add([new_task(queue=f"q{(n + m) % 7}", max_attempts=9) for m in range(9)])
            claims = await store.claim(node, limit=9)
            well = await store.settle([completed(claim) for claim in claims[::3]])
            badly = await store.settle([failed(claim) for claim in claims[1::3]])
            ended.update({"COMPLETED": len(well), "FAILED": len(badly)})
            if n % 3 == 0:
                await store.delete_finished(age_seconds=-1.0, limit=2)

    async def fold(store):
        while True:
            await store.fold_counts(limit=5)

    async with open_postgres(database_url, SETTINGS) as other:
        async with trio.open_nursery() as folding:
            for one in (store, other):
                folding.start_soon(fold, one)
            async with trio.open_nursery() as working:
                for one, name in ((store, "here"), (other, "there")):
                    working.start_soon(work, one, name)
            folding.cancel_scope.cancel()
        assert await told(store) == await told(other) == really(connection)
        total = (await store.count(limit=1)).total
        assert {status: one.last_hour for status, one in total.finished.items()} == {
            "COMPLETED": ended["COMPLETED"],
            "FAILED": ended["FAILED"],
            "CANCELED": 0,
        }
        while await store.fold_counts(limit=1000):
            pass
        assert await told(store) == really(connection)
        folded = connection.execute(
            "SELECT queue, status, count FROM taskflow_counts WHERE count <> 0"
        )
        assert {(queue, status): count for queue, status, count in folded} == really(connection)


async def test_counts_begin_with_the_tasks_that_are_there(database_url, store, connection):
    """A migration counts what a node of the version before has written, and is still writing."""
    await store.add([new_task(queue="before")])
    undo = resources.files("tests.store").joinpath("undo_counts.sql").read_text("utf-8")
    connection.execute(undo)
    with psycopg.connect(database_url) as old, trio.fail_after(90):
        old.execute(
            "INSERT INTO taskflow_tasks (queue, payload, size_bytes) VALUES ('old', '1', 1)"
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(migrate_database, database_url, timeout_seconds=5.0))
            while not is_waited_for(connection, old.info.backend_pid):
                await trio.sleep(0.01)
            old.commit()
        old.execute(
            "INSERT INTO taskflow_tasks (queue, payload, size_bytes) VALUES ('new', '1', 1)"
        )
        old.commit()
    assert await told(store) == {(name, "PENDING"): 1 for name in ("before", "old", "new")}
    assert really(connection) == await told(store)


def is_waited_for(connection, pid: int) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    return bool(connection.execute(query, [pid]).fetchall())


async def test_unchanged_counts_are_not_recorded(store, connection):
    """Statements that leave every status as it was add no row; moving a queue moves the count."""
    await store.add([new_task(queue="a"), new_task(queue="a")])
    await store.fold_counts(limit=10)
    connection.execute("UPDATE taskflow_tasks SET priority = 3")
    connection.execute("UPDATE taskflow_tasks SET priority = 3 WHERE false")
    connection.execute("DELETE FROM taskflow_tasks WHERE false")
    assert await store.claim(await store.register("here", 1.0), limit=0) == []
    assert connection.execute("SELECT * FROM taskflow_changes").fetchall() == []
    connection.execute("UPDATE taskflow_tasks SET queue = 'b'")
    assert await told(store) == {("b", "PENDING"): 2}
    connection.execute("TRUNCATE taskflow_tasks CASCADE")
    assert await told(store) == {}


async def test_queues_that_are_gone_leave_nothing(store, connection):
    """A count that is down to zero goes; endings go when they are long past."""
    await store.add([new_task(queue=f"q{n}") for n in range(5)])
    await store.fold_counts(limit=10)
    node = await store.register("here", lease_seconds=30)
    await store.settle([completed(claim) for claim in await store.claim(node, limit=5)])
    await store.delete_finished(age_seconds=-1.0, limit=10)
    await store.fold_counts(limit=100)
    assert connection.execute("SELECT * FROM taskflow_counts").fetchall() == []
    assert len((await store.count(limit=10)).queues) == 5  # one ended in each within the hour
    connection.execute("UPDATE taskflow_endings SET minute = minute - interval '61 minutes'")
    assert (await store.count(limit=10)).queues == []
    connection.execute("UPDATE taskflow_endings SET minute = minute - interval '1 hour'")
    await store.fold_counts(limit=100)
    assert connection.execute("SELECT * FROM taskflow_endings").fetchall() == []


@pytest.mark.parametrize("age", [0, 59, 60, 75, 119, 120, 301, 359, 3600, 3645, 3660, 9999])
async def test_shares_are_those_of_the_model(store, connection, age):
    """The database weighs a minute as the model says."""
    [row] = connection.execute(
        "SELECT taskflow_share(now() - make_interval(secs => %(age)s), '1 minute'),"
        " taskflow_share(now() - make_interval(secs => %(age)s), '5 minutes'),"
        " taskflow_share(now() - make_interval(secs => %(age)s), '1 hour')",
        {"age": age},
    )
    assert row == pytest.approx(shares(age))


async def test_finished_counts_by_window(store, connection):
    """Each task is counted in the windows that include its time, and in no others."""
    node = await store.register("here", lease_seconds=30)
    await store.add([new_task() for _ in range(6)])
    claims = await store.claim(node, limit=6)
    for age, some in (("50 minutes", claims[:1]), ("4 minutes", claims[1:3])):
        await store.settle([completed(claim) for claim in some])
        connection.execute("UPDATE taskflow_changes SET at = at - %s::interval", [age])
        await store.fold_counts(limit=1000)
    await store.settle([completed(claim) for claim in claims[3:]])
    [one] = (await store.count(limit=1)).queues
    assert one.finished[TaskStatus.COMPLETED] == RecentCounts(3, 5, 6)


# Idempotency keys


def keyed(text: str) -> IdempotencyKey:
    return IdempotencyKey(text, b"x" * 32, seconds=3600.0)


async def test_requests_are_numbered_without_end(store):
    """Also after 2^31 of them, which a busy process has had within weeks."""
    store._requests = itertools.count(2**31 - 1)
    for text in ("last", "first"):
        assert not (await store.add_once([new_task()], keyed(text))).is_replay
        assert (await store.add_once([new_task()], keyed(text))).is_replay


async def test_concurrent_keys_do_not_deadlock(database_url, store):
    """Two nodes that get the same keys at once, in opposite orders, make each task once.

    Without one order in which all statements take their keys this is a deadlock, which
    PostgreSQL ends after a second by refusing one of them.
    """
    texts = [f"key {n}" for n in range(300)]
    made: list[uuid.UUID] = []

    async def add(to, text):
        added = await to.add_once([new_task()], keyed(text))
        assert len(added.tasks) == 1
        if not added.is_replay:
            made.append(added.tasks[0].id)

    async with open_postgres(database_url, SETTINGS) as other:
        with trio.fail_after(90):
            for turn in range(3):
                async with trio.open_nursery() as nursery:
                    for text, opposite in zip(texts, reversed(texts), strict=True):
                        nursery.start_soon(add, store, f"{turn} {text}")
                        nursery.start_soon(add, other, f"{turn} {opposite}")
    assert len(made) == len(set(made)) == 3 * len(texts)


async def test_keys_are_swept_beside_new_requests(database_url, store):
    """Requests whose old keys are just being forgotten neither fail nor wait for it."""
    soon_over = [IdempotencyKey(str(n), b"x" * 32, seconds=0.001) for n in range(50)]

    async def sweep(to):
        for _ in range(40):
            await to.delete_expired_keys(limit=20)

    async def add():
        for key in soon_over * 2:
            assert len((await store.add_once([new_task()], key)).tasks) == 1

    async with open_postgres(database_url, SETTINGS) as other:
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                for to in (store, other):
                    nursery.start_soon(sweep, to)
                for _ in range(4):
                    nursery.start_soon(add)


async def test_tags_can_be_looked_up_and_go_with_their_task(store, connection):
    """There is a row for each, by name, value and task."""
    tags = {"team": "billing", "paid": True, "n": 7}
    [task] = await store.add([new_task(tags=tags, retention_seconds=0.0)])
    rows = connection.execute("SELECT name, value, task_id FROM taskflow_tags ORDER BY name")
    assert rows.fetchall() == [
        ("n", "7", task.id),
        ("paid", "true", task.id),
        ("team", "billing", task.id),
    ]
    await store.cancel(task.id)
    await trio.sleep(0.02)
    assert await store.delete_finished(age_seconds=None, limit=1) == 1
    assert connection.execute("SELECT FROM taskflow_tags").rowcount == 0


def test_the_size_of_a_task_includes_its_options():
    """A statement is bounded by what it carries, not by the payloads in it."""
    plain = size_of(entry_of(new_task(), None, 0))
    assert plain == len('"http://example.com/"')
    tags = {f"name{n}": "x" * 256 for n in range(16)}
    assert size_of(entry_of(new_task(tags=tags), None, 0)) > plain + 16 * 256
    assert size_of(entry_of(new_task(), keyed("k" * 255), 0)) > plain + 255


async def test_searches_leave_connections_to_others(store, monkeypatch):
    """However many searches are under way, tasks are added; too many searches are rejected."""
    is_over = threading.Event()

    def search(*_):
        is_over.wait(9)
        return Found([], None)

    monkeypatch.setattr(listing, "find", search)
    monkeypatch.setattr(pool, "WAIT_SECONDS", 60.0)
    rejected = []

    async def look():
        try:
            await store.page(limit=1, filter=TaskFilter(url_contains="zzzz"))
        except TooManySearches as error:
            rejected.append(error)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(pool.MAX_WAITING_READS + 10):
                nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(90):
                [task] = await store.add([new_task()])
                assert await store.get(task.id) is not None
            is_over.set()
    finally:
        is_over.set()
    assert len(rejected) == 8


SLOW = {
    "a search": lambda store: store.page(limit=1, filter=TaskFilter(url_contains="zzzz")),
    "a later page": lambda store: store.page(limit=1, before=uuid.UUID(int=2**128 - 1)),
    "counts": lambda store: store.count(limit=9),
    "history": lambda store: store.monitoring.history(),
    "hosts": lambda store: store.monitoring.hosts(9),
    "nodes": lambda store: store.monitoring.nodes(9),
    "schedules": lambda store: store.schedules.page(limit=9),
    "events of a queue": lambda store: store.events_after(
        0, limit=9, wanted=EventFilter(queue="a")
    ),
    "events that were missed": lambda store: store.events_after(0, limit=9, until=9),
}
QUICK = {
    "the first page": lambda store: store.page(limit=9),
    "the first page of a status": lambda store: store.page(
        limit=9, filter=TaskFilter(statuses=(TaskStatus.FAILED,))
    ),
    "a task": lambda store: store.get(uuid.uuid4()),
    "attempts": lambda store: store.attempts(uuid.uuid4()),
    "the backlog": lambda store: store.count_pending(limit=9),
    "new events": lambda store: store.events_after(0, limit=9),
    "events of a task": lambda store: store.events_after(
        0, limit=9, wanted=EventFilter(task_id=uuid.uuid4())
    ),
}


@pytest.mark.parametrize("connections", [1, 4])
async def test_an_aborted_slow_read_keeps_its_slot(database_url, monkeypatch, connections):
    """Its thread has a connection still: other slow reads are rejected, quick ones are not."""
    is_over = threading.Event()
    is_begun = threading.Semaphore(0)

    def search(*_):
        is_begun.release()
        is_over.wait(60)
        return Found([], None)

    settings = Settings(database_connections=connections)
    async with open_postgres(database_url, settings) as store:
        try:
            with monkeypatch.context() as patched:
                patched.setattr(listing, "find", search)
                async with trio.open_nursery() as nursery:
                    for _ in range(max(1, connections // 2)):
                        nursery.start_soon(SLOW["a search"], store)
                        await trio.to_thread.run_sync(is_begun.acquire)
                    nursery.cancel_scope.cancel()
            monkeypatch.setattr(pool, "WAIT_SECONDS", 0.01)
            for read in SLOW.values():
                with pytest.raises(TooManySearches):
                    await read(store)
            for read in QUICK.values() if connections > 1 else ():
                await read(store)
        finally:
            is_over.set()
        monkeypatch.setattr(pool, "WAIT_SECONDS", 60.0)
        for read in (*SLOW.values(), *QUICK.values()):
            await read(store)
