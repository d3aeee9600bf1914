"""Outages, lost leases and refused writes, on the virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.model.errors import StoreUnavailable
from taskflow.model.outcome import ErrorType, Interrupted
from taskflow.model.task import NewTask, TaskStatus
from taskflow.telemetry import Event


@pytest.fixture
def events(monkeypatch):
    """The events that the engine logs."""
    seen: list[Event] = []
    for module in ("context", "node", "settler", "outcome_writes"):
        monkeypatch.setattr(
            f"taskflow.engine.{module}.emit",
            lambda event, **fields: seen.append(event),
            raising=False,
        )
    return seen


async def test_outcomes_wait_for_the_store(autojump_clock, new_bench, nursery, events):
    """Outcomes fetched during an outage are written after it; nothing is fetched twice."""
    bench = new_bench(workers=3)
    await nursery.start(bench.engine.run)
    await bench.add(2, 2, 2)
    await trio.sleep(1)
    bench.store.go_away()
    await trio.sleep(10)
    assert await bench.statuses() == {"RUNNING": 3}
    assert not bench.engine.statistics().is_store_reachable
    bench.store.come_back()
    await bench.all_ended()
    assert trio.current_time() < 14
    assert await bench.statuses() == {"COMPLETED": 3}
    assert len(bench.fetcher.started) == 3
    assert events.count(Event.STORE_LOST) == 1
    assert events.count(Event.STORE_BACK) == 1
    bench.engine.shut_down(drain_seconds=0)


async def test_no_busy_loop_during_an_outage(autojump_clock, new_bench, nursery, events):
    """Each part calls the unavailable store every few seconds at most."""
    bench = new_bench()
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.store.go_away()
    bench.store.calls.clear()
    await trio.sleep(15)
    assert sum(bench.store.calls.values()) < 30
    bench.engine.shut_down(drain_seconds=0)


async def test_outcomes_are_limited_during_an_outage(autojump_clock, new_bench, nursery, events):
    """With nothing written no more is claimed than may be held."""
    bench = new_bench(workers=2, queue_size=3)
    await bench.add(*[0.01] * 100)
    bench.store.go_away("settle")
    await nursery.start(bench.engine.run)
    await trio.sleep(10)
    assert len(bench.fetcher.started) == 2 + 2 * 3
    bench.store.come_back()
    await bench.all_ended()
    assert await bench.statuses() == {"COMPLETED": 100}
    bench.engine.shut_down(drain_seconds=0)


async def test_a_node_that_cannot_renew_stops_before_its_tasks_are_rescued(
    autojump_clock, new_bench, nursery, events
):
    """Its fetches are cut off within the lease; it gives back what it held as soon as it can."""
    bench = new_bench(heartbeat_seconds=5.0, lease_seconds=20.0, fetch_timeout_seconds=1000.0)
    [task] = await bench.add(500)
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.store.go_away()
    while not bench.fetcher.cut_off:
        await trio.sleep(0.1)
    assert trio.current_time() <= 20.1
    await trio.sleep(30)
    assert await bench.statuses() == {"RUNNING": 1}
    bench.store.come_back()
    back_at = trio.current_time()
    while (await bench.now(task)).rescues + bench.fetcher.running == 0:
        await trio.sleep(0.01)
    assert trio.current_time() - back_at < 2
    await bench.all_ended()
    done = await bench.now(task)
    assert (done.status, done.attempt, done.rescues) == (TaskStatus.COMPLETED, 1, 0)
    attempts = await bench.store.attempts(task.id)
    assert [one.status for one in attempts] == ["INTERRUPTED", "COMPLETED"]
    assert events.count(Event.LEASE_LOST) == 1
    assert bench.store.calls["register"] >= 2
    bench.engine.shut_down(drain_seconds=0)


async def test_a_node_that_lost_its_lease_registers_again(
    autojump_clock, new_bench, nursery, events
):
    """When the store says the lease is over, own work stops at once and a new node begins."""
    bench = new_bench(heartbeat_seconds=5.0, lease_seconds=20.0, fetch_timeout_seconds=1000.0)
    [task] = await bench.add(60)
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.store._nodes.clear()
    await bench.all_ended()
    assert bench.fetcher.cut_off == {"60": 1}
    done = await bench.now(task)
    assert (done.status, done.rescues) == (TaskStatus.COMPLETED, 1)
    bench.engine.shut_down(drain_seconds=0)


async def test_heartbeats_keep_the_lease(autojump_clock, new_bench, nursery, events):
    """A node that renews its lease completes a fetch that takes several leases."""
    bench = new_bench(heartbeat_seconds=5.0, lease_seconds=20.0, fetch_timeout_seconds=1000.0)
    await bench.add(500)
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert await bench.statuses() == {"COMPLETED": 1}
    assert Event.LEASE_LOST not in events
    bench.engine.shut_down(drain_seconds=0)


async def test_a_rejected_outcome_does_not_affect_others(
    autojump_clock, new_bench, nursery, events
):
    """If the store rejects one outcome of many, that task is FAILED, and the others are stored."""
    bench = new_bench(workers=8)
    tasks = await bench.add(*[1] * 8)
    unstorable = tasks[3].id

    async def refuse(endings):
        if any(ending.task_id == unstorable and ending.result for ending in endings):
            raise ValueError("this cannot be stored")

    bench.store.faults["settle"] = refuse
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert await bench.statuses() == {"COMPLETED": 7, "FAILED": 1}
    failed = await bench.now(tasks[3])
    assert failed.error_type is ErrorType.INTERNAL
    assert events.count(Event.OUTCOME_NOT_STORED) == 1
    bench.engine.shut_down(drain_seconds=0)


async def test_writes_that_time_out_are_divided(autojump_clock, new_bench, nursery, events):
    """A store that does not manage many outcomes in time gets fewer at a time, till it does."""
    bench = new_bench(workers=64)
    await bench.add(*[1] * 64)

    async def manage_ten(endings):
        if len(endings) > 10:
            raise StoreUnavailable("statement timeout")

    bench.store.faults["settle"] = manage_ten
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert await bench.statuses() == {"COMPLETED": 64}
    assert trio.current_time() < 5
    bench.engine.shut_down(drain_seconds=0)


async def test_statements_are_limited_in_size(
    autojump_clock, new_bench, nursery, events, monkeypatch
):
    """Large results are not sent to the store all in one statement."""
    monkeypatch.setattr("taskflow.engine.outcome_writes.MAX_STATEMENT_BYTES", 1000)
    bench = new_bench(workers=30)
    await bench.add(*[1] * 30)
    sizes = []

    async def weigh(endings):
        sizes.append(sum(len(ending.result) for ending in endings))

    bench.store.faults["settle"] = weigh
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert len(sizes) > 3
    assert max(sizes) <= 1000
    bench.engine.shut_down(drain_seconds=0)


@pytest.mark.parametrize("is_final", [True, False])
async def test_responses_of_failures_count_for_the_size(
    autojump_clock, new_bench, nursery, monkeypatch, is_final
):
    """What failed attempts keep is written in bounded portions, too."""
    monkeypatch.setattr("taskflow.engine.outcome_writes.MAX_STATEMENT_BYTES", 1000)
    bench = new_bench(workers=30, fetch_timeout_seconds=1.0)
    bench.fetcher.response_bytes = 100
    task = NewTask(msgspec.Raw(b'"http://target/60"'), max_attempts=1 if is_final else 2)
    await bench.store.add([task] * 30)
    sizes = []

    async def weigh(writes):
        sizes.append(sum(len(write.response) for write in writes))

    bench.store.faults["settle" if is_final else "schedule_retries"] = weigh
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert await bench.statuses() == {"FAILED": 30}
    assert len(sizes) >= 10
    assert max(sizes) <= 1000
    bench.engine.shut_down(drain_seconds=0)


async def test_a_claim_without_a_response_is_released(autojump_clock, new_bench, nursery, events):
    """Tasks that were claimed although the claim failed are run, and soon: not after a lease."""
    bench = new_bench()
    bench.store.hands_over = False
    claim = type(bench.store).claim
    await nursery.start(bench.engine.run)
    await trio.sleep(1)

    async def claim_and_lose(node_id, **kwargs):
        claims = await claim(bench.store, node_id, **kwargs)
        if claims:
            del bench.store.claim
            raise StoreUnavailable("the connection broke")
        return claims

    bench.store.claim = claim_and_lose
    [task] = await bench.add(1)
    await bench.all_ended()
    done = await bench.now(task)
    assert (done.status, done.attempt, done.rescues) == (TaskStatus.COMPLETED, 1, 0)
    assert trio.current_time() < 3
    bench.engine.shut_down(drain_seconds=0)


async def test_a_canceled_task_is_not_completed(autojump_clock, new_bench, nursery, events):
    """An outcome that is too late for an unknown reason is dropped and logged."""
    bench = new_bench(heartbeat_seconds=5.0)
    bench.store._cancellations.notify = lambda *_: None
    [task] = await bench.add(2)
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    await bench.store.cancel(task.id)
    await trio.sleep(3)
    assert await bench.statuses() == {"CANCELED": 1}
    assert events.count(Event.OUTCOME_TOO_LATE) == 1
    bench.engine.shut_down(drain_seconds=0)


@pytest.mark.parametrize("verb", ["claim", "renew", "rescue", "register"])
async def test_an_unexpected_exception_ends_the_engine(autojump_clock, new_bench, events, verb):
    """The engine raises an unexpected exception of the store."""
    bench = new_bench(heartbeat_seconds=1.0)
    bench.store.faults[verb] = ZeroDivisionError
    with pytest.RaisesGroup(ZeroDivisionError, allow_unwrapped=True, flatten_subgroups=True):
        await bench.engine.run()


async def test_outcomes_outlive_the_lease(autojump_clock, new_bench, nursery, events):
    """Fetched before an outage longer than the lease, an outcome is written after it."""
    bench = new_bench(heartbeat_seconds=5.0, lease_seconds=20.0)
    tasks = await bench.add(2, 2, 2)
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.store.go_away()
    await trio.sleep(60)
    bench.store.come_back()
    await bench.all_ended()
    assert await bench.statuses() == {"COMPLETED": 3}
    assert len(bench.fetcher.started) == 3
    assert [(await bench.now(task)).rescues for task in tasks] == [0, 0, 0]
    await bench.add(1)
    await bench.all_ended()
    assert trio.current_time() < 70
    bench.engine.shut_down(drain_seconds=0)


async def test_a_shutdown_during_an_outage_does_not_wait(
    autojump_clock, new_bench, nursery, events
):
    """Outcomes that cannot be written in time are left to a rescue: the end keeps its deadline."""
    bench = new_bench()
    await bench.add(2)
    async with trio.open_nursery() as engine:
        await engine.start(bench.engine.run)
        await trio.sleep(1)
        bench.store.go_away()
        await trio.sleep(60)
        began = trio.current_time()
        bench.engine.shut_down(drain_seconds=6)
    assert trio.current_time() - began < 8


async def test_a_claim_in_progress_at_shutdown_is_released_at_once(
    autojump_clock, new_bench, nursery, events
):
    """What a slow claim takes after the shutdown began does not wait for the drain."""
    bench = new_bench(drain_seconds=60.0, fetch_timeout_seconds=50.0)
    bench.store.hands_over = False
    claim_began = trio.Event()

    async def slowly(*_):
        if bench.fetcher.running:
            claim_began.set()
            await trio.sleep(0.2)

    bench.store.faults["claim"] = slowly
    await bench.add(40)
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    [late] = await bench.add(1)
    await claim_began.wait()
    bench.engine.shut_down(drain_seconds=60)
    await trio.sleep(0.3)
    assert (await bench.now(late)).status is TaskStatus.PENDING
    assert bench.store.calls["release"] == 1
    assert len(bench.fetcher.started) == 1
    assert await bench.store.attempts(late.id) == []


async def test_a_fetch_delayed_by_a_lack_of_files(autojump_clock, new_bench, nursery, monkeypatch):
    """It runs later and loses no attempt."""
    bench = new_bench()
    fetch, put_off = bench.fetcher.fetch, []

    async def fetch_later(request):
        if len(put_off) == 3:
            return await fetch(request)
        put_off.append(trio.current_time())
        await trio.sleep(0.25)
        return Interrupted()

    monkeypatch.setattr(bench.fetcher, "fetch", fetch_later)
    await nursery.start(bench.engine.run)
    [added] = await bench.add(0)
    await bench.all_ended()
    task = await bench.now(added)
    assert (task.status, task.attempt, len(put_off)) == (TaskStatus.COMPLETED, 1, 3)
    bench.engine.shut_down(drain_seconds=0)
