"""Both stores keep the contract of schedules; and what PostgreSQL's keeps on several nodes."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections import Counter

import msgspec
import psycopg
import pytest
import trio

from taskflow.model.errors import ScheduleNotFound, ScheduleOverlap
from taskflow.model.schedule import Missed, Overlap, Timing
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.schedules import FIRINGS_KEPT_SECONDS
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres import schedule_firing, schedule_overlap, schedules
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import new_task
from tests.store.overlap_contract import OverlapContract
from tests.store.schedules_contract import SchedulesContract, definition

SETTINGS = Settings(database_timeout_seconds=2.0, database_connections=2)


@pytest.fixture
def connection(database_url):
    """A connection to the same database, beside the store's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def store(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


class TestMemorySchedules(SchedulesContract, OverlapContract):
    @pytest.fixture
    async def store(self):
        return MemoryStore()

    @pytest.fixture
    async def node(self, store):
        return await store.register("here", lease_seconds=30)

    async def set_next_run_at(self, store, name, next_run_at):
        kept = store.schedules._schedules
        kept[name] = msgspec.structs.replace(kept[name], next_run_at=next_run_at)

    async def test_old_firings_are_forgotten(self, store, autojump_clock):
        """A day later, a few at a time."""
        await self.put_due(store, *"abc")
        await self.fire(store)
        assert await store.schedules.delete_old_firings(limit=10) == 0
        await trio.sleep(FIRINGS_KEPT_SECONDS + 1)
        assert [await store.schedules.delete_old_firings(limit=2) for _ in range(3)] == [2, 1, 0]


class TestPostgresSchedules(SchedulesContract, OverlapContract):
    @pytest.fixture
    async def node(self, store):
        return await store.register("here", lease_seconds=30)

    async def set_next_run_at(self, store, name, next_run_at):
        await store._statements.database.run(
            lambda connection: connection.execute(
                "UPDATE taskflow_schedules SET next_at = %s WHERE name = %s", [next_run_at, name]
            )
        )


@pytest.fixture
def small_bounds(monkeypatch):
    """A thousandth of what is read and written at once otherwise, and less."""
    monkeypatch.setattr(schedule_firing, "MAX_BATCH_BYTES", 2**16)
    for module in (schedule_firing, schedules):
        monkeypatch.setattr(module, "PAGE_BUDGET_BYTES", 2**17)


async def put_overdue(store, connection, count: int, *, times: int, **fields) -> None:
    """Create ``count`` schedules, each with this many times to process."""
    every = 1000.0
    for number in range(count):
        await store.schedules.put(
            definition(f"s{number}", every_seconds=every, missed=Missed.ALL, **fields)
        )
    connection.execute(
        "UPDATE taskflow_schedules SET anchor_at = now() - make_interval(secs => %(s)s),"
        " next_at = now() - make_interval(secs => %(s)s)",
        {"s": every * (times - 0.5)},
    )


async def test_several_nodes_fire_each_time_once(database_url, connection):
    """Stores that fire the same schedules at once share them; each firing has its own task."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(open_postgres(database_url, SETTINGS)) for _ in range(3)
        ]
        await put_overdue(stores[0], connection, 40, times=5)
        made = Counter()

        async def fire(number: int) -> None:
            while (await stores[number].schedules.seconds_to_next()) <= 0:
                made[number] += (await stores[number].schedules.fire_due(limit=3)).tasks

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(fire, number)
    assert made.total() == 200
    [row] = connection.execute(
        "SELECT count(*), count(DISTINCT task_id), count(DISTINCT (schedule, at)),"
        " count(t.id) FILTER (WHERE t.options ->> 'schedule' = schedule)"
        " FROM taskflow_firings LEFT JOIN taskflow_tasks AS t ON t.id = task_id"
    )
    assert row == (200, 200, 200, 200)
    assert connection.execute("SELECT count(*) FROM taskflow_tasks").fetchone() == (200,)


async def test_several_nodes_do_not_overlap(database_url, connection):
    """Of stores that fire times of one schedule at once, and run it, one creates a task."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(open_postgres(database_url, SETTINGS)) for _ in range(3)
        ]
        await put_overdue(stores[0], connection, 5, times=5, overlap=Overlap.SKIP)
        made = Counter()

        async def fire(number: int) -> None:
            schedules = stores[number].schedules
            while (await schedules.seconds_to_next()) <= 0:
                made[number] += (await schedules.fire_due(limit=1)).tasks
                with contextlib.suppress(ScheduleOverlap):
                    await schedules.run_now("s0")
                    made[number] += 1

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(fire, number)
    assert made.total() == 5
    rows = connection.execute("SELECT options ->> 'schedule' FROM taskflow_tasks")
    assert Counter(name for (name,) in rows) == {f"s{number}": 1 for number in range(5)}
    [row] = connection.execute("SELECT count(*), count(task_id) FROM taskflow_firings")
    assert row[0] == 25
    [(skipped,)] = connection.execute("SELECT sum(skipped_count) FROM taskflow_schedules")
    assert skipped == row[0] - row[1]


