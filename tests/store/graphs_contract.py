"""What every store has to keep of tasks with parents."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec
import pytest
import trio

from taskflow.model import graphs
from taskflow.model.errors import Unprocessable
from taskflow.model.filter import TaskFilter
from taskflow.model.groups import NewGroup
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import WaitReason
from taskflow.model.outcome import ErrorType
from taskflow.model.parents import OnParentFailure
from taskflow.model.task import Claim, IdempotencyKey, NewTask, Task, TaskStatus
from taskflow.store.base.claims import Release
from taskflow.store.base.listing import ParentResult
from taskflow.store.base.store import TaskStore
from tests.store.contract import NodeTaker, StoreContract, completed, failed, new_task

KEY = IdempotencyKey("k", b"f", 60.0)
UNKNOWN = uuid.UUID(int=7)


def node_of(
    name: str | None = None,
    *after: object,
    on_parent_failure: OnParentFailure = OnParentFailure.CANCEL,
    **fields,
) -> NewTask:
    """A task of a graph: its name, and its parents by name or id."""
    options = TaskOptions(
        name=name,
        on_parent_failure=on_parent_failure if after else None,
        delay_after_parents=fields.get("delay_seconds") if after else None,
        callback_url=fields.pop("callback_url", None),
    )
    return new_task(after=tuple(map(str, after)), options=options, **fields)


def ids_of(tasks: Iterable[Task]) -> list[uuid.UUID]:
    return [task.id for task in tasks]


class GraphContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def ready(self, store: TaskStore, node: uuid.UUID) -> list[Claim]:
        """Claim all tasks whose parents have finished."""
        await store.promote()
        return await store.claim(node, limit=200)

    async def ready_ids(self, store: TaskStore, node: uuid.UUID) -> list[uuid.UUID]:
        return [claim.task_id for claim in await self.ready(store, node)]

    async def settle_all(self, store: TaskStore, claims: Iterable[Claim], end=completed) -> None:
        await store.settle([end(claim) for claim in claims])
        await store.promote()

    async def task_now(self, store: TaskStore, task: Task) -> Task:
        found = await store.get(task.id)
        assert found is not None
        return found

    async def statuses(self, store: TaskStore, tasks: Iterable[Task]) -> list[str]:
        return [(await self.task_now(store, task)).status.value for task in tasks]

    async def test_a_chain_runs_in_order(self, store, node):
        """Wherever its tasks are in the array, each starts when its parent has finished."""
        new = [node_of("c", "b"), node_of("a"), node_of("b", "a")]
        last, first, middle = await store.add(new)
        for task in (first, middle, last):
            claims = await self.ready(store, node)
            assert [claim.task_id for claim in claims] == [task.id]
            await self.settle_all(store, claims)
        assert await self.ready(store, node) == []

    async def test_a_task_that_waits_says_for_which(self, store, node):
        """It has no due time, names the first of its open parents, and shows all of them."""
        one, two, child = await store.add([node_of("1"), node_of("2"), node_of("3", "2", "1")])
        assert (child.name, child.after, child.run_at) == ("3", (one.id, two.id), None)
        assert (child.on_parent_failure, one.after) == (OnParentFailure.CANCEL, None)
        assert child.waiting_for is not None
        assert (child.waiting_for.reason, child.waiting_for.task_id) == (WaitReason.PARENTS, None)
        claims = await self.ready(store, node)
        page = {task.id: task for task in (await store.page(limit=9)).tasks}
        for shown in (await self.task_now(store, child), page[child.id]):
            assert (shown.after, shown.run_at) == ((one.id, two.id), None)
            assert shown.waiting_for is not None
            assert shown.waiting_for.task_id == one.id
            assert shown.waiting_for.detail == "2 parents have not finished"
        [first] = [claim for claim in claims if claim.task_id == one.id]
        await self.settle_all(store, [first])
        shown = await self.task_now(store, child)
        assert shown.waiting_for is not None
        assert (shown.waiting_for.task_id, shown.waiting_for.detail) == (
            two.id,
            "a parent has not finished",
        )
        await self.settle_all(store, [claim for claim in claims if claim is not first])
        shown = await self.task_now(store, child)
        assert shown.waiting_for is None
        assert shown.run_at is not None
        assert shown.after == (one.id, two.id)

    async def test_parents_that_exist(self, store, node):
        """A parent by its id may be pending, running or finished, or a task with parents itself."""
        finished, running, pending = await store.add([new_task(priority=n) for n in (2, 1, 0)])
        claims = await store.claim(node, limit=2)
        await store.settle([completed(claims[0])])
        children = await store.add([node_of(None, one.id) for one in (finished, running, pending)])
        [grandchild] = await store.add([node_of(None, children[0].id, pending.id)])
        ready = await self.ready(store, node)
        assert {one.task_id for one in ready} == {pending.id, children[0].id}
        await self.settle_all(store, [claims[1], *ready])
        assert set(await self.ready_ids(store, node)) == {
            children[1].id,
            children[2].id,
            grandchild.id,
        }

    async def test_a_task_with_many_children_and_one_with_many_parents(self, store, node):
        """All children start; the last end of many parents starts their child."""
        leaves = [node_of(f"l{n}", "root") for n in range(60)]
        last = node_of(None, *(f"l{n}" for n in range(60)))
        root, *children, end = await store.add([node_of("root"), *leaves, last])
        await self.settle_all(store, await self.ready(store, node))
        claims = await self.ready(store, node)
        assert {claim.task_id for claim in claims} == set(ids_of(children))
        await self.settle_all(store, claims[:-1])
        assert await self.ready(store, node) == []
        await self.settle_all(store, claims[-1:])
        assert await self.ready_ids(store, node) == [end.id]
        found = await store.page(limit=100, filter=TaskFilter(parent=root.id))
        assert ids_of(found.tasks) == ids_of(reversed(children))
        narrow = TaskFilter(parent=root.id, statuses=(TaskStatus.COMPLETED,))
        assert len((await store.page(limit=20, filter=narrow)).tasks) == 20
        assert (await store.page(limit=9, filter=TaskFilter(parent=end.id))).tasks == []

    async def test_a_failed_parent_cancels_its_descendants(self, store, node):
        """At once, whatever their other parents do; others are not concerned."""
        new = [
            node_of("bad"),
            node_of("good"),
            node_of("child", "bad", "good"),
            node_of("grandchild", "child"),
            node_of("other", "good"),
        ]
        bad, good, child, grandchild, other = await store.add(new)
        claims = {claim.task_id: claim for claim in await self.ready(store, node)}
        await self.settle_all(store, [claims[bad.id]], failed)
        assert await self.statuses(store, [child, grandchild]) == ["CANCELED", "CANCELED"]
        shown = await self.task_now(store, child)
        assert shown.error == f"parent failed: the task {bad.id} is FAILED"
        assert (shown.error_type, shown.waiting_for) == (ErrorType.PARENT_FAILED, None)
        assert (await self.task_now(store, grandchild)).error.endswith(f"{child.id} is CANCELED")
        await self.settle_all(store, [claims[good.id]])
        assert await self.ready_ids(store, node) == [other.id]

    async def test_a_task_may_fail_with_its_parent(self, store, node):
        """Its own children see a failure, and one of them runs nevertheless."""
        new = [
            node_of("a"),
            node_of("b", "a", on_parent_failure=OnParentFailure.FAIL),
            node_of("c", "b", on_parent_failure=OnParentFailure.RUN),
        ]
        first, child, last = await store.add(new)
        await store.cancel(first.id)
        assert await self.ready_ids(store, node) == [last.id]
        shown = await self.task_now(store, child)
        assert (shown.status, shown.error_type) == (TaskStatus.FAILED, ErrorType.PARENT_FAILED)
        assert shown.error == f"parent failed: the task {first.id} is CANCELED"
        assert await store.attempts(child.id) == []

    async def test_a_task_may_run_whatever_its_parents_do(self, store, node):
        """It waits for all of them, failed or not."""
        run = OnParentFailure.RUN
        new = [node_of("a"), node_of("b"), node_of("c", "a", "b", on_parent_failure=run)]
        *_, child = await store.add(new)
        one, two = await self.ready(store, node)
        await self.settle_all(store, [one], failed)
        assert await self.ready(store, node) == []
        await self.settle_all(store, [two])
        assert await self.ready_ids(store, node) == [child.id]

    async def test_a_canceled_child_frees_nothing(self, store, node):
        """A client cancels a task that waits; the end of its parent changes nothing then."""
        parent, child, last = await store.add([node_of("a"), node_of("b", "a"), node_of("c", "b")])
        canceled = await store.cancel(child.id)
        assert canceled is not None
        assert (canceled.status, canceled.error) == (TaskStatus.CANCELED, "")
        await self.settle_all(store, await self.ready(store, node))
        assert await self.statuses(store, [parent, child, last]) == [
            "COMPLETED",
            "CANCELED",
            "CANCELED",
        ]

    async def test_attempts_between(self, store, node):
        """Neither a release nor a rescue of a parent starts its child."""
        _, child = await store.add([node_of("a"), node_of("b", "a")])
        [claim] = await self.ready(store, node)
        await store.release([Release(claim.task_id, claim.token)])
        await self.claim_and_die(store)
        await self.rescued(store)
        claims = await self.ready(store, node)
        assert [one.task_id for one in claims] == [claim.task_id]
        await self.settle_all(store, claims)
        assert await self.ready_ids(store, node) == [child.id]

    async def test_a_poisoned_parent_is_a_failure(self, store):
        """Its child is canceled."""
        _, child = await store.add([node_of("a"), node_of("b", "a")])
        await self.claim_and_die(store)
        await self.rescued(store, max_rescues=1)
        await store.promote()
        assert await self.statuses(store, [child]) == ["CANCELED"]

    async def test_the_delay_counts_from_the_end_of_the_parents(self, store, node):
        """A task with a delay is due that long after its last parent."""
        _, child = await store.add([node_of("a"), node_of("b", "a", delay_seconds=3600.0)])
        await self.settle_all(store, await self.ready(store, node))
        assert await self.ready(store, node) == []
        shown, parent = await self.task_now(store, child), (await store.page(limit=2)).tasks[-1]
        assert shown.run_at is not None
        assert parent.finished_at is not None
        assert 3599 < (shown.run_at - parent.finished_at).total_seconds() < 3700

    async def test_a_retried_parent_does_not_revive_its_children(self, store, node):
        """A child that is retried, too, waits for it again."""
        parent, child = await store.add([node_of("a"), node_of("b", "a")])
        await self.settle_all(store, await self.ready(store, node), failed)
        await store.retry(parent.id)
        assert await self.statuses(store, [child]) == ["CANCELED"]
        retried = await store.retry(child.id)
        assert retried is not None
        assert retried.waiting_for is not None
        claims = await self.ready(store, node)
        assert [claim.task_id for claim in claims] == [parent.id]
        await self.settle_all(store, claims)
        assert await self.ready_ids(store, node) == [child.id]

    async def test_a_retried_child_runs_if_its_parents_have_finished(self, store, node):
        """However they did: a client decides so. It does not wait for its delay again."""
        parent, child = await store.add([node_of("a"), node_of("b", "a", delay_seconds=3600.0)])
        await self.settle_all(store, await self.ready(store, node), failed)
        assert await store.retry_many([child.id]) == {child.id}
        assert await self.ready_ids(store, node) == [child.id]
        assert await self.statuses(store, [parent]) == ["FAILED"]

    async def test_a_parent_that_is_retried_before_its_end_counts(self, store, node):
        """Several parents of a child fail and are retried: each counts once."""
        new = [node_of("a"), node_of("b"), node_of("c", "a", "b")]
        first, second, child = await store.add(new)
        claims = await self.ready(store, node)
        await self.settle_all(store, claims, failed)
        await store.retry_many([first.id, second.id, child.id])
        again = await self.ready(store, node)
        assert {claim.task_id for claim in again} == {first.id, second.id}
        await self.settle_all(store, again[:1])
        assert await self.ready(store, node) == []
        await self.settle_all(store, again[1:])
        assert await self.ready_ids(store, node) == [child.id]

    async def test_an_idle_node_does_not_take_it_directly(self, store, node):
        """Only tasks without parents are claimed as they are stored."""
        taker = NodeTaker(node, room=9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.wait, store)
            await trio.testing.wait_all_tasks_blocked(0.05)
            tasks = await store.add([node_of("a"), node_of("b", "a")])
            assert [claim.task_id for claim in taker.claims] == [tasks[0].id]
            nursery.cancel_scope.cancel()
        await self.settle_all(store, taker.claims)
        assert await self.ready_ids(store, node) == [tasks[1].id]

    async def test_a_task_that_is_started_announces_itself(self, store, node):
        """A node that waits for work is woken when the last parent has finished."""
        _, child = await store.add([node_of("a"), node_of("b", "a")])
        claims = await self.ready(store, node)
        with trio.move_on_after(0.2):
            await store.wait_for_work()
        await store.settle([completed(claim) for claim in claims])
        with trio.fail_after(60):
            while (found := await store.claim(node, limit=9)) == []:
                await store.wait_for_work()
        assert [one.task_id for one in found] == [child.id]

    async def test_unknown_parents(self, store, node):
        """Nothing is stored, and the places are named; in a stream, the others are stored."""
        with pytest.raises(Unprocessable) as caught:
            await store.add([node_of("a"), node_of("b", "a", UNKNOWN)])
        assert [error.pointer for error in caught.value.errors] == ["#/1/after/1"]
        assert str(caught.value) == f"no task has the id {UNKNOWN}"
        with pytest.raises(Unprocessable) as caught:
            await store.add_once([node_of(None, UNKNOWN)], KEY)
        assert [error.pointer for error in caught.value.errors] == ["#/after/0"]
        with pytest.raises(Unprocessable) as caught:
            await store.groups.add(NewGroup(), [node_of(None, UNKNOWN)])
        assert [error.pointer for error in caught.value.errors] == ["#/tasks/0/after/0"]
        assert (await store.page(limit=9)).tasks == []
        assert (await store.groups.page(limit=9)).groups == []
        [parent] = await store.add([new_task()])
        refused, added = await store.add_each([node_of(None, UNKNOWN), node_of(None, parent.id)])
        assert isinstance(refused, Unprocessable)
        assert isinstance(added, Task)
        await self.settle_all(store, await self.ready(store, node))
        assert await self.ready_ids(store, node) == [added.id]

    async def test_once_for_each_key(self, store, node):
        """A replay returns the tasks with their parents, also if these were deleted since."""
        [parent] = await store.add([new_task()])
        new = [node_of("a", parent.id), node_of("b", "a")]
        first = await store.add_once(new, KEY)
        await self.settle_all(store, await self.ready(store, node))
        assert await store.delete(parent.id)
        again = await store.add_once(new, KEY)
        assert again.is_replay
        assert [task.after for task in again.tasks] == [task.after for task in first.tasks]

    async def test_a_parent_that_is_deleted(self, store, node):
        """Its end counts nevertheless, and its children show its id."""
        parent, child = await store.add([node_of("a"), node_of("b", "a")])
        await store.settle([completed(one) for one in await self.ready(store, node)])
        assert await store.delete(parent.id)
        assert await self.ready_ids(store, node) == [child.id]
        assert (await self.task_now(store, child)).after == (parent.id,)

    async def test_a_parent_is_kept_while_its_children_need_it(self, store, node):
        """Retention leaves a finished task until its children have finished."""
        parent, _ = await store.add([node_of("a", retention_seconds=0.0), node_of("b", "a")])
        await self.settle_all(store, await self.ready(store, node))
        assert await store.delete_finished(age_seconds=0.0, limit=9) == 0
        await self.settle_all(store, await self.ready(store, node))
        assert await store.delete_finished(age_seconds=None, limit=9) == 1
        assert await store.get(parent.id) is None

    async def test_a_child_in_a_group(self, store, node):
        """A member that is canceled because of its parent counts, and completes the group."""
        added = await store.groups.add(NewGroup(is_open=False), [node_of("a"), node_of("b", "a")])
        assert added.group is not None
        await self.settle_all(store, await self.ready(store, node), failed)
        shown = await store.groups.get(added.group.id)
        assert shown is not None
        assert (shown.status.value, shown.counts.FAILED, shown.counts.CANCELED) == (
            "COMPLETED",
            1,
            1,
        )

    async def test_callbacks_of_children(self, store, node):
        """The body of a callback is the task to the byte, also if it never became due."""
        url = "http://example.com/finished"
        new = [
            node_of("a"),
            node_of("b", "a", callback_url=url, delay_seconds=60.0),
            node_of("c", "a", "b", callback_url=url, on_parent_failure=OnParentFailure.FAIL),
        ]
        _, *children = await store.add(new)
        await self.settle_all(store, await self.ready(store, node), failed)
        for child in children:
            ended = await self.task_now(store, child)
            assert ended.run_at is None
            assert ended.callback_id is not None
            [callback] = await store.get_many([ended.callback_id])
            request = msgspec.json.decode(callback.payload, type=dict[str, msgspec.Raw])
            assert bytes(request["body"]) == msgspec.json.encode(ended)

    async def test_results_of_parents(self, store, node):
        """By the name or the id that a child gives, up to a size; other tasks are no parents."""
        parent, child, other = await store.add([node_of("a"), node_of("b", "a"), node_of("c")])
        [late] = await store.add([node_of(None, parent.id)])
        claims = await store.claim(node, limit=1)
        assert await store.parent_result(child.id, "a", max_bytes=99) == ParentResult(
            parent.id, None
        )
        await store.settle([completed(claim, b'{"a": 1}') for claim in claims])
        expected = ParentResult(parent.id, b'{"a": 1}')
        assert await store.parent_result(child.id, "a", max_bytes=8) == expected
        for name in (str(parent.id), str(parent.id).upper()):
            assert await store.parent_result(late.id, name, max_bytes=8) == expected
        too_large = ParentResult(parent.id, None, is_too_large=True)
        assert await store.parent_result(child.id, "a", max_bytes=7) == too_large
        for task, name in ((child, "c"), (late, "a"), (other, "a"), (child, str(other.id))):
            assert await store.parent_result(task.id, name, max_bytes=8) is None
        assert await store.delete(parent.id)
        assert await store.parent_result(child.id, "a", max_bytes=8) is None

    async def test_a_task_has_limited_children(self, store, node, monkeypatch):
        """As many tasks as are allowed can have the same parent; it starts all of them."""
        monkeypatch.setattr(graphs, "MAX_CHILDREN", 20)
        [parent] = await store.add([new_task()])
        added = await store.add([node_of(None, parent.id) for _ in range(19)])
        with pytest.raises(Unprocessable, match="cannot have more"):
            await store.add([node_of(None, parent.id) for _ in range(2)])
        added += await store.add([node_of(None, parent.id)])
        await self.settle_all(store, await self.ready(store, node))
        assert len(await self.ready(store, node)) == len(added) == 20
