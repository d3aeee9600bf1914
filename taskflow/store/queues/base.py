"""The seam for what keeps tasks waiting; a part of ``TaskStore``."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Final

from taskflow.model.flow import HostHold, QueueSettings

# A host that failed is left alone for so long at first, and twice as long each further time.
FIRST_HOLD_SECONDS: Final = 1.0
LONGEST_HOLD_SECONDS: Final = 60.0


class QueueStore(abc.ABC):
    """What is asked of queues, and which hosts are held back; on all nodes alike.

    A change is in force for whatever is claimed after it.
    """

    @abc.abstractmethod
    async def put(self, name: str, settings: QueueSettings) -> bool:
        """Ask this of a queue from now on, in place of what was asked; whether nothing was."""

    @abc.abstractmethod
    async def set_paused(self, name: str, *, is_paused: bool) -> QueueSettings:
        """Pause or resume a queue, and return what is asked of it now."""

    @abc.abstractmethod
    async def get(self, name: str) -> QueueSettings | None:
        """What is asked of a queue; ``None`` if nothing ever was."""

    @abc.abstractmethod
    async def first(self, limit: int) -> Mapping[str, QueueSettings]:
        """The first of all queues of which something was ever asked, by name."""

    @abc.abstractmethod
    async def hold_host(self, host: str, *, why: str, asked_seconds: float | None) -> None:
        """Hold a host back: nothing goes there for a while, then one task at a time.

        Args:
            host: With its port.
            why: What it failed with, for people.
            asked_seconds: For how long it asked to be left alone; ``None`` for a second, and twice
                as long each further time.
        """

    @abc.abstractmethod
    async def free_host(self, host: str) -> None:
        """A host is well again."""

    @abc.abstractmethod
    async def held_hosts(self, limit: int) -> Mapping[str, HostHold]:
        """The first of the hosts that are held back, by name."""

    @abc.abstractmethod
    async def forget(self, *, limit: int) -> int:
        """Forget up to ``limit`` paces and hosts of each that nobody needs; return how many."""
