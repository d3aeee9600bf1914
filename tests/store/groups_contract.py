"""What every store has to keep of groups."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec
import pytest

from taskflow.model.errors import GroupClosed, IllegalMove, Unprocessable
from taskflow.model.event import EventFilter
from taskflow.model.filter import TaskFilter
from taskflow.model.groups import (
    Group,
    GroupCounts,
    GroupFilter,
    GroupStatus,
    NewGroup,
    OnMemberFailure,
)
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import Claim, IdempotencyKey, Task, TaskStatus
from taskflow.store.base.claims import Retry
from taskflow.store.base.store import TaskStore
from taskflow.store.memory import groups as memory_groups
from taskflow.store.postgres import groups as postgres_groups
from tests.store.contract import StoreContract, completed, failed, new_task, released

TEMPLATE = '{"url":"http://example.com/done","method":"POST"}'
ON_COMPLETE = msgspec.Raw(b'{"payload":"http://example.com/done"}')


def completing(**fields) -> NewGroup:
    """A group with a completion task."""
    return NewGroup(on_complete=ON_COMPLETE, completion=new_task(TEMPLATE, queue="done"), **fields)


class GroupContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def add_group(self, store: TaskStore, new: NewGroup, members: int = 0) -> Group:
        added = await store.groups.add(new, [new_task() for _ in range(members)])
        assert added.group is not None
        return added.group

    async def group_now(self, store: TaskStore, group: Group) -> Group:
        found = await store.groups.get(group.id)
        assert found is not None
        return found

    async def members_of(self, store: TaskStore, group: Group) -> list[Task]:
        """The oldest first."""
        page = await store.page(limit=1000, filter=TaskFilter(group=group.id))
        return page.tasks[::-1]

    async def completion_tasks(self, store: TaskStore) -> list[Task]:
        return (await store.page(limit=100, filter=TaskFilter(queue="done"))).tasks

    async def claim_members(self, store: TaskStore, node: uuid.UUID) -> list[Claim]:
        """Claim all members that are due, but no completion task."""
        claims = await store.claim(node, limit=100)
        assert all(claim.queue != "done" for claim in claims)
        return claims

    async def finish_members(
        self, store: TaskStore, node: uuid.UUID, end=completed
    ) -> Sequence[Claim]:
        claims = await self.claim_members(store, node)
        await store.settle([end(claim) for claim in claims])
        await store.groups.cancel_rest()
        return claims

    async def test_a_group_completes_when_its_last_member_finishes(self, store, node):
        """Its completion task is created in that moment, with the counts as its body."""
        new = completing(name="import 7", tags={"customer": 42})
        group = await self.add_group(store, new)
        assert (group.status, group.counts.total) == (GroupStatus.OPEN, 0)
        tasks = await store.add([new_task(group=group.id) for _ in range(2)])
        assert {task.group for task in tasks} == {group.id}
        first, second = await self.claim_members(store, node)
        await store.settle([completed(first)])
        closed = await store.groups.close(group.id)
        assert closed.status is GroupStatus.CLOSED
        assert closed.counts == GroupCounts(RUNNING=1, COMPLETED=1)
        assert await self.completion_tasks(store) == []
        await store.settle([failed(second)])
        shown = await self.group_now(store, group)
        assert (shown.status, shown.completions) == (GroupStatus.COMPLETED, 1)
        assert shown.counts == GroupCounts(COMPLETED=1, FAILED=1)
        [failure] = shown.first_failures
        assert failure.task_id == second.task_id
        assert (failure.error, failure.error_type) == ("it failed", ErrorType.TIMEOUT)
        [task] = await self.completion_tasks(store)
        assert (task.id, task.completion_of) == (shown.completion_task_id, group.id)
        payload = msgspec.json.decode(task.payload)
        assert payload["url"] == "http://example.com/done"
        assert payload["body"]["counts"] == msgspec.to_builtins(shown.counts)
        about = payload["body"]["group"]
        assert list(about) == [
            *("id", "name", "queue", "status", "tags"),
            *("created_at", "closed_at", "finished_at", "completions"),
        ]
        known = msgspec.json.decode(msgspec.json.encode(shown))
        assert {name: about[name] for name in about if not name.endswith("_at")} == {
            name: known[name] for name in about if not name.endswith("_at")
        }
        [claim] = await store.claim(node, limit=10)
        assert claim.task_id == task.id

    async def test_an_array_as_a_new_group(self, store, node):
        """It is closed at once, and completes with its last task."""
        group = await self.add_group(store, completing(is_open=False), members=3)
        assert (group.status, group.counts.PENDING) == (GroupStatus.CLOSED, 3)
        assert len(await self.members_of(store, group)) == 3
        await self.finish_members(store, node)
        assert (await self.group_now(store, group)).status is GroupStatus.COMPLETED
        assert len(await self.completion_tasks(store)) == 1

    async def test_an_empty_group_completes_when_it_is_closed(self, store):
        """Closing it again changes nothing."""
        for new in (completing(), completing(is_open=False), NewGroup()):
            group = await self.add_group(store, new)
            for _ in range(2):
                assert (await store.groups.close(group.id)).status is GroupStatus.COMPLETED
        assert len(await self.completion_tasks(store)) == 2

    async def test_tasks_that_cannot_join(self, store, node):
        """Nothing of their request is stored, and the other requests are."""
        closed = await self.add_group(store, NewGroup(is_open=False), members=1)
        is_open = await self.add_group(store, NewGroup())
        joining, late = new_task(group=is_open.id), new_task(group=closed.id)
        nowhere = new_task(group=uuid.uuid4())
        with pytest.raises(GroupClosed) as rejected:
            await store.add([joining, new_task(), late])
        assert [error.pointer for error in rejected.value.errors] == ["#/2/group"]
        with pytest.raises(Unprocessable) as unknown:
            await store.add([nowhere])
        assert [error.pointer for error in unknown.value.errors] == ["#/group"]
        key = IdempotencyKey("k", b"1", 60.0)
        for _ in range(2):  # the key is not used
            with pytest.raises(GroupClosed):
                await store.add_once([late], key)
        assert not (await store.add_once([joining], key)).is_replay
        assert (await store.add_once([joining], key)).is_replay
        results = await store.add_each([joining, late, new_task(), nowhere])
        assert [type(one) for one in results] == [Task, GroupClosed, Task, Unprocessable]
        assert (await self.group_now(store, is_open)).counts == GroupCounts(PENDING=2)
        assert (await self.group_now(store, closed)).counts == GroupCounts(PENDING=1)
        assert await store.count_pending(limit=100) == 4

    async def test_attempts_that_are_not_the_last(self, store, node):
        """Retries, releases and rescues leave a member open."""
        group = await self.add_group(store, completing(is_open=False), members=3)
        again, back, _ = await self.claim_members(store, node)
        await store.schedule_retries([Retry(*again.key, 0.0, "no", ErrorType.TIMEOUT)])
        await store.release([released(back)])
        await store.retire(node)
        other = await store.register("other", lease_seconds=30)
        assert (await self.group_now(store, group)).counts == GroupCounts(PENDING=3)
        await self.finish_members(store, other)
        assert (await self.group_now(store, group)).completions == 1

    async def test_expired_and_canceled_members_have_finished(self, store, node):
        group = await self.add_group(store, completing(is_open=False), members=2)
        first, second = await self.members_of(store, group)
        await store.cancel(first.id)
        assert (await self.group_now(store, group)).status is GroupStatus.CLOSED
        await store.cancel_many([second.id])
        assert (await self.group_now(store, group)).counts == GroupCounts(CANCELED=2)
        assert len(await self.completion_tasks(store)) == 1

    async def test_the_first_failure_cancels_the_rest(self, store, node):
        """Running ones, too; the group completes with these counts, and takes no more tasks."""
        rest = OnMemberFailure.CANCEL_REST
        for is_open in (True, False):
            group = await self.add_group(
                store, completing(on_failure=rest, is_open=is_open), members=2
            )
            claims = await self.claim_members(store, node)
            await store.settle([failed(claims[0])])
            await store.groups.cancel_rest()
            if is_open:
                with pytest.raises(GroupClosed, match="failed"):
                    await store.add([new_task(group=group.id)])
                await store.groups.close(group.id)
            shown = await self.group_now(store, group)
            assert shown.counts == GroupCounts(FAILED=1, CANCELED=1)
            assert (shown.status, shown.completions) == (GroupStatus.COMPLETED, 1)
            await store.claim(node, limit=1)  # its completion task
        assert len(await self.completion_tasks(store)) == 2

    async def test_a_retry_of_one_after_the_rest_was_canceled(self, store, node):
        """It runs, although another member has failed; if it fails, the rest is canceled again."""
        group = await self.add_group(store, NewGroup(on_failure=OnMemberFailure.CANCEL_REST), 3)
        await store.groups.close(group.id)
        claims = await self.claim_members(store, node)
        await store.settle([failed(claim) for claim in claims[:2]])
        await store.groups.cancel_rest()
        one, _, canceled = await self.members_of(store, group)
        await store.retry(one.id)
        await store.groups.cancel_rest()
        assert (await self.group_now(store, group)).counts.PENDING == 1
        await store.retry(canceled.id)
        [claim, _] = await self.claim_members(store, node)
        await store.settle([failed(claim)])
        await store.groups.cancel_rest()
        shown = await self.group_now(store, group)
        assert shown.counts == GroupCounts(FAILED=2, CANCELED=1)
        assert (shown.status, shown.completions) == (GroupStatus.COMPLETED, 2)

    async def test_cancel_of_groups(self, store, node):
        """Open members are canceled, and there is no completion task; the group stays CANCELED."""
        group = await self.add_group(store, completing(), members=3)
        [claim] = await store.claim(node, limit=1)
        await store.settle([completed(claim)])
        await store.claim(node, limit=1)
        for _ in range(2):
            shown = await store.groups.cancel(group.id)
            assert shown.status is GroupStatus.CANCELED
            assert shown.counts == GroupCounts(COMPLETED=1, CANCELED=2)
        with pytest.raises(GroupClosed, match="CANCELED"):
            await store.add([new_task(group=group.id)])
        for act in (store.groups.close, store.groups.retry):
            with pytest.raises(IllegalMove, match="CANCELED"):
                await act(group.id)
        await store.retry((await self.members_of(store, group))[2].id)
        await store.groups.cancel_rest()
        await self.finish_members(store, node)
        shown = await self.group_now(store, group)
        assert (shown.status, shown.completions) == (GroupStatus.CANCELED, 0)
        assert await self.completion_tasks(store) == []

    async def test_retry_of_the_failed_members(self, store, node):
        """All at once: the group is CLOSED again, and completes once more, with another task."""
        group = await self.add_group(store, completing(is_open=False), members=3)
        claims = await self.claim_members(store, node)
        await store.settle([failed(claims[0]), completed(claims[1]), failed(claims[2])])
        with pytest.raises(IllegalMove, match="COMPLETED"):
            await store.groups.cancel(group.id)
        [completion] = await store.claim(node, limit=10)
        retried = await store.groups.retry(group.id)
        assert retried.status is GroupStatus.CLOSED
        assert retried.counts == GroupCounts(PENDING=2, COMPLETED=1)
        assert retried.first_failures == ()
        await self.finish_members(store, node)
        shown = await self.group_now(store, group)
        assert (shown.status, shown.completions) == (GroupStatus.COMPLETED, 2)
        assert shown.counts == GroupCounts(COMPLETED=3)
        first, second = {task.id for task in await self.completion_tasks(store)}, completion.task_id
        assert first == {shown.completion_task_id, second}
        assert (await store.groups.retry(group.id)).status is GroupStatus.COMPLETED

    async def test_a_retry_of_many_members(self, store, node, monkeypatch):
        """So many of them are retried at once, the oldest first."""
        for module in (memory_groups, postgres_groups):
            monkeypatch.setattr(module, "MAX_RETRIED_MEMBERS", 2)
        group = await self.add_group(store, NewGroup(is_open=False), members=3)
        await self.finish_members(store, node, end=failed)
        retried = await store.groups.retry(group.id)
        assert retried.counts == GroupCounts(PENDING=2, FAILED=1)
        members = await self.members_of(store, group)
        assert [one.task_id for one in retried.first_failures] == [members[2].id]
        assert (await store.groups.retry(group.id)).counts == GroupCounts(PENDING=3)

    async def test_a_retry_in_an_open_group_after_the_rest_was_canceled(self, store, node):
        """It runs: it is not canceled unless a member fails again."""
        rest = OnMemberFailure.CANCEL_REST
        group = await self.add_group(store, NewGroup(on_failure=rest), members=2)
        claims = await self.claim_members(store, node)
        await store.settle([failed(claims[0])])
        await store.groups.cancel_rest()
        for claim in claims:
            await store.retry(claim.task_id)
        await store.groups.cancel_rest()
        assert (await self.group_now(store, group)).counts == GroupCounts(PENDING=2)
        again = await self.claim_members(store, node)
        await store.settle([failed(again[0])])
        await store.groups.cancel_rest()
        assert (await self.group_now(store, group)).counts == GroupCounts(FAILED=1, CANCELED=1)

    async def test_events_of_members(self, store, node):
        """Those of a group can be read alone."""
        position = await store.record_events()
        group = await self.add_group(store, completing(is_open=False), members=1)
        await self.add_group(store, NewGroup(), members=1)
        await store.add([new_task()])
        [member] = await self.members_of(store, group)
        [claim] = await store.claim(node, limit=1)
        await store.settle([completed(claim)])
        page = await store.events_after(position, limit=10, wanted=EventFilter(group=group.id))
        assert [(event.task_id, event.status) for event in page.events] == [
            (member.id, TaskStatus(status)) for status in ("PENDING", "RUNNING", "COMPLETED")
        ]
        assert {event.group for event in page.events} == {group.id}
        elsewhere = EventFilter(group=group.id, scope=QueueScope(("mail",), ()))
        assert (await store.events_after(position, limit=10, wanted=elsewhere)).events == []
        every = (await store.events_after(position, limit=10)).events
        assert len(every) == 6  # with the completion task, and the two that wait
        assert sum(event.group is None for event in every) == 2

    async def test_deleted_members_stay_counted(self, store, node):
        """And a deleted group leaves its id with its tasks."""
        group = await self.add_group(store, NewGroup(is_open=False), members=2)
        first, second = await self.claim_members(store, node)
        await store.settle([failed(first), completed(second)])
        await store.delete(first.task_id)
        shown = await self.group_now(store, group)
        assert shown.counts == GroupCounts(COMPLETED=1, FAILED=1)
        assert shown.first_failures == ()
        assert [task.id for task in await self.members_of(store, group)] == [second.task_id]
        assert await store.groups.delete_finished(age_seconds=60.0, limit=10) == 0
        while await store.groups.delete_finished(age_seconds=-1.0, limit=10):
            pass
        assert await store.groups.get(group.id) is None
        assert (await store.get(second.task_id)).group == group.id
        await store.groups.fold_counts(limit=1000)

    async def test_counts_are_the_same_when_they_are_folded(self, store, node):
        group = await self.add_group(store, NewGroup(), members=4)
        for limit in (1, 1000):
            await store.groups.fold_counts(limit=limit)
            [claim] = await store.claim(node, limit=1)
            await store.settle([completed(claim)])
        assert (await self.group_now(store, group)).counts == GroupCounts(PENDING=2, COMPLETED=2)

    async def test_groups_that_do_not_exist(self, store):
        unknown, groups = uuid.uuid4(), store.groups
        for act in (groups.get, groups.close, groups.cancel, groups.retry):
            assert await act(unknown) is None
        known = await self.add_group(store, NewGroup(queue="mail"))
        assert await groups.queues_of([unknown, known.id]) == {known.id: "mail"}

    async def test_idempotency_keys_of_groups(self, store):
        """The same request creates one group; another one with the key is recognized."""
        key, other = IdempotencyKey("g", b"1", 60.0), IdempotencyKey("g", b"2", 60.0)
        first = await store.groups.add(NewGroup(is_open=False), [new_task()], key=key)
        second = await store.groups.add(NewGroup(is_open=False), [new_task()], key=key)
        assert second.is_replay
        assert second.group == first.group
        assert not (await store.groups.add(NewGroup(), key=other)).is_same
        assert await store.count_pending(limit=10) == 1

    async def test_pages_of_groups(self, store):
        """Newest first, filtered, and limited to a scope."""
        queues = ("mail", "mail", "post", "postal", "default")
        groups = [
            await self.add_group(store, NewGroup(queue=queue, name=queue)) for queue in queues
        ]
        await store.groups.close(groups[1].id)

        async def pages(**filters) -> list[uuid.UUID]:
            found, before = [], None
            while True:
                wanted = GroupFilter(**filters)
                page = await store.groups.page(limit=2, before=before, filter=wanted)
                found += [group.id for group in page.groups]
                if (before := page.next_before) is None:
                    return found

        ids = [group.id for group in groups]
        assert await pages() == ids[::-1]
        assert await pages(queue="mail") == [ids[1], ids[0]]
        assert await pages(status=GroupStatus.COMPLETED) == [ids[1]]
        assert await pages(name="post") == [ids[2]]
        scope = QueueScope(("mail",), ("post",))
        assert await pages(scope=scope) == ids[3::-1]
        assert await pages(scope=scope, queue="mail") == [ids[1], ids[0]]

    async def test_members_with_order_keys_and_callbacks(self, store, node):
        """A group may have any tasks without unique and debounce keys."""
        options = TaskOptions(callback_url="http://example.com/", callback_host="example.com")
        new = [new_task(order_key="k", options=options) for _ in range(2)]
        added = await store.groups.add(completing(is_open=False), new)
        queues: list[str] = []
        for _ in range(4):
            await store.promote()
            claims = await store.claim(node, limit=10)
            await store.settle([completed(claim) for claim in claims])
            queues += [claim.queue for claim in claims]
        assert sorted(queues) == ["callbacks", "callbacks", "default", "default", "done"]
        assert (await self.group_now(store, added.group)).completions == 1

    async def test_completion_templates(self, store, node):
        """Their fields are those of the task."""
        template = new_task(
            TEMPLATE,
            queue="done",
            priority=7,
            max_attempts=4,
            delay_seconds=60.0,
            retention_seconds=5.0,
            tags={"a": 1},
            host="example.com",
            authority="example.com",
            options=TaskOptions(backoff=(1.0, 5.0), sign=True),
        )
        new = NewGroup(on_complete=ON_COMPLETE, completion=template, is_open=False)
        group = await self.add_group(store, new)
        task = await store.get(group.completion_task_id)
        assert task.status is TaskStatus.PENDING
        assert (task.queue, task.priority, task.max_attempts) == ("done", 7, 4)
        assert (task.retention_seconds, task.tags, task.backoff) == (5.0, {"a": 1}, (1.0, 5.0))
        assert task.sign is True
        assert (task.run_at - task.created_at).total_seconds() == 60.0
        found = await store.page(
            limit=10, filter=TaskFilter(tags=(("a", "1"),), host="example.com")
        )
        assert [one.id for one in found.tasks] == [task.id]
        assert bytes(group.on_complete) == bytes(ON_COMPLETE)
