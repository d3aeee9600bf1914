"""What cells have to keep beyond the contract: the map, its changes, and one queue in one cell."""

from __future__ import annotations

import contextlib
import uuid

import msgspec
import psycopg
import pytest
import trio

from taskflow.model import cell_map
from taskflow.model.audit import Actor
from taskflow.model.cell_map import new_map
from taskflow.model.errors import (
    CellsChange,
    CellUnavailable,
    SettingsError,
    StoreUnavailable,
    Unprocessable,
)
from taskflow.model.groups import NewGroup
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import OnFailure
from taskflow.model.queue_limits import QueueSettings
from taskflow.model.task import IdempotencyKey
from taskflow.model.uniqueness import Unique
from taskflow.store.base.partial_reads import partial_reads
from taskflow.store.cells import map_changes
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.events import packed
from taskflow.store.cells.map_changes import MapChange, OpenCell, fence, first_map, latest_map
from taskflow.store.cells.store import CellStore
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres.store import open_postgres
from tests.databases import new_schemas
from tests.store.contract import completed, new_task
from tests.store.test_cells import FEW, MemoryCell

NAMES = ("a", "b", "c")
KEY = IdempotencyKey("key", b"print", 60.0)


def cells_of(count: int = 3, **fields) -> CellStore:
    made = msgspec.structs.replace(new_map(NAMES[:count], secret=b"s"), **fields)
    return CellStore(Cells([Cell(n, NAMES[n], MemoryCell(n)) for n in range(count)], made))


def queue_of(store: CellStore, cell: int) -> str:
    return next(name for n in range(99) if store.cells.map.home_of(name := f"q{n}") == cell)


SESSIONS = ("end_session", "is_session_ended")


class Down(MemoryStore):
    """A store that does not answer."""

    def __getattribute__(self, name: str):
        if name in ("add", "get", "page", "count", "check", "queues_of", *SESSIONS):
            raise StoreUnavailable
        return super().__getattribute__(name)


# In which cell something is


async def test_ids_name_their_cell(autojump_clock):
    """A task is found in the cell that its id names, and elsewhere if it is not there."""
    store = cells_of()
    [task] = await store.add([new_task(queue=queue_of(store, 2))])
    assert task.id.bytes[15] == 2
    assert await store.cells[2].store.get(task.id) == await store.get(task.id) == task
    [other] = await store.cells[1].store.add([new_task(queue=queue_of(store, 2))])
    moved = uuid.UUID(bytes=other.id.bytes[:15] + b"\x00")
    tasks = store.cells[1].store
    tasks._tasks[moved] = msgspec.structs.replace(tasks._tasks[other.id], id=moved)
    assert (await store.get(moved)).id == moved
    assert [one.id for one in await store.get_many([task.id, moved])] == [task.id, moved]
    assert await store.get(uuid.uuid4()) is None


async def test_an_array_is_in_one_cell(autojump_clock):
    """That of its first key; another key, or a limited queue, must be there, too."""
    store = cells_of()
    first, second = queue_of(store, 0), queue_of(store, 1)
    unique = TaskOptions(unique=Unique(key="1"))
    added = await store.add([new_task(queue=first), new_task(queue=second, options=unique)])
    assert {one.id.bytes[15] for one in added} == {1}
    with pytest.raises(Unprocessable, match="one cell"):
        await store.add(
            [
                new_task(queue=first, order_key="k", on_failure=OnFailure.CONTINUE),
                new_task(queue=second, options=unique),
            ]
        )
    await store.queues.put(second, QueueSettings(max_concurrency=1))
    with pytest.raises(Unprocessable, match="has limits and is in cell b"):
        await store.add([new_task(queue=first), new_task(queue=second)])
    assert await store.add([new_task(queue=first), new_task(queue=first)])


async def test_groups_and_parents_decide(autojump_clock):
    """What joins a group, or follows another task, is in its cell."""
    store = cells_of()
    first, second = queue_of(store, 0), queue_of(store, 1)
    group = (await store.groups.add(NewGroup(queue=second))).group
    [member] = await store.add([new_task(queue=first, group=group.id)])
    assert member.id.bytes[15] == group.id.bytes[15] == 1
    [child] = await store.add([new_task(queue=first, after=(str(member.id),))])
    assert child.id.bytes[15] == 1
    [elsewhere] = await store.add([new_task(queue=first)])
    with pytest.raises(Unprocessable, match="in cells a and b"):
        await store.add([new_task(after=(str(elsewhere.id), str(member.id)))])


