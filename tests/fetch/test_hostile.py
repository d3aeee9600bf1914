"""Targets that mean harm: what each costs, and as what its task ends."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc

import msgspec
import pytest
import trio

from taskflow.fetch.base import FetchRequest
from taskflow.fetch.client import default_ssl_context, open_fetcher
from taskflow.fetch.decoding import decoder_for
from taskflow.fetch.hop import first_hop
from taskflow.fetch.recording import Recorder
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.settings import Settings
from tests.fetch.hostile import ATTACKS, HostileTarget
from tests.loopback import OPEN

BOUND_SECONDS = 1.0
"""Of the time for a fetch whose target only this ends; others get the time of a real one."""

SLACK_SECONDS = 0.5
QUICK_SECONDS = 3.0
PATIENCE_SECONDS = 20.0
MEMORY_BYTES = 4 * 2**20
MAX_KEPT_BYTES = 100_000


@pytest.fixture
async def hostile(nursery):
    return await nursery.start(HostileTarget().run)


@pytest.fixture
async def fetcher(hostile):
    """As the service has it, but that it trusts the hostile target's authority."""
    context = default_ssl_context()
    hostile.authority.configure_trust(context)
    async with open_fetcher(Settings(**OPEN, workers=1000), ssl_context=context) as opened:
        yield opened


async def attempt(fetcher, url, seconds):
    """As a worker does it."""
    recorder = Recorder()
    with trio.move_on_after(seconds):
        return recorder.added_to(await fetcher.fetch(FetchRequest(url, recorder=recorder)))
    return recorder.added_to(Failed(ErrorType.TIMEOUT, "timeout"))


def ended_as(outcome):
    return None if isinstance(outcome, Fetched) else outcome.error_type


async def good_fetches(fetcher, hostile, took, *, task_status=trio.TASK_STATUS_IGNORED):
    """Fetch what is good again and again, and note how long each took."""
    task_status.started()
    while True:
        began = trio.current_time()
        assert isinstance(await attempt(fetcher, hostile.good_url, PATIENCE_SECONDS), Fetched)
        took.append(trio.current_time() - began)
        await trio.sleep(0.01)


class Cost:
    """What a block takes in seconds and, at its worst, in bytes."""

    def __enter__(self):
        gc.collect()
        tracemalloc.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._began
        self.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_attack(hostile, fetcher, attack):
    """It ends as what it is, within the bound on time and a few mebibytes, and leaves nothing."""
    bound = BOUND_SECONDS if attack.lasts else Settings().fetch_timeout_seconds
    with Cost() as cost:
        outcome = await attempt(fetcher, hostile.url(attack), bound)
    print(f"{attack.name}: {cost.seconds * 1000:.0f} ms, {cost.peak_bytes / 2**20:.2f} MiB")
    assert ended_as(outcome) == attack.ends_as, outcome
    assert len(msgspec.json.encode(outcome)) < MAX_KEPT_BYTES or attack.ends_as is None
    assert cost.seconds < (bound + SLACK_SECONDS if attack.lasts else QUICK_SECONDS)
    assert cost.peak_bytes < MEMORY_BYTES
    assert fetcher.statistics().in_use == 0


async def test_all_at_once(hostile, fetcher):
    """More than 200 at once end as what they are; meanwhile good fetches go on, and quickly."""
    crowd = ATTACKS * 3
    took, ended = [], []

    async def suffer(attack):
        outcome = await attempt(fetcher, hostile.url(attack), Settings().fetch_timeout_seconds)
        ended.append((attack.name, ended_as(outcome), attack.ends_as))

    async with trio.open_nursery() as nursery:
        await nursery.start(good_fetches, fetcher, hostile, took)
        with Cost() as cost:
            async with trio.open_nursery() as attacks:
                for attack in crowd:
                    attacks.start_soon(suffer, attack)
        nursery.cancel_scope.cancel()
    print(
        f"{len(crowd)} attacks: {cost.seconds:.1f} s, {cost.peak_bytes / 2**20:.1f} MiB; "
        f"{len(took)} good fetches: {statistics.median(took) * 1000:.1f} ms in the median, "
        f"{max(took) * 1000:.0f} ms at most"
    )
    assert [one for one in ended if one[1] != one[2]] == []
    assert len(ended) == len(crowd) > 200
    assert cost.peak_bytes < len(crowd) * MEMORY_BYTES / 4
    assert statistics.median(took) < 0.050


def test_what_is_accepted_is_decoded():
    """``Accept-Encoding`` names the codings that are undone, and no other."""
    [accepted] = [
        value
        for name, value in first_hop(FetchRequest("http://a.example/")).as_h11().headers
        if name == b"accept-encoding"
    ]
    codings = accepted.decode().split(", ")
    assert all(decoder_for(coding) for coding in codings)
    assert set(codings) == {"gzip", "deflate"}
