"""What every store has to keep of order keys."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

import msgspec
import pytest
import trio

from taskflow.model.errors import IllegalMove
from taskflow.model.filter import TaskFilter
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import OnFailure, WaitReason
from taskflow.model.outcome import ErrorType
from taskflow.model.schedule import ScheduleDefinition, Timing
from taskflow.model.task import Claim, NewTask, Task, TaskStatus
from taskflow.model.uniqueness import Unique
from taskflow.store.base.claims import Release, Retry
from taskflow.store.base.store import TaskStore
from tests.store.contract import NodeTaker, StoreContract, completed, failed, new_task

OVER = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def ordered(key: str = "k", on_failure: OnFailure = OnFailure.CONTINUE, **fields) -> NewTask:
    return new_task(order_key=key, on_failure=on_failure, **fields)


def holding(**fields) -> NewTask:
    return ordered(on_failure=OnFailure.HOLD, **fields)


def ids_of(tasks: Iterable[Task]) -> list[uuid.UUID]:
    return [task.id for task in tasks]


class OrderContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def claims(self, store: TaskStore, node: uuid.UUID) -> list[Claim]:
        """Claim all tasks that can start, once the keys that are free have started theirs."""
        await store.promote()
        return await store.claim(node, limit=100)

    async def claimed(self, store: TaskStore, node: uuid.UUID) -> list[uuid.UUID]:
        return [claim.task_id for claim in await self.claims(store, node)]

    async def finish(self, store: TaskStore, node: uuid.UUID, task: Task, end=completed) -> None:
        """Claim and finish a task, which must be the only one that can start."""
        [claim] = await self.claims(store, node)
        assert claim.task_id == task.id
        assert await store.settle([end(claim)]) == {task.id}

    async def shown(self, store: TaskStore, task: Task) -> Task:
        found = await store.get(task.id)
        assert found is not None
        return found

    async def test_tasks_of_a_key_run_one_at_a_time_in_order(self, store, node):
        """The position in an array counts, and so does the order of submissions."""
        tasks = await store.add([ordered() for _ in range(3)])
        tasks += await store.add([ordered()])
        for task in tasks:
            await self.finish(store, node, task)
        assert await self.claims(store, node) == []

    async def test_keys_and_queues_are_independent(self, store, node):
        """Other keys, the same key in another queue, and tasks without a key do not wait."""
        new = [ordered("a"), ordered("a"), ordered("b"), ordered("a", queue="mail"), new_task()]
        tasks = await store.add(new)
        free = ids_of(task for index, task in enumerate(tasks) if index != 1)
        assert sorted(await self.claimed(store, node)) == sorted(free)

    async def test_a_task_that_waits_says_for_which(self, store, node):
        """It has no due time, and names the task directly ahead; the first one waits for none."""
        first, second, third = await store.add([ordered() for _ in range(3)])
        assert first.run_at is None
        assert first.waiting_for is not None
        assert (first.waiting_for.reason, first.waiting_for.task_id) == (WaitReason.ORDER_KEY, None)
        assert (first.order_key, first.on_failure) == ("k", OnFailure.CONTINUE)
        await store.promote()
        page = {task.id: task for task in (await store.page(limit=10)).tasks}
        for task, ahead in ((second, first), (third, second)):
            for shown in (await self.shown(store, task), page[task.id]):
                assert (shown.status, shown.run_at) == (TaskStatus.PENDING, None)
                assert shown.waiting_for is not None
                assert shown.waiting_for.task_id == ahead.id
        found = await self.shown(store, first)
        assert found.waiting_for is None
        assert found.run_at is not None

    async def test_an_idle_node_does_not_take_it_directly(self, store, node):
        """A task with an order key is not claimed as it is stored, whatever waits before it."""
        taker = NodeTaker(node, room=9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.wait, store)
            await trio.testing.wait_all_tasks_blocked(0.05)
            tasks = await store.add([ordered(), ordered()])
            assert taker.claims == []
            await store.promote()
            nursery.cancel_scope.cancel()
        assert await self.claimed(store, node) == [tasks[0].id]

    async def test_a_task_that_is_started_announces_itself(self, store, node):
        """A node that waits for work is woken when the task ahead has finished."""
        first, second = await store.add([ordered(), ordered()])
        [claim] = await self.claims(store, node)
        with trio.move_on_after(0.2):
            await store.wait_for_work()
        await store.settle([completed(claim)])
        with trio.fail_after(60):
            while (found := await store.claim(node, limit=9)) == []:
                await store.wait_for_work()
        assert (claim.task_id, [one.task_id for one in found]) == (first.id, [second.id])

    async def test_a_retry_keeps_the_key(self, store, node):
        """While the active task waits for its next attempt, none behind it starts."""
        first, second = await store.add([ordered(max_attempts=2), ordered()])
        [claim] = await self.claims(store, node)
        await store.schedule_retries(
            [Retry(claim.task_id, claim.token, 3600.0, "e", ErrorType.DNS)]
        )
        assert await self.claims(store, node) == []
        found = await self.shown(store, first)
        assert (found.waiting_for, found.run_at is None) == (None, False)
        await store.cancel(first.id)
        await self.finish(store, node, second)

    async def test_a_release_keeps_the_key(self, store, node):
        """An interrupted attempt is made again before the next task starts."""
        first, second = await store.add([ordered(), ordered()])
        [claim] = await self.claims(store, node)
        await store.release([Release(claim.task_id, claim.token)])
        for task in (first, second):
            await self.finish(store, node, task)

    @pytest.mark.parametrize("max_rescues", [5, 1])
    async def test_a_rescue_keeps_the_key(self, store, max_rescues):
        """The task of a dead node runs again before the next one, unless it is poison."""
        tasks = await store.add([ordered(), ordered()])
        await store.promote()
        await self.claim_and_die(store)
        rescued = await self.rescued(store, max_rescues=max_rescues)
        assert rescued.pending + rescued.poisoned == [tasks[0].id]
        node = await store.register("here", lease_seconds=30)
        assert await self.claimed(store, node) == [tasks[max_rescues == 1].id]

    @pytest.mark.parametrize("end", [completed, failed])
    async def test_a_finished_task_frees_the_key(self, store, node, end):
        """With on_failure continue a failure does, too."""
        for task in await store.add([ordered() for _ in range(3)]):
            await self.finish(store, node, task, end)

    async def test_a_failure_can_hold_the_key(self, store, node):
        """No task of the key starts, new ones neither, and the next one says why."""
        first, second = await store.add([holding(), ordered()])
        await self.finish(store, node, first, failed)
        await store.add([ordered(), ordered("other")])
        [claim] = await self.claims(store, node)
        shown = await self.shown(store, second)
        assert shown.waiting_for is not None
        assert shown.waiting_for.task_id == first.id
        assert "failed and holds the order key" in shown.waiting_for.detail
        assert (await self.shown(store, first)).holds_key
        assert claim.task_id not in (first.id, second.id)

    async def test_a_success_does_not_hold_the_key(self, store, node):
        """on_failure hold is about failures."""
        for task in await store.add([holding(), holding()]):
            await self.finish(store, node, task)

    async def test_a_skipped_task_frees_the_key(self, store, node):
        """It stays FAILED, and its on_failure is continue; it cannot be skipped again."""
        first, second = await store.add([holding(), ordered()])
        await self.finish(store, node, first, failed)
        skipped = await store.skip(first.id)
        assert (skipped.status, skipped.on_failure) == (TaskStatus.FAILED, OnFailure.CONTINUE)
        with pytest.raises(IllegalMove, match="does not hold an order key"):
            await store.skip(first.id)
        await self.finish(store, node, second)

    async def test_only_a_task_that_holds_its_key_can_be_skipped(self, store, node):
        """The error says which tasks can be; an unknown task is none."""
        [task] = await store.add([holding()])
        with pytest.raises(IllegalMove, match="cannot skip a task that is PENDING"):
            await store.skip(task.id)
        await self.finish(store, node, task)
        with pytest.raises(IllegalMove, match="cannot skip a task that is COMPLETED"):
            await store.skip(task.id)
        assert await store.skip(uuid.uuid4()) is None

    async def test_a_canceled_holder_frees_the_key(self, store, node):
        """The FAILED task becomes CANCELED, keeps its attempt, and can be retried."""
        first, second = await store.add([holding(), ordered()])
        await self.finish(store, node, first, failed)
        canceled = await store.cancel(first.id)
        assert canceled.status is TaskStatus.CANCELED
        assert [one.status.value for one in await store.attempts(first.id)] == ["FAILED"]
        await self.finish(store, node, second)
        await store.retry(first.id)
        assert [one.status.value for one in await store.attempts(first.id)] == ["FAILED"]
        await self.finish(store, node, first)

    async def test_other_failed_tasks_cannot_be_canceled(self, store, node):
        """Neither without a key, nor with on_failure continue; and no bulk action cancels any."""
        for new in (new_task(), ordered()):
            [task] = await store.add([new])
            await self.finish(store, node, task, failed)
            with pytest.raises(IllegalMove, match="cannot cancel a task that is FAILED"):
                await store.cancel(task.id)
        [holder] = await store.add([holding()])
        await self.finish(store, node, holder, failed)
        assert await store.cancel_many([holder.id]) == set()

    async def test_a_retried_holder_runs_before_all_behind_it(self, store, node):
        """It keeps its position."""
        first, second = await store.add([holding(), ordered()])
        await self.finish(store, node, first, failed)
        retried = await store.retry(first.id)
        assert retried.status is TaskStatus.PENDING
        for task in (first, second):
            await self.finish(store, node, task)

    async def test_a_retried_task_waits_for_the_active_one(self, store, node):
        """It was finished, and a later one runs: it starts next, before those behind."""
        first, second, third = await store.add([ordered() for _ in range(3)])
        await self.finish(store, node, first, failed)
        [claim] = await self.claims(store, node)
        assert await store.retry_many([first.id]) == {first.id}
        assert await self.claims(store, node) == []
        for task, ahead in ((first, second), (third, first)):
            shown = await self.shown(store, task)
            assert shown.waiting_for is not None
            assert (shown.run_at, shown.waiting_for.task_id) == (None, ahead.id)
        await store.settle([completed(claim)])
        for task in (first, third):
            await self.finish(store, node, task)

    async def test_a_deleted_holder_frees_the_key(self, store, node):
        """One task, or many."""
        first, second, third = await store.add([holding(), holding(), ordered()])
        await self.finish(store, node, first, failed)
        assert await store.delete(first.id)
        await self.finish(store, node, second, failed)
        assert await store.delete_many([second.id]) == {second.id}
        await self.finish(store, node, third)

    async def test_a_holder_is_kept(self, store, node):
        """Retention does not delete a task that holds its key, however old it is."""
        first, second = await store.add([holding(retention_seconds=0.0), holding()])
        await self.finish(store, node, first, failed)
        assert await store.delete_finished(age_seconds=-1.0, limit=10) == 0
        await store.skip(first.id)
        await self.finish(store, node, second, failed)
        assert await store.delete_finished(age_seconds=-1.0, limit=10) == 1
        assert (await self.shown(store, second)).holds_key

    async def test_a_waiting_task_can_be_canceled(self, store, node):
        """Those behind it wait for the one before it; a canceled task was never due."""
        first, second, third = await store.add([ordered() for _ in range(3)])
        await store.promote()
        canceled = await store.cancel(second.id)
        assert (canceled.status, canceled.run_at) == (TaskStatus.CANCELED, None)
        assert canceled.waiting_for is None
        shown = await self.shown(store, third)
        assert shown.waiting_for is not None
        assert shown.waiting_for.task_id == first.id
        for task in (first, third):
            await self.finish(store, node, task)

    async def test_a_canceled_active_task_frees_the_key(self, store, node):
        """While it runs, and many at once."""
        tasks = await store.add([ordered() for _ in range(4)])
        assert await self.claimed(store, node) == [tasks[0].id]
        await store.cancel(tasks[0].id)
        assert await self.claimed(store, node) == [tasks[1].id]
        assert len(await store.cancel_many(ids_of(tasks[1:3]))) == 2
        await self.finish(store, node, tasks[3])

    @pytest.mark.parametrize("on_failure", OnFailure)
    async def test_an_expired_task_is_a_failure(self, store, node, on_failure):
        """In its turn it frees the key or holds it; before its turn it delays no one ahead."""
        first, second, third = await store.add(
            [ordered(), ordered(on_failure=on_failure, expires_at=OVER), ordered()]
        )
        assert await store.expire(limit=10) == 1
        await self.finish(store, node, first)
        if on_failure is OnFailure.HOLD:
            assert await self.claims(store, node) == []
            await store.skip(second.id)
        await self.finish(store, node, third)

    async def test_a_started_task_that_expires_frees_the_key(self, store, node):
        """It was started, and expired before it was claimed."""
        first, second = await store.add([ordered(expires_at=OVER), ordered()])
        await store.promote()
        assert await store.claim(node, limit=9) == []
        assert await store.expire(limit=10) == 1
        assert (await self.shown(store, first)).status is TaskStatus.FAILED
        await self.finish(store, node, second)

    async def test_tasks_are_found_by_order_key(self, store, node):
        """With other filters and without, newest first, page by page."""
        await store.add([new_task(), ordered("other")])
        tasks = await store.add([ordered() for _ in range(5)] + [ordered(queue="mail")])
        await self.finish_first_of_each(store, node)
        pages, before = [], None
        while True:
            found = await store.page(limit=4, before=before, filter=TaskFilter(order_key="k"))
            pages += ids_of(found.tasks)
            before = found.next_before
            if before is None:
                break
        assert pages == ids_of(reversed(tasks))
        for wanted, expected in (
            (TaskFilter(order_key="k", queue="mail"), tasks[5:]),
            (TaskFilter(order_key="k", statuses=(TaskStatus.COMPLETED,)), [tasks[5], tasks[0]]),
            (TaskFilter(order_key="none"), []),
        ):
            found = await store.page(limit=9, filter=wanted)
            assert ids_of(found.tasks) == ids_of(expected)

    async def finish_first_of_each(self, store: TaskStore, node: uuid.UUID) -> None:
        await store.settle([completed(claim) for claim in await self.claims(store, node)])

    async def test_tasks_of_a_schedule(self, store, node):
        """They have the order key of its template."""
        timing = Timing(every_seconds=3600.0)
        task = msgspec.Raw(b'{"payload": 1, "order_key": "k"}')
        definition = ScheduleDefinition(name="s", timing=timing, task=task, template=ordered())
        await store.schedules.put(definition)
        for task in [await store.schedules.run_now("s") for _ in range(2)]:
            assert (task.order_key, task.run_at) == ("k", None)
            await self.finish(store, node, task)

    async def test_beside_unique_keys(self, store, node):
        """In a request with tasks that have unique keys, the others keep their order."""
        unique = TaskOptions(unique=Unique("z"))
        new = [ordered(), new_task(options=unique), ordered(), new_task(), holding()]
        tasks = await store.add(new)
        assert [task.run_at is None for task in tasks] == [True, False, True, False, True]
        claims = await self.claims(store, node)
        assert {claim.task_id for claim in claims} == {tasks[0].id, tasks[1].id, tasks[3].id}
        await store.settle([completed(claim) for claim in claims])
        for task in (tasks[2], tasks[4]):
            await self.finish(store, node, task, failed)
        assert (await self.shown(store, tasks[4])).holds_key

    async def test_many_keys_at_once(self, store, node):
        """More keys than one batch starts: each goes on by itself, and in its order."""
        keys, each = 700, 2
        tasks = await store.add([ordered(f"{n}") for _ in range(each) for n in range(keys)])
        for turn in range(each):
            await store.promote()
            claims = await store.claim(node, limit=keys * each)
            expected = ids_of(tasks[turn * keys : (turn + 1) * keys])
            assert sorted(claim.task_id for claim in claims) == sorted(expected)
            await store.settle([completed(claim) for claim in claims])
        assert await store.count_pending(limit=1) == 0
