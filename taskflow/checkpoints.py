"""Checkpoints in long computations, so that the event loop can serve other requests."""

from __future__ import annotations

from typing import Final

import trio

BYTES_PER_CHECKPOINT: Final = 64 * 2**10
"""Amount of work between two checkpoints: one or two milliseconds."""

ITEM_OVERHEAD_BYTES: Final = 600
"""Cost of an item of any size, expressed in bytes."""

_LOCK: Final = trio.lowlevel.RunVar[trio.Lock]("checkpoint lock")


class Checkpoints:
    """Yields to other tasks by the amount of work done, not by the number of items."""

    def __init__(self) -> None:
        self._bytes = 0

    async def after(self, size_bytes: int) -> None:
        """Count an item of this size, and yield if enough was done since the last checkpoint."""
        self._bytes += size_bytes + ITEM_OVERHEAD_BYTES
        if self._bytes >= BYTES_PER_CHECKPOINT:
            self._bytes = 0
            await trio.lowlevel.checkpoint()


async def fair_checkpoint() -> None:
    """Yield to other tasks; of all tasks that wait here, one resumes in each scheduler pass.

    Trio runs every runnable task before it polls the network again. If 200 tasks each decoded a
    body for half a millisecond per pass, an API request would wait 100 ms, again and again.
    """
    async with _lock_of_this_run():
        await trio.lowlevel.checkpoint()


def _lock_of_this_run() -> trio.Lock:
    try:
        return _LOCK.get()
    except LookupError:
        _LOCK.set(trio.Lock())
        return _LOCK.get()
