"""The feed, on a store in memory and Trio's virtual clock: who waits, who watches, at what cost."""

from __future__ import annotations

import uuid
from collections import Counter

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from taskflow.api.live.events import events_of
from taskflow.api.live.feed import BATCH, MAX_UNREAD_EVENTS, Feed
from taskflow.api.live.waiting import wait_for_task, wait_until_finished
from taskflow.model.errors import StoreUnavailable
from taskflow.model.event import ALL_EVENTS, EventFilter
from taskflow.model.outcome import ErrorType
from taskflow.model.task import TaskStatus
from taskflow.store.base.claims import Retry
from taskflow.store.memory.store import MemoryStore
from tests.store.contract import completed, new_task

POLL_SECONDS = 5.0
VERBS = ("record_events", "events_after", "get_many", "get")


class WatchedStore(MemoryStore):
    """Counts what the feed asks for; a verb that has something to do first does that.

    Attributes:
        before: What to await before a verb's work is done.
        after: Awaited after the call, before its result is returned.
        asked: How many tasks were looked for, call by call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.before: dict[str, object] = {}
        self.after: dict[str, object] = {}
        self.asked: list[int] = []

    async def _call(self, verb, *args, **kwargs):
        self.calls[verb] += 1
        await self.before.get(verb, trio.lowlevel.checkpoint)()
        found = await getattr(super(), verb)(*args, **kwargs)
        await self.after.get(verb, trio.lowlevel.checkpoint)()
        return found

    async def record_events(self):
        return await self._call("record_events")

    async def events_after(self, position, **asked):
        return await self._call("events_after", position, **asked)

    async def get_many(self, task_ids):
        self.asked.append(len(task_ids))
        return await self._call("get_many", task_ids)

    async def get(self, task_id):
        return await self._call("get", task_id)

    def tell(self, count: int) -> None:
        """Cause ``count`` events of one more task."""
        task = new_task().as_task(uuid.uuid4(), created_at=self._now(), run_at=self._now())
        self._record_events([task] * count)


class Scene:
    """A feed that runs, on a store with a node."""

    def __init__(self, nursery: trio.Nursery, store: WatchedStore, node: uuid.UUID) -> None:
        self.nursery = nursery
        self.store = store
        self.node = node
        self.feed = Feed(store, POLL_SECONDS)
        self.ends: dict[uuid.UUID, list[TaskStatus | None]] = {}
        nursery.start_soon(self.feed.run)

    async def add(self, count: int = 1):
        return await self.store.add([new_task() for _ in range(count)])

    async def end(self, count: int) -> None:
        """Run ``count`` tasks until they are finished, in one batch."""
        claims = await self.store.claim(self.node, limit=count)
        assert len(claims) == count
        await self.store.settle([completed(claim) for claim in claims])

    async def wait(self, task_id: uuid.UUID, seconds: float = 60) -> None:
        seen = await wait_for_task(
            self.feed, task_id, seconds, lambda seen: seen.task.status.is_final
        )
        self.ends.setdefault(task_id, []).append(seen and seen.task.status)

    def all_ended(self, count: int) -> bool:
        reported = [status for statuses in self.ends.values() for status in statuses]
        return reported == [TaskStatus.COMPLETED] * count

    async def stream(self, wanted=ALL_EVENTS, after=None) -> list[bytes]:
        return [part async for part in events_of(self.store, self.feed, wanted, after)]


@pytest.fixture
async def scene(nursery):
    store = WatchedStore()
    scene = Scene(nursery, store, await store.register("here", lease_seconds=1e6))
    yield scene
    scene.feed.end()
    await wait_all_tasks_blocked()
    assert not scene.feed._watchers
    assert not scene.feed._waiters


# Waiting


async def test_many_requests_cost_as_much_as_one(scene, autojump_clock):
    """2,000 who wait for as many tasks: some calls for each batch of endings, and no more."""
    tasks = await scene.add(2000)
    for task in tasks:
        scene.nursery.start_soon(scene.wait, task.id)
    await wait_all_tasks_blocked()
    scene.store.calls.clear()
    scene.store.asked.clear()
    for _ in range(4):
        await scene.end(500)
        await wait_all_tasks_blocked()
    assert scene.all_ended(2000)
    assert scene.store.calls["record_events"] == scene.store.calls["get"] == 0
    assert scene.store.calls["get_many"] <= 8
    assert scene.store.calls["events_after"] <= 12
    assert sum(scene.store.asked) <= 4000


async def test_many_requests_wait_for_one_task(scene, autojump_clock):
    """It is read once for all of them."""
    [task] = await scene.add()
    for _ in range(2000):
        scene.nursery.start_soon(scene.wait, task.id)
    await wait_all_tasks_blocked()
    scene.store.asked.clear()
    await scene.end(1)
    await wait_all_tasks_blocked()
    assert scene.all_ended(2000)
    assert set(scene.store.asked) == {1}
    assert len(scene.store.asked) <= 2


async def test_waiting_requests_share_one_read(scene, autojump_clock):
    """The events are read once per poll, whatever the number of waiting requests."""
    for task in await scene.add(100):
        scene.nursery.start_soon(scene.wait, task.id, 50)
    await wait_all_tasks_blocked()
    scene.store.calls.clear()
    await trio.sleep(40.5)
    assert scene.store.calls == {"events_after": 8}


async def test_no_reads_without_waiting_requests(scene, autojump_clock):
    """There are none before the first request or after the last one."""
    tasks = await scene.add(10)
    await scene.end(5)
    await trio.sleep(100)
    assert scene.store.calls == {}
    await scene.wait(tasks[-1].id, 1)
    await trio.sleep(POLL_SECONDS + 1)
    scene.store.calls.clear()
    await scene.end(5)
    await trio.sleep(1000)
    assert scene.store.calls == {}


async def test_finished_tasks_are_returned_at_once(scene, autojump_clock):
    """Finished and unknown tasks are returned at once, others as soon as they finish."""
    first, second = await scene.add(2)
    await scene.end(1)
    began = trio.current_time()
    await scene.wait(first.id)
    await scene.wait(uuid.uuid4())
    assert trio.current_time() - began < 0.001
    assert list(scene.ends.values()) == [[TaskStatus.COMPLETED], [None]]
    scene.nursery.start_soon(scene.wait, second.id)
    await trio.sleep(17)
    began = trio.current_time()
    await scene.end(1)
    await wait_all_tasks_blocked()
    assert scene.ends[second.id] == [TaskStatus.COMPLETED]
    assert trio.current_time() - began < 0.001


async def test_a_timeout_returns_the_current_task(scene, autojump_clock):
    """The task is returned as it was last seen."""
    [task] = await scene.add()
    scene.nursery.start_soon(scene.wait, task.id, 10)
    await trio.sleep(5)
    await scene.store.claim(scene.node, limit=1)
    await trio.sleep(6)
    assert scene.ends[task.id] == [TaskStatus.RUNNING]


@pytest.mark.parametrize("verb", ["record_events", "events_after", "get_many"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_events_during_a_read_are_not_missed(scene, autojump_clock, verb, when):
    """A task finishes, and a request for another one arrives, at any moment of a read."""
    tasks = await scene.add(3)

    async def act():
        del getattr(scene.store, when)[verb]
        await scene.end(1)
        scene.nursery.start_soon(scene.wait, tasks[1].id)
        await wait_all_tasks_blocked()
        await scene.end(1)

    for task in tasks[::2]:
        scene.nursery.start_soon(scene.wait, task.id)
    getattr(scene.store, when)[verb] = act
    await trio.sleep(0.1)
    await scene.end(1)
    await trio.sleep(0.1)
    assert scene.all_ended(3)


async def test_a_request_during_a_read_gets_no_old_events(scene, autojump_clock):
    """A request does not end because of events from before it started."""
    [task] = await scene.add()
    seen = []

    async def come():
        seen.append(await wait_for_task(scene.feed, task.id, 30, lambda now: now.task.attempt == 0))

    async def claim_and_come():
        scene.store.after.clear()
        await scene.store.claim(scene.node, limit=1)
        scene.nursery.start_soon(come)
        await wait_all_tasks_blocked()

    scene.store.after["get_many"] = claim_and_come
    await scene.wait(task.id, 1)
    assert seen == []
    await scene.store.retire(scene.node)
    await wait_all_tasks_blocked()
    assert [one.task.status for one in seen] == [TaskStatus.PENDING]


@pytest.mark.parametrize("verb", ["record_events", "events_after", "get_many"])
async def test_an_outage_loses_no_events_and_ends_no_request(scene, autojump_clock, verb):
    """Whichever verb fails, requests and streams get all events after the outage."""
    tasks = await scene.add(3)
    if verb != "record_events":
        scene.nursery.start_soon(scene.wait, tasks[0].id)
        await wait_all_tasks_blocked()

    async def fail():
        raise StoreUnavailable

    reported = []

    async def watch():
        with scene.feed.watching(ALL_EVENTS) as watcher:
            while events := await watcher.next_events():
                reported.extend(events)

    scene.store.before[verb] = fail
    scene.nursery.start_soon(scene.wait, tasks[1].id)
    scene.nursery.start_soon(watch)
    await trio.sleep(1)
    await scene.end(2)
    await trio.sleep(20)
    assert scene.ends == {}
    del scene.store.before[verb]
    if verb == "record_events":
        scene.nursery.start_soon(scene.wait, tasks[0].id)
    await trio.sleep(1)
    assert scene.all_ended(2)
    await scene.end(1)
    await trio.sleep(0.1)
    assert [event.status for event in reported[-2:]] == [TaskStatus.RUNNING, TaskStatus.COMPLETED]
    scene.feed.end()


async def test_tasks_that_are_too_large_together_are_read_in_portions(scene, autojump_clock):
    """If the store cannot read all tasks in time, they are read in portions."""

    async def fail_if_many():
        if scene.store.asked[-1] > 100:
            raise StoreUnavailable

    scene.store.before["get_many"] = fail_if_many
    tasks = await scene.add(1000)
    await scene.end(1000)
    for task in tasks:
        scene.nursery.start_soon(scene.wait, task.id)
    await trio.sleep(30)
    assert scene.all_ended(1000)


async def test_requests_of_clients_that_left_are_removed(scene, autojump_clock):
    """The feed stops with the last of them."""
    [task] = await scene.add()
    with trio.move_on_after(1):
        await scene.wait(task.id)
    with trio.move_on_after(1), scene.feed.watching(ALL_EVENTS) as watcher:
        await watcher.next_events()
    assert not scene.feed._waiters
    assert not scene.feed._watchers


async def test_the_end_of_the_feed_ends_all_waits(scene, autojump_clock):
    """Waiting requests get their last known state, and later requests return at once."""
    [task] = await scene.add()
    parts = []

    async def stream(*args):
        parts.append(await scene.stream(*args))

    scene.nursery.start_soon(scene.wait, task.id)
    scene.nursery.start_soon(stream)
    scene.nursery.start_soon(stream, EventFilter(task.id))
    await trio.sleep(1)
    assert not parts
    began = trio.current_time()
    scene.feed.end()
    await wait_all_tasks_blocked()
    assert scene.ends[task.id] == [TaskStatus.PENDING]
    assert [part[-1] for part in parts] == [b": goodbye\n\n"] * 2
    await scene.wait(task.id)
    assert await wait_until_finished(scene.feed, task, 60) == task
    assert trio.current_time() == began


async def test_a_stopped_feed_has_no_position(scene, autojump_clock):
    """A place that is none would have a client begin anew elsewhere with all that was."""
    scene.store.tell(5)
    scene.feed.end()
    await wait_all_tasks_blocked()
    for wanted in (ALL_EVENTS, EventFilter(uuid.uuid4())):
        for after in (None, 3):
            assert b"id:" not in b"".join(await scene.stream(wanted, after))


# Watching


async def test_each_event_is_sent_once(scene, autojump_clock):
    """Each stream gets each event once, also streams that start meanwhile."""
    reported: dict[int, tuple[int, list[int]]] = {}

    async def watch(number):
        with scene.feed.watching(ALL_EVENTS) as watcher:
            await watcher.started()
            reported[number] = (watcher.start, [])
            while events := await watcher.next_events():
                reported[number][1].extend(event.id for event in events)

    async def come():
        scene.store.tell(2)
        scene.nursery.start_soon(watch, len(reported))
        await trio.lowlevel.checkpoint()
        scene.store.tell(1)

    scene.nursery.start_soon(watch, 0)
    await wait_all_tasks_blocked()
    for verb in ["events_after"] * 10:
        for when in (scene.store.before, scene.store.after):
            when[verb] = come
            scene.store.tell(1)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            when.clear()
            await wait_all_tasks_blocked()
    assert len(reported) > 4
    last = scene.store._last_event
    for start, ids in reported.values():
        assert ids == list(range(start + 1, last + 1))
    scene.feed.end()


async def read(watcher, count):
    """Return the next ``count`` events, or all of them."""
    events = []
    while len(events) < count and (more := await watcher.next_events()):
        events += more
    return events


async def test_a_slow_stream_ends_with_dropped(scene, autojump_clock):
    """A slow stream still gets the events in its channel, then it ends; others get all."""
    with scene.feed.watching(ALL_EVENTS) as slow, scene.feed.watching(ALL_EVENTS) as quick:
        await slow.started()
        for _ in range(10):
            scene.store.tell(MAX_UNREAD_EVENTS // 4)
            await wait_all_tasks_blocked()
            assert len(await read(quick, MAX_UNREAD_EVENTS // 4)) == MAX_UNREAD_EVENTS // 4
        assert slow.is_behind
        ids = [event.id for event in await read(slow, MAX_UNREAD_EVENTS + 1)]
        assert ids == list(range(slow.start + 1, slow.start + 1 + MAX_UNREAD_EVENTS))
        assert slow.position == ids[-1]
        assert not quick.is_behind


async def test_the_position_is_never_beyond_the_sent_events(scene, autojump_clock):
    """A client that reconnects with it gets the rest."""
    with scene.feed.watching(ALL_EVENTS) as watcher:
        await watcher.started()
        for count in (3, 1):
            begun = watcher.position
            scene.store.tell(count)
            await wait_all_tasks_blocked()
            assert watcher.position == begun
            assert len(await watcher.next_events()) == count
            assert watcher.position == begun + count
    with scene.feed.watching(EventFilter(queue="other")) as watcher:
        await watcher.started()
        scene.store.tell(3)
        await wait_all_tasks_blocked()
        assert watcher.position == watcher.start + 3


async def test_deleted_events_are_a_gap(scene, autojump_clock):
    """The stream reports the gap, and ends."""
    parts = []

    async def read():
        parts.extend(await scene.stream())

    scene.nursery.start_soon(read)
    await trio.sleep(1)

    async def forget():
        scene.store.before.clear()
        scene.store.tell(10)
        scene.store._events.clear()

    scene.store.before["events_after"] = forget
    scene.store.tell(1)
    await trio.sleep(1)
    assert parts[-1].startswith(b"event: reset\ndata: {")


async def test_batches_follow_each_other(scene, autojump_clock):
    """More events than come at once are all told, without waiting for more news."""
    count = 3 * BATCH + 1
    told = 0

    async def watch():
        nonlocal told
        with scene.feed.watching(ALL_EVENTS) as watcher:
            while events := await watcher.next_events():
                told += len(events)

    async def burst():
        scene.store.before.clear()
        scene.store.tell(count)

    scene.nursery.start_soon(watch)
    await wait_all_tasks_blocked()
    scene.store.before["events_after"] = burst
    await trio.sleep(POLL_SECONDS + 1)
    assert told == count
    scene.feed.end()


async def test_recording_is_renewed(scene, autojump_clock):
    """Recording is renewed as long as there are streams."""
    with trio.move_on_after(600), scene.feed.watching(ALL_EVENTS) as watcher:
        await watcher.next_events()
    assert 8 <= scene.store.calls["record_events"] <= 11


# Streams


def fields_of(parts: list[bytes], name: bytes) -> list[bytes]:
    return [
        line.removeprefix(name + b": ")
        for part in parts
        for line in part.splitlines()
        if line.startswith(name + b": ")
    ]


async def test_streams_send_heartbeats(scene, autojump_clock):
    """At its beginning, too, when there is no answer from the store; and goes on afterwards."""
    parts = []

    async def fail():
        raise StoreUnavailable

    async def read():
        async for part in events_of(scene.store, scene.feed, ALL_EVENTS, None):
            parts.append(part)

    scene.store.before["record_events"] = fail
    scene.nursery.start_soon(read)
    await trio.sleep(40)
    assert parts[1:] == [b": heartbeat\n\n"] * 2
    scene.store.before.clear()
    scene.store.tell(1)
    await trio.sleep(40)
    assert b"".join(parts).count(b": heartbeat\nid: 1\n\n") == 3
    scene.feed.end()


async def test_a_stream_of_a_task_survives_an_outage(scene, autojump_clock):
    """Its heartbeats go on, and so does its story."""
    [task] = await scene.add()
    parts = []

    async def read():
        async for part in events_of(scene.store, scene.feed, EventFilter(task.id), None):
            parts.append(part)

    async def fail():
        raise StoreUnavailable

    scene.nursery.start_soon(read)
    await trio.sleep(1)
    for verb in VERBS:
        scene.store.before[verb] = fail
    await trio.sleep(100)
    assert len(parts) >= 7
    scene.store.before.clear()
    await scene.end(1)
    await trio.sleep(1)
    assert parts[-1].index(b'"RUNNING"') < parts[-1].index(b'"COMPLETED"')


async def test_the_current_status_is_sent_in_order(scene, autojump_clock):
    """Events during the lookup are sent once, and no earlier event is sent after it."""
    [task] = await scene.add()
    node = await scene.store.register("other", lease_seconds=1e6)

    async def move():
        scene.store.before.pop("get")
        for _ in range(2):
            [claim] = await scene.store.claim(node, limit=1)
            await scene.store.schedule_retries([_retrial(claim)])
        await scene.store.claim(node, limit=1)
        await wait_all_tasks_blocked()

    parts = []

    async def read():
        async for part in events_of(scene.store, scene.feed, EventFilter(task.id), None):
            parts.append(part)

    scene.store.before["get"] = move
    scene.nursery.start_soon(read)
    await trio.sleep(1)
    reported = [msgspec.json.decode(text) for text in fields_of(parts, b"data")]
    assert [event["attempt"] for event in reported] == [1, 1, 2, 2, 3]
    ids = [int(text) for text in fields_of(parts, b"id")]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    await scene.store.cancel(task.id)
    await trio.sleep(1)
    assert b'"CANCELED"' in parts[-1]


def _retrial(claim):
    return Retry(claim.task_id, claim.token, 0.0, "no", ErrorType.TIMEOUT)


async def test_a_reconnected_stream_does_not_repeat_the_status(scene, autojump_clock):
    """A client that reconnects gets no events if none occurred, but always the final one."""
    [task] = await scene.add()
    parts = []

    async def read(after):
        async for part in events_of(scene.store, scene.feed, EventFilter(task.id), after):
            parts.append(part)

    scene.nursery.start_soon(read, 1)
    await trio.sleep(50)
    assert b"data:" not in b"".join(parts)
    await scene.end(1)
    await trio.sleep(1)
    assert b"".join(parts).count(b"data:") == 2


async def test_reconnected_clients_get_all_missed_events(scene, autojump_clock):
    """From any position, any number of events is sent once, and then new ones."""
    scene.store.tell(2 * BATCH + 10)
    last = scene.store._last_event

    for after in (0, 1, BATCH - 1, BATCH, last - BATCH, last - 1, last, last + 5):
        parts = []

        async def read(after=after, parts=parts):
            async for part in events_of(scene.store, scene.feed, ALL_EVENTS, after):
                parts.append(part)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(0.1)
            scene.store.tell(1)
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        last = scene.store._last_event
        ids = [int(text) for text in fields_of(parts, b"id")]
        assert ids == list(range(min(after, last - 1) + 1, last + 1))


async def test_late_reconnections_get_a_gap(scene, autojump_clock):
    """First that there is a gap, then what is left, then how the task stands."""
    [task] = await scene.add()
    scene.store.tell(5)
    for _ in range(3):
        scene.store._events.popleft()
    parts = []

    async def read(wanted):
        async for part in events_of(scene.store, scene.feed, wanted, 1):
            parts.append(part)

    with trio.move_on_after(1):
        await read(ALL_EVENTS)
    assert parts[1].startswith(b"event: reset\n")
    assert fields_of(parts, b"id") == [b"4", b"5", b"6", b"6"]
    parts.clear()
    with trio.move_on_after(1):
        await read(EventFilter(task.id))
    assert parts[1].startswith(b"event: reset\n")
    assert b'"PENDING"' in parts[2]
