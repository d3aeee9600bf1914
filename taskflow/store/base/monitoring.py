"""The seam for what is told to those who keep TaskFlow running; a part of ``TaskStore``."""

from __future__ import annotations

import abc
from typing import Final

from taskflow.model.monitoring import HostRecord, Minute, NodeRecord

# Of how many tasks that run it is looked where they go; nodes hold less than that.
MAX_RUNNING_SCANNED: Final = 10_000


class MonitoringStore(abc.ABC):
    """How nodes, hosts and endings stand; each at the same cost however many tasks there are."""

    @abc.abstractmethod
    async def nodes(self, limit: int) -> list[NodeRecord]:
        """The first nodes by name, also those that died within the last minute."""

    @abc.abstractmethod
    async def hosts(self, limit: int) -> list[HostRecord]:
        """The first of the hosts that need a look: those held back, then the slowest."""

    @abc.abstractmethod
    async def history(self, queue: str | None = None) -> list[Minute]:
        """What ended in each minute of the last hour, the oldest first; of one queue or of all."""
