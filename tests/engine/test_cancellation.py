"""Cancellation of claims that a node holds, on the virtual clock."""

from __future__ import annotations

import pytest
import trio

from taskflow.engine.load import LoadStatistics
from taskflow.model.errors import StoreUnavailable
from taskflow.model.filter import TaskFilter
from taskflow.model.task import TaskStatus
from taskflow.telemetry import Event
from tests.logs import capture_logs

IDLE = LoadStatistics(held=0, waiting=0, running=0)


@pytest.fixture
def logs():
    """What the engine logs."""
    with capture_logs() as logs:
        yield logs


def told(logs, event: Event) -> int:
    return [one["event"] for one in logs].count(event.value[1])


def check_quiet(logs, *, canceled: int) -> None:
    """This number of tasks was canceled, and there was no warning."""
    assert told(logs, Event.TASK_CANCELED) == canceled
    assert [one for one in logs if one["log_level"] in ("warning", "error")] == []


async def attempts_at(bench, task) -> list[str]:
    return [one.status.value for one in await bench.store.attempts(task.id)]


async def test_a_running_fetch_is_canceled_at_once(autojump_clock, new_bench, nursery, logs):
    """The fetch ends immediately, and no outcome is written."""
    bench = new_bench(fetch_timeout_seconds=1000.0)
    await nursery.start(bench.engine.run)
    task, other = await bench.add(500, 20)
    await trio.sleep(10)
    canceled = await bench.store.cancel(task.id)
    while bench.engine.statistics().load.held == 2:
        await trio.lowlevel.checkpoint()
    assert trio.current_time() == 10
    assert bench.fetcher.cut_off == {"500": 1}
    await bench.all_ended()
    assert await bench.now(task) == canceled
    assert await attempts_at(bench, task) == ["CANCELED"]
    assert (await bench.now(other)).status is TaskStatus.COMPLETED
    assert bench.store.calls["settle"] == 1
    assert bench.store.calls["release"] == 0
    await trio.sleep(0.1)
    assert bench.engine.statistics().load == IDLE
    check_quiet(logs, canceled=1)
    bench.engine.shut_down(drain_seconds=0)


async def test_the_worker_starts_the_next_task_at_once(autojump_clock, new_bench, nursery, logs):
    """A task that waited for the worker is started."""
    bench = new_bench(workers=1, fetch_timeout_seconds=1000.0)
    await nursery.start(bench.engine.run)
    first, second = await bench.add(500, 5)
    await trio.sleep(10)
    await bench.store.cancel(first.id)
    await bench.all_ended()
    assert bench.fetcher.started == [(0.0, "500"), (10.0, "5")]
    assert (await bench.now(second)).status is TaskStatus.COMPLETED
    check_quiet(logs, canceled=1)
    bench.engine.shut_down(drain_seconds=0)


async def until_some_wait(bench) -> None:
    """All workers run long tasks, and others have been claimed that none has started yet."""
    await bench.add(*[0.001] * 2000, *[30] * 100)
    while bench.fetcher.running < 2 or bench.fetcher.started[-1][1] != "30":
        await trio.sleep(0.001)
    assert bench.engine.statistics().load.waiting > 10


async def cancel_all_that_run(bench) -> list:
    page = await bench.store.page(limit=10_000, filter=TaskFilter(statuses=(TaskStatus.RUNNING,)))
    await bench.store.cancel_many([task.id for task in page.tasks])
    return page.tasks


async def test_a_claim_that_waits_for_a_worker_is_never_fetched(
    autojump_clock, new_bench, nursery, logs
):
    """Claimed but not started: the worker that comes to it drops it."""
    bench = new_bench(workers=2, fetch_timeout_seconds=1000.0)
    await nursery.start(bench.engine.run)
    await until_some_wait(bench)
    canceled = await cancel_all_that_run(bench)
    await trio.sleep(2000)
    assert await bench.statuses() == {"COMPLETED": 2100 - len(canceled), "CANCELED": len(canceled)}
    assert len(bench.fetcher.started) == 2100 - len(canceled) + 2
    assert bench.engine.statistics().load == IDLE
    check_quiet(logs, canceled=len(canceled))
    bench.engine.shut_down(drain_seconds=0)


