"""Waiting for the first of several cells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio


async def first_of(waits: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Wait until one of several waits is over; wait for ever without any."""
    if not waits:
        await trio.sleep_forever()
    async with trio.open_nursery() as nursery:

        async def wait(one: Callable[[], Awaitable[None]]) -> None:
            await one()
            # Wake-ups of other cells that are known by now count as this one.
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()
            nursery.cancel_scope.cancel()

        for one in waits:
            nursery.start_soon(wait, one)