@pytest.mark.parametrize("is_manual", [False, True])
async def test_many_earlier_tasks_are_canceled_in_steps(store, connection, monkeypatch, is_manual):
    """No transaction cancels more than the bound; the new task is created when none is left."""
    monkeypatch.setattr(schedule_overlap, "MAX_PER_ACTION", 4)
    await store.schedules.put(definition("s0"))
    for _ in range(10):
        await store.schedules.run_now("s0")
        connection.execute(
            "INSERT INTO taskflow_firings SELECT 's0', now(), last_task_id FROM taskflow_schedules"
        )
    await put_overdue(store, connection, 1, times=1, overlap=Overlap.CANCEL_PREVIOUS)

    def counts() -> dict[str, int]:
        rows = connection.execute("SELECT status, count(*) FROM taskflow_tasks GROUP BY status")
        return dict(rows.fetchall())

    if is_manual:
        assert (await store.schedules.run_now("s0")).status is TaskStatus.PENDING
        assert counts() == {"CANCELED": 10, "PENDING": 1}
        return
    seen = []
    while (await store.schedules.seconds_to_next()) <= 0:
        await store.schedules.fire_due(limit=1)
        seen.append(counts())
    assert seen[:2] == [{"CANCELED": 4, "PENDING": 6}, {"CANCELED": 8, "PENDING": 2}]
    assert seen[2:] == [{"CANCELED": 10, "PENDING": 1}]


async def test_finished_tasks_are_forgotten_in_steps(store, connection, monkeypatch):
    """Many tasks that were retried and have finished are passed over a few at a time."""
    monkeypatch.setattr(schedule_overlap, "MAX_PER_ACTION", 4)
    await put_overdue(store, connection, 1, times=1, overlap=Overlap.SKIP)
    connection.execute(
        "INSERT INTO taskflow_schedule_tasks SELECT 's0', gen_random_uuid()"
        " FROM generate_series(1, 10)"
    )
    fired = [await store.schedules.fire_due(limit=1) for _ in range(3)]
    assert [one.tasks for one in fired] == [0, 0, 1]
    [row] = connection.execute("SELECT count(*) FROM taskflow_schedule_tasks").fetchall()
    assert row == (1,)


async def test_schedules_without_a_limit_keep_no_list_of_tasks(store, connection):
    """What only ``overlap`` needs is not written for others, nor when their tasks are retried."""
    await put_overdue(store, connection, 2, times=3)
    await store.schedules.fire_due(limit=9)
    task = await store.schedules.run_now("s0")
    await store.cancel(task.id)
    await store.retry(task.id)
    assert connection.execute("SELECT * FROM taskflow_schedule_tasks").fetchall() == []


async def test_schedules_locked_by_another_node_are_skipped(store, connection):
    """Without waiting; if that node dies in the midst of it others do it."""
    await put_overdue(store, connection, 2, times=1)
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT FROM taskflow_schedules WHERE name = 's0' FOR UPDATE")
        with trio.fail_after(90):
            assert (await store.schedules.fire_due(limit=9)).tasks == 1
            assert (await store.schedules.fire_due(limit=9)).schedules == 0
    assert (await store.schedules.fire_due(limit=9)).tasks == 1


async def test_large_templates_go_in_several_statements(store, connection, small_bounds):
    """No statement carries much more of payloads than the bound."""
    template = new_task('"%s"' % ("x" * 2**13))
    await put_overdue(store, connection, 3, times=7, template=template)
    made = []
    while (await store.schedules.seconds_to_next()) <= 0:
        made.append((await store.schedules.fire_due(limit=500)).tasks)
    assert made == [7, 7, 7]
    assert connection.execute("SELECT count(*) FROM taskflow_firings").fetchone() == (21,)


