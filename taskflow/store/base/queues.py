"""The seam for what keeps tasks waiting; a part of ``TaskStore``."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from taskflow.model.queue_limits import HostHold, QueueChange, QueueSettings

# A host that failed is left alone for so long at first, and twice as long each further time.
FIRST_HOLD_SECONDS: Final = 1.0
LONGEST_HOLD_SECONDS: Final = 60.0


class Changed(NamedTuple):
    """The settings of a queue after a change, and whether it had none before."""

    settings: QueueSettings
    is_new: bool


class QueueStore(abc.ABC):
    """What is asked of queues, and which hosts are held back; on all nodes alike.

    A change is in force for whatever is claimed after it.
    """

    @abc.abstractmethod
    async def change(self, name: str, change: QueueChange) -> Changed:
        """Change the settings of a queue; concurrent changes are applied one after the other.

        Args:
            name: The queue.
            change: A pure function; if it raises, nothing is changed. May run in another thread.
        """

    async def put(self, name: str, settings: QueueSettings) -> bool:
        """Replace the settings of a queue; return whether it had none."""
        return (await self.change(name, lambda _: settings)).is_new

    async def set_paused(self, name: str, *, is_paused: bool) -> QueueSettings:
        """Pause or resume a queue, and return its settings."""
        changed = await self.change(
            name, lambda settings: msgspec.structs.replace(settings, paused=is_paused)
        )
        return changed.settings

    @abc.abstractmethod
    async def get(self, name: str) -> QueueSettings | None:
        """What is asked of a queue; ``None`` if nothing ever was."""

    @abc.abstractmethod
    async def first(self, limit: int) -> Mapping[str, QueueSettings]:
        """The first of all queues of which something was ever asked, by name."""

    @abc.abstractmethod
    async def open_circuit(self, host: str, *, why: str, asked_seconds: float | None) -> None:
        """Hold a host back: nothing goes there for a while, then one task at a time.

        Args:
            host: With its port.
            why: What it failed with, for people.
            asked_seconds: For how long it asked to be left alone; ``None`` for a second, and twice
                as long each further time.
        """

    @abc.abstractmethod
    async def close_circuit(self, host: str) -> None:
        """A host is well again."""

    @abc.abstractmethod
    async def open_circuits(self, limit: int) -> Mapping[str, HostHold]:
        """The first of the hosts that are held back, by name."""

    @abc.abstractmethod
    async def forget(self, *, limit: int) -> int:
        """Forget up to ``limit`` paces and hosts of each that nobody needs; return how many."""
