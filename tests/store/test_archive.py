"""The archive of the PostgreSQL store: moving, partitions, retention, and other nodes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
import trio

from taskflow.model.errors import IllegalMove
from taskflow.model.filter import TaskFilter
from taskflow.model.groups import NewGroup
from taskflow.model.order_keys import OnFailure
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.postgres.archive import FINAL
from taskflow.store.postgres.inspection import examine_database
from taskflow.store.postgres.rows import load_queries
from taskflow.store.postgres.store import open_postgres
from tests.store.archiving import add_finished, archive_everything
from tests.store.contract import completed, failed, new_task
from tests.store.test_groups import is_waiting_for_lock

SETTINGS = Settings(database_timeout_seconds=10.0, database_connections=4)
DAY_SECONDS = 86_400.0
YEAR_SECONDS = 365 * DAY_SECONDS
# Mondays, on which the periods of the archive begin.
FIRST = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
SECOND = FIRST + dt.timedelta(days=7)
HISTORY = "SELECT (SELECT count(*) FROM taskflow_events), (SELECT count(*) FROM taskflow_audit)"
PLACES = """
    SELECT (SELECT count(*) FROM taskflow_tasks), (SELECT count(*) FROM taskflow_archive),
           (SELECT count(*) FROM taskflow_attempts),
           (SELECT count(*) FROM taskflow_archive_attempts),
           (SELECT count(*) FROM taskflow_tags), (SELECT count(*) FROM taskflow_archive_tags)
"""
PARTITIONS = """
    SELECT count(*) FROM pg_class
    WHERE relname ~ '^taskflow_archive.*_2[0-9]{7}$' AND pg_table_is_visible(oid) AND relkind = 'r'
