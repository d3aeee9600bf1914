"""Events: conformance of stores, and details of PostgreSQL."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

import psycopg
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from taskflow.model.event import EventFilter, TaskEvent
from taskflow.model.outcome import ErrorType
from taskflow.model.task import TaskStatus
from taskflow.settings import Settings
from taskflow.store.base.claims import Retry
from taskflow.store.base.store import TaskStore
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres import events
from taskflow.store.postgres.store import open_postgres
from tests.store.contract import NodeTaker, StoreContract, completed, failed, new_task, released

SETTINGS = Settings(database_timeout_seconds=5.0)
PENDING, RUNNING, COMPLETED, FAILED, CANCELED = (
    TaskStatus.PENDING,
    TaskStatus.RUNNING,
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.CANCELED,
)
_CONTRACT = StoreContract()
claim_and_die, rescued = _CONTRACT.claim_and_die, _CONTRACT.rescued


@pytest.fixture(params=["memory", "postgres"])
async def store(request):
    """Each of the stores."""
    if request.param == "memory":
        yield MemoryStore()
        return
    async with open_postgres(request.getfixturevalue("database_url"), SETTINGS) as store:
        yield store


@pytest.fixture
async def node(store) -> uuid.UUID:
    return await store.register("here", lease_seconds=30)


@pytest.fixture
async def position(store) -> int:
    """Where the events of a test begin."""
    return await store.record_events()


async def add(store: TaskStore, **fields):
    [task] = await store.add([new_task(**fields)])
    return task


async def events_of(store: TaskStore, position: int, **asked) -> list[TaskEvent]:
    """All that is asked for, none of which may be missing."""
    page = await store.events_after(position, limit=1000, **asked)
    assert page.is_complete
    ids = [event.id for event in page.events]
    assert ids == sorted(set(ids))
    assert all(event.id > position for event in page.events)
    return page.events


def story(events: list[TaskEvent]) -> list[tuple[TaskStatus, int]]:
    return [(event.status, event.attempt) for event in events]


async def test_get_many(store):
    """In any order; unknown ids are left out."""
    tasks = [await add(store) for _ in range(3)]
    found = await store.get_many([uuid.uuid4(), *(task.id for task in tasks)])
    assert sorted(found, key=lambda task: task.id) == tasks
    assert await store.get_many([]) == []


async def test_an_event_has_the_fields_of_the_task(store, node, position):
    """Each field is the same, at the first event and at the last."""
    task = await add(store, queue="mail", tags={"customer": 42, "is_big": True, "kind": "a:b"})
    [claim] = await store.claim(node, limit=1)
    await store.settle([failed(claim)])
    ended = await store.get(task.id)
    first, second, third = await events_of(store, position)
    for event in (first, second, third):
        assert (event.task_id, event.queue, event.tags) == (task.id, "mail", task.tags)
        assert event.at.tzinfo is not None
    assert story([first, second, third]) == [(PENDING, 0), (RUNNING, 1), (FAILED, 1)]
    moments = (task.created_at, ended.started_at, ended.finished_at)
    for event, moment in zip((first, second, third), moments, strict=True):
        assert abs(event.at - moment) < dt.timedelta(milliseconds=50)
    assert first.error == second.error == ""
    assert first.error_type is second.error_type is None
    assert (third.error, third.error_type) == (ended.error, ErrorType.TIMEOUT)


async def test_every_move_is_an_event(store, node, position):
    """The whole life of a task, with all that can happen to it."""
    task = await add(store)

    async def claim():
        [claim] = await store.claim(node, limit=1)
        return claim

    held = await claim()
    await store.schedule_retries([Retry(held.task_id, held.token, 0.0, "no", ErrorType.TIMEOUT)])
    await store.release([released(await claim())])
    await claim_and_die(store)
    assert (await rescued(store)).pending
    await claim()
    await store.cancel(task.id)
    await store.retry(task.id)
    await store.settle([completed(await claim())])
    await store.delete(task.id)  # no change of status
    assert story(await events_of(store, position, wanted=EventFilter(task.id))) == [
        (PENDING, 0),
        *((RUNNING, 1), (PENDING, 1)),  # retried
        *((RUNNING, 2), (PENDING, 1)),  # released
        *((RUNNING, 2), (PENDING, 1)),  # rescued
        *((RUNNING, 2), (CANCELED, 2)),
        *((PENDING, 0), (RUNNING, 1), (COMPLETED, 1)),
    ]


async def test_expiry_and_poison_are_events(store, position):
    """This includes tasks that expire, and tasks that fail as poison."""
    expired = await add(store, expires_at=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1))
    assert await store.expire(limit=10) == 1
    poison = await add(store)
    await claim_and_die(store)
    assert (await rescued(store, max_rescues=1)).poisoned
    found = await events_of(store, position)
    assert [(event.task_id, event.status, event.error_type) for event in found] == [
        (expired.id, PENDING, None),
        (expired.id, FAILED, ErrorType.EXPIRED),
        (poison.id, PENDING, None),
        (poison.id, RUNNING, None),
        (poison.id, FAILED, ErrorType.POISON),
    ]
    assert found[1].error
    assert found[-1].error


async def test_releases_are_events(store, node, position):
    """When a node retires, and when it releases unknown claims."""
    await add(store)
    await store.claim(node, limit=1)
    renewed_at = await store.renew(node)
    assert await store.reconcile(node, [], before=renewed_at + dt.timedelta(hours=1)) == 1
    await store.claim(node, limit=1)
    await store.retire(node)
    assert story(await events_of(store, position)) == [
        (PENDING, 0),
        *((RUNNING, 1), (PENDING, 0)) * 2,
    ]


async def test_bulk_actions_are_events(store, position):
    """One event for each changed task, and none for the others."""
    tasks = [await add(store) for _ in range(3)]
    ids = [task.id for task in tasks]
    await store.cancel(ids[1])
    assert await store.cancel_many(ids) == {ids[0], ids[2]}
    assert await store.retry_many(ids) == set(ids)
    found = await events_of(store, position)
    assert story(found[:4]) == [(PENDING, 0)] * 3 + [(CANCELED, 0)]
    assert {event.task_id for event in found[4:6]} == {ids[0], ids[2]}
    assert [event.status for event in found[4:]] == [CANCELED] * 2 + [PENDING] * 3


async def test_unchanged_tasks_have_no_events(store, node, position):
    """A late outcome and a move without effect cause no events."""
    task = await add(store)
    [claim] = await store.claim(node, limit=1)
    await store.settle([completed(claim)])
    [last] = (await events_of(store, position))[-1:]
    assert await store.settle([completed(claim)]) == set()
    assert await store.release([released(claim)]) == set()
    assert await store.cancel_many([task.id]) == set()
    assert await store.claim(node, limit=1) == []
    assert await events_of(store, last.id) == []


async def test_a_direct_claim_is_two_events(store, node, position):
    """A task that is claimed as it is stored was PENDING nevertheless."""
    taker = NodeTaker(node, room=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker.wait, store)
        await wait_all_tasks_blocked(0.05)
        first, second = await store.add([new_task(), new_task()])
        nursery.cancel_scope.cancel()
    assert [claim.task_id for claim in taker.claims] == [first.id]
    for task, reported in ((first, [(PENDING, 0), (RUNNING, 1)]), (second, [(PENDING, 0)])):
        found = await events_of(store, position, wanted=EventFilter(task.id))
        assert story(found) == reported
        for event in found:
            assert abs(event.at - task.created_at) < dt.timedelta(milliseconds=50)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EventFilter(), "abcd"),
        (EventFilter(queue="mail"), "ab"),
        (EventFilter(queue="other"), ""),
        (EventFilter(tags={"customer": "42"}), "ac"),
        (EventFilter(tags={"is_big": "true"}), "ac"),
        (EventFilter(tags={"is_big": "True"}), ""),
        (EventFilter(tags={"is_big": "false"}), "b"),
        (EventFilter(tags={"customer": "42", "is_big": "false"}), ""),
        (EventFilter(tags={"customer": "042"}), ""),
        (EventFilter(tags={"customer": "-7"}), "b"),
        (EventFilter(tags={"is_big": ""}), ""),
        (EventFilter(tags={"unknown": ""}), ""),
        (EventFilter(tags={"unknown": "null"}), ""),
        (EventFilter(tags={"note": "é:\U0001f600 'x'"}), "a"),
        (EventFilter(tags={"note": ""}), "c"),
        (EventFilter(queue="mail", tags={"customer": "42"}), "a"),
    ],
)
async def test_filters(store, position, wanted, expected):
    """By queue and tags, whose numbers and booleans are compared as JSON has them."""
    note = "é:\U0001f600 'x'"
    tasks = {
        "a": await add(store, queue="mail", tags={"customer": 42, "is_big": True, "note": note}),
        "b": await add(store, queue="mail", tags={"customer": -7, "is_big": False}),
        "c": await add(store, tags={"customer": "42", "is_big": "true", "note": ""}),
        "d": await add(store),
    }
    found = await events_of(store, position, wanted=wanted)
    assert [event.task_id for event in found] == [tasks[name].id for name in expected]
    assert all(wanted.accepts(event) for event in found)
    assert len([e for e in await events_of(store, position) if wanted.accepts(e)]) == len(found)


async def test_filter_by_task(store, node, position):
    """Of one task alone."""
    await add(store)
    second = await add(store)
    await store.claim(node, limit=2)
    found = await events_of(store, position, wanted=EventFilter(task_id=second.id))
    assert [event.task_id for event in found] == [second.id] * 2
    assert await events_of(store, position, wanted=EventFilter(task_id=uuid.uuid4())) == []


async def test_positions_and_limits(store, position):
    """Reads from a position, up to a position, and with a limit return each event once."""
    assert await store.record_events() == position
    for _ in range(7):
        await add(store)
    every = await events_of(store, position)
    assert len(every) == 7
    assert await store.record_events() == every[-1].id
    seen, place = [], position
    while page := (await store.events_after(place, limit=3)).events:
        assert len(page) <= 3
        seen += page
        place = page[-1].id
    assert seen == every
    between = await store.events_after(every[1].id, limit=10, until=every[4].id)
    assert between.events == every[2:5]
    assert (await store.events_after(every[4].id, limit=9, until=every[4].id)).events == []
    beyond = await store.events_after(every[-1].id + 1000, limit=10)
    assert (beyond.events, beyond.is_complete) == ([], True)


async def test_forgotten_events_are_missed(store, position, monkeypatch):
    """Events are deleted in batches; a read from a deleted position reports the gap."""
    for _ in range(5):
        await add(store)
    every = await events_of(store, position)
    assert await store.delete_old_events(limit=10) == 0
    for module in ("memory.events", "postgres.events"):
        monkeypatch.setattr(f"taskflow.store.{module}.EVENTS_KEPT_SECONDS", -1.0)
    assert await store.delete_old_events(limit=2) == 2
    page = await store.events_after(position, limit=10)
    assert (page.events, page.is_complete) == (every[2:], False)
    assert not (await store.events_after(every[0].id, limit=10)).is_complete
    assert await events_of(store, every[1].id) == every[2:]
    assert await store.delete_old_events(limit=10) == 3
    assert await store.delete_old_events(limit=10) == 0
    assert await store.record_events() == every[-1].id
    assert await events_of(store, every[-1].id) == []
    assert not (await store.events_after(position, limit=10)).is_complete
    await add(store)
    assert len(await events_of(store, every[-1].id)) == 1


async def test_they_are_announced(store, node, position):
    """The wait is over when there are some, also when they came before it began."""
    with trio.fail_after(90):
        await add(store)
        while not (found := await events_of(store, position)):
            await store.wait_for_events()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_more, store, found[-1].id)
            await wait_all_tasks_blocked(0.05)
            await store.claim(node, limit=1)


async def wait_for_more(store, position) -> list[TaskEvent]:
    while not (found := await events_of(store, position)):
        await store.wait_for_events()
    return found


# PostgreSQL's own


@pytest.fixture
async def postgres(database_url):
    async with open_postgres(database_url, SETTINGS) as store:
        yield store


@pytest.fixture
def connection(database_url):
    """A connection to the same database, beside the store's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def count_of(connection) -> int:
    return connection.execute("SELECT count(*) FROM taskflow_events").fetchone()[0]


