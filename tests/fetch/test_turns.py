"""Turns of those who have much to do."""

from __future__ import annotations

import trio

from taskflow.checkpoints import fair_checkpoint

CROWD = 50


class Passes(trio.abc.Instrument):
    """Counts how often Trio has looked at the network."""

    def __init__(self):
        self.count = 0

    def before_io_wait(self, timeout):
        self.count += 1


async def test_one_in_each_pass():
    """However many wait, one goes on in each pass of the scheduler, and each has its turn."""
    passes, had = Passes(), []
    trio.lowlevel.add_instrument(passes)

    async def work(number):
        for _ in range(3):
            await fair_checkpoint()
            had.append((passes.count, number))

    async with trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(work, number)
    trio.lowlevel.remove_instrument(passes)
    assert len({at for at, _ in had}) == len(had) == 3 * CROWD
    for begin in range(0, 3 * CROWD, CROWD):
        assert {number for _, number in had[begin : begin + CROWD]} == set(range(CROWD))


async def test_alone():
    """Who is alone waits for a pass or two."""
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    await fair_checkpoint()
    trio.lowlevel.remove_instrument(passes)
    assert passes.count <= 2


async def test_cancelled():
    """Who is cancelled while waiting holds up nobody."""
    async with trio.open_nursery() as nursery:
        for _ in range(CROWD):
            nursery.start_soon(fair_checkpoint)
        nursery.cancel_scope.cancel()
    with trio.fail_after(1):
        await fair_checkpoint()
