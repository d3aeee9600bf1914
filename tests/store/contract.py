"""What every store has to keep. A store's own test file makes the store and inherits this."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import trio

from taskflow.model.errors import IllegalMove, LeaseLost
from taskflow.model.event import EventFilter
from taskflow.model.filter import TaskFilter
from taskflow.model.outcome import ErrorType, KeptResponse
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import Claim, ClaimKey, IdempotencyKey, NewTask, TaskStatus
from taskflow.store.base.claims import IdleNode, Release, Reservation, Retry, Settlement
from taskflow.store.base.leases import Rescued
from taskflow.store.base.store import TaskStore
from taskflow.store.base.task_actions import MAX_PER_ACTION


def new_task(payload: str = '"http://example.com/"', **fields) -> NewTask:
    return NewTask(msgspec.Raw(payload.encode()), **fields)


def completed(claim: Claim, result: bytes = b'{"message":"done"}') -> Settlement:
    return Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result=result)


def failed(claim: Claim, error_type: ErrorType = ErrorType.TIMEOUT) -> Settlement:
    return Settlement(
        claim.task_id, claim.token, TaskStatus.FAILED, error="it failed", error_type=error_type
    )


def response(body: bytes) -> bytes:
    """A response as a failed attempt keeps it."""
    return msgspec.json.encode(
        KeptResponse(
            status="500 Internal Server Error",
            status_code=500,
            headers={"x-a": "b"},
            content_type=None,
            body=msgspec.Raw(body),
            encoding="json",
            url="http://example.com/",
            size=len(body),
            truncated=False,
        )
    )


def released(claim: Claim, elapsed_seconds: float | None = None) -> Release:
    return Release(claim.task_id, claim.token, elapsed_seconds)


class NodeTaker(IdleNode):
    """A node with room for this many tasks."""

    def __init__(self, node_id: uuid.UUID, room: int) -> None:
        self.node_id = node_id
        self.room = room
        self.token = uuid.uuid4()
        self.claims: list[Claim] = []
        self.woken = trio.Event()

    @property
    def is_woken(self) -> bool:
        return self.woken.is_set()

    async def wait(self, store: TaskStore) -> None:
        while True:
            await store.wait_for_work(self)
            self.woken.set()

    @contextlib.contextmanager
    def reserve(self, most: int) -> Iterator[Reservation]:
        count = min(most, self.room)
        yield Reservation(self.node_id, self.token, count, self.claims.extend)


class StoreContract:
    """The conformance suite."""

    @pytest.fixture
    async def node(self, store: TaskStore) -> uuid.UUID:
        return await store.register("here", lease_seconds=30)

    async def claim_one(self, store: TaskStore, node: uuid.UUID) -> Claim:
        [claim] = await store.claim(node, limit=1)
        return claim

    async def claim_and_die(self, store: TaskStore, *, limit: int = 1) -> list[Claim]:
        """Claims of a node that will not renew its lease."""
        node = await store.register("dead", lease_seconds=2.0)
        claims = await store.claim(node, limit=limit)
        assert len(claims) == limit
        return claims

    async def rescued(self, store: TaskStore, *, limit: int = 10, max_rescues: int = 5) -> Rescued:
        """The first rescue that finds anything."""
        with trio.fail_after(90):
            while True:
                rescued = await store.rescue(limit=limit, max_rescues=max_rescues)
                if rescued.pending or rescued.poisoned:
                    return rescued
                await trio.sleep(0.05)

    async def status_of(self, store: TaskStore, task_id: uuid.UUID) -> TaskStatus:
        task = await store.get(task_id)
        assert task is not None
        return task.status

    # Submission and listing

    async def test_ended_sessions(self, store):
        """A session that was ended stays so, ended again or not, and no other one does."""
        assert not await store.is_session_ended("a")
        for _ in range(2):
            await store.end_session("a", seconds=60.0)
            assert await store.is_session_ended("a")
            assert not await store.is_session_ended("b")

    async def test_ended_sessions_are_forgotten(self, store):
        """Once no cookie of theirs can be valid: the next one that is ended takes them away."""
        await store.end_session("over", seconds=0.0)
        await store.end_session("valid", seconds=60.0)
        await store.end_session("another", seconds=60.0)
        assert not await store.is_session_ended("over")
        assert await store.is_session_ended("valid")

    async def test_added_tasks_are_returned(self, store):
        """``add`` returns what ``get`` finds: PENDING, without attempts."""
        [added] = await store.add([new_task(priority=3, queue="mail", max_attempts=4)])
        found = await store.get(added.id)
        assert found == added
        assert found.status is TaskStatus.PENDING
        assert (found.priority, found.queue, found.max_attempts) == (3, "mail", 4)
        assert (found.attempt, found.rescues) == (0, 0)
        assert found.result is found.error_type is None
        assert found.error == ""
        assert found.started_at is found.finished_at is None

    async def test_an_array_is_added_as_a_whole(self, store):
        """A concurrent reader sees none of them or all."""
        seen = set()
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                while True:
                    seen.add(await store.count_pending(limit=10_000))
                    page = await store.page(limit=3_000, without=("payload", "result"))
                    seen.add(len(page.tasks))

            nursery.start_soon(look)
            added = await store.add([new_task()] * 2_000)
            await store.count_pending(limit=1)
            nursery.cancel_scope.cancel()
        assert seen <= {0, 2_000}
        page = await store.page(limit=3_000)
        assert [task.id for task in reversed(page.tasks)] == [task.id for task in added]

    async def test_a_canceled_add_is_atomic(self, store):
        """Wherever an add is canceled, all of its tasks are stored or none."""
        for passes in (*range(8), 20, 50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.add, [new_task()] * 500)
                for _ in range(passes):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            # A canceled statement may be committed later, at the time of the next one.
            assert await store.count_pending(limit=100_000) % 500 == 0

    async def test_concurrent_adds_are_all_listed(self, store):
        """Each list has every task of overlapping adds, in the order of ids."""
        await store.add([new_task()])
        async with trio.open_nursery() as nursery:
            for size in (1_000, 1, 500, 1, 700):
                nursery.start_soon(store.add, [new_task()] * size)
        found = [task.id for task in (await store.page(limit=3_000)).tasks]
        assert len(found) == len(set(found)) == 2_203
        assert found == sorted(found, reverse=True)
        older = await store.page(limit=3_000, before=found[1_000])
        assert [task.id for task in older.tasks] == found[1_001:]

    async def test_one_key_makes_many_tasks_once(self, store):
        """Of several requests with one key at the same moment one makes the tasks."""
        key = IdempotencyKey("key", b"print", 60.0)
        made = []

        async def add() -> None:
            made.append(await store.add_once([new_task()] * 500, key))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(add)
        assert sorted(one.is_replay for one in made) == [False, True, True]
        assert await store.count_pending(limit=10_000) == 500
        assert len({tuple(task.id for task in one.tasks) for one in made}) == 1

    @pytest.mark.parametrize(
        "payload",
        [
            '"\\u0000"',
            '  {"a" :  [1.50, 1e400, -0.0]}',
            '{"b": 1, "a": 2, "b": 3}',
            "9" * 5000,
            "[" * 500 + "]" * 500,
            '"\\ud83d\\ude00 \\/ é \U0001f600"',
            "12345",
            '""',
        ],
    )
    async def test_payload_is_kept_to_the_byte(self, store, payload):
        """Numbers, escapes, spaces and the order of keys come back as they were sent."""
        [added] = await store.add([new_task(payload)])
        found = await store.get(added.id)
        assert bytes(found.payload) == payload.encode()

    async def test_arrays_keep_their_order(self, store, node):
        """Tasks added together get growing ids in order, and are claimed in that order."""
        added = await store.add([new_task(str(n)) for n in range(250)])
        ids = [task.id for task in added]
        assert ids == sorted(ids)
        assert [int(bytes(task.payload)) for task in added] == list(range(250))
        claims = await store.claim(node, limit=250)
        assert [claim.task_id for claim in claims] == ids

    async def test_concurrent_adds_each_get_their_own(self, store):
        """Adds that may share a statement do not mix up their tasks."""
        found = {}

        async def add(n):
            [one, two] = await store.add([new_task(str(n)), new_task(str(-n))])
            found[n] = (one, two)

        async with trio.open_nursery() as nursery:
            for n in range(1, 40):
                nursery.start_soon(add, n)
        for n, (one, two) in found.items():
            assert (bytes(one.payload), bytes(two.payload)) == (b"%d" % n, b"-%d" % n)
            assert await store.get(one.id) == one
        assert len({task.id for pair in found.values() for task in pair}) == 78

    async def test_adding_nothing_is_fine(self, store):
        """An empty add gives an empty answer."""
        assert await store.add([]) == []

    async def test_unknown_ids_are_none(self, store):
        """Looking up an unknown id is no error."""
        assert await store.get(uuid.uuid4()) is None

    # Pages

    async def test_pages_are_newest_first_and_complete(self, store):
        """Following next_before gives every task once, the newest first."""
        added = [(await store.add([new_task(str(n))]))[0] for n in range(7)]
        seen, before = [], None
        while True:
            page = await store.page(limit=3, before=before)
            seen += page.tasks
            before = page.next_before
            if before is None:
                break
        assert seen == added[::-1]

    @pytest.mark.parametrize("count", [2, 3, 4])
    async def test_the_last_page_has_no_next(self, store, count):
        """There is a next page exactly if there are more tasks than the limit."""
        await store.add([new_task() for _ in range(count)])
        page = await store.page(limit=3)
        assert len(page.tasks) == min(count, 3)
        assert (page.next_before is not None) == (count > 3)

    async def test_an_empty_page(self, store):
        """No tasks make an empty page without a next one."""
        page = await store.page(limit=3)
        assert (page.tasks, page.next_before) == ([], None)

    async def test_pages_by_status(self, store, node):
        """Only tasks of the status are paged, and paging goes on from any id."""
        added = await store.add([new_task(str(n)) for n in range(6)])
        claims = await store.claim(node, limit=3)
        await store.settle([completed(claim) for claim in claims])
        page = await store.page(limit=2, filter=TaskFilter(statuses=(TaskStatus.COMPLETED,)))
        assert [task.id for task in page.tasks] == [added[2].id, added[1].id]
        page = await store.page(
            limit=2, filter=TaskFilter(statuses=(TaskStatus.COMPLETED,)), before=page.next_before
        )
        assert [task.id for task in page.tasks] == [added[0].id]
        assert page.next_before is None
        pending = await store.page(limit=10, filter=TaskFilter(statuses=(TaskStatus.PENDING,)))
        assert [task.id for task in pending.tasks] == [task.id for task in added[:2:-1]]

    async def test_a_page_is_bounded_by_bytes(self, store, node, monkeypatch):
        """Large documents make a shorter page with a next one; a single one always comes."""
        for module in ("memory.listing", "postgres.listing"):
            monkeypatch.setattr(f"taskflow.store.{module}.PAGE_BUDGET_BYTES", 1000)
        added = await store.add([new_task() for _ in range(5)])
        claims = await store.claim(node, limit=5)
        await store.settle([completed(claim, b'"%s"' % (b"x" * 600)) for claim in claims])
        seen, before, sizes = [], None, []
        while True:
            page = await store.page(
                limit=3, before=before, filter=TaskFilter(statuses=(TaskStatus.COMPLETED,))
            )
            sizes.append(len(page.tasks))
            seen += [task.id for task in page.tasks]
            before = page.next_before
            if before is None:
                break
        assert seen == [task.id for task in reversed(added)]
        assert sizes == [2, 2, 1]

    # The backlog

    async def test_pending_tasks_are_counted(self, store, node):
        """PENDING tasks count, due or not; running and finished ones do not."""
        assert await store.count_pending(limit=10) == 0
        await store.add([new_task(), new_task(priority=5), new_task(delay_seconds=3600.0)])
        assert await store.count_pending(limit=10) == 3
        claim = await self.claim_one(store, node)
        assert await store.count_pending(limit=10) == 2
        await store.release([released(claim)])
        assert await store.count_pending(limit=10) == 3
        await store.settle([completed(await self.claim_one(store, node))])
        assert await store.count_pending(limit=10) == 2

    async def test_counts_of_the_backlog_stop_at_the_limit(self, store):
        """However much waits, a count costs what its limit says, and never gives more."""
        await store.add([new_task() for _ in range(5)])
        assert [await store.count_pending(limit=limit) for limit in (1, 4, 5, 6)] == [1, 4, 5, 5]

    # The counts

    async def counts(self, store: TaskStore, queue: str = "default") -> dict[str, int]:
        """Return the nonzero counts of a queue; they are the same before and after a fold."""
        before = await store.count(limit=10, queue=queue)
        await store.fold_counts(limit=1)
        after = await store.count(limit=10, queue=queue)
        [one], [again] = before.queues, after.queues
        assert (one.counts, one.finished, before.total.counts, before.total.finished) == (
            again.counts,
            again.finished,
            after.total.counts,
            after.total.finished,
        )
        return {status.value: count for status, count in one.counts.items() if count}

    async def test_counts_follow_every_move(self, store, node):
        """Adding, claiming, releasing, finishing, retrying and deleting keep the counts exact."""
        added = await store.add([new_task(max_attempts=9) for _ in range(6)])
        assert await self.counts(store) == {"PENDING": 6}
        claims = await store.claim(node, limit=5)
        assert await self.counts(store) == {"PENDING": 1, "RUNNING": 5}
        await store.release([released(claims[0])])
        retrial = Retry(claims[1].task_id, claims[1].token, 60.0, "no luck", ErrorType.DNS)
        await store.schedule_retries([retrial])
        assert await self.counts(store) == {"PENDING": 3, "RUNNING": 3}
        await store.settle([completed(claims[2]), failed(claims[3]), completed(claims[0])])
        assert await self.counts(store) == {
            "PENDING": 3,
            "RUNNING": 1,
            "COMPLETED": 1,
            "FAILED": 1,
        }
        await store.cancel(added[5].id)
        await store.cancel(claims[4].task_id)
        await store.retry(claims[3].task_id)
        assert await self.counts(store) == {"PENDING": 3, "COMPLETED": 1, "CANCELED": 2}
        assert await store.delete_finished(age_seconds=-1.0, limit=10) == 3
        assert await self.counts(store) == {"PENDING": 3}
        reported = await store.count(limit=10)
        assert {status.value: one.last_hour for status, one in reported.total.finished.items()} == {
            "COMPLETED": 1,
            "FAILED": 1,
            "CANCELED": 2,
        }

    async def test_released_and_rescued_tasks_are_counted(self, store, node):
        """Tasks of a node that retires wait again, as do rescued ones; a poisoned one has ended."""
        await store.add([new_task() for _ in range(3)])
        await store.claim(node, limit=1)
        await store.retire(node)
        assert await self.counts(store) == {"PENDING": 3}
        await self.claim_and_die(store, limit=2)
        await self.rescued(store)
        assert await self.counts(store) == {"PENDING": 3}
        await self.claim_and_die(store)
        await self.rescued(store, max_rescues=2)
        assert await self.counts(store) == {"PENDING": 2, "FAILED": 1}
        reported = await store.count(limit=1)
        assert reported.total.finished[TaskStatus.FAILED].last_minute == 1

    async def test_directly_claimed_tasks_are_counted_as_running(self, store, node):
        """A task that is claimed as it is stored was never pending."""
        async with self.taker(store, node, room=2) as taker:
            await store.add([new_task() for _ in range(3)])
            assert len(taker.claims) == 2
        assert await self.counts(store) == {"PENDING": 1, "RUNNING": 2}

    async def test_counts_by_queue(self, store, node):
        """Queues are listed by name, up to the limit; the total covers all queues."""
        names = ["b", "a", "\xe9", "Z", "b"]
        await store.add([new_task(queue=name) for name in names])
        reported = await store.count(limit=4)
        assert [one.queue for one in reported.queues] == ["Z", "a", "b", "\xe9"]
        assert [one.counts[TaskStatus.PENDING] for one in reported.queues] == [1, 1, 2, 1]
        assert reported.complete
        few = await store.count(limit=3)
        assert [one.queue for one in few.queues] == ["Z", "a", "b"]
        assert not few.complete
        assert few.total.counts[TaskStatus.PENDING] == 5
        picked = await store.count(limit=1, queue="b")
        assert [one.queue for one in picked.queues] == ["b"]
        assert (picked.complete, picked.total.counts[TaskStatus.PENDING]) == (True, 5)
        assert await self.counts(store, "unknown") == {}

    # The queues of a scope

    async def test_a_scope_hides_other_queues(self, store, node):
        """Pages, counts, throughput, settings and events cover its queues only."""
        scope = QueueScope(("mail",), ("reports-",))
        await store.record_events()
        names = ("mail", "shop", "reports-1", "mailx", "reports", "default", "reports-2")
        tasks = {task.queue: task for task in await store.add([new_task(queue=n) for n in names])}
        own = [tasks[name].id for name in ("mail", "reports-1", "reports-2")]
        for claim in await store.claim(node, limit=9):
            if claim.task_id != own[0]:
                await store.settle([completed(claim)])
        for filters in (TaskFilter(scope=scope), TaskFilter((TaskStatus.COMPLETED,), scope=scope)):
            expected = own[::-1] if not filters.statuses else own[:0:-1]
            first = await store.page(limit=2, filter=filters)
            assert [task.id for task in first.tasks] == expected[:2]
            if first.next_before is not None:
                assert first.next_before in own
                last = await store.page(limit=2, before=first.next_before, filter=filters)
                assert [task.id for task in last.tasks] == expected[2:]
        counted = await store.count(limit=9, scope=scope)
        assert [one.queue for one in counted.queues] == ["mail", "reports-1", "reports-2"]
        assert counted.total.counts[TaskStatus.COMPLETED] == 2
        assert counted.total.counts[TaskStatus.RUNNING] == 1
        assert counted.total.finished[TaskStatus.COMPLETED].last_hour == 2
        assert (await store.count(limit=1, queue="shop", scope=scope)).total == counted.total
        minutes = await store.monitoring.history(scope=scope)
        assert sum(minute.finished[TaskStatus.COMPLETED] for minute in minutes) == 2
        for name in ("shop", "reports-1"):
            await store.queues.set_paused(name, is_paused=True)
        assert list(await store.queues.first(9, scope)) == ["reports-1"]
        events = (await store.events_after(0, limit=99, wanted=EventFilter(scope=scope))).events
        assert {event.task_id for event in events} == set(own)
        found = await store.queues_of([*own, tasks["shop"].id, uuid.uuid4()])
        assert set(found.values()) == {"mail", "reports-1", "reports-2", "shop"}

    async def test_the_oldest_task_of_a_scope(self, store):
        """Another queue may have an older one."""
        scope = QueueScope(("mail",))
        await store.add([new_task(queue="shop")])
        assert (await store.count(limit=9, scope=scope)).total.oldest_waiting_seconds is None
        await store.add([new_task(queue="mail")])
        counted = await store.count(limit=9, queue="other", scope=scope)
        everything = await store.count(limit=9)
        assert counted.total.oldest_waiting_seconds is not None
        assert counted.total.oldest_waiting_seconds <= everything.total.oldest_waiting_seconds

    async def test_nothing_to_count(self, store):
        """An empty store lists no queue; its total has a zero for each status."""
        reported = await store.count(limit=10)
        assert (reported.queues, reported.complete) == ([], True)
        assert reported.total.counts == dict.fromkeys(TaskStatus, 0)
        assert set(reported.total.finished) == {status for status in TaskStatus if status.is_final}
        assert reported.total.oldest_waiting_seconds is None

    async def oldest(self, store: TaskStore) -> dict[str, float | None]:
        reported = await store.count(limit=10)
        by_queue = {one.queue: one.oldest_waiting_seconds for one in reported.queues}
        return {**by_queue, "all": reported.total.oldest_waiting_seconds}

    async def test_how_long_the_oldest_waits(self, store, node):
        """Since it became due, in its queue and of all; what is not due or runs does not wait."""
        await store.add([new_task(queue="a", priority=-5)])
        await trio.sleep(0.3)
        await store.add([new_task(queue="b", priority=5)])
        await store.add([new_task(queue="later", delay_seconds=60.0)])
        oldest = await self.oldest(store)
        assert oldest["later"] is None
        assert 0.3 <= oldest["a"] == pytest.approx(oldest["all"], abs=0.25)
        assert 0 <= oldest["b"] < oldest["a"]
        [claim] = await store.claim(node, limit=1, by_age=1)
        oldest = await self.oldest(store)
        assert oldest["a"] is None
        assert oldest["all"] == pytest.approx(oldest["b"], abs=0.25)
        await store.claim(node, limit=1)
        assert set((await self.oldest(store)).values()) == {None}
        await store.release([released(claim)])  # it is due since it was
        assert (await self.oldest(store))["a"] >= 0.3

    async def test_the_oldest_of_a_queue_is_of_any_host_and_priority(self, store):
        """Whichever host and priority its first task has, and what other queues have."""
        await store.add([new_task(queue="b", priority=9, authority="z.example")])
        await trio.sleep(0.3)
        await store.add([new_task(queue="a", priority=0, authority="m.example")])
        await trio.sleep(0.3)
        for host in ("a.example", "m.example", "z.example"):
            for priority in (-3, 0, 5):
                await store.add([new_task(queue="a", priority=priority, authority=host)])
        oldest = await self.oldest(store)
        assert 0.3 <= oldest["a"] <= oldest["b"] - 0.25
        assert oldest["b"] == pytest.approx(oldest["all"], abs=0.25)

    # Claims

    async def test_claim_runs_a_task(self, store, node):
        """A claim carries the payload and a token; the task is RUNNING, the attempt counted."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        assert (claim.task_id, claim.payload, claim.attempt) == (added.id, added.payload, 1)
        running = await store.get(added.id)
        assert (running.status, running.attempt) == (TaskStatus.RUNNING, 1)
        assert running.started_at >= added.created_at

    async def test_claim_order_is_priority_then_run_at_then_id(self, store, node):
        """Higher priority first, then who was due first, then who came first."""
        low, high, high_too, urgent = [
            (await store.add([new_task(priority=priority)]))[0].id for priority in (-5, 7, 7, 100)
        ]
        claims = await store.claim(node, limit=10)
        assert [claim.task_id for claim in claims] == [urgent, high, high_too, low]

    async def test_nothing_is_claimed_twice(self, store, node):
        """Claims at the same time share out the tasks."""
        added = await store.add([new_task() for _ in range(60)])
        other = await store.register("there", lease_seconds=30)
        taken = []

        async def take(by):
            for _ in range(5):
                taken.extend(await store.claim(by, limit=7))

        async with trio.open_nursery() as nursery:
            for by in (node, other, node, other):
                nursery.start_soon(take, by)
        assert sorted(claim.task_id for claim in taken) == [task.id for task in added]

    async def test_a_task_for_later_is_not_claimed(self, store, node):
        """What is not due stays PENDING."""
        [added] = await store.add([new_task(delay_seconds=3600.0)])
        assert await store.claim(node, limit=1) == []
        assert await self.status_of(store, added.id) is TaskStatus.PENDING
        assert (added.run_at - added.created_at).total_seconds() == 3600

    async def test_no_claims_for_a_node_that_is_not_alive(self, store):
        """A node that is unknown or retired gets nothing."""
        await store.add([new_task()])
        assert await store.claim(uuid.uuid4(), limit=1) == []
        node = await store.register("gone", lease_seconds=30)
        await store.retire(node)
        assert await store.claim(node, limit=1) == []

    # Ends

    async def test_settling_completes(self, store, node):
        """A result is kept to the byte, and the task is finished."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        result = b'{"result": "\\u0000", "n": 1e400}'
        assert await store.settle([completed(claim, result)]) == {added.id}
        task = await store.get(added.id)
        assert (task.status, bytes(task.result)) == (TaskStatus.COMPLETED, result)
        assert task.finished_at >= task.started_at
        assert (task.error, task.error_type) == ("", None)

    async def test_settling_fails(self, store, node):
        """An error is kept as text and as type."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        assert await store.settle([failed(claim)]) == {added.id}
        task = await store.get(added.id)
        assert (task.status, task.error, task.error_type) == (
            TaskStatus.FAILED,
            "it failed",
            ErrorType.TIMEOUT,
        )
        assert task.result is None

    async def test_outcomes_are_settled_together(self, store, node):
        """One call settles successes and failures together."""
        await store.add([new_task() for _ in range(9)])
        claims = await store.claim(node, limit=9)
        endings = [completed(c) if n % 2 else failed(c) for n, c in enumerate(claims)]
        assert await store.settle(endings) == {claim.task_id for claim in claims}
        for ending in endings:
            assert await self.status_of(store, ending.task_id) is ending.status

    async def test_there_is_exactly_one_end(self, store, node):
        """Once settled, a later write with the same token changes nothing."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        await store.settle([completed(claim)])
        settled = await store.get(added.id)
        assert await store.settle([failed(claim)]) == set()
        assert await store.release([released(claim)]) == set()
        assert (
            await store.schedule_retries([Retry(claim.task_id, claim.token, 0, "e", ErrorType.DNS)])
            == set()
        )
        assert await store.get(added.id) == settled

    async def test_a_late_write_changes_nothing(self, store, node):
        """The token of an earlier claim is worth nothing once the task was claimed anew."""
        [added] = await store.add([new_task()])
        late = await self.claim_one(store, node)
        await store.release([released(late)])
        current = await self.claim_one(store, node)
        assert current.token != late.token
        assert await store.settle([completed(late)]) == set()
        assert await store.release([released(late)]) == set()
        assert await self.status_of(store, added.id) is TaskStatus.RUNNING
        assert await store.settle([completed(current)]) == {added.id}

    async def test_one_that_is_lost_does_not_stop_the_others(self, store, node):
        """Of several endings those still held are written."""
        await store.add([new_task(), new_task()])
        one, two = await store.claim(node, limit=2)
        await store.cancel(one.task_id)
        assert await store.settle([completed(one), completed(two)]) == {two.task_id}
        assert await self.status_of(store, one.task_id) is TaskStatus.CANCELED

    # Back to PENDING

    async def test_release_does_not_count_the_attempt(self, store, node):
        """A released task can be claimed at once, as the same attempt."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        assert await store.release([released(claim)]) == {added.id}
        task = await store.get(added.id)
        assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
        assert (await self.claim_one(store, node)).attempt == 1

    async def test_a_postponed_task_waits(self, store, node):
        """A release with a delay does not count the attempt, and says why the task waits."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        release = Release(
            claim.task_id,
            claim.token,
            delay_seconds=3600.0,
            error="no way out",
            error_type=ErrorType.PROXY,
        )
        assert await store.release([release]) == {added.id}
        task = await store.get(added.id)
        assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
        assert (task.error, task.error_type) == ("no way out", ErrorType.PROXY)
        assert 3500 < (task.run_at - added.run_at).total_seconds() < 3700
        assert await store.claim(node, limit=1) == []
        assert await store.attempts(added.id) == []

    async def test_a_postponed_task_succeeds(self, store, node):
        """The reason of a release is gone when the task has completed."""
        [added] = await store.add([new_task()])
        claim = await self.claim_one(store, node)
        release = Release(
            claim.task_id, claim.token, 1.0, error="no way out", error_type=ErrorType.PROXY
        )
        await store.release([release])
        claim = await self.claim_one(store, node)
        assert claim.attempt == 1
        await store.settle([completed(claim)])
        task = await store.get(added.id)
        assert (task.status, task.attempt, task.error) == (TaskStatus.COMPLETED, 1, "")
        assert [one.status for one in await store.attempts(added.id)] == [
            "INTERRUPTED",
            "COMPLETED",
        ]

    async def test_retry_counts_the_attempt_and_waits(self, store, node):
        """A task to be retried is PENDING for later, with its last error to be seen."""
        [added] = await store.add([new_task(max_attempts=2)])
        claim = await self.claim_one(store, node)
        retrial = Retry(claim.task_id, claim.token, 3600.0, "no luck", ErrorType.DNS)
        assert await store.schedule_retries([retrial]) == {added.id}
        task = await store.get(added.id)
        assert (task.status, task.attempt, task.error, task.error_type) == (
            TaskStatus.PENDING,
            1,
            "no luck",
            ErrorType.DNS,
        )
        assert (task.run_at - task.started_at).total_seconds() >= 3600
        assert await store.claim(node, limit=1) == []

    async def test_retry_at_once(self, store, node):
        """Without a delay the next attempt can be claimed straight away."""
        [_] = await store.add([new_task(max_attempts=2)])
        claim = await self.claim_one(store, node)
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 0.0, "no luck", ErrorType.DNS)]
        )
        again = await self.claim_one(store, node)
        assert again.attempt == 2

    # Nodes

    async def test_tasks_of_dead_nodes_are_rescued(self, store, node):
        """Tasks of a dead node become PENDING; that is a rescue, not an attempt."""
        [added] = await store.add([new_task()])
        [late] = await self.claim_and_die(store)
        assert (await self.rescued(store)).pending == [added.id]
        task = await store.get(added.id)
        assert (task.status, task.attempt, task.rescues) == (TaskStatus.PENDING, 0, 1)
        assert await store.settle([completed(late)]) == set()
        assert (await self.claim_one(store, node)).task_id == added.id

    async def test_rescue_leaves_the_living_alone(self, store, node):
        """What a living node holds is not touched."""
        await store.add([new_task()])
        claim = await self.claim_one(store, node)
        rescued = await store.rescue(limit=10, max_rescues=5)
        assert (rescued.pending, rescued.poisoned) == ([], [])
        assert await store.settle([completed(claim)]) == {claim.task_id}

    async def test_rescue_is_bounded(self, store):
        """A rescue takes at most ``limit`` tasks."""
        await store.add([new_task() for _ in range(5)])
        await self.claim_and_die(store, limit=5)
        assert len((await self.rescued(store, limit=3)).pending) == 3
        assert len((await self.rescued(store, limit=3)).pending) == 2

    async def test_poison_tasks_fail(self, store):
        """A task whose nodes died too often fails."""
        [added] = await store.add([new_task()])
        for time in (1, 2):
            await self.claim_and_die(store)
            rescued = await self.rescued(store, max_rescues=2)
            assert (added.id in rescued.poisoned) == (time == 2)
        task = await store.get(added.id)
        assert (task.status, task.error_type, task.rescues) == (
            TaskStatus.FAILED,
            ErrorType.POISON,
            2,
        )
        assert task.error == "poison: its node died 2 times while running it"

    async def test_a_lease_runs_out(self, store):
        """A node that did not renew in time is dead: no claims, no renewal."""
        await store.add([new_task(), new_task()])
        node = await store.register("silent", lease_seconds=2.0)
        await self.claim_one(store, node)
        await self.rescued(store)
        assert await store.claim(node, limit=1) == []
        with pytest.raises(LeaseLost):
            await store.renew(node)

    async def test_living_nodes(self, store, node):
        """A store has nodes until the last one is retired, or its lease has ended."""
        assert await store.has_nodes()
        await store.retire(node)
        assert not await store.has_nodes()
        await store.register("silent", lease_seconds=0.01)
        while await store.has_nodes():
            await trio.sleep(0.01)

    async def test_retiring_releases_claims(self, store, node):
        """Tasks that a retired node still held are PENDING as if they had never been claimed."""
        [added] = await store.add([new_task()])
        await self.claim_one(store, node)
        await store.retire(node)
        task = await store.get(added.id)
        assert (task.status, task.attempt, task.rescues) == (TaskStatus.PENDING, 0, 0)

    async def test_renewing_keeps_a_node_alive(self, store, node):
        """A node within its lease may renew it; one that was retired may not."""
        await store.renew(node)
        await store.retire(node)
        with pytest.raises(LeaseLost):
            await store.renew(node)

    async def test_unknown_claims_are_released(self, store, node):
        """Claims by unknown tokens from before the renewal are undone; all others are kept."""
        added = await store.add([new_task() for _ in range(3)])
        lost, known = await self.claim_one(store, node), await self.claim_one(store, node)
        renewed_at = await store.renew(node)
        later = await self.claim_one(store, node)
        assert await store.reconcile(node, [known.token], before=renewed_at) == 1
        statuses = [await self.status_of(store, task.id) for task in added]
        assert statuses == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RUNNING]
        assert await store.settle([completed(lost)]) == set()
        assert await store.settle([completed(known), completed(later)]) == {
            known.task_id,
            later.task_id,
        }
        again = await self.claim_one(store, node)
        assert (again.task_id, again.attempt) == (lost.task_id, 1)

    # Fairness

    async def test_some_claims_go_by_age(self, store, node):
        """A share of the claims takes the longest due tasks, whatever their priority."""
        ids = [
            (await store.add([new_task(priority=priority)]))[0].id
            for priority in (-5, 0, 7, 100, 100)
        ]
        claims = await store.claim(node, limit=3, by_age=1)
        assert [claim.task_id for claim in claims] == [ids[3], ids[4], ids[0]]
        claims = await store.claim(node, limit=1, by_age=1)
        assert [claim.task_id for claim in claims] == [ids[1]]
        claims = await store.claim(node, limit=5, by_age=5)
        assert [claim.task_id for claim in claims] == [ids[2]]

    async def test_age_counts_from_when_a_task_is_due(self, store, node):
        """Age is counted from ``run_at``: a retried task has not been due since its submission."""
        [early] = await store.add([new_task(max_attempts=2)])
        claim = await self.claim_one(store, node)
        [late] = await store.add([new_task(priority=-5)])
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 0, "no luck", ErrorType.DNS)]
        )
        claims = await store.claim(node, limit=1, by_age=1)
        assert [claim.task_id for claim in claims] == [late.id]
        claims = await store.claim(node, limit=1, by_age=1)
        assert [claim.task_id for claim in claims] == [early.id]

    async def test_tasks_put_back_keep_their_place(self, store, node):
        """A task that was claimed and released is claimed once again, in its old turn."""
        added = await store.add([new_task(str(n)) for n in range(4)])
        for _ in range(3):
            claims = await store.claim(node, limit=2, by_age=1)
            assert [claim.task_id for claim in claims] == [task.id for task in added[:2]]
            await store.release([released(claim) for claim in claims])
        claims = await store.claim(node, limit=10, by_age=3)
        assert [claim.task_id for claim in claims] == [task.id for task in added]

    async def test_priorities_are_walked_in_order(self, store, node):
        """Tasks that are not due do not block tasks of lower priority."""
        await store.add([new_task(priority=9, delay_seconds=3600) for _ in range(5)])
        added = await store.add([new_task(priority=-n) for n in (3, 1, 2)])
        claims = await store.claim(node, limit=2)
        assert [claim.task_id for claim in claims] == [added[1].id, added[2].id]

    # Attempts

    async def test_attempts_are_kept(self, store, node):
        """Each attempt's outcome in order: failed, cut off, lost, and the one that succeeded."""
        [task] = await store.add([new_task(max_attempts=5)])
        claim = await self.claim_one(store, node)
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 0, "no luck", ErrorType.HTTP_STATUS, 503, 0.0125)]
        )
        await store.release([released(await self.claim_one(store, node))])
        await store.release([released(await self.claim_one(store, node), elapsed_seconds=3.0)])
        await self.claim_and_die(store)
        await self.rescued(store)
        claim = await self.claim_one(store, node)
        [*_, running] = await store.attempts(task.id)
        assert (running.number, running.status, running.finished_at) == (2, "RUNNING", None)
        ending = msgspec.structs.replace(
            completed(claim), status_code=200, elapsed_seconds=0.000123
        )
        await store.settle([ending])
        attempts = await store.attempts(task.id)
        assert [(one.number, one.status, one.node) for one in attempts] == [
            (1, "FAILED", "here"),
            (2, "INTERRUPTED", "here"),
            (2, "LOST", "dead"),
            (2, "COMPLETED", "here"),
        ]
        first, cut_off, lost, last = attempts
        assert (first.error, first.error_type) == ("no luck", ErrorType.HTTP_STATUS)
        assert (first.status_code, first.elapsed_seconds) == (503, 0.0125)
        assert (cut_off.elapsed_seconds, lost.elapsed_seconds, lost.error) == (3.0, None, "")
        assert (last.status_code, last.elapsed_seconds, last.error) == (200, 0.000123, "")
        assert all(one.started_at <= one.finished_at for one in attempts)

    async def test_responses_of_failed_attempts(self, store, node):
        """A failed attempt keeps the response that it ended with, also after a manual retry."""
        [task] = await store.add([new_task(max_attempts=2)])
        claim = await self.claim_one(store, node)
        retrial = Retry(claim.task_id, claim.token, 0, "no luck", ErrorType.HTTP_STATUS)
        await store.schedule_retries(
            [msgspec.structs.replace(retrial, response=response(b'{"n": 1.50}'))]
        )
        waiting = await store.get(task.id)
        claim = await self.claim_one(store, node)
        [_, running] = await store.attempts(task.id)
        assert running.response is msgspec.UNSET
        ended = msgspec.structs.replace(failed(claim), response=response(b'"\\u0000"'))
        await store.settle([ended])
        made = await store.attempts(task.id)
        assert [bytes(one.response.body) for one in made] == [b'{"n": 1.50}', b'"\\u0000"']
        shown = await store.get(task.id)
        assert (waiting.result, shown.result, shown.error) == (None, None, "it failed")
        await store.retry(task.id)
        assert await store.attempts(task.id) == made
        await store.settle([failed(await self.claim_one(store, node))])
        assert [bool(one.response) for one in await store.attempts(task.id)] == [True, True, False]
        await store.retry(task.id)
        await store.settle([completed(await self.claim_one(store, node))])
        [*before, last] = await store.attempts(task.id)
        assert [bool(one.response) for one in before] == [True, True, False]
        assert last.response is msgspec.UNSET
        assert (await store.get(task.id)).result is not None

    async def test_responses_are_bounded_in_number(self, store, node, monkeypatch):
        """Of many attempts the last ones have their responses."""
        for module in ("memory.listing", "postgres.listing"):
            monkeypatch.setattr(f"taskflow.store.{module}.MAX_RESPONSES", 2)
        [task] = await store.add([new_task()])
        for number in range(4):
            ended = failed(await self.claim_one(store, node))
            await store.settle([msgspec.structs.replace(ended, response=response(b"%d" % number))])
            if number < 3:
                await store.retry(task.id)
        made = await store.attempts(task.id)
        assert [one.response and bytes(one.response.body) for one in made] == [
            *(msgspec.UNSET, msgspec.UNSET),
            *(b"2", b"3"),
        ]

    async def test_attempts_of_tasks_without_any(self, store):
        """A task that never ran has no attempts; an unknown task has ``None``."""
        [task] = await store.add([new_task()])
        assert await store.attempts(task.id) == []
        assert await store.attempts(uuid.uuid4()) is None

    async def test_attempts_survive_cancel_and_retry(self, store, node):
        """Canceled and retried tasks keep their earlier attempts."""
        [task] = await store.add([new_task()])
        await store.settle([failed(await self.claim_one(store, node))])
        await store.retry(task.id)
        assert [one.status for one in await store.attempts(task.id)] == ["FAILED"]
        await self.claim_one(store, node)
        await store.cancel(task.id)
        attempts = await store.attempts(task.id)
        assert [(one.number, one.status) for one in attempts] == [(1, "FAILED"), (1, "CANCELED")]
        await store.retry(task.id)
        await store.cancel(task.id)
        assert await store.attempts(task.id) == attempts

    async def test_poison_is_no_attempt(self, store, node):
        """A task that was given up shows the nodes that died under it, and no more."""
        [task] = await store.add([new_task(max_attempts=2)])
        claim = await self.claim_one(store, node)
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 0, "no luck", ErrorType.DNS)]
        )
        await self.claim_and_die(store)
        await self.rescued(store, max_rescues=1)
        assert [one.status for one in await store.attempts(task.id)] == ["FAILED", "LOST"]
        await store.retry(task.id)
        assert [one.status for one in await store.attempts(task.id)] == ["FAILED", "LOST"]

    # Retention

    async def test_only_old_finished_tasks_are_deleted(self, store, node):
        """Open and recently finished tasks stay; attempts are deleted with their tasks."""
        ended, recent, running, pending = await store.add(
            [new_task(max_attempts=2, priority=-n) for n in range(4)]
        )
        claim = await self.claim_one(store, node)
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 0.0, "no luck", ErrorType.DNS)]
        )
        await store.settle([completed(await self.claim_one(store, node))])
        await trio.sleep(2.2)
        await store.settle([failed(await self.claim_one(store, node))])
        await self.claim_one(store, node)
        assert await store.delete_finished(age_seconds=2.0, limit=10) == 1
        assert await store.get(ended.id) is None
        assert await store.attempts(ended.id) is None
        for task in (recent, running, pending):
            assert await store.get(task.id) is not None
        page = await store.page(limit=10)
        assert [task.id for task in page.tasks] == [pending.id, running.id, recent.id]
        assert await store.delete_finished(age_seconds=2.0, limit=10) == 0

    async def test_deleting_is_bounded(self, store, node):
        """No more than was said goes at once."""
        await store.add([new_task() for _ in range(5)])
        claims = await store.claim(node, limit=5)
        await store.settle([completed(claim) for claim in claims])
        await trio.sleep(0.05)
        counts = [await store.delete_finished(age_seconds=0.01, limit=2) for _ in range(4)]
        assert counts == [2, 2, 1, 0]

    # Actions of clients

    async def test_cancel_pending_and_running(self, store, node):
        """Pending and running tasks can be canceled; then they are finished and not claimed."""
        pending, running = await store.add([new_task(priority=0), new_task(priority=1)])
        claim = await self.claim_one(store, node)
        assert claim.task_id == running.id
        for task in (pending, running):
            canceled = await store.cancel(task.id)
            assert canceled.status is TaskStatus.CANCELED
            assert canceled.finished_at is not None
            assert await store.get(task.id) == canceled
        assert await store.claim(node, limit=5) == []
        assert await store.settle([completed(claim)]) == set()

    async def test_finished_tasks_cannot_be_canceled(self, store, node):
        """A finished task cannot be canceled."""
        [added] = await store.add([new_task()])
        await store.settle([completed(await self.claim_one(store, node))])
        with pytest.raises(IllegalMove, match="cannot cancel a task that is COMPLETED"):
            await store.cancel(added.id)
        assert await store.cancel(uuid.uuid4()) is None

    async def test_requeue_starts_from_the_beginning(self, store, node):
        """A FAILED task can be run again; nothing of the first run counts."""
        [added] = await store.add([new_task()])
        await store.settle([failed(await self.claim_one(store, node))])
        again = await store.retry(added.id)
        assert (again.status, again.attempt, again.rescues) == (TaskStatus.PENDING, 0, 0)
        assert again.error == ""
        assert again.error_type is again.finished_at is again.started_at is None
        await store.settle([completed(await self.claim_one(store, node))])
        with pytest.raises(IllegalMove, match="cannot retry a task that is COMPLETED"):
            await store.retry(added.id)
        assert await store.retry(uuid.uuid4()) is None

    async def test_delete(self, store, node):
        """What is at its end goes, with its attempts; what is not stays, and it is said why."""
        ended, running, pending = await store.add([new_task(priority=-n) for n in range(3)])
        await store.settle([failed(await self.claim_one(store, node))])
        await store.retry(ended.id)  # puts an attempt with the others
        await store.cancel(ended.id)
        await self.claim_one(store, node)
        for task in (running, pending):
            status = await self.status_of(store, task.id)
            with pytest.raises(IllegalMove, match=f"that is {status}; cancel it first"):
                await store.delete(task.id)
        assert await store.delete(ended.id)
        assert await store.get(ended.id) is None
        assert await store.attempts(ended.id) is None
        assert not await store.delete(ended.id)
        page = await store.page(limit=10)
        assert [task.id for task in page.tasks] == [pending.id, running.id]

    async def test_bulk_actions(self, store, node):
        """Tasks for which the move is legal are changed, and the others are skipped."""
        tasks = await store.add([new_task(priority=-n) for n in range(5)])
        done, broken, running, pending, canceled = ids = [task.id for task in tasks]
        one, two, _ = await store.claim(node, limit=3)
        await store.settle([completed(one), failed(two)])
        await store.cancel(canceled)
        requested = [*ids, uuid.uuid4(), ids[0]]
        assert await store.cancel_many(requested) == {running, pending}
        assert await store.cancel_many(requested) == set()
        assert [one.status for one in await store.attempts(running)] == ["CANCELED"]
        assert await store.retry_many([*requested[1:], done]) == {
            broken,
            running,
            pending,
            canceled,
        }
        assert len(await store.claim(node, limit=10)) == 4
        assert await store.delete_many(requested) == {done}
        assert await store.cancel_many(ids[1:3]) == {broken, running}
        assert await store.delete_many(requested) == {broken, running}
        assert await store.delete_many([]) == await store.cancel_many([]) == set()
        assert len((await store.page(limit=10)).tasks) == 2

    async def test_bulk_retries_wake_nodes(self, store, node):
        """As single retries do."""
        added = await store.add([new_task(), new_task()])
        await store.cancel_many([task.id for task in added])
        assert await store.claim(node, limit=2) == []
        async with self.taker(store, node, room=0) as taker:
            await store.retry_many([task.id for task in added])
            with trio.fail_after(90):
                await taker.woken.wait()
        assert len(await store.claim(node, limit=2)) == 2

    # Nodes are notified of cancellations

    async def heard(self, store: TaskStore, node: uuid.UUID, count: int) -> set[ClaimKey]:
        keys: set[ClaimKey] = set()
        with trio.fail_after(90):
            while len(keys) < count:
                keys |= await store.wait_for_cancellations(node)
        return keys

    async def test_nodes_are_notified_of_their_canceled_claims(self, store, node):
        """A node gets its own claims only; cancellations between two waits are kept."""
        other = await store.register("there", lease_seconds=30)
        await store.add([new_task(priority=-n) for n in range(5)])
        first, second, third = await store.claim(node, limit=3)
        [theirs] = await store.claim(other, limit=1)
        page = await store.page(limit=10, filter=TaskFilter(statuses=(TaskStatus.PENDING,)))
        await store.cancel(first.task_id)
        await store.cancel_many([second.task_id, theirs.task_id, page.tasks[0].id])
        assert await self.heard(store, node, 2) == {first.key, second.key}
        assert await self.heard(store, other, 1) == {theirs.key}
        await store.cancel(third.task_id)
        assert third.key in await self.heard(store, node, 1)

    async def test_the_word_names_the_claim_and_not_the_task(self, store, node):
        """Claimed again before the word of the first claim comes: the second is not meant."""
        [task] = await store.add([new_task()])
        first = await self.claim_one(store, node)
        await store.cancel(task.id)
        await store.retry(task.id)
        second = await self.claim_one(store, node)
        assert second.task_id == first.task_id
        assert await self.heard(store, node, 1) == {first.key}
        assert await store.lost_claims([first.key, second.key]) == {first.key}

    async def test_a_thousand_cancellations(self, store, node):
        """As many as one call can cancel, regardless of the size of a notification."""
        added = await store.add([new_task() for _ in range(MAX_PER_ACTION)])
        claims = await store.claim(node, limit=MAX_PER_ACTION)
        assert len(await store.cancel_many([task.id for task in added])) == MAX_PER_ACTION
        assert await self.heard(store, node, MAX_PER_ACTION) == {claim.key for claim in claims}

    async def test_lost_claims(self, store, node):
        """A claim is lost once the task is canceled, settled or released."""
        await store.add([new_task() for _ in range(4)])
        held, canceled, settled, put_back = await store.claim(node, limit=4)
        keys = [claim.key for claim in (held, canceled, settled, put_back)]
        assert await store.lost_claims(keys) == set()
        await store.cancel(canceled.task_id)
        await store.settle([completed(settled)])
        await store.release([released(put_back)])
        assert await store.lost_claims(keys) == set(keys[1:])
        assert await store.lost_claims([]) == set()

    # Handing over to who waits

    async def quiet(self, taker: NodeTaker) -> None:
        """Return when it was not woken for a while: a store may wake it once to begin with."""
        is_woken = True
        while is_woken:
            taker.woken = trio.Event()
            with trio.move_on_after(0.2) as timeout:
                await taker.woken.wait()
            is_woken = not timeout.cancelled_caught

    @contextlib.asynccontextmanager
    async def taker(self, store: TaskStore, node: uuid.UUID, room: int) -> AsyncIterator[NodeTaker]:
        """A node that waits for work with room for this many tasks; reads what it gets."""
        taker = NodeTaker(node, room)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.wait, store)
            await self.quiet(taker)
            yield taker
            nursery.cancel_scope.cancel()

    async def test_nodes_with_claimable_tasks_do_not_wait(self, store, node):
        """A task that comes just when a node begins to wait does not overtake one that waits."""
        async with self.taker(store, node, room=5):
            pass
        for _ in range(30):
            await store.add([new_task()])
            taker = NodeTaker(node, room=5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.wait_for_work, taker)
                nursery.start_soon(store.add, [new_task()])
            assert taker.claims == []

    async def test_waiting_nodes_claim_directly(self, store, node):
        """They are RUNNING with its token, and finish like others; no other node is woken."""
        async with self.taker(store, node, room=5) as taker:
            [added] = await store.add([new_task(max_attempts=3)])
            assert added.status is TaskStatus.PENDING
            [claim] = taker.claims
            assert (claim.task_id, claim.token) == (added.id, taker.token)
            assert (bytes(claim.payload), claim.attempt, claim.max_attempts) == (
                bytes(added.payload),
                1,
                3,
            )
            assert not taker.is_woken
        stored = await store.get(added.id)
        assert (stored.status, stored.attempt) == (TaskStatus.RUNNING, 1)
        assert stored.started_at >= stored.created_at
        [attempt] = await store.attempts(added.id)
        assert attempt.node == "here"
        assert await store.claim(node, limit=1) == []
        assert await store.settle([completed(claim)]) == {added.id}

    async def test_direct_claims_are_limited_by_idle_workers(self, store, node):
        """The most urgent due tasks are claimed; the others stay pending, and nodes are woken."""
        async with self.taker(store, node, room=2) as taker:
            tasks = [new_task(str(n), priority=n % 3) for n in range(4)]
            tasks.append(new_task('"later"', priority=9, delay_seconds=60))
            added = await store.add(tasks)
            assert [int(bytes(claim.payload)) for claim in taker.claims] == [2, 1]
            await taker.woken.wait()
        assert [await self.status_of(store, task.id) for task in added] == [
            TaskStatus.PENDING,
            TaskStatus.RUNNING,
            TaskStatus.RUNNING,
            TaskStatus.PENDING,
            TaskStatus.PENDING,
        ]
        assert [claim.task_id for claim in await store.claim(node, limit=5)] == [
            added[0].id,
            added[3].id,
        ]

    async def test_dead_nodes_get_no_direct_claims(self, store):
        """A node whose lease has expired gets nothing: the task stays pending for another node."""
        dead = await store.register("dead", lease_seconds=0.05)
        async with self.taker(store, dead, room=5) as taker:
            await trio.sleep(0.2)
            [added] = await store.add([new_task()])
            await taker.woken.wait()
            assert taker.claims == []
        assert await self.status_of(store, added.id) is TaskStatus.PENDING

    async def test_nodes_that_stopped_waiting_get_no_direct_claims(self, store, node):
        """New tasks after the wait are claimed normally."""
        async with self.taker(store, node, room=5) as taker:
            pass
        [added] = await store.add([new_task()])
        assert taker.claims == []
        assert (await self.claim_one(store, node)).task_id == added.id

    async def test_directly_claimed_tasks_are_rescued(self, store):
        """They are claimed like any other: if the node dies, they become pending."""
        node = await store.register("dead", lease_seconds=2.0)
        async with self.taker(store, node, room=5) as taker:
            [added] = await store.add([new_task()])
            assert len(taker.claims) == 1
        assert (await self.rescued(store)).pending == [added.id]

    # Waiting

    async def test_new_tasks_wake_nodes(self, store):
        """A new task ends the wait for work; a later wait returns, too."""
        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.wait_for_work)
                await store.add([new_task()])
            await store.add([new_task()])
            await store.wait_for_work()

    async def test_due_tasks_wake_nodes(self, store, node):
        """The wait for work ends when a task becomes due, and then it can be claimed."""
        [added] = await store.add([new_task(delay_seconds=0.3)])
        await store.wait_for_work()
        assert await store.claim(node, limit=1) == []
        with trio.fail_after(90):
            while not (claims := await store.claim(node, limit=1)):
                await store.wait_for_work()
        assert claims[0].task_id == added.id

    async def test_tasks_that_become_due_after_a_claim_wake_nodes(self, store, node):
        """Also before the wait for work has begun."""
        for _ in range(2):
            [added] = await store.add([new_task(delay_seconds=0.2)])
            await store.wait_for_work()  # the new task
            assert await store.claim(node, limit=1) == []
            await trio.sleep(0.3)
            with trio.fail_after(90):
                await store.wait_for_work()
            [claim] = await store.claim(node, limit=1)
            assert claim.task_id == added.id

    async def test_due_retries_wake_nodes(self, store, node):
        """This includes a node that waited before the retry was scheduled."""
        await store.add([new_task(max_attempts=2)])
        claim = await self.claim_one(store, node)
        again = []

        async def wait_and_claim():
            while not again:
                await store.wait_for_work()
                again.extend(await store.claim(node, limit=1))

        with trio.fail_after(90):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_and_claim)
                await trio.sleep(0.1)
                await store.schedule_retries(
                    [Retry(claim.task_id, claim.token, 0.3, "no luck", ErrorType.DNS)]
                )
        assert again[0].attempt == 2

    async def test_check_and_statistics(self, store):
        """A store that works says so, and what it is."""
        await store.check()
        assert store.statistics().kind in {"memory", "postgres"}
