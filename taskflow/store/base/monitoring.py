"""Monitoring of nodes, hosts and throughput: the store interface."""

from __future__ import annotations

import abc
from typing import Final

from taskflow.model.monitoring import HostRecord, Minute, NodeRecord

# Running tasks that are counted by host; nodes hold fewer than that.
MAX_RUNNING_SCANNED: Final = 10_000


class MonitoringStore(abc.ABC):
    """What operators read, at a cost that does not depend on the number of tasks."""

    @abc.abstractmethod
    async def nodes(self, limit: int) -> list[NodeRecord]:
        """Return the first nodes by name, including nodes that died within the last minute."""

    @abc.abstractmethod
    async def hosts(self, limit: int) -> list[HostRecord]:
        """Return the first hosts: those with an open circuit, then the slowest."""

    @abc.abstractmethod
    async def history(self, queue: str | None = None) -> list[Minute]:
        """Return the tasks finished in each minute of the last hour; of one queue, or of all."""
