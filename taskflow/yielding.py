"""Checkpoints in long computations, so that the event loop can serve other requests."""

from __future__ import annotations

from typing import Final

import trio

BYTES_PER_CHECKPOINT: Final = 64 * 2**10
"""Amount of work between two checkpoints: one or two milliseconds."""

ITEM_OVERHEAD_BYTES: Final = 600
"""Cost of an item of any size, expressed in bytes."""


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