async def test_a_claim_that_waits_when_the_shutdown_starts(autojump_clock, new_bench, logs):
    """The task is not released, because it is finished."""
    bench = new_bench(workers=2, fetch_timeout_seconds=1000.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await until_some_wait(bench)
        canceled = await cancel_all_that_run(bench)
        bench.engine.shut_down(drain_seconds=6)
    statuses = await bench.statuses()
    assert statuses["CANCELED"] == len(canceled)
    assert statuses["PENDING"] == 100 - len(canceled)
    check_quiet(logs, canceled=len(canceled))


async def test_a_cancel_during_the_drain(autojump_clock, new_bench, logs):
    """The fetch is canceled, and the shutdown completes earlier."""
    bench = new_bench(fetch_timeout_seconds=1000.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        [task] = await bench.add(500)
        await trio.sleep(1)
        bench.engine.shut_down(drain_seconds=6)
        await trio.sleep(2)
        await bench.store.cancel(task.id)
    assert trio.current_time() == 3
    assert (await bench.now(task)).status is TaskStatus.CANCELED
    assert await attempts_at(bench, task) == ["CANCELED"]
    check_quiet(logs, canceled=1)


@pytest.mark.parametrize("path", [500, "deaf"])
async def test_a_cancel_at_the_drain_deadline(autojump_clock, new_bench, logs, path):
    """Both scopes are cancelled at once: the shutdown goes on, and nothing is released."""
    bench = new_bench(fetch_timeout_seconds=1000.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        [task] = await bench.add(path)
        await trio.sleep(0.8)
        await bench.store.cancel(task.id)
        bench.engine.shut_down(drain_seconds=0)
    assert trio.current_time() == (0.8 if path == 500 else 1.0)
    assert await attempts_at(bench, task) == ["CANCELED"]
    check_quiet(logs, canceled=1)


async def test_an_outer_cancellation_passes(autojump_clock, new_bench):
    """The scope of a claim catches no cancellation but its own."""
    bench = new_bench(fetch_timeout_seconds=1000.0)
    await bench.add(500, 500)
    with trio.CancelScope() as outside:
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.engine.run)
            await trio.sleep(1)
            await bench.store.cancel_many(list(bench.store._tasks)[:1])
            outside.cancel()
    assert outside.cancelled_caught
    assert trio.current_time() == 1
    assert await bench.statuses() == {"PENDING": 1, "CANCELED": 1}


async def test_a_completed_fetch_of_a_canceled_claim(autojump_clock, new_bench, nursery, logs):
    """Its outcome is not written, which is not an error."""
    bench = new_bench()
    await nursery.start(bench.engine.run)
    [task] = await bench.add("deaf")
    await trio.sleep(0.5)
    await bench.store.cancel(task.id)
    await trio.sleep(2)
    assert bench.store.calls["settle"] == 0
    assert (await bench.now(task)).status is TaskStatus.CANCELED
    assert bench.engine.statistics().load == IDLE
    check_quiet(logs, canceled=1)
    bench.engine.shut_down(drain_seconds=0)


async def test_an_outcome_that_waits_for_the_store(autojump_clock, new_bench, nursery, logs):
    """An outcome of a task that was canceled before it was written is dropped without a warning."""
    bench = new_bench()
    await nursery.start(bench.engine.run)
    [task] = await bench.add(1)
    bench.store.go_away("settle")
    await trio.sleep(2)
    await bench.store.cancel(task.id)
    bench.store.come_back()
    await trio.sleep(2)
    assert (await bench.now(task)).status is TaskStatus.CANCELED
    assert bench.engine.statistics().load == IDLE
    assert told(logs, Event.TASK_CANCELED) == 1
    assert told(logs, Event.OUTCOME_TOO_LATE) == 0
    bench.engine.shut_down(drain_seconds=0)


async def test_a_cancel_during_an_outage(autojump_clock, new_bench, nursery, logs):
    """The task runs on until a later cancel succeeds, of which the node is notified at once."""
    bench = new_bench(fetch_timeout_seconds=1000.0)
    await nursery.start(bench.engine.run)
    [task] = await bench.add(500)
    await trio.sleep(1)
    bench.store.go_away()
    with pytest.raises(StoreUnavailable):
        await bench.store.cancel(task.id)
    await trio.sleep(8)
    assert bench.fetcher.running == 1
    bench.store.come_back()
    await bench.store.cancel(task.id)
    bench.store.go_away()
    await trio.sleep(0.1)
    # What needs no write needs no store.
    assert bench.fetcher.cut_off == {"500": 1}
    assert bench.engine.statistics().load == IDLE
    assert told(logs, Event.OUTCOME_TOO_LATE) == 0
    bench.engine.shut_down(drain_seconds=0)


class Words:
    """The cancellations of a store, held back on their way."""

    def __init__(self, store) -> None:
        self._notify = store._cancellations.notify
        self.held_back: list[tuple] = []
        store._cancellations.notify = lambda *words: self.held_back.append(words)

    def arrive(self) -> None:
        for words in self.held_back:
            self._notify(*words)


async def test_a_late_notification_of_an_earlier_claim(autojump_clock, new_bench, nursery, logs):
    """A task that was retried and claimed again is not canceled by it."""
    bench = new_bench(heartbeat_seconds=100.0, lease_seconds=300.0, fetch_timeout_seconds=1000.0)
    words = Words(bench.store)
    await nursery.start(bench.engine.run)
    [task] = await bench.add(30)
    await trio.sleep(1)
    await bench.store.cancel(task.id)
    await bench.store.retry(task.id)
    await trio.sleep(1)
    assert bench.fetcher.running == 2
    words.arrive()
    await trio.sleep(1)
    assert bench.fetcher.running == 1
    assert bench.fetcher.cut_off == {"30": 1}
    await bench.all_ended()
    assert (await bench.now(task)).status is TaskStatus.COMPLETED
    assert await attempts_at(bench, task) == ["CANCELED", "COMPLETED"]
    check_quiet(logs, canceled=1)
    bench.engine.shut_down(drain_seconds=0)


async def test_a_lost_notification(autojump_clock, new_bench, nursery, logs):
    """The node detects the cancel at its next heartbeat."""
    bench = new_bench(heartbeat_seconds=5.0, fetch_timeout_seconds=1000.0)
    Words(bench.store)
    await nursery.start(bench.engine.run)
    task, _ = await bench.add(500, 8)
    await trio.sleep(1)
    await bench.store.cancel(task.id)
    await trio.sleep(3.9)
    assert bench.fetcher.running == 2
    await trio.sleep(0.2)
    assert bench.fetcher.cut_off == {"500": 1}
    await bench.all_ended()
    assert await bench.statuses() == {"CANCELED": 1, "COMPLETED": 1}
    await trio.sleep(0.1)
    assert bench.engine.statistics().load == IDLE
    check_quiet(logs, canceled=1)
    bench.engine.shut_down(drain_seconds=0)


async def test_an_idle_node_makes_no_query(autojump_clock, new_bench, nursery):
    """A node without claims does not ask which of them are lost."""
    bench = new_bench(heartbeat_seconds=5.0)
    await nursery.start(bench.engine.run)
    await bench.add(1)
    await trio.sleep(100)
    assert bench.store.calls["lost_claims"] == 0
    bench.engine.shut_down(drain_seconds=0)


async def test_a_task_that_finished_during_the_heartbeat(autojump_clock, new_bench, nursery, logs):
    """The response of a heartbeat cancels nothing that has finished in the meantime."""
    bench = new_bench(heartbeat_seconds=5.0, fetch_timeout_seconds=60.0)

    async def take_long(keys):
        await trio.sleep(2)

    bench.store.faults["lost_claims"] = take_long
    await nursery.start(bench.engine.run)
    await bench.add(6, 8)
    await bench.all_ended()
    assert await bench.statuses() == {"COMPLETED": 2}
    check_quiet(logs, canceled=0)
    bench.engine.shut_down(drain_seconds=0)


async def test_tasks_that_are_not_running(autojump_clock, new_bench, nursery, logs):
    """A pending task is canceled without a notification; a finished one cannot be canceled."""
    bench = new_bench(workers=1)
    await nursery.start(bench.engine.run)
    first, second = await bench.add(1, 1)
    await bench.store.cancel(second.id)
    await bench.all_ended()
    assert (await bench.now(first)).status is TaskStatus.COMPLETED
    assert len(bench.fetcher.started) == 1
    check_quiet(logs, canceled=0)
    bench.engine.shut_down(drain_seconds=0)
