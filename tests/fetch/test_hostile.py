"""Targets that mean harm: what each costs, and as what its task ends."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc

import msgspec
import pytest
import trio

from taskflow.fetch.decoding import decoder_for
from taskflow.fetch.dialing import new_ssl_context
from taskflow.fetch.hop import first_hop
from taskflow.fetch.http_fetcher import open_fetcher
from taskflow.fetch.interface import FetchRequest
from taskflow.fetch.recording import Recorder
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.settings import Settings
from tests.fetch.hostile import ATTACKS, HostileTarget
from tests.fetch.scripted import pem_of
from tests.loopback import OPEN

BOUND_SECONDS = 1.0
"""The timeout of a fetch that nothing else ends."""

PATIENCE_SECONDS = 300.0
"""The timeout of all others: on a busy machine, too, each ends as it does without one."""

LONGEST_FETCH_UNITS = 50
LONGEST_STEP_UNITS = 10
MAX_PASSES = 100
"""Of the event loop, for the median of the good fetches."""

MEMORY_BYTES = 4 * 2**20
MAX_KEPT_BYTES = 100_000


@pytest.fixture
async def hostile(nursery):
    return await nursery.start(HostileTarget().run)


@pytest.fixture
async def fetcher(hostile):
    """As the service has it, but that it trusts the hostile target's authority."""
    context = new_ssl_context(pem_of(hostile.authority))
    async with open_fetcher(Settings(**OPEN, workers=1000), ssl_context=context) as opened:
        yield opened


async def attempt(fetcher, url, seconds=PATIENCE_SECONDS):
    """As a worker does it."""
    recorder = Recorder()
    with trio.move_on_after(seconds):
        return recorder.added_to(await fetcher.fetch(FetchRequest(url, recorder=recorder)))
    return recorder.added_to(Failed(ErrorType.TIMEOUT, "timeout"))


async def suffer(fetcher, hostile, attack):
    seconds = BOUND_SECONDS if attack.lasts else PATIENCE_SECONDS
    return await attempt(fetcher, hostile.url(attack), seconds)


def ended_as(outcome):
    return None if isinstance(outcome, Fetched) else outcome.error_type


async def good_fetches(fetcher, hostile, cost, passes, *, task_status=trio.TASK_STATUS_IGNORED):
    """Fetch what is good again and again, and note the passes of the event loop that each took."""
    task_status.started()
    while True:
        began = cost.passes
        assert isinstance(await attempt(fetcher, hostile.good_url), Fetched)
        passes.append(cost.passes - began)
        await trio.sleep(0.01)


def unit_seconds():
    """The CPU time of a fixed piece of work: the unit that does not depend on the machine."""
    return min(_one_unit() for _ in range(5))


def _one_unit():
    began = time.thread_time()
    for number in range(2_000):
        bytes(number % 50)
    return 5 * (time.thread_time() - began)


class Cost(trio.abc.Instrument):
    """What a block takes: CPU time in units, bytes at its worst, passes of the event loop."""

    def __enter__(self):
        self.passes, self._longest = 0, 0.0
        gc.collect()
        tracemalloc.start()
        self._unit = unit_seconds()
        trio.lowlevel.add_instrument(self)
        self._step_began = self._began = time.thread_time()
        return self

    def __exit__(self, *_):
        self.units = (time.thread_time() - self._began) / self._unit
        trio.lowlevel.remove_instrument(self)
        self.longest_step_units = self._longest / self._unit
        self.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    def before_task_step(self, task):
        self._step_began = time.thread_time()

    def after_task_step(self, task):
        self._longest = max(self._longest, time.thread_time() - self._step_began)

    def before_io_wait(self, timeout):
        self.passes += 1


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_attack(hostile, fetcher, attack):
    """It ends as what it is, for bounded CPU time and a few mebibytes, and leaves nothing."""
    with Cost() as cost:
        outcome = await suffer(fetcher, hostile, attack)
    print(f"{attack.name}: {cost.units:.0f} units, {cost.peak_bytes / 2**20:.2f} MiB")
    assert ended_as(outcome) == attack.ends_as, outcome
    assert len(msgspec.json.encode(outcome)) < MAX_KEPT_BYTES or attack.ends_as is None
    assert cost.units < LONGEST_FETCH_UNITS
    assert cost.peak_bytes < MEMORY_BYTES
    assert fetcher.statistics().in_use == 0


async def test_all_at_once(hostile, fetcher):
    """More than 200 at once end as what they are; meanwhile good fetches take their turns."""
    crowd = ATTACKS * 3
    passes, ended = [], []

    async def note(attack):
        outcome = await suffer(fetcher, hostile, attack)
        ended.append((attack.name, ended_as(outcome), attack.ends_as))

    with Cost() as cost:
        async with trio.open_nursery() as nursery:
            await nursery.start(good_fetches, fetcher, hostile, cost, passes)
            async with trio.open_nursery() as attacks:
                for attack in crowd:
                    attacks.start_soon(note, attack)
            nursery.cancel_scope.cancel()
    print(
        f"{len(crowd)} attacks: {cost.units:.0f} units, the longest step "
        f"{cost.longest_step_units:.1f}, {cost.peak_bytes / 2**20:.1f} MiB; {len(passes)} good "
        f"fetches: {statistics.median(passes)} passes in the median, {max(passes)} at most"
    )
    assert [one for one in ended if one[1] != one[2]] == []
    assert len(ended) == len(crowd) > 200
    assert cost.peak_bytes < len(crowd) * MEMORY_BYTES / 4
    assert cost.longest_step_units < LONGEST_STEP_UNITS
    assert statistics.median(passes) < MAX_PASSES


def test_what_is_accepted_is_decoded():
    """``Accept-Encoding`` names the codings that are undone, and no other."""
    lines = first_hop(FetchRequest("http://a.example/")).head().decode().split("\r\n")
    [accepted] = [line for line in lines if line.startswith("Accept-Encoding: ")]
    codings = accepted.removeprefix("Accept-Encoding: ").split(", ")
    assert all(decoder_for(coding) for coding in codings)
    assert set(codings) == {"gzip", "deflate"}
