"""A wake-up that is never lost: rings between two waits count as one."""

from __future__ import annotations

import trio


class Bell:
    """Rung from anywhere in the process, heard by one waiter at a time."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Let the current wait, or else the next one, return."""
        self._rung.set()

    @property
    def is_rung(self) -> bool:
        """Whether the next wait would return at once."""
        return self._rung.is_set()

    async def wait(self) -> None:
        """Return once the bell was rung since the last wait."""
        await self._rung.wait()
        self._rung = trio.Event()