async def test_a_schedule_with_many_large_times_is_fired_in_parts(store, connection, small_bounds):
    """The oldest first, so that none is lost in between."""
    template = new_task('"%s"' % ("x" * 2**13))
    await put_overdue(store, connection, 1, times=20, template=template)
    made = []
    while (await store.schedules.seconds_to_next()) <= 0:
        made.append((await store.schedules.fire_due(limit=500)).tasks)
        [(oldest_left,)] = connection.execute("SELECT next_at FROM taskflow_schedules")
        [(newest_fired,)] = connection.execute("SELECT max(at) FROM taskflow_firings")
        assert oldest_left - newest_fired == dt.timedelta(seconds=1000)
    assert sum(made) == 20
    assert max(made) <= 8


async def test_unknown_time_zones_are_left_to_other_nodes(store, connection):
    """A zone that this node does not know, say: the others are fired all the same."""
    await put_overdue(store, connection, 2, times=1)
    await store.schedules.put(definition("s1", timing=Timing(cron="* * * * *", timezone="UTC")))
    connection.execute(
        "UPDATE taskflow_schedules SET next_at = now() - interval '1 s', definition ="
        " replace(definition::text, '\"UTC\"', '\"Europe/Utopia\"')::json WHERE name = 's1'"
    )
    fired = await store.schedules.fire_due(limit=9)
    assert (fired.schedules, fired.tasks, list(fired.refused)) == (2, 1, ["s1"])
    assert "Europe/Utopia" in fired.refused["s1"]
    with pytest.raises(ScheduleNotFound, match="Europe/Utopia"):
        await store.schedules.next_runs("s1", count=2)
    [(at,)] = connection.execute("SELECT next_at < now() FROM taskflow_schedules WHERE name = 's1'")
    assert at


async def test_changes_are_heard_by_other_nodes(database_url, store):
    """Who puts a schedule wakes them; a paused one is no news."""
    async with open_postgres(database_url, SETTINGS) as other:
        with trio.fail_after(90):
            await other.schedules.wait_for_change()  # rung once when the listener connects
            await store.schedules.put(definition())
            await other.schedules.wait_for_change()
            await store.schedules.put(definition(every_seconds=60.0))
            await other.schedules.wait_for_change()
        await store.schedules.put(definition(paused=True))
        with trio.move_on_after(0.2) as scope:
            await other.schedules.wait_for_change()
        assert scope.cancelled_caught


async def test_old_firings_are_forgotten(store, connection):
    """A day later, a few at a time; the schedules stay."""
    await put_overdue(store, connection, 3, times=1)
    await store.schedules.fire_due(limit=9)
    assert await store.schedules.delete_old_firings(limit=10) == 0
    connection.execute(
        "UPDATE taskflow_firings SET fired_at = fired_at - make_interval(secs => %s)",
        [FIRINGS_KEPT_SECONDS + 1],
    )
    forgotten = [await store.schedules.delete_old_firings(limit=2) for _ in range(3)]
    assert forgotten == [2, 1, 0]
    assert len((await store.schedules.page(limit=9)).schedules) == 3


async def test_a_page_has_room_for_large_ones(store, small_bounds):
    """One always comes; then as many as fit."""
    template = new_task('"%s"' % ("x" * (5 * 2**13)))
    for name in "abcdef":
        await store.schedules.put(definition(name, template=template))
    names, after = [], None
    for _ in itertools.count():
        page = await store.schedules.page(limit=1000, after=after)
        names.append([schedule.name for schedule in page.schedules])
        after = page.next_after
        if after is None:
            break
    assert names == [["a", "b", "c", "d"], ["e", "f"]]


async def test_the_cost_of_a_check_is_constant(store, connection):
    """How long until the next, and that nothing is due, is read off the index."""
    connection.execute(
        "INSERT INTO taskflow_schedules (name, definition, size_bytes, anchor_at, next_at,"
        " created_at, updated_at) SELECT 'n' || n, '{}', 2, now(), now() + n * interval '1 min',"
        " now(), now() FROM generate_series(1, 20000) AS n"
    )
    connection.execute("ANALYZE taskflow_schedules")
    for name in ("next_firing", "hold_due_schedules"):
        parameters = {"limit": 500, "budget_bytes": 2**24}
        plan = connection.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + store._statements.sql[name], parameters
        ).fetchone()[0]
        assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 20
