"""What every store has to keep of unique keys and debounce."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import msgspec
import pytest
import trio
from msgspec import UNSET

from taskflow.model.errors import NotUnique
from taskflow.model.filter import TaskFilter
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.model.uniqueness import ALWAYS_UNIQUE, Debounce, Existing, OnConflict, Unique
from taskflow.store.base.claims import Retry
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task, released
from tests.store.options_contract import key

ALL_STATUSES = tuple(TaskStatus)
FOR_EVER = 9999.0


def unique(
    number: int = 0,
    name: str = "one",
    on_conflict: OnConflict = OnConflict.RETURN,
    statuses: tuple[TaskStatus, ...] = ALWAYS_UNIQUE,
    **fields,
) -> NewTask:
    """A task with a unique key, and a number in its payload."""
    options = TaskOptions(unique=Unique(name, statuses, on_conflict))
    return new_task(str(number), options=options, **fields)


def replacing(number: int, **fields) -> NewTask:
    return unique(number, on_conflict=OnConflict.REPLACE, **fields)


def rejecting(number: int = 0, **fields) -> NewTask:
    return unique(number, on_conflict=OnConflict.REJECT, **fields)


def debounced(
    number: int, seconds: float = FOR_EVER, most: float | None = None, name: str = "one", **fields
) -> NewTask:
    """A debounced task, with a number in its payload."""
    options = TaskOptions(debounce=Debounce(name, seconds, most))
    return new_task(str(number), options=options, **fields)


def number_of(task: Task) -> int:
    return msgspec.json.decode(task.payload)


async def all_tasks(store: TaskStore) -> list[Task]:
    return (await store.page(limit=1000)).tasks


def without_mark(task: Task) -> Task:
    """A task as ``get`` shows it."""
    return msgspec.structs.replace(task, existing=UNSET)


class UniquenessContract(StoreContract):
    """The conformance suite of keys."""

    async def add_one(self, store: TaskStore, task: NewTask) -> Task:
        [added] = await store.add([task])
        return added

    # Unique keys

    async def test_a_key_has_one_task(self, store):
        """A second submission returns the first task, unchanged and marked; of another key, not."""
        first = await self.add_one(store, unique(1))
        assert first.existing is UNSET
        assert first.unique == Unique("one")
        second = await self.add_one(store, unique(2, priority=9, tags={"a": 1}))
        assert (second.id, number_of(second)) == (first.id, 1)
        assert second.existing is Existing.RETURNED
        assert without_mark(second) == first == await store.get(first.id)
        other = await self.add_one(store, unique(3, "two"))
        assert other.id != first.id
        assert len(await all_tasks(store)) == 2

    async def test_a_key_belongs_to_a_queue(self, store):
        """The same key in another queue is another one."""
        first, second = await store.add([unique(1), unique(2, queue="mail")])
        assert first.id != second.id
        assert second.existing is UNSET

    @pytest.mark.parametrize("status", [None, *TaskStatus])
    async def test_a_key_is_free_once_its_task_has_finished(self, store, node, status):
        """Unless the task keeps it in that status, which is then so until it is deleted."""
        statuses = ALWAYS_UNIQUE if status is None else tuple({*ALWAYS_UNIQUE, status})
        ends = {
            TaskStatus.COMPLETED: lambda claim: store.settle([completed(claim)]),
            TaskStatus.FAILED: lambda claim: store.settle([failed(claim)]),
            TaskStatus.CANCELED: lambda claim: store.cancel(claim.task_id),
        }
        for end, finish in ends.items():
            first = await self.add_one(store, unique(1, end, statuses=statuses))
            claim = await self.claim_one(store, node)
            running = await self.add_one(store, unique(2, end))
            assert (running.id, running.status) == (first.id, TaskStatus.RUNNING)
            await finish(claim)
            second = await self.add_one(store, unique(3, end, delay_seconds=FOR_EVER))
            assert (second.id == first.id) == (status is end)
            if status is end:
                assert await store.delete(first.id)
                third = await self.add_one(store, unique(4, end, delay_seconds=FOR_EVER))
                assert third.existing is UNSET

    async def test_the_task_decides_for_how_long_it_has_its_key(self, store, node):
        """Not the later submission, whatever its statuses are."""
        first = await self.add_one(store, unique(1))
        await store.settle([completed(await self.claim_one(store, node))])
        second = await self.add_one(store, unique(2, statuses=ALL_STATUSES))
        assert second.id != first.id
        await store.settle([completed(await self.claim_one(store, node))])
        assert (await self.add_one(store, unique(3))).id == second.id

    async def test_a_task_keeps_its_key_between_its_attempts(self, store, node):
        """Retries, releases and rescues lead from RUNNING to PENDING and meet no other task."""
        first = await self.add_one(store, unique(1))
        claim = await self.claim_one(store, node)
        await store.release([released(claim, 0.1)])
        assert (await self.add_one(store, unique(2))).id == first.id
        claim = await self.claim_one(store, node)
        assert await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 0.0, "it failed", ErrorType.TIMEOUT)]
        )
        assert (await self.add_one(store, unique(3))).id == first.id
        await self.claim_and_die(store)
        await self.rescued(store)
        assert (await self.add_one(store, unique(4))).id == first.id

    # Replacing

    async def test_a_task_that_has_not_started_is_replaced(self, store, node):
        """It gets everything of the new one but its id and the time of its creation."""
        first = await self.add_one(store, unique(1, tags={"a": 1, "b": 2}, retention_seconds=5.0))
        new = replacing(
            2,
            priority=7,
            max_attempts=3,
            host="b.example",
            authority="b.example:8080",
            tags={"b": 3, "c": 4},
            statuses=ALL_STATUSES,
        )
        replaced = await self.add_one(store, new)
        assert replaced.existing is Existing.REPLACED
        assert (replaced.id, replaced.created_at) == (first.id, first.created_at)
        assert (number_of(replaced), replaced.priority, replaced.max_attempts) == (2, 7, 3)
        assert (replaced.tags, replaced.retention_seconds) == ({"b": 3, "c": 4}, None)
        assert replaced.unique == new.options.unique
        assert await store.get(first.id) == without_mark(replaced)
        for tag, count in ((("a", "1"), 0), (("b", "2"), 0), (("b", "3"), 1), (("c", "4"), 1)):
            found = await store.page(limit=5, filter=TaskFilter(tags=(tag,)))
            assert len(found.tasks) == count
        claim = await self.claim_one(store, node)
        assert (bytes(claim.payload), claim.max_attempts) == (b"2", 3)
        assert (claim.authority, claim.options) == ("b.example:8080", new.options)
        await store.settle([completed(claim)])
        assert (await self.add_one(store, unique(3))).id == first.id  # its statuses, too

    async def test_a_task_is_due_when_its_replacement_says(self, store, node):
        """Sooner or later than before."""
        first = await self.add_one(store, unique(1, delay_seconds=FOR_EVER))
        assert await store.claim(node, limit=1) == []
        await self.add_one(store, replacing(2))
        assert (await self.claim_one(store, node)).task_id == first.id
        other = await self.add_one(store, unique(1, "two"))
        later = await self.add_one(store, replacing(2, name="two", delay_seconds=FOR_EVER))
        assert (later.id, later.existing) == (other.id, Existing.REPLACED)
        assert await store.claim(node, limit=1) == []

    async def test_a_task_that_has_started_is_not_replaced(self, store, node):
        """It is returned: also between its attempts, because its target may know the old one."""
        first = await self.add_one(store, unique(1))
        claim = await self.claim_one(store, node)
        found = [await self.add_one(store, replacing(2))]
        await store.release([released(claim, 0.1)])
        found.append(await self.add_one(store, replacing(3)))
        claim = await self.claim_one(store, node)
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, FOR_EVER, "it failed", ErrorType.TIMEOUT)]
        )
        found.append(await self.add_one(store, replacing(4)))
        for task in found:
            assert (task.id, number_of(task)) == (first.id, 1)
            assert task.existing is Existing.RETURNED

    # Rejecting

    async def test_a_submission_is_rejected(self, store):
        """The error names the other task; nothing is stored."""
        first = await self.add_one(store, rejecting(1))
        with pytest.raises(NotUnique) as caught:
            await store.add([rejecting(2)])
        assert caught.value.task_id == first.id
        assert [one.pointer for one in caught.value.errors] == ["#/unique"]
        assert await all_tasks(store) == [first]

    async def test_an_array_is_stored_completely_or_not_at_all(self, store):
        """Whatever the other tasks of the array did before."""
        first, second = await store.add([unique(1, "one"), unique(2, "two", tags={"a": 1})])
        with pytest.raises(NotUnique) as caught:
            await store.add(
                [
                    new_task("7"),
                    unique(3, "new"),
                    replacing(4, name="two", tags={"b": 1}),
                    rejecting(5, name="one"),
                ]
            )
        assert caught.value.task_id == first.id
        assert [one.pointer for one in caught.value.errors] == ["#/3/unique"]
        assert await all_tasks(store) == [second, first]
        with pytest.raises(NotUnique, match="and so on, 2 in all") as caught:
            await store.add([rejecting(1, name="b"), rejecting(2), rejecting(3, name="b")])
        assert [one.pointer for one in caught.value.errors] == ["#/1/unique", "#/2/unique"]
        assert await all_tasks(store) == [second, first]
        found = await store.page(limit=5, filter=TaskFilter(tags=(("a", "1"),)))
        assert found.tasks == [second]

    # Several tasks of one request

    async def test_of_several_tasks_with_one_key_the_first_is_stored(self, store):
        """The others are about that one, each as it says; plain tasks are not concerned."""
        added = await store.add(
            [
                unique(1),
                new_task("7"),
                unique(2),
                replacing(3, tags={"a": 1}),
                unique(4),
                new_task("7"),
            ]
        )
        first = added[0]
        assert [task.id == first.id for task in added] == [True, False, True, True, True, False]
        marks = [UNSET, UNSET, Existing.RETURNED, Existing.REPLACED, Existing.RETURNED, UNSET]
        assert [task.existing for task in added] == marks
        kept = await store.get(first.id)
        assert (number_of(kept), kept.tags) == (3, {"a": 1})
        assert len(await all_tasks(store)) == 3
        with pytest.raises(NotUnique) as caught:
            await store.add([unique(1, "two"), rejecting(2, name="two")])
        assert caught.value.task_id is None
        assert len(await all_tasks(store)) == 3

    async def test_each_by_itself(self, store):
        """A task that is rejected affects no other."""
        added = await store.add_each(
            [rejecting(1), new_task("7"), rejecting(2), unique(3), unique(4, "two")]
        )
        first, plain, error, same, other = added
        assert isinstance(error, NotUnique)
        assert error.task_id == first.id == same.id
        assert same.existing is Existing.RETURNED
        assert await all_tasks(store) == sorted(
            [first, plain, other], key=lambda one: one.id, reverse=True
        )

    @pytest.mark.parametrize("on_conflict", OnConflict)
    async def test_concurrent_submissions_store_one_task(self, store, on_conflict):
        """Exactly one of them stores the task, and all others are about it."""
        added: list[Task] = []
        rejected: list[NotUnique] = []

        async def submit(number: int) -> None:
            try:
                added.append(await self.add_one(store, unique(number, on_conflict=on_conflict)))
            except NotUnique as error:
                rejected.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(submit, number)
        [kept] = await all_tasks(store)
        assert {task.id for task in added} | {error.task_id for error in rejected} == {kept.id}
        marks = Counter(task.existing for task in added)
        assert marks[UNSET] == 1
        assert sum(marks.values()) + len(rejected) == 64
        assert marks[Existing.REPLACED] == (63 if on_conflict is OnConflict.REPLACE else 0)
        assert len(rejected) == (63 if on_conflict is OnConflict.REJECT else 0)

    # Idempotency keys

    async def test_the_idempotency_key_comes_first(self, store):
        """A repeated request returns its task, which may have existed when it came first."""
        existing = await self.add_one(store, unique(1))
        once = await store.add_once([replacing(2), unique(3, "two")], key())
        assert [task.existing for task in once.tasks] == [Existing.REPLACED, UNSET]
        assert once.tasks[0].id == existing.id
        again = await store.add_once([replacing(2), unique(3, "two")], key())
        assert again.is_replay
        assert again.tasks == [without_mark(task) for task in once.tasks]
        assert again == await store.find_added(key())
        assert not (await store.add_once([replacing(4)], key(body=b"other"))).is_same
        assert number_of(await store.get(existing.id)) == 2

    async def test_a_rejected_request_does_not_use_its_idempotency_key(self, store):
        """It is a new one when it is repeated."""
        first = await self.add_one(store, unique(1))
        with pytest.raises(NotUnique):
            await store.add_once([rejecting(2)], key())
        assert await store.find_added(key()) is None
        await store.cancel(first.id)
        added = await store.add_once([rejecting(2)], key())
        assert not added.is_replay
        assert added.tasks[0].id != first.id

    # Manual retries

    async def test_a_task_whose_key_is_taken_is_not_retried(self, store):
        """Until the other one has finished; a task that no other one has displaced is."""
        first = await self.add_one(store, unique(1))
        await store.cancel(first.id)
        second = await self.add_one(store, unique(2))
        with pytest.raises(NotUnique) as caught:
            await store.retry(first.id)
        assert caught.value.task_id == second.id
        assert await self.status_of(store, first.id) is TaskStatus.CANCELED
        await store.cancel(second.id)
        assert (await store.retry(first.id)).status is TaskStatus.PENDING
        assert (await self.add_one(store, unique(3))).id == first.id
        with pytest.raises(NotUnique):
            await store.retry(second.id)

    async def test_a_task_that_has_its_key_in_its_status_is_retried(self, store):
        """It meets itself."""
        first = await self.add_one(store, unique(1, statuses=ALL_STATUSES))
        await store.cancel(first.id)
        assert (await store.retry(first.id)).status is TaskStatus.PENDING

    async def test_a_bulk_retry_skips_tasks_whose_keys_are_taken(self, store):
        """Of several with one key the oldest is retried, and all others are."""
        tasks = []
        for number in range(3):
            tasks += await store.add([unique(number), unique(number, "two"), new_task("7")])
            await store.cancel_many([task.id for task in tasks])
        [holder] = await store.add([unique(9, "two")])
        retried = await store.retry_many([task.id for task in tasks])
        of_one = [task.id for task in tasks if task.unique == Unique("one")]
        plain = {task.id for task in tasks if task.unique is None}
        assert retried == {of_one[0], *plain}
        assert await self.status_of(store, holder.id) is TaskStatus.PENDING

    # Debounce

    async def test_submissions_are_folded_into_one_task(self, store):
        """It gets the payload and options of the last one; the time counts from that one."""
        first = await self.add_one(store, debounced(1, tags={"a": 1}))
        assert (first.existing, first.debounced) == (UNSET, 0)
        assert first.debounce == Debounce("one", FOR_EVER)
        assert first.run_at - first.created_at == dt.timedelta(seconds=FOR_EVER)
        second = await self.add_one(store, debounced(2, FOR_EVER + 60, priority=3))
        assert (second.id, second.created_at) == (first.id, first.created_at)
        assert (second.existing, second.debounced) == (Existing.DEBOUNCED, 1)
        assert (number_of(second), second.priority, second.tags) == (2, 3, {})
        assert second.run_at >= first.run_at + dt.timedelta(seconds=60)
        third = await self.add_one(store, debounced(3))
        assert (number_of(third), third.debounced) == (3, 2)
        assert third.run_at < second.run_at
        assert await all_tasks(store) == [without_mark(third)]

    async def test_the_first_submission_limits_the_wait(self, store):
        """Whatever later ones say."""
        first = await self.add_one(store, debounced(1, 50.0, 100.0))
        for number, most in ((2, 5000.0), (3, None)):
            later = await self.add_one(store, debounced(number, 4000.0, most))
            assert later.run_at == first.created_at + dt.timedelta(seconds=100)
        sooner = await self.add_one(store, debounced(4, 1.0))
        assert sooner.run_at < first.run_at

    async def test_a_debounced_task_starts_once(self, store, node):
        """With the last payload, when its time has come; the next submission is another task."""
        first = await self.add_one(store, debounced(1, 0.01))
        await self.add_one(store, debounced(2, 0.02))
        with trio.fail_after(30):
            while not (claims := await store.claim(node, limit=5)):
                await store.wait_for_work()
        assert [(claim.task_id, bytes(claim.payload)) for claim in claims] == [(first.id, b"2")]
        second = await self.add_one(store, debounced(3))
        assert (second.id != first.id, second.existing) == (True, UNSET)
        # What was claimed meets no other task, however it goes on.
        await store.release([released(claims[0], 0.1)])
        assert await self.status_of(store, first.id) is TaskStatus.PENDING
        fourth = await self.add_one(store, debounced(4))
        assert (fourth.id, fourth.debounced) == (second.id, 1)

    async def test_a_canceled_task_is_not_debounced_any_more(self, store):
        """Also if it is retried: then it is due at once, beside the next one."""
        first = await self.add_one(store, debounced(1))
        await store.cancel(first.id)
        second = await self.add_one(store, debounced(2))
        assert second.id != first.id
        retried = await store.retry(first.id)
        assert retried.status is TaskStatus.PENDING
        third = await self.add_one(store, debounced(3))
        assert (third.id, third.debounced) == (second.id, 1)
        await store.cancel(second.id)
        fourth = await self.add_one(store, debounced(4))
        assert fourth.id not in (first.id, second.id)

    async def test_kinds_of_keys_are_separate(self, store):
        """A unique key and a debounce key with the same text do not meet."""
        first, second = await store.add([unique(1), debounced(2)])
        assert first.id != second.id
        assert second.existing is UNSET

    async def test_replaced_tasks_are_announced(self, store, node):
        """A node that waits for a later task is woken if it is due sooner now."""
        await self.add_one(store, debounced(1))
        assert await store.claim(node, limit=1) == []
        woken = trio.Event()

        async def wait() -> None:
            await store.wait_for_work()
            woken.set()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.lowlevel.checkpoint()
                await self.add_one(store, debounced(2, 0.001))
                await woken.wait()