def let_it_lapse(connection) -> None:
    """Let the recording end, as if there had been no streams for long."""
    connection.execute("UPDATE taskflow_event_log SET recorded_until = now()")


async def test_nothing_is_recorded_without_readers(postgres, connection):
    """Nothing is recorded before the first stream, or long after the last one."""
    node = await postgres.register("here", lease_seconds=30)
    await add(postgres)
    assert count_of(connection) == 0
    position = await postgres.record_events()
    [claim] = await postgres.claim(node, limit=1)
    assert count_of(connection) == 1
    let_it_lapse(connection)
    await postgres.settle([completed(claim)])
    await add(postgres)
    assert count_of(connection) == 1
    assert [event.status for event in await events_of(postgres, position)] == [RUNNING]


async def test_unrecorded_events_are_reported_as_a_gap(postgres, connection):
    """A read from an earlier position reports the gap; a new stream does not."""
    position = await postgres.record_events()
    await add(postgres)
    [last] = await events_of(postgres, position)
    let_it_lapse(connection)
    await add(postgres)
    assert await events_of(postgres, last.id) == []  # not committed yet
    begun = await postgres.record_events()
    assert begun >= last.id
    task = await add(postgres)
    for place in (position, last.id - 1):
        assert not (await postgres.events_after(place, limit=9)).is_complete
    assert [event.task_id for event in await events_of(postgres, begun)] == [task.id]


