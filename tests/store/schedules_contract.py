"""What every store has to keep of schedules. A store's own test file inherits this."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
import trio
import trio.testing

from taskflow.model.errors import ScheduleExists
from taskflow.model.options import TaskOptions
from taskflow.model.schedule import (
    KEPT_RUNS,
    Missed,
    Overlap,
    RunKind,
    ScheduleDefinition,
    Timing,
)
from taskflow.model.task import Claim, TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import completed, failed, new_task

TEMPLATE = '{ "payload":  "http://example.com/\\u0000" }'


def definition(
    name: str = "one", *, every_seconds: float | None = 3600.0, **fields
) -> ScheduleDefinition:
    timing = fields.pop("timing", None) or Timing(
        every_seconds=every_seconds, start_at=fields.pop("start_at", None)
    )
    fields.setdefault("template", new_task(tags={"a": 1}, max_attempts=3, queue="mail"))
    return ScheduleDefinition(
        name=name, timing=timing, task=msgspec.Raw(TEMPLATE.encode()), **fields
    )


def answer(headers: dict[str, str], **more) -> bytes:
    """The result of a task, with an escape that PostgreSQL's ``->>`` stumbles over."""
    return msgspec.json.encode({"result": "\x00", "headers": headers, **more})


class SchedulesContract:
    """The conformance suite."""

    async def clock(self, store: TaskStore) -> dt.datetime:
        """The time by the store's clock."""
        [task] = await store.add([new_task(delay_seconds=9999.0)])
        await store.cancel(task.id)
        await store.delete(task.id)
        return task.created_at

    async def put_due(self, store: TaskStore, *names: str, **fields) -> None:
        """Schedules whose first time came a few seconds ago."""
        start_at = await self.clock(store) - dt.timedelta(seconds=10)
        for name in names:
            await store.schedules.put(definition(name, start_at=start_at, **fields))
            await self.set_next_run_at(store, name, start_at)

    async def fire(self, store: TaskStore) -> list:
        """Fire all that is due, and return the tasks in the order of their times."""
        while (await store.schedules.fire_due(limit=100)).schedules:
            pass
        tasks = (await store.page(limit=1000)).tasks
        return sorted((t for t in tasks if t.scheduled_at), key=lambda t: (t.scheduled_at, t.id))

    async def end(self, store, node, result: bytes | None) -> Claim:
        """Run the one task that waits; it fails without a result."""
        [claim] = await store.claim(node, limit=2)
        ending = failed(claim) if result is None else completed(claim, result)
        assert await store.settle([ending]) == {claim.task_id}
        return claim

    # Actions of clients

    async def test_schedules_are_returned(self, store):
        """``put`` returns what ``get`` and pages find, the template byte for byte."""
        zone = Timing(cron="30 6 * * MON-FRI", timezone="Europe/Berlin")
        put, is_new = await store.schedules.put(
            definition("it.s_A-1", timing=zone, missed=Missed.ALL, conditional=True)
        )
        assert is_new
        assert bytes(put.task) == TEMPLATE.encode()
        assert (put.cron, put.every_seconds, put.timezone) == (
            "30 6 * * MON-FRI",
            None,
            "Europe/Berlin",
        )
        assert (put.missed, put.conditional, put.paused) == (Missed.ALL, True, False)
        assert put.created_at == put.updated_at < put.next_run_at
        assert put.last_run_at is put.last_task_id is put.last_task_status is None
        assert await store.schedules.get("it.s_A-1") == put
        assert (await store.schedules.page(limit=1)).schedules == [put]
        assert await store.schedules.get("other") is None

    async def test_a_schedule_is_replaced_whole(self, store):
        """The later one counts; only when it was made stays."""
        first, _ = await store.schedules.put(definition(missed=Missed.ALL))
        second, is_new = await store.schedules.put(definition(every_seconds=60.0))
        assert not is_new
        assert (second.missed, second.every_seconds) == (Missed.ONCE, 60.0)
        assert second.created_at == first.created_at < second.updated_at

    async def test_a_change_that_fails_changes_nothing(self, store):
        """Neither a schedule that exists nor one that does not."""
        kept, _ = await store.schedules.put(definition())

        def fail(_):
            raise ScheduleExists

        for name in ("one", "two"):
            with pytest.raises(ScheduleExists):
                await store.schedules.change(name, fail)
        assert await store.schedules.get("one") == kept
        assert await store.schedules.get("two") is None

    async def test_concurrent_changes_are_all_kept(self, store):
        """Each is applied to what the one before left."""
        await store.schedules.put(definition(every_seconds=1.0))

        def longer(before):
            timing = Timing(every_seconds=before.timing.every_seconds + 1)
            return msgspec.structs.replace(before, timing=timing)

        async def change():
            await store.schedules.change("one", longer)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(change)
        assert (await store.schedules.get("one")).every_seconds == 11.0

    async def test_of_concurrent_puts_one_creates_the_schedule(self, store):
        """Concurrent ``put`` calls create one schedule, once."""
        made = []

        async def put():
            made.append((await store.schedules.put(definition()))[1])

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(put)
        assert made.count(True) == 1

    async def test_pages_by_name(self, store):
        """Byte by byte, to the end."""
        names = ["B", "a", "a-", "a.b", "a0", "a_", "b", "z"]
        for name in reversed(names):
            await store.schedules.put(definition(name))
        found, after = [], None
        while True:
            page = await store.schedules.page(limit=3, after=after)
            assert len(page.schedules) <= 3
            found += [schedule.name for schedule in page.schedules]
            after = page.next_after
            if after is None:
                break
        assert found == sorted(names)
        assert (await store.schedules.page(limit=8)).next_after is None

    async def test_a_schedule_is_deleted(self, store):
        """With its firings, not with its tasks."""
        await self.put_due(store, "one")
        [task] = await self.fire(store)
        assert await store.schedules.delete("one")
        assert not await store.schedules.delete("one")
        assert await store.schedules.get("one") is None
        assert await store.get(task.id) is not None
        assert await store.schedules.seconds_to_next() is None

    @pytest.mark.parametrize("paused", [False, True])
    async def test_next_runs(self, store, paused):
        """Begin with the next run, or with the first after a resume, and are at most ``count``."""
        assert await store.schedules.next_runs("one", count=3) is None
        start_at = await self.clock(store) + dt.timedelta(hours=5)
        put, _ = await store.schedules.put(definition(start_at=start_at, paused=paused))
        runs = await store.schedules.next_runs("one", count=3)
        assert (runs.name, runs.paused) == ("one", paused)
        assert runs.times == [start_at + dt.timedelta(hours=n) for n in range(3)]
        assert put.next_run_at == (None if paused else runs.times[0])
        cron = Timing(cron="30 6 * * MON", timezone="Europe/Berlin")
        await store.schedules.put(definition(timing=cron, paused=paused))
        [first] = (await store.schedules.next_runs("one", count=1)).times
        resumed, _ = await store.schedules.put(definition(timing=cron))
        assert first == resumed.next_run_at

    # By the clock

    async def test_a_time_makes_a_task(self, store, node):
        """Like a POST of the template; it says which schedule and which time it is of."""
        options = TaskOptions(success_on=(404,))
        await self.put_due(store, "one", template=new_task(tags={"a": 1}, options=options))
        before = await store.schedules.get("one")
        fired = await store.schedules.fire_due(limit=10)
        assert (fired.schedules, fired.tasks) == (1, 1)
        [task] = (await store.page(limit=10)).tasks
        assert (task.schedule, task.scheduled_at) == ("one", before.next_run_at)
        assert (task.status, task.tags, task.success_on) == (TaskStatus.PENDING, {"a": 1}, (404,))
        after = await store.schedules.get("one")
        assert after.next_run_at == before.next_run_at + dt.timedelta(hours=1)
        assert (after.last_task_id, after.last_task_status) == (task.id, TaskStatus.PENDING)
        assert after.last_run_at >= before.next_run_at
        assert await store.schedules.fire_due(limit=10) == msgspec.structs.replace(
            fired, schedules=0, tasks=0
        )
        [claim] = await store.claim(node, limit=10)
        assert claim.task_id == task.id
        await store.cancel(task.id)
        assert (await store.schedules.get("one")).last_task_status is TaskStatus.CANCELED

    async def test_those_that_are_due_first_are_fired_first(self, store):
        """As many as are asked for, and the others after them."""
        await self.put_due(store, "late")
        await self.put_due(store, "later")
        await store.schedules.put(definition("not-yet"))
        assert (await store.schedules.fire_due(limit=1)).tasks == 1
        assert [task.schedule for task in (await store.page(limit=9)).tasks] == ["late"]
        assert [task.schedule for task in await self.fire(store)] == ["late", "later"]

    async def down_for(
        self, store: TaskStore, missed: Missed, *, every_seconds: float, times: int
    ) -> list[dt.datetime]:
        """Let ``count`` times of a schedule pass without a node.

        It is half a distance since the last one.
        """
        start_at = await self.clock(store) - dt.timedelta(seconds=every_seconds * (times - 0.5))
        await store.schedules.put(
            definition(every_seconds=every_seconds, start_at=start_at, missed=missed)
        )
        await self.set_next_run_at(store, "one", start_at)
        return [start_at + dt.timedelta(seconds=every_seconds * number) for number in range(times)]

    @pytest.mark.parametrize(
        ("missed", "fired"),
        [
            (Missed.SKIP, slice(0)),
            (Missed.ONCE, slice(999, 1000)),
            (Missed.ALL, slice(900, 1000)),
        ],
    )
    async def test_times_that_were_missed(self, store, missed, fired):
        """None is fired, or the last one, or each up to a hundred; then it goes on as ever."""
        times = await self.down_for(store, missed, every_seconds=1000.0, times=1000)
        assert [task.scheduled_at for task in await self.fire(store)] == times[fired]
        kept = await store.schedules.get("one")
        assert kept.next_run_at == times[-1] + dt.timedelta(seconds=1000)
        assert 400 < await store.schedules.seconds_to_next() <= 500

    @pytest.mark.parametrize(("missed", "count"), [("skip", 3), ("once", 3), ("all", 10)])
    async def test_times_that_are_less_than_a_minute_late(self, store, missed, count):
        """Are not missed: each is fired."""
        times = await self.down_for(store, Missed(missed), every_seconds=20.0, times=10)
        assert [task.scheduled_at for task in await self.fire(store)] == times[-count:]

    async def test_a_time_is_fired_once_whatever_clocks_do(self, store):
        """A schedule that comes past a time again does not make a second task."""
        await self.put_due(store, "one")
        [task] = await self.fire(store)
        start_at = task.scheduled_at
        await self.set_next_run_at(store, "one", start_at)
        assert await self.fire(store) == [task]
        assert (await store.schedules.get("one")).next_run_at == start_at + dt.timedelta(hours=1)

    # History

    async def test_the_history_of_runs(self, store, node):
        """Newest first, with the state of each task; a manual run has the time of its task."""
        assert await store.schedules.runs("one", limit=10) == []
        await self.put_due(store, "one")
        [task] = await self.fire(store)
        [claim] = await store.claim(node, limit=1)
        await store.settle([failed(claim)])
        manual = await store.schedules.run_now("one")
        assert manual is not None
        second, first = await store.schedules.runs("one", limit=10)
        assert (first.kind, first.at, first.task_id) == (
            RunKind.SCHEDULED,
            task.scheduled_at,
            task.id,
        )
        assert (first.status, first.attempt, first.error) == (TaskStatus.FAILED, 1, "it failed")
        assert first.started_at < first.finished_at
        assert first.seconds == (first.finished_at - first.started_at).total_seconds()
        assert first.late_seconds == (first.started_at - first.at).total_seconds()
        assert (second.kind, second.at, second.task_id) == (
            RunKind.MANUAL,
            manual.created_at,
            manual.id,
        )
        assert (second.status, second.seconds) == (TaskStatus.PENDING, None)
        assert await store.schedules.runs("one", limit=1) == [second]
        assert await store.schedules.runs("other", limit=10) == []

    async def test_the_history_keeps_runs_of_deleted_tasks(self, store):
        """Without a status; they end with the schedule."""
        await self.put_due(store, "one")
        [task] = await self.fire(store)
        await store.cancel(task.id)
        await store.delete(task.id)
        [run] = await store.schedules.runs("one", limit=10)
        assert (run.kind, run.task_id, run.status) == (RunKind.SCHEDULED, task.id, None)
        await store.schedules.delete("one")
        await store.schedules.put(definition())
        assert await store.schedules.runs("one", limit=10) == []

    async def test_the_history_has_skipped_times(self, store):
        """Those at which an earlier task was open."""
        await self.put_due(store, "one", overlap=Overlap.SKIP)
        await self.fire(store)
        await self.put_due(store, "one", overlap=Overlap.SKIP)
        await self.fire(store)
        kinds = [run.kind for run in await store.schedules.runs("one", limit=10)]
        assert kinds == [RunKind.SKIPPED, RunKind.SCHEDULED]

    @pytest.mark.parametrize(
        ("missed", "kinds"),
        [
            (Missed.SKIP, [(RunKind.MISSED, 5)]),
            (Missed.ONCE, [(RunKind.SCHEDULED, 1), (RunKind.MISSED, 4)]),
            (Missed.ALL, [(RunKind.SCHEDULED, 1)] * 5),
        ],
    )
    async def test_the_history_has_missed_times(self, store, missed, kinds):
        """Those without a task are one entry, with their number and the last of them."""
        times = await self.down_for(store, missed, every_seconds=1000.0, times=5)
        await self.fire(store)
        runs = await store.schedules.runs("one", limit=10)
        assert [(run.kind, run.count) for run in runs] == kinds
        assert runs[0].at == times[-1]
        if missed is Missed.ONCE:
            assert runs[1].at == times[-2]

    async def test_the_history_is_limited(self, store):
        """Each schedule keeps its own last runs."""
        await self.down_for(store, Missed.ALL, every_seconds=1000.0, times=80)
        await self.put_due(store, "other")
        for _ in range(4):
            await self.fire(store)
            await store.schedules.put(definition(every_seconds=1000.0, missed=Missed.ALL))
            await self.down_for(store, Missed.ALL, every_seconds=1000.0, times=80)
        runs = await store.schedules.runs("one", limit=1000)
        assert KEPT_RUNS <= len(runs) <= KEPT_RUNS + 80
        assert len(await store.schedules.runs("other", limit=1000)) == 1

    async def test_the_time_until_the_next_run(self, store):
        """The shortest time of all schedules that are not paused; negative if one is due."""
        assert await store.schedules.seconds_to_next() is None
        await store.schedules.put(definition("paused", every_seconds=1.0, paused=True))
        assert await store.schedules.seconds_to_next() is None
        await store.schedules.put(definition("two", every_seconds=7200.0))
        await store.schedules.put(definition("one", every_seconds=3600.0))
        assert 3590 < await store.schedules.seconds_to_next() <= 3600
        await self.put_due(store, "due")
        assert await store.schedules.seconds_to_next() <= 0

    async def test_changes_wake_waiting_nodes(self, store):
        """Nodes are woken by each change, also by one from before they waited."""
        with trio.fail_after(90):
            await store.schedules.put(definition())
            await store.schedules.wait_for_change()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.schedules.wait_for_change)
                await trio.testing.wait_all_tasks_blocked()
                await store.schedules.put(definition(every_seconds=60.0))

    async def test_paused_schedules_skip_their_times(self, store):
        """This includes times that had not fired yet; after the resume, the next time fires."""
        await self.put_due(store, "one", missed=Missed.ALL)
        start_at = (await store.schedules.get("one")).start_at
        timing = Timing(every_seconds=3600.0, start_at=start_at)
        paused, _ = await store.schedules.put(definition(timing=timing, paused=True))
        assert paused.next_run_at is None
        assert await self.fire(store) == []
        resumed, _ = await store.schedules.put(definition(timing=timing))
        assert resumed.next_run_at == start_at + dt.timedelta(hours=1)

    async def test_the_same_times_again_are_kept(self, store):
        """Who hands it in at each start does not put off what it is to do."""
        first, _ = await store.schedules.put(definition())
        again, _ = await store.schedules.put(definition(missed=Missed.ALL))
        assert again.next_run_at == first.next_run_at
        other, _ = await store.schedules.put(definition(every_seconds=3600.5))
        assert other.next_run_at > first.next_run_at
        await self.put_due(store, "due")
        due = await store.schedules.get("due")
        await store.schedules.put(definition("due", start_at=due.start_at, missed=Missed.SKIP))
        assert [task.scheduled_at for task in await self.fire(store)] == [due.next_run_at]

    async def test_run_now(self, store):
        """Makes a task for no time, of a paused one as well; the times stay."""
        put, _ = await store.schedules.put(definition(paused=True))
        task = await store.schedules.run_now("one")
        assert (task.schedule, task.scheduled_at) == ("one", None)
        assert (task.queue, task.max_attempts, task.tags) == ("mail", 3, {"a": 1})
        assert await store.get(task.id) == task
        after = await store.schedules.get("one")
        assert (after.next_run_at, after.last_task_id) == (put.next_run_at, task.id)
        assert after.last_run_at is not None
        assert await store.schedules.run_now("two") is None

    async def test_new_tasks_of_schedules_wake_nodes(self, store):
        """Scheduled and manual runs wake nodes."""
        await self.put_due(store, "one")
        with trio.fail_after(90):
            for act in (store.schedules.run_now, lambda _: store.schedules.fire_due(limit=1)):
                with trio.move_on_after(0.3):  # what rang before, the listener's start say
                    while True:
                        await store.wait_for_work()
                await act("one")
                await store.wait_for_work()

    # Conditional ones

    async def test_conditional_schedules_use_the_last_validators(self, store, node):
        """Of one that was COMPLETED; a 304 hands on what it was asked by."""
        await store.schedules.put(definition(conditional=True))

        async def options_and_end(result: bytes | None) -> TaskOptions:
            task = await store.schedules.run_now("one")
            claim = await self.end(store, node, result)
            assert claim.task_id == task.id
            return claim.options

        def asked(options):
            return options.if_none_match, options.if_modified_since

        date = "Thu, 26 Nov 2026 10:00:00 GMT"
        first = answer({"etag": 'W/"1"', "last-modified": date})
        assert asked(await options_and_end(first)) == (None, None)
        assert asked(await options_and_end(None)) == ('W/"1"', date)
        assert asked(await options_and_end(answer({}, not_modified=True))) == ('W/"1"', date)
        assert asked(await options_and_end(answer({"etag": '"2"'}, not_modified=True))) == (
            'W/"1"',
            date,
        )
        assert asked(await options_and_end(answer({"etag": "bare"}))) == ('"2"', date)
        for no_tag in ("no tag", "*", '"a", "b"', "a,b", "é", '"' + "x" * 9000 + '"'):
            assert asked(await options_and_end(answer({"etag": no_tag}))) in (
                *[("bare", None), (None, None)],
            )
        assert asked(await options_and_end(answer({}))) == (None, None)

    async def test_a_result_that_is_gone_is_not_compared_with(self, store, node):
        """Nor is the one before it: what has changed since is not known."""
        await store.schedules.put(definition(conditional=True))
        tasks = []
        for etag in ('"1"', '"2"'):
            tasks.append(await store.schedules.run_now("one"))
            await self.end(store, node, answer({"etag": etag}))
        await store.delete(tasks[-1].id)
        await store.schedules.run_now("one")
        [claim] = await store.claim(node, limit=1)
        assert not claim.options.is_conditional

    async def test_the_clock_fires_conditional_ones_alike(self, store, node):
        """Each with its own last answer."""
        await store.schedules.put(definition("plain"))
        await self.put_due(store, "a", "b", conditional=True)
        for name in ("a", "b", "plain"):
            await store.schedules.run_now(name)
            await self.end(store, node, answer({"etag": f'"{name}"'}))
        await self.fire(store)
        claims = await store.claim(node, limit=9)
        requested = {claim.options.schedule: claim.options.if_none_match for claim in claims}
        assert requested == {"a": '"a"', "b": '"b"'}

    async def test_another_payload_has_nothing_to_be_compared_with(self, store, node):
        """An entity tag is one of a URL; what else is changed does not matter."""
        await store.schedules.put(definition(conditional=True))
        await store.schedules.run_now("one")
        await self.end(store, node, answer({"etag": '"1"'}))
        await store.schedules.put(definition(every_seconds=60.0, conditional=True))
        await store.schedules.run_now("one")
        [claim] = await store.claim(node, limit=1)
        assert claim.options.if_none_match == '"1"'
        other = new_task('"http://example.com/other"')
        await store.schedules.put(definition(conditional=True, template=other))
        await store.schedules.run_now("one")
        [claim] = await store.claim(node, limit=1)
        assert not claim.options.is_conditional

    # What a store's own test file provides

    async def set_next_run_at(self, store: TaskStore, name: str, next_run_at: dt.datetime) -> None:
        """Let this be the first time that a schedule has not dealt with."""
        raise NotImplementedError
