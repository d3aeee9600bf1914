"""Settings of queues, and circuit breakers of hosts: the store interface."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from taskflow.model.audit import Actor
from taskflow.model.queue_limits import HostHold, QueueChange, QueueSettings
from taskflow.model.queue_scope import QueueScope

# Time for which the circuit of a host opens the first time; each further time it doubles.
MIN_OPEN_SECONDS: Final = 1.0
MAX_OPEN_SECONDS: Final = 60.0


class Changed(NamedTuple):
    """The settings of a queue after a change, and whether it had none before."""

    settings: QueueSettings
    is_new: bool


class QueueStore(abc.ABC):
    """Stores what may keep tasks waiting, for all nodes; a part of ``TaskStore``.

    A change applies to all later claims.
    """

    @abc.abstractmethod
    async def change(self, name: str, change: QueueChange, *, by: Actor | None = None) -> Changed:
        """Change the settings of a queue; concurrent changes are applied one after the other.

        Args:
            name: The queue.
            change: A pure function; if it raises, nothing is changed. May run in another thread.
            by: Who changes them, for the audit log; ``None`` records nothing.
        """

    async def put(self, name: str, settings: QueueSettings) -> bool:
        """Replace the settings of a queue; return whether it had none."""
        return (await self.change(name, lambda _: settings)).is_new

    async def set_paused(
        self, name: str, *, is_paused: bool, by: Actor | None = None
    ) -> QueueSettings:
        """Pause or resume a queue, and return its settings."""
        changed = await self.change(
            name, lambda settings: msgspec.structs.replace(settings, paused=is_paused), by=by
        )
        return changed.settings

    @abc.abstractmethod
    async def get(self, name: str) -> QueueSettings | None:
        """Return the settings of a queue; ``None`` if it never had any."""

    @abc.abstractmethod
    async def first(
        self, limit: int, scope: QueueScope | None = None
    ) -> Mapping[str, QueueSettings]:
        """Return the first queues by name, of these or of all, that ever had settings."""

    @abc.abstractmethod
    async def open_circuit(
        self, host: str, *, reason: str, retry_after_seconds: float | None
    ) -> None:
        """Open the circuit of a failing host: no task goes there for a while, then one at a time.

        Args:
            host: With its port.
            reason: Its error, for people.
            retry_after_seconds: The time that it asked for; ``None`` for ``MIN_OPEN_SECONDS``,
                doubled each further time.
        """

    @abc.abstractmethod
    async def close_circuit(self, host: str) -> None:
        """Close the circuit of a host that works again."""

    @abc.abstractmethod
    async def open_circuits(self, limit: int) -> Mapping[str, HostHold]:
        """Return the first hosts by name whose circuit is open or half-open."""

    @abc.abstractmethod
    async def delete_stale(self, *, limit: int) -> int:
        """Delete up to ``limit`` rates and hosts each that are out of date; return their number."""
