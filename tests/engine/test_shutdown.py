"""The shutdown of the engine, on the virtual clock."""

from __future__ import annotations

import pytest
import trio

from taskflow.engine.node import RETIRE_GRACE_SECONDS, WRITE_GRACE_SECONDS
from taskflow.model.task import TaskStatus


async def run_and_shut_down(bench, *, after: float, drain_seconds: float) -> float:
    """Run the engine, shut it down after a while, and say how long that took."""
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(after)
        began = trio.current_time()
        bench.engine.shut_down(drain_seconds=drain_seconds)
    return trio.current_time() - began


async def test_an_idle_engine_ends_at_once(autojump_clock, new_bench):
    """Without fetches there is nothing to wait for, and the node is retired."""
    bench = new_bench()
    assert await run_and_shut_down(bench, after=3, drain_seconds=6) == 0
    assert bench.store.calls["retire"] == 1


async def test_running_fetches_finish(autojump_clock, new_bench):
    """Within the deadline they are COMPLETED, and pending tasks stay PENDING."""
    bench = new_bench(workers=2)
    await bench.add(3, 3, 3, 3)
    took = await run_and_shut_down(bench, after=1, drain_seconds=6)
    assert took == pytest.approx(2.0)
    assert await bench.statuses() == {"COMPLETED": 2, "PENDING": 2}


async def test_a_fetch_that_takes_too_long_is_released(autojump_clock, new_bench):
    """At the deadline it is canceled, and its task is PENDING without a counted attempt."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    quick, slow = await bench.add(3, 50)
    took = await run_and_shut_down(bench, after=1, drain_seconds=6)
    assert took == pytest.approx(6.0)
    assert bench.fetcher.cut_off == {"50": 1}
    assert (await bench.now(quick)).status is TaskStatus.COMPLETED
    released = await bench.now(slow)
    assert (released.status, released.attempt, released.rescues) == (TaskStatus.PENDING, 0, 0)


async def test_released_tasks_run_at_the_next_start(autojump_clock, new_bench):
    """The next engine claims a released task at once, as its first attempt."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    [task] = await bench.add(50)
    await run_and_shut_down(bench, after=1, drain_seconds=0)
    bench.engine = bench.new_engine()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        bench.engine.shut_down(drain_seconds=0)
    done = await bench.now(task)
    assert (done.status, done.attempt) == (TaskStatus.COMPLETED, 1)


async def test_unstarted_claims_are_released_at_once(autojump_clock, new_bench):
    """They do not wait for running fetches, so other nodes can claim them."""
    bench = new_bench(workers=2, fetch_timeout_seconds=100.0)
    await bench.add(*[0.001] * 2000, *[30] * 500)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        while bench.fetcher.running < 2 or bench.fetcher.started[-1][1] != "30":
            await trio.sleep(0.001)
        assert bench.engine.statistics().load.waiting > 10
        bench.engine.shut_down(drain_seconds=6)
        await trio.sleep(0.01)
        assert await bench.statuses() == {"COMPLETED": 2000, "RUNNING": 2, "PENDING": 498}
    assert await bench.statuses() == {"COMPLETED": 2000, "PENDING": 500}


async def test_a_shorter_deadline_replaces_the_first(autojump_clock, new_bench):
    """Shutting down again with less time moves the deadline forward."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    await bench.add(50)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        bench.engine.shut_down(drain_seconds=60)
        await trio.sleep(2)
        bench.engine.shut_down(drain_seconds=0)
    assert trio.current_time() == pytest.approx(3.0)
    assert await bench.statuses() == {"PENDING": 1}


async def test_a_longer_deadline_has_no_effect(autojump_clock, new_bench):
    """The deadline never moves back."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    await bench.add(50)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        bench.engine.shut_down(drain_seconds=2)
        bench.engine.shut_down(drain_seconds=60)
    assert trio.current_time() == pytest.approx(3.0)


async def test_a_shutdown_before_the_start(autojump_clock, new_bench):
    """An engine that is shut down before its start ends without claiming."""
    bench = new_bench()
    await bench.add(1)
    bench.engine.shut_down(drain_seconds=6)
    await bench.engine.run()
    assert await bench.statuses() == {"PENDING": 1}


@pytest.mark.parametrize("verb", ["settle", "release", "retire", "claim", "renew", "rescue"])
async def test_a_store_that_hangs_does_not_delay_the_shutdown(autojump_clock, new_bench, verb):
    """It ends within the deadline and a short grace period."""
    bench = new_bench(fetch_timeout_seconds=100.0, heartbeat_seconds=1.0)
    await bench.add(2, 50)

    async def hang(*args):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1.5)
        bench.store.faults[verb] = hang
        began = trio.current_time()
        bench.engine.shut_down(drain_seconds=3)
    took = trio.current_time() - began
    assert took <= 3 + WRITE_GRACE_SECONDS + RETIRE_GRACE_SECONDS


async def test_a_claim_during_the_shutdown_is_released(autojump_clock, new_bench):
    """Tasks that were claimed when the shutdown started do not stay RUNNING."""
    bench = new_bench()
    bench.store.hands_over = False

    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        claimed = trio.Event()
        claim = type(bench.store).claim

        async def claim_and_hang(node_id, **kwargs):
            claims = await claim(bench.store, node_id, **kwargs)
            if claims:
                claimed.set()
                await trio.sleep_forever()
            return claims

        bench.store.claim = claim_and_hang
        [task] = await bench.add(1)
        await claimed.wait()
        assert (await bench.now(task)).status is TaskStatus.RUNNING
        bench.engine.shut_down(drain_seconds=6)
    put_back = await bench.now(task)
    assert (put_back.status, put_back.attempt) == (TaskStatus.PENDING, 0)


async def test_an_outer_cancellation_ends_the_engine(autojump_clock, new_bench):
    """``Cancelled`` passes, and claims are released on the way out."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    await bench.add(50, 50)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == pytest.approx(1.0)
    assert await bench.statuses() == {"PENDING": 2}