async def test_recording_is_extended_while_there_are_readers(postgres, connection):
    """It is moved on when half of its time is over, and by then nothing is missing."""
    position = await postgres.record_events()

    def left() -> float:
        query = "SELECT extract(epoch FROM recorded_until - now())::float8 FROM taskflow_event_log"
        return connection.execute(query).fetchone()[0]

    assert left() > 590
    for seconds, expected in ((400, 400), (200, 600)):
        connection.execute(
            "UPDATE taskflow_event_log SET recorded_until = now() + make_interval(secs => %s)",
            [seconds],
        )
        await add(postgres)
        await postgres.record_events()
        assert left() == pytest.approx(expected, abs=10)
    assert len(await events_of(postgres, position)) == 2


async def test_ids_are_in_the_order_of_commits(database_url, postgres):
    """Who reads behind a cursor, while eight write, skips nothing and sees nothing twice."""
    position = await postgres.record_events()
    seen: list[TaskEvent] = []
    is_over = False
    stores = []

    async def write(store, number):
        node = await store.register(f"node {number}", lease_seconds=60)
        for size in range(1, 13):
            added = await store.add([new_task() for _ in range(size % 4 + 1)])
            claims = await store.claim(node, limit=3)
            await store.settle([completed(claim) for claim in claims])
            await store.cancel_many([task.id for task in added])

    async def read():
        nonlocal position
        while True:
            was_over = is_over
            page = await postgres.events_after(position, limit=7)
            assert page.is_complete
            seen.extend(page.events)
            if page.events:
                position = page.events[-1].id
            elif was_over:
                return

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            stores.append(await stack.enter_async_context(open_postgres(database_url, SETTINGS)))
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                async with trio.open_nursery() as writers:
                    for number in range(8):
                        writers.start_soon(write, stores[number % 4], number)
                is_over = True
    every = (await postgres.events_after(0, limit=100_000)).events
    assert len(every) > 400
    assert seen == every
    stories: dict[uuid.UUID, list[TaskStatus]] = {}
    for event in seen:
        stories.setdefault(event.task_id, []).append(event.status)
    for task in await postgres.get_many(list(stories)):
        reported = stories[task.id]
        assert reported[0] is PENDING
        assert reported[-1] is task.status


