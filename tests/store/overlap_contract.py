"""What every store has to do with schedules that limit overlaps; beside ``SchedulesContract``."""

from __future__ import annotations

import pytest
import trio

from taskflow.model.errors import ScheduleOverlap
from taskflow.model.schedule import Missed, Overlap
from taskflow.model.task import Task, TaskStatus
from tests.store.contract import completed, failed
from tests.store.schedules_contract import answer, definition

LIMITING = [Overlap.SKIP, Overlap.CANCEL_PREVIOUS]


class OverlapContract:
    """The conformance suite."""

    async def fire_once(self, store, overlap: Overlap, **fields) -> list[Task]:
        """Let a time come, fire it, and return all tasks, the oldest first."""
        await self.put_due(store, "one", overlap=overlap, **fields)
        assert (await store.schedules.fire_due(limit=10)).schedules == 1
        return sorted((await store.page(limit=1000)).tasks, key=lambda task: task.id)

    async def statuses(self, store) -> list[str]:
        """The statuses of all tasks, the oldest first."""
        return [task.status.value for task in reversed((await store.page(limit=1000)).tasks)]

    async def test_open_tasks_are_skipped(self, store, node):
        """No task is created while one is PENDING or RUNNING; the next time comes as usual."""
        assert len(await self.fire_once(store, Overlap.SKIP)) == 1
        for count in (1, 2):
            await self.put_due(store, "one", overlap=Overlap.SKIP)
            fired = await store.schedules.fire_due(limit=10)
            assert (fired.schedules, fired.tasks, fired.skipped) == (1, 0, 1)
            shown = await store.schedules.get("one")
            assert shown.skipped_count == count
            assert shown.last_run_at < shown.last_skipped_at < shown.next_run_at
            if count == 1:
                [claim] = await store.claim(node, limit=1)
        await store.settle([completed(claim)])
        assert len(await self.fire_once(store, Overlap.SKIP)) == 2
        assert (await store.schedules.get("one")).skipped_count == 2

    async def test_a_skipped_time_does_not_come_again(self, store, node):
        """Not even if clocks are set back and the task has finished meanwhile."""
        await self.fire_once(store, Overlap.SKIP)
        await self.fire_once(store, Overlap.SKIP)
        start_at = (await store.schedules.get("one")).start_at
        await self.end(store, node, answer({}))
        await self.set_next_run_at(store, "one", start_at)
        assert len(await self.fire(store)) == 1
        assert (await store.schedules.get("one")).skipped_count == 1

    async def test_the_previous_task_is_canceled(self, store, node):
        """Whether it is PENDING or RUNNING; its node is notified."""
        await self.fire_once(store, Overlap.CANCEL_PREVIOUS)
        await self.fire_once(store, Overlap.CANCEL_PREVIOUS)
        assert await self.statuses(store) == ["CANCELED", "PENDING"]
        [claim] = await store.claim(node, limit=1)
        await self.fire_once(store, Overlap.CANCEL_PREVIOUS)
        assert await self.statuses(store) == ["CANCELED", "CANCELED", "PENDING"]
        with trio.fail_after(90):
            assert await store.wait_for_cancellations(node) == {claim.key}
        assert [one.status.value for one in await store.attempts(claim.task_id)] == ["CANCELED"]
        assert await store.settle([completed(claim)]) == set()
        shown = await store.schedules.get("one")
        assert (shown.last_task_status, shown.skipped_count) == (TaskStatus.PENDING, 0)

    async def test_only_tasks_of_the_schedule_count(self, store):
        """Tasks of other schedules do not, nor tasks of an earlier schedule with its name."""
        await self.put_due(store, "other")
        await store.schedules.fire_due(limit=10)
        await self.fire_once(store, Overlap.SKIP)
        await store.schedules.delete("one")
        assert len(await self.fire_once(store, Overlap.SKIP)) == 3
        await store.schedules.delete("one")
        await self.fire_once(store, Overlap.CANCEL_PREVIOUS)
        assert await self.statuses(store) == ["PENDING"] * 4

    @pytest.mark.parametrize("overlap", LIMITING)
    async def test_of_several_times_at_once_one_creates_a_task(self, store, overlap):
        """The first one, which the others would overlap, or the last, which cancels the others."""
        times = await self.down_for(store, Missed.ALL, every_seconds=1000.0, times=5)
        start_at = times[0]
        await store.schedules.put(
            definition(every_seconds=1000.0, start_at=start_at, missed=Missed.ALL, overlap=overlap)
        )
        [task] = await self.fire(store)
        assert task.scheduled_at == (times[0] if overlap is Overlap.SKIP else times[-1])
        assert (await store.schedules.get("one")).skipped_count == 4

    async def test_times_that_are_not_made_up_for_cancel_nothing(self, store):
        """A missed time has no effect."""
        [task] = await self.fire_once(store, Overlap.CANCEL_PREVIOUS)
        start_at = task.created_at - (task.created_at - task.scheduled_at) * 60
        timed = {"start_at": start_at, "missed": Missed.SKIP, "overlap": Overlap.CANCEL_PREVIOUS}
        await store.schedules.put(definition(**timed))
        await self.set_next_run_at(store, "one", start_at)
        assert await self.fire(store) == [await store.get(task.id)]
        assert await self.statuses(store) == ["PENDING"]

    async def test_manual_runs_do_not_overlap(self, store, node):
        """They are rejected or cancel the previous task, and are earlier tasks themselves."""
        await store.schedules.put(definition(overlap=Overlap.SKIP, paused=True))
        first = await store.schedules.run_now("one")
        shown = await store.schedules.get("one")
        with pytest.raises(ScheduleOverlap, match="schedule one is PENDING or RUNNING"):
            await store.schedules.run_now("one")
        assert await store.schedules.get("one") == shown
        assert len(await self.fire_once(store, Overlap.SKIP)) == 1
        await store.schedules.put(definition(overlap=Overlap.CANCEL_PREVIOUS))
        second = await store.schedules.run_now("one")
        assert await self.statuses(store) == ["CANCELED", "PENDING"]
        assert (await store.get(first.id)).status is TaskStatus.CANCELED
        [claim] = await store.claim(node, limit=9)
        assert claim.task_id == second.id

    async def test_retried_tasks_count(self, store, node):
        """A task that a client retries is open again, however long ago it had finished."""
        for retry in (store.retry, lambda one: store.retry_many([one])):
            [task, *_] = await self.fire_once(store, Overlap.SKIP)
            [claim] = await store.claim(node, limit=9)
            await store.settle([failed(claim)])
            newer = (await self.fire_once(store, Overlap.SKIP))[-1]
            await store.cancel(newer.id)
            await retry(task.id)
            count = len(await self.statuses(store))
            assert len(await self.fire_once(store, Overlap.SKIP)) == count
            await store.cancel(task.id)
            for one in (await store.page(limit=9)).tasks:
                await store.delete(one.id)

    async def test_deleted_tasks_do_not_count(self, store):
        """Nor canceled ones."""
        [task] = await self.fire_once(store, Overlap.SKIP)
        await store.cancel(task.id)
        await store.delete(task.id)
        assert len(await self.fire_once(store, Overlap.SKIP)) == 1

    @pytest.mark.parametrize("overlap", LIMITING)
    async def test_tasks_from_before_the_limit_count(self, store, overlap):
        """Overlaps can be limited, and allowed again, while tasks are open."""
        await self.fire_once(store, Overlap.ALLOW)
        await self.fire_once(store, Overlap.ALLOW)
        await store.schedules.run_now("one")
        await self.fire_once(store, overlap)
        statuses = await self.statuses(store)
        if overlap is Overlap.SKIP:
            assert statuses == ["PENDING"] * 3
        else:
            assert statuses == [*["CANCELED"] * 3, "PENDING"]
        await self.fire_once(store, Overlap.ALLOW)
        assert await self.statuses(store) == [*statuses, "PENDING"]
        assert (await store.schedules.get("one")).skipped_count == statuses.count("PENDING") // 3

    @pytest.mark.parametrize("overlap", LIMITING)
    async def test_conditional_fetches_use_the_last_completed_task(self, store, node, overlap):
        """Skipped times and canceled tasks do not matter."""
        await self.fire_once(store, overlap, conditional=True)
        await self.end(store, node, answer({"etag": '"1"'}))
        await self.fire_once(store, overlap, conditional=True)
        await self.fire_once(store, overlap, conditional=True)
        [claim] = await store.claim(node, limit=9)
        assert claim.options.if_none_match == '"1"'
