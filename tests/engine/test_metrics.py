"""Metrics of the engine, on the virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from taskflow.metrics.exposition import expose
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.model.task import NewTask
from tests.engine.conftest import response
from tests.metrics.scrape import Scrape

HOST = "target.example:81"


def scrape(bench) -> Scrape:
    return Scrape(expose(bench.metrics.registry, (), "").body.decode())


def ends(bench) -> dict[str, float]:
    return scrape(bench).nonzero("taskflow_attempts_total", "outcome")


async def test_a_shutdown_releases_claims(autojump_clock, new_bench):
    """Running claims count as interrupted, waiting ones as unstarted, and neither as a fetch."""
    bench = new_bench(workers=1, queue_size=10, fetch_timeout_seconds=100.0)
    await bench.add(*[0.01] * 20, *[50] * 20)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.engine.run)
        while "50" not in [path for _, path in bench.fetcher.started]:
            await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        in_hand = bench.engine.statistics().load
        bench.engine.shut_down(drain_seconds=0)
    assert in_hand.waiting > 0
    assert ends(bench) == {"completed": 20, "interrupted": 1, "unstarted": in_hand.waiting}
    reported = scrape(bench)
    assert reported.value("taskflow_fetch_seconds_count") == 20
    assert reported.value("taskflow_task_wait_seconds_count") == 21
    assert reported.value("taskflow_settle_seconds_count") == 20


async def test_the_wait_starts_when_a_task_is_due(autojump_clock, new_bench, nursery):
    """It includes the time in the channel, and starts again for a retry."""
    bench = new_bench(workers=1, poll_seconds=1000.0)
    later = NewTask(msgspec.Raw(b'"http://target/1"'), delay_seconds=100.0)
    await nursery.start(bench.engine.run)
    await bench.store.add([later])
    await bench.add(3, 3)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    reported = scrape(bench)
    assert reported.value("taskflow_task_wait_seconds_count") == 3
    assert reported.value("taskflow_task_wait_seconds_sum") == pytest.approx(3.0, abs=0.1)
    assert reported.value("taskflow_fetch_seconds_sum") == pytest.approx(7.0, abs=0.1)


async def test_the_time_to_write_an_outcome(autojump_clock, new_bench, nursery):
    """It includes an outage, which is counted once."""
    bench = new_bench(workers=2)
    await nursery.start(bench.engine.run)
    await bench.add(2, 2)
    await trio.sleep(1)
    bench.store.go_away()
    await trio.sleep(31)
    bench.store.come_back()
    await bench.all_ended()
    await trio.sleep(1)
    bench.engine.shut_down(drain_seconds=0)
    reported = scrape(bench)
    assert reported.value("taskflow_store_outages_total") == 1
    assert reported.value("taskflow_settle_seconds_count") == 2
    assert reported.value("taskflow_settle_seconds_sum") == pytest.approx(60.0, abs=3)


async def test_a_lost_lease(autojump_clock, new_bench, nursery):
    """Each loss counts once."""
    bench = new_bench(heartbeat_seconds=5.0, lease_seconds=20.0, fetch_timeout_seconds=1000.0)
    await nursery.start(bench.engine.run)
    await bench.add(100)
    await trio.sleep(1)
    bench.store._nodes.clear()  # another process says that it is over
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    assert scrape(bench).value("taskflow_leases_lost_total") == 1


@pytest.mark.parametrize(("most", "fate"), [(1, "poison"), (2, "pending")])
async def test_rescues(autojump_clock, new_bench, nursery, most, fate):
    """Tasks of a dead node count as pending, or as poison after too many rescues."""
    bench = new_bench(max_rescues=most)
    dead = await bench.store.register("dead", 0.5)
    await bench.add(1, 1, 1)
    await bench.store.claim(dead, limit=3)
    await trio.sleep(1)
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    assert scrape(bench).nonzero("taskflow_rescued_tasks_total", "fate") == {fate: 3}


async def test_an_outcome_that_is_too_late(autojump_clock, new_bench, nursery):
    """The outcome of a rescued task counts as dropped."""
    bench = new_bench(workers=1)
    await nursery.start(bench.engine.run)
    await bench.add(1)
    await trio.sleep(0.5)
    bench.store._nodes.clear()
    await bench.store.rescue(limit=1, max_rescues=5)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    assert scrape(bench).nonzero("taskflow_outcomes_dropped_total", "reason") == {"late": 1}


class Failing:
    """A fetcher whose first attempts cannot connect."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def fetch(self, request):
        self.times -= 1
        return Failed(ErrorType.CONNECT, "refused") if self.times >= 0 else Fetched(response())


async def test_the_breaker(autojump_clock, new_bench, nursery):
    """The last failure opens it, each failed probe opens it again, and a response closes it."""
    bench = new_bench(workers=1, breaker_failures=3)
    bench.fetcher = Failing(4)
    bench.engine = bench.new_engine()
    task = NewTask(msgspec.Raw(b'"http://target/"'), host="target.example", authority=HOST)
    for _ in range(3):
        await bench.store.add([task])
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    await bench.store.add([task] * 2)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    moves = scrape(bench).nonzero("taskflow_breaker_moves_total", "move")
    assert moves == {"opened": 2, "closed": 1}
    assert ends(bench) == {"failed": 4, "completed": 1}


async def test_claims_by_way(autojump_clock, new_bench, nursery):
    """Direct claims and others are counted separately."""
    bench = new_bench(workers=3)
    await bench.add(1, 1)
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    await bench.add(1, 1, 1)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    ways = scrape(bench).nonzero("taskflow_claimed_tasks_total", "way")
    assert ways == {"claim": 2, "direct": 3}
