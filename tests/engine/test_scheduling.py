"""Firing of schedules, on the virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.engine.housekeeping import MAX_SLEEP_SECONDS, Job, ScheduleFiring, run_job
from taskflow.engine.worker import conditional_headers
from taskflow.model.errors import StoreUnavailable
from taskflow.model.masking import MASKING
from taskflow.model.options import TaskOptions
from taskflow.model.schedule import Missed, ScheduleDefinition, Timing
from taskflow.model.task import NewTask, TaskStatus
from taskflow.store.memory.schedules import MemorySchedules
from tests.logs import capture_logs

PERIOD = 600.0


def definition(name: str = "one", *, path: str = "0", **fields) -> ScheduleDefinition:
    payload = msgspec.Raw(b'"http://target/%s"' % path.encode())
    timing = {
        key: fields.pop(key) for key in ("cron", "every_seconds", "timezone") if key in fields
    }
    return ScheduleDefinition(
        name=name, timing=Timing(**timing), task=payload, template=NewTask(payload), **fields
    )


class CountingSchedules(MemorySchedules):
    """Counts calls, and fails on request."""

    def __init__(self, store) -> None:
        super().__init__(
            store.schedules._tasks,
            now=store._now,
            masking=MASKING,
            audit=store.audit,
        )
        self.looks = 0
        self.is_away = False
        self.refused: dict[str, str] = {}

    async def fire_due(self, *, limit):
        self.looks += 1
        if self.is_away:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable
        fired = await super().fire_due(limit=limit)
        return msgspec.structs.replace(fired, refused=self.refused)

    async def seconds_to_next(self):
        seconds = await super().seconds_to_next()
        return -1.0 if self.refused else seconds


@pytest.fixture
async def bench(autojump_clock, new_bench):
    bench = new_bench()
    bench.schedules = bench.store.schedules = CountingSchedules(bench.store)
    return bench


async def fire_schedules(bench):
    """Run this job alone."""
    job = Job(ScheduleFiring(bench.schedules).step, 2.0, bench.schedules.wait_for_change)
    await run_job(job, bench.new_context().outage)


async def test_each_time_runs_a_task(autojump_clock, bench, nursery):
    """Tasks start exactly one period apart."""
    nursery.start_soon(bench.engine.run)
    await bench.schedules.put(definition(every_seconds=PERIOD))
    began = trio.current_time()
    await trio.sleep(3.5 * PERIOD)
    started = [at - began for at, _ in bench.fetcher.started]
    assert started == pytest.approx([PERIOD, 2 * PERIOD, 3 * PERIOD], abs=0.01)
    assert await bench.statuses() == {"COMPLETED": 3}
    tasks = (await bench.store.page(limit=9)).tasks
    assert {task.schedule for task in tasks} == {"one"}
    gaps = {task.scheduled_at.replace(microsecond=0) for task in tasks}
    assert len(gaps) == 3


async def test_cron_times(autojump_clock, bench, nursery):
    """Times are whole minutes in the time zone of the schedule."""
    nursery.start_soon(bench.engine.run)
    await bench.schedules.put(definition(cron="*/20 * * * *", timezone="Asia/Kathmandu"))
    await trio.sleep(3600)
    tasks = (await bench.store.page(limit=99)).tasks
    assert len(tasks) == 3
    # A quarter of an hour off all others: 5:45 before UTC.
    assert {task.scheduled_at.minute for task in tasks} == {15, 35, 55}
    assert {task.scheduled_at.second for task in tasks} == {0}


async def test_no_polling_between_times(autojump_clock, bench, nursery):
    """A node sleeps until the next time of a thousand schedules, or the maximum sleep."""
    for number in range(1000):
        await bench.schedules.put(definition(f"s{number}", every_seconds=PERIOD))
    nursery.start_soon(fire_schedules, bench)
    await trio.sleep(0.5 * PERIOD)
    assert bench.schedules.looks <= 0.5 * PERIOD / MAX_SLEEP_SECONDS + 3
    await trio.sleep(0.6 * PERIOD)
    assert sum((await bench.statuses()).values()) == 1000


async def test_a_change_wakes_the_node(autojump_clock, bench, nursery):
    """A schedule that is due earlier fires in time, and a paused one does not fire."""
    nursery.start_soon(bench.engine.run)
    await bench.schedules.put(definition(every_seconds=PERIOD))
    await trio.sleep(1)
    await bench.schedules.put(definition("two", every_seconds=5.0))
    began = trio.current_time()
    await trio.sleep(5.5)
    assert [at - began for at, _ in bench.fetcher.started] == pytest.approx([5.0], abs=0.01)
    await bench.schedules.put(definition("two", every_seconds=5.0, paused=True))
    await trio.sleep(100)
    assert len(bench.fetcher.started) == 1


async def test_several_nodes_fire_each_time_once(autojump_clock, bench, nursery):
    """Also after one of them has ended."""
    second = bench.new_engine()
    nursery.start_soon(bench.engine.run)
    nursery.start_soon(second.run)
    for number in range(20):
        await bench.schedules.put(definition(f"s{number}", every_seconds=10.0))
    await trio.sleep(30.5)
    bench.engine.shut_down(drain_seconds=0.0)
    await trio.sleep(30)
    tasks = (await bench.store.page(limit=999)).tasks
    assert len(tasks) == 20 * 6
    assert len({(task.schedule, task.scheduled_at) for task in tasks}) == 20 * 6


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("once", 1), ("all", 5)])
async def test_missed_times(autojump_clock, bench, nursery, missed, count):
    """Times while no engine ran are handled as ``missed`` says."""
    await bench.schedules.put(definition(every_seconds=PERIOD, missed=Missed(missed)))
    await trio.sleep(5.5 * PERIOD)
    nursery.start_soon(bench.engine.run)
    await trio.sleep(60)
    assert len(bench.fetcher.started) == count
    await trio.sleep(0.5 * PERIOD)
    assert len(bench.fetcher.started) == count + 1


async def test_an_outage(autojump_clock, bench, nursery):
    """The store is called once per poll, and due schedules fire after the outage."""
    nursery.start_soon(bench.engine.run)
    await bench.schedules.put(definition(every_seconds=10.0))
    await trio.sleep(5)
    bench.schedules.is_away, looks = True, bench.schedules.looks
    await trio.sleep(20)
    assert bench.schedules.looks - looks <= 20 / bench.settings.poll_seconds + 1
    bench.schedules.is_away = False
    await trio.sleep(3)
    assert len(bench.fetcher.started) == 2


async def test_a_schedule_without_times_is_left_to_other_nodes(autojump_clock, bench, nursery):
    """It stays due, is tried once per second, and is logged once."""
    bench.schedules.refused = {"one": "no such zone"}
    nursery.start_soon(fire_schedules, bench)
    with capture_logs() as events:
        await trio.sleep(10)
    assert 9 <= bench.schedules.looks <= 11
    assert [(one["schedule"], one["reason"]) for one in events] == [("one", "no such zone")]


async def test_a_failed_task_does_not_stop_a_schedule(autojump_clock, bench, nursery):
    """The next time creates the next task."""
    nursery.start_soon(bench.engine.run)
    await bench.schedules.put(definition(every_seconds=10.0, path="404"))
    await trio.sleep(25)
    assert await bench.statuses() == {"FAILED": 2}
    assert (await bench.schedules.get("one")).last_task_status is TaskStatus.FAILED


def test_conditional_headers():
    """Only known validators are sent (RFC 9110, section 13.1)."""
    assert conditional_headers(TaskOptions()) == ()
    options = TaskOptions(if_none_match='W/"1"', if_modified_since="Thu, 26 Nov 2026 10:00:00 GMT")
    assert conditional_headers(options) == (
        ("If-None-Match", 'W/"1"'),
        ("If-Modified-Since", "Thu, 26 Nov 2026 10:00:00 GMT"),
    )
    assert conditional_headers(TaskOptions(if_none_match='"1"')) == (("If-None-Match", '"1"'),)
