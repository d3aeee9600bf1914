"""How the engine ends, in order and otherwise, on the virtual clock."""

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
    """With nothing in flight there is nothing to wait for; the node is retired."""
    bench = new_bench()
    assert await run_and_shut_down(bench, after=3, drain_seconds=6) == 0
    assert bench.store.calls["retire"] == 1


async def test_fetches_in_flight_finish(autojump_clock, new_bench):
    """Within the deadline they end COMPLETED, and the rest stays PENDING."""
    bench = new_bench(workers=2)
    await bench.add(3, 3, 3, 3)
    took = await run_and_shut_down(bench, after=1, drain_seconds=6)
    assert took == pytest.approx(2.0)
    assert await bench.statuses() == {"COMPLETED": 2, "PENDING": 2}


async def test_a_fetch_that_takes_too_long_is_released(autojump_clock, new_bench):
    """At the deadline it is cut off and goes back to PENDING, its attempt not counted."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    quick, slow = await bench.add(3, 50)
    took = await run_and_shut_down(bench, after=1, drain_seconds=6)
    assert took == pytest.approx(6.0)
    assert bench.fetcher.cut_off == {"50": 1}
    assert (await bench.now(quick)).status is TaskStatus.COMPLETED
    released = await bench.now(slow)
    assert (released.status, released.attempt, released.rescues) == (TaskStatus.PENDING, 0, 0)


async def test_the_next_start_runs_what_was_released(autojump_clock, new_bench):
    """A released task is claimed at once by the next engine, as its first attempt."""
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


async def test_what_was_claimed_but_not_started_goes_back_at_once(autojump_clock, new_bench):
    """It does not wait for the fetches in flight: other nodes may take it."""
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


async def test_a_second_wish_cuts_it_short(autojump_clock, new_bench):
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


async def test_a_later_wish_does_not_lengthen_it(autojump_clock, new_bench):
    """The deadline never moves back."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    await bench.add(50)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        bench.engine.shut_down(drain_seconds=2)
        bench.engine.shut_down(drain_seconds=60)
    assert trio.current_time() == pytest.approx(3.0)


async def test_shut_down_before_it_runs(autojump_clock, new_bench):
    """An engine that is shut down before its start ends without claiming."""
    bench = new_bench()
    await bench.add(1)
    bench.engine.shut_down(drain_seconds=6)
    await bench.engine.run()
    assert await bench.statuses() == {"PENDING": 1}


@pytest.mark.parametrize("verb", ["settle", "release", "retire", "claim", "renew", "rescue"])
async def test_a_store_that_hangs_does_not_hold_it_up(autojump_clock, new_bench, verb):
    """Whatever hangs for ever, the end comes within the deadline and a short grace."""
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


async def test_a_claim_cut_off_half_way_is_undone(autojump_clock, new_bench):
    """Tasks that were claimed while the engine was told to end do not stay RUNNING."""
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


async def test_cancelling_from_outside_ends_it_at_once(autojump_clock, new_bench):
    """Cancelled passes, and what was held is put back on the way out."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    await bench.add(50, 50)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == pytest.approx(1.0)
    assert await bench.statuses() == {"PENDING": 2}