async def test_a_spread_queue(autojump_clock):
    """It goes to each active cell that is up; it has no limits; a key is in one cell."""
    store = cells_of(spread=("bulk",))
    store.cells[1].note_down()
    added = [(await store.add([new_task(queue="bulk")]))[0] for _ in range(4)]
    assert [one.id.bytes[15] for one in added] == [0, 2, 0, 2]
    with pytest.raises(Unprocessable, match="no limits"):
        await store.queues.put("bulk", QueueSettings(max_concurrency=1))
    again = [await store.add_once([new_task(queue="bulk")], KEY) for _ in range(3)]
    assert len({one.tasks[0].id for one in again}) == 1
    assert [one.is_replay for one in again] == [False, True, True]


async def test_settings_of_queues_are_in_all_cells(autojump_clock):
    """Also if they are changed at the same moment."""
    store = cells_of()
    async with trio.open_nursery() as nursery:
        for count in range(1, 9):
            nursery.start_soon(store.queues.put, "mail", QueueSettings(max_concurrency=count))
    kept = {(await cell.store.queues.get("mail")).max_concurrency for cell in store.cells}
    assert len(kept) == 1


# A cell that is down


async def test_what_a_cell_that_is_down_costs(autojump_clock):
    """Its queues and tasks are unavailable, and reads name it; without consent they fail."""
    store = cells_of()
    up, down = queue_of(store, 0), queue_of(store, 2)
    [task] = await store.add([new_task(queue=up)])
    [lost] = await store.add([new_task(queue=down)])
    store.cells[2].store = Down()
    with pytest.raises(CellUnavailable, match="cell c of"):
        await store.add([new_task(queue=down)])
    with pytest.raises(CellUnavailable):
        await store.get(lost.id)
    with pytest.raises(CellUnavailable):
        await store.page(limit=10)
    with partial_reads() as missing:
        assert [one.id for one in (await store.page(limit=10)).tasks] == [task.id]
        assert missing == {"c"}
        assert (await store.count(limit=10)).total.counts["PENDING"] == 1
    assert await store.add([new_task(queue=up)])
    assert (await store.cancel(task.id)).id == task.id


async def test_a_session_can_end_while_a_cell_is_down(autojump_clock):
    """Whichever cell it is; all cells that answer know of it, and one has the audit log entry."""
    for number in range(3):
        store = cells_of()
        up, store.cells[number].store = store.cells[number].store, Down()
        await store.end_session("s", seconds=60, by=Actor("ada"))
        with partial_reads():
            assert await store.is_session_ended("s")
            assert not await store.is_session_ended("other")
            assert len((await store.audit.page(limit=9)).entries) == 1
        store.cells[number].store = up
        await trio.sleep(10)
        assert await store.is_session_ended("s")
    for cell in store.cells:
        cell.store = Down()
    with pytest.raises(CellUnavailable):
        await store.end_session("s", seconds=60)


async def test_a_cell_that_hangs_is_left_out(autojump_clock):
    """After a moment, and then at once."""
    store = cells_of()

    async def hang(**_) -> None:
        await trio.sleep_forever()

    store.cells[1].store.page = hang
    with partial_reads() as missing:
        began = trio.current_time()
        await store.page(limit=10)
        assert 1 < trio.current_time() - began < 5
        assert missing == {"b"}
        began = trio.current_time()
        await store.page(limit=10)
        assert trio.current_time() == began


# The map


async def test_nothing_is_written_by_an_old_map(autojump_clock):
    """If the map was not read for a while, or says that the queue moves."""
    store = cells_of()
    store.cells.map_until = trio.current_time() + 5
    assert await store.add([new_task()])
    await trio.sleep(6)
    for write in (
        store.add([new_task()]),
        store.add_once([new_task()], KEY),
        store.groups.add(NewGroup()),
        store.queues.put("mail", QueueSettings()),
    ):
        with pytest.raises(CellsChange):
            await write
    store.cells.map_until = float("inf")
    frozen = (cell_map.bucket_of("mail"),)
    store.cells.map = msgspec.structs.replace(store.cells.map, frozen=frozen)
    with pytest.raises(CellsChange):
        await store.add([new_task(queue="mail")])
    assert await store.add([new_task()])


