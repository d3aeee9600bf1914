"""Work that may take long lets the other requests of the event loop go on."""

from __future__ import annotations

from typing import Final

import trio

TURN_BYTES: Final = 64 * 2**10
"""How much is read before others get their turn: a millisecond or two."""

ITEM_BYTES: Final = 600
"""What an item costs whatever its size, as if it were longer by so much."""


class Turns:
    """Yields to other tasks by the amount of work done, not by the number of items."""

    def __init__(self) -> None:
        self._done = 0

    async def after(self, size: int) -> None:
        """Count an item of so many bytes; yield if enough has been done since the last time."""
        self._done += size + ITEM_BYTES
        if self._done >= TURN_BYTES:
            self._done = 0
            await trio.lowlevel.checkpoint()