async def test_concurrent_changes_of_the_same_tasks_do_not_deadlock(database_url, postgres):
    """Adding, claiming, ending, canceling and running again, all at once: no deadlock."""
    await postgres.record_events()
    key_of = iter(range(10_000))
    async with open_postgres(database_url, SETTINGS) as other:

        async def move(store, number):
            node = await store.register(f"node {number}", lease_seconds=60)
            for _ in range(15):
                added = await store.add([new_task(queue=f"q{next(key_of) % 3}") for _ in range(9)])
                ids = [task.id for task in (await store.page(limit=40)).tasks]
                claims = await store.claim(node, limit=8)
                await store.cancel_many(ids[number::3])
                await store.release([released(claim) for claim in claims[:2]])
                await store.settle([failed(claim) for claim in claims[2:]])
                await store.retry_many(ids[::-1])
                await store.cancel_many([task.id for task in added][::-1])
                await store.fold_counts(limit=100)
                await store.delete_old_events(limit=100)

        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(move, (postgres, other)[number % 2], number)
    with psycopg.connect(database_url) as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        connection.execute("SELECT pg_stat_clear_snapshot()")
        assert connection.execute(query).fetchone() == (0,)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_recording_waits_for_running_statements(postgres, connection, end):
    """An event after the position is reported, although its transaction began before."""
    task = await add(postgres)
    connection.execute("BEGIN")
    connection.execute("UPDATE taskflow_tasks SET status = 'CANCELED', finished_at = now()")
    begun = []

    async def record():
        begun.append(await postgres.record_events())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(record)
        await trio.sleep(0.05)
        assert begun == []
        connection.execute(end)
    # It began before the position, and was visible when the position was returned.
    assert await events_of(postgres, begun[0]) == []
    expected = CANCELED if end == "COMMIT" else PENDING
    assert (await postgres.get(task.id)).status is expected