async def test_keys_are_known_after_a_queue_has_moved(autojump_clock):
    """The former cell is asked first."""
    store = cells_of(2)
    first = await store.add_once([new_task(queue="mail")], KEY)
    home = store.cells.map.home_of("mail")
    placed = cell_map.with_placed(store.cells.map, "mail", NAMES[1 - home])
    store.cells.map = cell_map.with_stays(store.cells.map, placed, {}, now=1e9, keys_seconds=1e9)
    again = await store.add_once([new_task(queue="mail")], KEY)
    assert (again.is_replay, again.tasks) == (True, first.tasks)
    [new] = await store.add([new_task(queue="mail")])
    assert new.id.bytes[15] == 1 - home


@pytest.fixture
async def opened(postgres_server):
    with new_schemas(postgres_server, NAMES) as urls:
        async with contextlib.AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(open_postgres(url, FEW)) for url in urls]
            yield {
                name: OpenCell(store, store.cell_maps)
                for name, store in zip(NAMES, stores, strict=True)
            }


def change_of(opened, known) -> MapChange:
    return MapChange(opened, known, keys_seconds=60, statement_seconds=0)


async def test_changes_of_the_map_in_postgresql(opened, monkeypatch):
    """A busy queue stays in its cell until it has nothing unfinished; ids name their cells."""
    monkeypatch.setattr(map_changes, "MAP_SECONDS", 0.0)
    monkeypatch.setattr(map_changes, "IN_FLIGHT_SECONDS", 0.0)
    two = {name: opened[name] for name in "ab"}
    assert await latest_map(opened) is None
    await opened["a"].store.queues.put("mail", QueueSettings(paused=True))
    await first_map(two, new_map("ab", secret=b"s"))
    assert (await opened["b"].store.queues.get("mail")).paused
    with pytest.raises(SettingsError, match="another command"):
        await first_map(two, new_map("ab"))
    known = await latest_map(opened)
    after = cell_map.with_added(known, ["c"])
    names = [f"q{number}" for number in range(99)]
    moving = [one for one in names if (known.home_of(one), after.home_of(one)) == (0, 2)]
    busy, idle = moving[:2]
    tasks = opened["a"].store
    [task] = await tasks.add([new_task(queue=busy)])
    assert task.id.bytes[15] == 0
    assert (await tasks.groups.add(NewGroup(is_open=False))).group.id.bytes[15] == 0
    made = await change_of(opened, known).run(lambda one: cell_map.with_added(one, ["c"]))
    assert (made.version, made.frozen) == (3, ())
    assert (made.home_of(busy), made.home_of(idle)) == (0, 2)
    for cell in opened.values():
        assert await cell.maps.read() == made
        assert await cell.maps.read(made.version) is None
    [other] = await opened["c"].store.add([new_task(queue=idle, priority=1)])
    assert other.id.bytes[15] == 2
    node = await tasks.register("here", lease_seconds=30)
    await tasks.settle([completed(one) for one in await tasks.claim(node, limit=9)])
    again = await change_of(opened, made).run(lambda one: one)
    assert (again.home_of(busy), again.stays) == (2, {})
    with pytest.raises(SettingsError, match="another command"):
        await change_of(opened, made).run(lambda one: one)


async def test_a_lost_cell_in_postgresql(opened, monkeypatch):
    """It is removed without it, and gets the newer map when it is reached again, once."""
    monkeypatch.setattr(map_changes, "MAP_SECONDS", 0.0)
    monkeypatch.setattr(map_changes, "IN_FLIGHT_SECONDS", 0.0)
    before = new_map(NAMES, secret=b"s")
    await first_map(opened, before)
    lost = next(name for n in range(99) if before.home_of(name := f"q{n}") == 2)
    stays = next(name for n in range(99) if before.home_of(name := f"q{n}") == 0)
    for cell, queue in (("c", lost), ("a", stays)):
        await opened[cell].store.add([new_task(queue=queue)])
    others = {name: opened[name] for name in "ab"}
    made = await change_of(others, before).run(lambda one: cell_map.without_lost(one, ["c"]))
    assert (made.version, made.frozen, made.active) == (3, (), [0, 1])
    assert made.home_of(lost) in (0, 1)
    assert made.home_of(stays) == 0
    assert [await opened[name].maps.read() for name in "ab"] == [made, made]
    assert await opened["c"].maps.read() == before
    with pytest.raises(SettingsError, match="another command"):
        await change_of(opened, before).run(lambda one: cell_map.with_drained(one, "b"))
    assert await fence("c", opened["c"].maps, made)
    assert await opened["c"].maps.read() == made
    assert not await fence("c", opened["c"].maps, made)
    assert await opened["c"].maps.queues_with_tasks() == {lost}  # it keeps its tasks


