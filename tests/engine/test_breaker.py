"""The circuit breaker, on the virtual clock."""

from __future__ import annotations

import itertools

import msgspec
import pytest
import trio
import trio.testing

from taskflow.model.outcome import ErrorType, Failed, Fetched, Parked
from taskflow.model.task import NewTask
from tests.engine.conftest import response

REFUSED = Failed(ErrorType.CONNECT, "refused")
BUSY = Failed(ErrorType.HTTP_STATUS, "busy", 503)
TIMED_OUT = Failed(ErrorType.TIMEOUT, "slow")
NOT_FOUND = Failed(ErrorType.HTTP_STATUS, "not found", 404)
ASKING = [msgspec.structs.replace(BUSY, retry_after_seconds=seconds) for seconds in (30.0, 9999.0)]
WELL = Fetched(response())
# Long enough that nothing is claimed ahead.
TAKES_SECONDS = 0.5
HOST = "target.example:81"


class Script:
    """A fetcher with these outcomes, one after the other, each after a while; then successes.

    A task may be claimed between the third failure and its record: it fails, too, and is not
    counted.
    """

    def __init__(self, *outcomes) -> None:
        self.outcomes = list(outcomes)
        self.started: list[float] = []
        self.holds = all(one in (REFUSED, BUSY, *ASKING) for one in outcomes[:3])

    async def fetch(self, request):
        now = trio.current_time()
        if self.holds and len(self.started) == 3 and now - self.started[2] < 2 * TAKES_SECONDS:
            return REFUSED
        self.started.append(now)
        await trio.sleep(TAKES_SECONDS)
        return self.outcomes.pop(0) if self.outcomes else WELL


@pytest.fixture
def run(new_bench, nursery):
    async def run(count, *outcomes, **settings):
        """Run tasks of one host on one worker, and return when each started."""
        bench = new_bench(workers=1, breaker_failures=3, **settings)
        bench.fetcher = script = Script(*outcomes)
        bench.engine = bench.new_engine()
        task = NewTask(msgspec.Raw(b'"http://target/"'), host="target.example", authority=HOST)
        await bench.store.add([task] * count)
        await nursery.start(bench.engine.run)
        while len(script.started) < count - 1:
            await trio.sleep(0.25)
        await bench.all_ended()
        held = await bench.store.queues.open_circuits(10)
        bench.engine.shut_down(drain_seconds=0)
        return script.started, held

    return run


def pauses(started: list[float]) -> list[float]:
    """Pauses that are longer than starting the next task takes."""
    between = itertools.pairwise(started)
    ends = [(a + TAKES_SECONDS, b) for a, b in between]
    return [round(began - ended, 1) for ended, began in ends if began - ended > 0.2]


async def test_each_pause_is_longer(autojump_clock, run):
    """Three failures open the breaker for 1 s; each further one doubles the pause, up to 60 s."""
    started, _ = await run(12, *[REFUSED] * 11)
    assert pauses(started)[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize("response", [NOT_FOUND, Parked(1.0)])
async def test_any_response_closes_the_breaker(autojump_clock, run, response):
    """The status does not matter: the host responds."""
    started, _ = await run(30, REFUSED, BUSY, REFUSED, response)
    assert pauses(started) == [1.0]


async def test_only_consecutive_failures_count(autojump_clock, run):
    """A response in between resets the count."""
    started, _ = await run(8, REFUSED, REFUSED, NOT_FOUND, REFUSED, REFUSED, WELL, REFUSED)
    assert pauses(started) == []


@pytest.mark.parametrize(
    "failure",
    [TIMED_OUT, NOT_FOUND, Failed(ErrorType.BLOCKED, "no"), Failed(ErrorType.TOO_LARGE, "big")],
)
async def test_other_failures_do_not_count(autojump_clock, run, failure):
    """Slow hosts and invalid tasks do not open the breaker."""
    started, _ = await run(8, *[failure] * 8)
    assert pauses(started) == []


async def test_a_probe_that_times_out_opens_the_breaker_again(autojump_clock, run):
    """A probe has to get a response in time."""
    started, _ = await run(6, *[REFUSED] * 3, TIMED_OUT, WELL)
    assert pauses(started) == [1.0, 2.0]


async def test_retry_after_sets_the_pause(autojump_clock, run):
    """``Retry-After`` counts, up to its maximum."""
    asking, asking_much = ASKING
    started, _ = await run(6, *[asking] * 3, asking_much, WELL, max_retry_after_seconds=100.0)
    assert pauses(started) == [30.0, 100.0]


async def test_the_breaker_can_be_disabled(autojump_clock, new_bench, nursery):
    """With 0 failures every task is tried."""
    bench = new_bench(workers=1, breaker_failures=0)
    bench.fetcher = script = Script(*[REFUSED] * 9)
    bench.engine = bench.new_engine()
    await bench.store.add([NewTask(msgspec.Raw(b'"http://target/"'), authority=HOST)] * 9)
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    assert pauses(script.started) == []


async def test_the_limit_per_host(autojump_clock, new_bench, nursery):
    """``max_per_host`` applies to all queues, also to tasks submitted while nodes are idle."""
    bench = new_bench(workers=10, max_per_host=2)
    bench.store._max_per_host = 2
    await nursery.start(bench.engine.run)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(9):
        task = NewTask(msgspec.Raw(b'"http://target/1"'), queue=f"q{number % 3}", authority=HOST)
        await bench.store.add([task])
    await bench.all_ended()
    assert bench.fetcher.most_running == 2
    assert trio.current_time() == pytest.approx(5, abs=0.2)
    bench.engine.shut_down(drain_seconds=0)