async def test_recording_that_begins_misses_nothing(database_url, connection):
    """Writers in the middle: what is not after the position can be seen with it."""
    async with (
        open_postgres(database_url, SETTINGS) as writer,
        open_postgres(database_url, SETTINGS) as reader,
    ):
        for _ in range(20):
            is_over = trio.Event()
            added: list[uuid.UUID] = []

            async def write(is_over=is_over, added=added):
                while not is_over.is_set():
                    added.extend(task.id for task in await writer.add([new_task()]))

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(write)
                await trio.sleep(0.01)
                position = await reader.record_events()
                seen = {row[0] for row in connection.execute("SELECT id FROM taskflow_tasks")}
                await trio.sleep(0.01)
                is_over.set()
            reported = {event.task_id for event in await events_of(reader, position)}
            assert set(added) <= seen | reported
            let_it_lapse(connection)


@pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "SHARE", "ROW EXCLUSIVE"])
async def test_recording_does_not_wait_for_locks_of_the_table(
    postgres, connection, mode, monkeypatch
):
    """Recording starts at once beside a vacuum, which may hold its lock for minutes."""
    monkeypatch.setattr(events, "_WRITERS_WAIT_MILLISECONDS", 90_000)
    with connection.transaction():
        connection.execute(f"LOCK TABLE taskflow_tasks IN {mode} MODE")
        await postgres.record_events()  # to wait would end in a timeout


async def test_recording_begins_despite_an_open_transaction(postgres, connection):
    """After a moment; new tasks wait no longer than that."""
    await add(postgres)
    with connection.transaction():
        connection.execute("UPDATE taskflow_tasks SET status = 'CANCELED', finished_at = now()")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(postgres.record_events)
            await trio.sleep(0.02)
            await add(postgres)
        position = await postgres.record_events()
        await add(postgres)
        assert len(await events_of(postgres, position)) == 1


async def test_two_readers_that_start_together(database_url, postgres, connection):
    """Both get the position of the first, from which all events are recorded."""
    async with open_postgres(database_url, SETTINGS) as other:
        for _ in range(10):
            let_it_lapse(connection)
            positions = {}

            async def begin(store, positions=positions):
                positions[store] = await store.record_events()
                await add(store)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(begin, postgres)
                nursery.start_soon(begin, other)
            assert await events_of(postgres, positions[postgres])
            assert await events_of(other, positions[other])


async def test_events_that_another_node_made_are_heard(database_url, postgres):
    """The wait ends by a notification."""
    async with open_postgres(database_url, SETTINGS) as other:
        position = await postgres.record_events()
        with trio.fail_after(90):
            await postgres.wait_for_events()  # rung once when the listener connects
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_more, postgres, position)
                await wait_all_tasks_blocked(0.05)
                await add(other)