async def test_without_cells_ids_cost_nothing_more(postgres_server, migrated_url):
    """The function that marks the ids of a statement is inlined, before and after."""
    async with open_postgres(migrated_url, FEW) as store:
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            for number in (None, 7):
                if number is not None:
                    await store.cell_maps.mark_ids(number)
                plan = connection.execute(
                    "EXPLAIN (VERBOSE) SELECT taskflow_marked(right(gen_random_uuid()::text, 10))"
                ).fetchall()
                assert "taskflow_marked" not in str(plan)
        [task] = await store.add([new_task()])
        assert task.id.bytes[15] == 7


async def test_what_is_unfinished_in_a_cell(opened):
    """Tasks, lines that are held, unique keys of finished tasks, groups, schedules and topics."""
    store, maps = opened["a"].store, opened["a"].maps
    assert await maps.queues_with_tasks() == set()
    node = await store.register("here", lease_seconds=30)
    always = TaskOptions(unique=Unique(key="1", statuses=("PENDING", "RUNNING", "COMPLETED")))
    await store.add([new_task(queue="keeps", options=always), new_task(queue="done")])
    await store.settle([completed(one) for one in await store.claim(node, limit=9)])
    await store.add([new_task(queue="runs")])
    await store.claim(node, limit=9)
    await store.add([new_task(queue="waits", delay_seconds=60), new_task(queue="waits")])
    await store.groups.add(NewGroup(queue="grouped"))
    await store.topics.put("orders", lambda _: "done")
    assert await maps.queues_with_tasks() == {"keeps", "runs", "waits", "grouped"}
    assert await maps.names() == {"topic orders"}


# What is merged


async def test_pages_of_all_cells(autojump_clock):
    """Each task once, newest first, whatever the limit, and with short pages of a cell."""
    store = cells_of()
    queues = [queue_of(store, number) for number in (0, 1, 1, 2)]
    added = [(await store.add([new_task(queue=queues[n * n % 4])]))[0].id for n in range(23)]
    for limit in (1, 2, 5, 22, 23, 24):
        found: list[uuid.UUID] = []
        before = None
        while True:
            page = await store.page(limit=limit, before=before)
            assert len(page.tasks) <= limit
            found += [task.id for task in page.tasks]
            if (before := page.next_before) is None:
                break
        assert found == added[::-1]


async def test_events_of_all_cells(autojump_clock):
    """They are resumed exactly, in whatever order two readers have merged them."""
    store = cells_of()
    start = await store.record_events()
    ids = []
    for cell in (0, 2, 1, 2, 0):
        [task] = await store.add([new_task(queue=queue_of(store, cell))])
        ids.append(task.id)
        await trio.sleep(1)
    events = (await store.events_after(start, limit=10)).events
    assert [one.task_id for one in events] == ids
    assert [one.id for one in events] == sorted({one.id for one in events})
    for place, event in enumerate(events):
        later = (await store.events_after(event.id, limit=10)).events
        assert [one.task_id for one in later] == ids[place + 1 :]
        first = (await store.events_after(start, limit=10, until=event.id)).events
        assert [one.task_id for one in first] == ids[: place + 1]
        some = (await store.events_after(event.id, limit=1)).events
        assert some == later[:1]
    # A reader that saw the last cell first: what it has not seen is what is returned.
    ahead = packed({2: 2})
    rest = (await store.events_after(start + ahead, limit=10)).events
    assert [one.task_id for one in rest] == [ids[0], ids[2], ids[4]]


async def test_events_are_recorded_in_a_cell_that_is_back(autojump_clock):
    """Also if it did not answer when they were to be recorded."""
    store = cells_of()
    kept, store.cells[1].store = store.cells[1].store, None
    with partial_reads() as missing:
        start = await store.record_events()
        assert missing == {"b"}
        store.cells[1].store = kept
        await store.events_after(start, limit=10)
        [task] = await store.add([new_task(queue=queue_of(store, 1))])
        [event] = (await store.events_after(start, limit=10)).events
    assert event.task_id == task.id