"""
COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
async def other(database_url, store):
    """The store of another node."""
    async with open_postgres(database_url, SETTINGS) as other:
        yield other


@pytest.fixture
def connection(database_url) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def places(connection) -> tuple[int, ...]:
    """The numbers of tasks, attempts and tags, of each those in the archive second."""
    return connection.execute(PLACES).fetchone()


async def counts_of(store) -> dict[str, int]:
    counts = (await store.count(limit=100)).total.counts
    return {status.value: count for status, count in counts.items() if count}


# The schema


@pytest.mark.parametrize(
    ("table", "others"),
    [
        ("taskflow_tasks", ["taskflow_archive", "taskflow_all_tasks"]),
        ("taskflow_attempts", ["taskflow_archive_attempts"]),
        ("taskflow_tags", ["taskflow_archive_tags"]),
    ],
)
def test_the_archive_has_the_same_columns(connection, table, others):
    """A migration adds a column to all of them, in the same order, because rows are moved whole."""
    columns = connection.execute(COLUMNS, [table]).fetchall()
    for other in others:
        assert connection.execute(COLUMNS, [other]).fetchall() == columns


def test_an_empty_archive_is_in_no_plan(connection):
    """As long as nothing is archived, the planner leaves the archive out."""
    connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    parameters = {"before": "f" * 32, "limit": 50, "budget_bytes": 1000, "status": "FAILED"}
    for name in ("page_anywhere", "page_by_status_anywhere"):
        plan = connection.execute("EXPLAIN " + load_queries()[name], parameters).fetchall()
        scans = [line for (line,) in plan if " on taskflow_" in line]
        assert len(scans) == 1, plan


async def test_an_archived_task_is_read_from_one_partition(store, connection):
    """The partitions of other weeks are in the plan, and not executed."""
    [task_id] = add_finished(connection, FIRST)
    for week in range(1, 5):
        add_finished(connection, FIRST + dt.timedelta(weeks=week))
    await archive_everything(store)
    connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
    explain = "EXPLAIN (ANALYZE) " + load_queries()["read_anywhere"]
    plan = connection.execute(explain, {"ids": [task_id]}).fetchall()
    scans = [line for (line,) in plan if " on taskflow_archive_2" in line]
    assert len(scans) == 5
    assert len([line for line in scans if "never executed" not in line]) == 1


# What is moved


async def test_tasks_move_with_all_they_have(store, connection):
    """A task in the archive is what it was, and the move is no event."""
    node = await store.register("here", lease_seconds=300)
    await store.groups.add(NewGroup(queue="q", is_open=True), [new_task(queue="q")])
    await store.add([new_task(tags={"a": "b"}), new_task(order_key="k"), new_task(max_attempts=2)])
    while claims := await store.claim(node, limit=1):
        await store.settle([failed(claims[0])])
        await store.promote()
    await store.record_events()
    before = (await store.page(limit=100)).tasks
    history, groups = connection.execute(HISTORY).fetchone(), await store.groups.page(limit=9)
    counts = await counts_of(store)
    attempts = [await store.attempts(task.id) for task in before]
    assert await archive_everything(store) == len(before) == 4
    assert places(connection)[:2] == (0, 4)
    assert (await store.page(limit=100)).tasks == before
    assert [await store.attempts(task.id) for task in before] == attempts
    assert [await store.get(task.id) for task in before] == before
    assert (connection.execute(HISTORY).fetchone(), await counts_of(store)) == (history, counts)
    assert await store.groups.page(limit=9) == groups


async def test_what_other_statements_look_for_stays(store, connection):
    """Tasks that hold a key or have open children are in the table of tasks until they do not."""
    node = await store.register("here", lease_seconds=300)
    holding, unique, parent = await store.add(
        [
            new_task(order_key="k", on_failure=OnFailure.HOLD),
            new_task(),
            new_task(),
        ]
    )
    connection.execute(
        "UPDATE taskflow_tasks SET unique_key = 'u', unique_while = '{COMPLETED}' WHERE id = %s",
        [unique.id],
    )
    await store.promote()
    for claim in await store.claim(node, limit=9):
        await store.settle([failed(claim) if claim.task_id == holding.id else completed(claim)])
    [child] = await store.add([new_task(after=(str(parent.id),), delay_seconds=3600.0)])
    await store.promote()
    assert await archive_everything(store) == 0
    await store.skip(holding.id)
    await store.cancel(child.id)
    connection.execute("UPDATE taskflow_tasks SET unique_key = NULL WHERE id = %s", [unique.id])
    assert await archive_everything(store) == 4


async def test_only_old_tasks_are_moved(store, connection):
    """The age counts from the end of a task."""
    old = add_finished(connection, FIRST, 3)
    add_finished(connection, dt.datetime.now(dt.UTC) - dt.timedelta(minutes=30), 2)
    assert await archive_everything(store, age_seconds=3600.0) == 3
    archived = connection.execute("SELECT id FROM taskflow_archive ORDER BY id").fetchall()
    assert archived == [(task_id,) for task_id in old]


async def test_ids_of_no_version_stay(store, connection):
    """A row whose id does not have its time is not moved, and stops no others."""
    connection.execute(
        "INSERT INTO taskflow_tasks (id, status, finished_at, payload, size_bytes) VALUES "
        "('00000000-0000-4000-8000-000000000001', 'CANCELED', now(), '0', 1), "
        "('ffffffff-0000-4000-8000-000000000001', 'CANCELED', now(), '0', 1), "
        "('01000000-0000-4000-8000-000000000001', 'CANCELED', 'infinity', '0', 1)"
    )
    connection.execute(
        "UPDATE taskflow_tasks SET created_at = '-infinity' WHERE id::text LIKE 'f%'"
    )
    add_finished(connection, FIRST, 2, status="CANCELED")
    assert await archive_everything(store) == 2
    assert places(connection)[:2] == (3, 2)


async def test_a_row_that_cannot_be_moved(store, connection):
    """It is reported, and stops the tasks of its window only."""
    [first, *_] = add_finished(connection, FIRST, 5)
    await archive_everything(store)
    ids = add_finished(connection, FIRST + dt.timedelta(hours=1), 6)
    connection.execute(
        "INSERT INTO taskflow_tasks SELECT * FROM taskflow_archive WHERE id = %s", [first]
    )
    steps = []
    while not steps or steps[-1].has_more:
        steps.append(await store.archive(age_seconds=0.0, limit=3))
    assert "duplicate key" in steps[0].obstacle
    assert sum(step.moved for step in steps) == 4
    assert (await store.get(ids[-1])).status is TaskStatus.COMPLETED


async def test_a_table_of_someone_else(store, connection):
    """A table with the name of a partition is reported, and stops its week only."""
    connection.execute("CREATE TABLE taskflow_archive_20260105 (id integer)")
    add_finished(connection, FIRST, 2)
    add_finished(connection, SECOND, 2)
    step = await store.archive(age_seconds=0.0, limit=2)
    assert "already exists" in step.obstacle
    assert await archive_everything(store) == 2


# Partitions and retention


async def test_a_week_is_dropped_at_once(store, connection):
    """When all tasks of a week are past their retention, their partitions are dropped."""
    add_finished(connection, FIRST, 30, tags='{"a": "b"}')
    add_finished(connection, FIRST, 20, status="FAILED", queue="q")
    kept = add_finished(connection, SECOND, 10, tags='{"a": "b"}')
    await archive_everything(store)
    assert connection.execute(PARTITIONS).fetchone() == (6,)
    age_seconds = (dt.datetime.now(dt.UTC) - SECOND).total_seconds() + 60
    assert await store.delete_finished(age_seconds=age_seconds, limit=5) == 50
    assert connection.execute(PARTITIONS).fetchone() == (3,)
    assert places(connection) == (0, 10, 0, 10, 0, 10)
    assert await counts_of(store) == {"COMPLETED": 10}
    found = await store.page(limit=100, filter=TaskFilter(tags=(("a", "b"),)))
    assert [task.id for task in found.tasks] == kept[::-1]
    assert await store.delete_finished(age_seconds=age_seconds, limit=5) == 0


async def test_own_retention_keeps_a_week(store, connection):
    """A task with a longer retention keeps its partition; the others are deleted a week later."""
    age_seconds = (dt.datetime.now(dt.UTC) - FIRST).total_seconds() - 3600
    add_finished(connection, FIRST, 3)
    [late] = add_finished(connection, FIRST, retention=100 * YEAR_SECONDS)
    add_finished(connection, FIRST, 2, retention=60.0)
    await archive_everything(store)
    assert await store.delete_finished(age_seconds=age_seconds, limit=100) == 2
    assert await store.delete_finished(age_seconds=age_seconds - 7 * DAY_SECONDS, limit=100) == 0
    assert await store.delete_finished(age_seconds=age_seconds - 9 * DAY_SECONDS, limit=100) == 3
    assert [task.id for task in (await store.page(limit=9)).tasks] == [late]
    assert await counts_of(store) == {"COMPLETED": 1}


async def test_without_a_retention_nothing_is_dropped(store, connection):
    """Only tasks with a retention of their own are deleted, and a week that had no others."""
    add_finished(connection, FIRST, 3)
    add_finished(connection, SECOND, 4, retention=60.0)
    await archive_everything(store)
    assert await store.delete_finished(age_seconds=None, limit=100) == 4
    assert connection.execute(PARTITIONS).fetchone() == (3,)
    assert places(connection)[:2] == (0, 3)


async def test_rows_of_other_tables_are_deleted_first(store, connection):
    """A partition is dropped when nothing refers to its tasks any more, a few at a time."""
    ids = add_finished(connection, FIRST, 5)
    others = add_finished(connection, FIRST, 7)
    group = (await store.groups.add(NewGroup(queue="default", is_open=True))).group.id
    connection.execute(
        "UPDATE taskflow_tasks SET group_id = %s, order_key = 'k', parents_left = 0 "
        "WHERE id = ANY (%s)",
        [group, ids],
    )
    connection.execute(
        "WITH a AS (INSERT INTO taskflow_group_members SELECT %s, unnest(%s), 'COMPLETED'), "
        "b AS (INSERT INTO taskflow_ordered (task_id, queue, order_key, state) "
        "SELECT unnest(%s), 'default', 'k', 'left') "
        "INSERT INTO taskflow_edges (parent_id, child_id) SELECT %s, unnest(%s)",
        [group, ids, ids, others[0], ids],
    )
    await archive_everything(store)
    deleted = [await store.delete_finished(age_seconds=60.0, limit=2) for _ in range(4)]
    assert sum(deleted) == 12
    for table in ("group_members", "ordered", "edges", "archive_periods", "archive_counts"):
        assert connection.execute(f"SELECT count(*) FROM taskflow_{table}").fetchone() == (0,)
    assert await counts_of(store) == {}


async def test_an_archived_parent_of_open_children_is_kept(store, connection):
    """A task that was archived before it got children is moved back, and not deleted."""
    [parent] = add_finished(connection, FIRST)
    await archive_everything(store)
    node = await store.register("here", lease_seconds=300)
    [child] = await store.add([new_task(after=(str(parent),))])
    await store.promote()
    assert await store.delete_finished(age_seconds=60.0, limit=100) == 0
    [claim] = await store.claim(node, limit=9)
    assert claim.task_id == child.id
    assert (await store.parent_result(child.id, str(parent), max_bytes=99)).result == b"{}"
    await store.settle([completed(claim)])
    assert await archive_everything(store) == 2


async def test_a_reader_delays_a_drop_only(store, connection, database_url):
    """While a transaction reads the archive, the partition is kept, and other readers go on."""
    add_finished(connection, FIRST, 3)
    await archive_everything(store)
    with psycopg.connect(database_url) as reader:
        assert reader.execute("SELECT count(*) FROM taskflow_archive").fetchone() == (3,)
        assert await store.delete_finished(age_seconds=60.0, limit=100) == 0
        assert len((await store.page(limit=9)).tasks) == 3
    assert await store.delete_finished(age_seconds=60.0, limit=100) == 3


async def test_a_detached_partition_is_dropped_later(store, connection):
    """A process that dies after it has detached a partition leaves it to the next one."""
    add_finished(connection, FIRST, 3)
    await archive_everything(store)
    connection.execute(
        "ALTER TABLE taskflow_archive DETACH PARTITION taskflow_archive_20260105; "
        "UPDATE taskflow_archive_periods SET is_attached = false"
    )
    # Until then its week takes no tasks.
    add_finished(connection, FIRST, 2)
    assert await archive_everything(store) == 0
    assert await store.delete_finished(age_seconds=YEAR_SECONDS * 9, limit=100) == 0
    assert connection.execute(PARTITIONS).fetchone() == (0,)
    assert await archive_everything(store) == 2


# Other nodes


async def test_nodes_that_cannot_read_it_prevent_moves(store, connection):
    """While a node of an earlier version is alive, nothing is archived."""
    add_finished(connection, FIRST, 3)
    await store.register("new", lease_seconds=300)
    connection.execute(
        "INSERT INTO taskflow_nodes (id, name, lease_seconds, expires_at) "
        "VALUES (gen_random_uuid(), 'old', 300, now() + interval '300 s')"
    )
    step = await store.archive(age_seconds=0.0, limit=100)
    assert (step.moved, step.has_more) == (0, False)
    assert "earlier version" in step.obstacle
    connection.execute("UPDATE taskflow_nodes SET expires_at = now() WHERE name = 'old'")
    assert await archive_everything(store) == 3


async def test_a_role_that_owns_nothing_moves_nothing(store, connection, database_url):
    """Without the right to create partitions the tasks stay, and the reason is reported."""
    add_finished(connection, FIRST, 3)
    role = f"role_{connection.info.dbname[-20:]}"
    connection.execute(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role}; "
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; "
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
    )
    try:
        options = f"{database_url} options='-c role={role}'"
        async with open_postgres(options, SETTINGS) as limited:
            step = await limited.archive(age_seconds=0.0, limit=100)
            assert "own" in step.obstacle
            report = await examine_database(options, timeout_seconds=9.0, pooler="none")
            assert not report.can_archive
            assert places(connection)[:2] == (3, 0)
            await archive_everything(store)
            assert len((await limited.page(limit=9)).tasks) == 3
            assert await limited.delete_finished(age_seconds=60.0, limit=9) == 3
    finally:
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_two_nodes_archive_at_once(store, other, connection):
    """Each task is moved once, and the counts of the periods are right."""
    for day in range(10):
        add_finished(connection, FIRST + dt.timedelta(days=3 * day), 40, queue=f"q{day % 2}")
    moved = []

    async def archive(one) -> None:
        for _ in range(3):  # a period that the other node holds is left to it
            moved.append(await archive_everything(one, limit=25))

    async with trio.open_nursery() as nursery:
        for one in (store, other):
            nursery.start_soon(archive, one)
    assert sum(moved) == 400
    assert places(connection) == (0, 400, 0, 400, 0, 0)
    assert connection.execute(
        "SELECT sum(change) FROM taskflow_archive_counts GROUP BY queue ORDER BY queue"
    ).fetchall() == [(200,), (200,)]
    assert await counts_of(store) == {"COMPLETED": 400}


@pytest.mark.parametrize("wanted", [TaskFilter(), TaskFilter(tags=(("a", "b"),), queue="q")])
async def test_pages_while_rows_move(store, other, connection, wanted):
    """A walk through all pages has each task once, while tasks move and are moved back."""
    ids = add_finished(connection, FIRST, 150, status="FAILED", queue="q", tags='{"a": "b"}')

    async def move() -> None:
        while True:
            await other.archive(age_seconds=0.0, limit=7)
            archived = connection.execute(
                "SELECT id FROM taskflow_archive ORDER BY random() LIMIT 3"
            )
            back = [task_id for (task_id,) in archived]
            await other.retry_many(back)
            await other.cancel_many(back)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move)
        for _ in range(3):
            seen, before = [], None
            while True:
                page = await store.page(limit=10, before=before, filter=wanted)
                seen += [task.id for task in page.tasks]
                if (before := page.next_before) is None:
                    break
            assert seen == ids[::-1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("verb", ["retry", "delete", "cancel"])
async def test_an_action_while_its_task_is_moved(store, connection, database_url, verb):
    """The action waits for the move, and applies to the archived task."""
    [task_id] = add_finished(connection, FIRST, status="FAILED")
    await archive_everything(store)  # creates the partition
    await store.retry(task_id)
    await store.cancel(task_id)
    outcomes = []

    async def act() -> None:
        try:
            outcomes.append(await getattr(store, verb)(task_id))
        except IllegalMove as error:
            outcomes.append(error)

    window = {"after": "0" * 32, "age_seconds": 0.0, "limit": 10, "budget_bytes": 2**40}
    with psycopg.connect(database_url) as mover:
        mover.execute(load_queries()["begin_move"], {"state": "on"})
        move = load_queries()["archive_if_finished_before"]
        assert mover.execute(move, window | {"status": "CANCELED"}).fetchone()[0] == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(act)
            if verb != "cancel":  # which waits for open tasks only
                await is_waiting_for_lock(store)
            mover.commit()
    [outcome] = outcomes
    task = await store.get(task_id)
    if verb == "retry":
        assert outcome.status is task.status is TaskStatus.PENDING
        assert places(connection)[:2] == (1, 0)
    elif verb == "delete":
        assert outcome
        assert task is None
    else:
        assert isinstance(outcome, IllegalMove)
        assert task.status is TaskStatus.CANCELED


async def test_a_move_passes_over_a_task_that_is_retried(store, connection, database_url):
    """A task that a transaction has locked stays, and nothing waits."""
    ids = add_finished(connection, FIRST, 3, status="FAILED")
    with psycopg.connect(database_url) as retrier:
        retrier.execute("SELECT FROM taskflow_tasks WHERE id = %s FOR UPDATE", [ids[1]])
        assert await archive_everything(store) == 2
    assert await archive_everything(store) == 1


async def test_a_retry_delays_a_drop(store, connection, database_url):
    """While a task is moved back, its partition is kept; then it is dropped without the task."""
    ids = add_finished(connection, FIRST, 3, status="FAILED")
    await archive_everything(store)
    sql = load_queries()
    with psycopg.connect(database_url) as retrier:
        retrier.execute(sql["begin_move"], {"state": "on"})
        restored = {"ids": ids[:1], "first": ids[0], "last": ids[0], "statuses": list(FINAL)}
        assert retrier.execute(sql["restore_tasks"], restored).fetchall() == [(ids[0],)]
        assert await store.delete_finished(age_seconds=60.0, limit=100) == 0
    connection.execute("UPDATE taskflow_tasks SET finished_at = now()")
    assert await store.delete_finished(age_seconds=60.0, limit=100) == 2
    assert [task.id for task in (await store.page(limit=9)).tasks] == ids[:1]
    assert await counts_of(store) == {"FAILED": 1}


async def test_many_retries_and_moves_at_once(store, other, connection):
    """However tasks move between the tables, none is lost or doubled, and the counts are right."""
    ids = add_finished(connection, FIRST, 60, status="FAILED")
    await archive_everything(store)
    retried: Counter = Counter()

    async def retry(one) -> None:
        for begin in range(0, 60, 6):
            found = await one.retry_many(ids[begin : begin + 12])
            retried.update(found)
            await one.cancel_many(found)

    async def archive() -> None:
        while True:
            await store.archive(age_seconds=0.0, limit=20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive)
        async with trio.open_nursery() as retries:
            for one in (store, other, store):
                retries.start_soon(retry, one)
        nursery.cancel_scope.cancel()
    assert set(retried) == set(ids)
    assert sum(places(connection)[:2]) == 60
    assert sum((await counts_of(store)).values()) == 60
    await archive_everything(store)
    assert await counts_of(store) == {"CANCELED": 60}
    assert connection.execute("SELECT sum(change) FROM taskflow_archive_counts").fetchone() == (60,)
