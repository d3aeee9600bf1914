"""A wake-up between tasks of the event loop that is never lost."""

from __future__ import annotations

import trio


class WakeUp:
    """A flag that one task waits for and any task of the process can set.

    Several notifications between two waits count as one.
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    def notify(self) -> None:
        """Wake the waiting task; if none is waiting, make the next wait return at once."""
        self._event.set()

    @property
    def is_pending(self) -> bool:
        """True if the next wait returns at once."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait for a notification, and clear it."""
        await self._event.wait()
        self._event = trio.Event()
