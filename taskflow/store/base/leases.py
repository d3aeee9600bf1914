"""Nodes and their leases: the store interface."""

from __future__ import annotations

import abc
import datetime as dt
import uuid
from collections.abc import Collection, Mapping

import msgspec


class Rescued(msgspec.Struct, frozen=True):
    """Tasks taken from nodes that died: tasks to run again, and tasks that failed as poison."""

    pending: list[uuid.UUID]
    poisoned: list[uuid.UUID]


class LeaseStore(abc.ABC):
    """Registers nodes, and takes tasks from dead nodes; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def register(  # noqa: PLR0913 - all that a node reports of itself
        self,
        name: str,
        lease_seconds: float,
        *,
        version: str = "",
        workers: int = 1,
        tz_version: str | None = None,
        encrypts_payloads: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> uuid.UUID:
        """Register a node, which may claim tasks until its lease ends, and return its id.

        Args:
            name: Its host and process.
            lease_seconds: Duration of a lease.
            version: The version of TaskFlow that it runs.
            workers: Number of tasks that it runs at once.
            tz_version: The version of its time zone database, if known.
            encrypts_payloads: Whether new payloads are encrypted (set by the encrypting store).
            settings: Some of its settings, none of them secret, so that nodes can be compared.
        """

    @abc.abstractmethod
    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        """Restart the node's lease, and return the time of that by the store's clock.

        Raises:
            LeaseLost: The lease has ended; the node must register again.
        """

    @abc.abstractmethod
    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        """Release the claims of the node that have none of these tokens, and return their number.

        A claim whose response was lost may have been made: the node does not know of it, and it
        would not be rescued while the node is alive.

        Args:
            node_id: The node.
            tokens: The tokens of all claims that the node holds or waits for, read after the
                renewal that ``before`` comes from.
            before: Later claims are not touched.
        """

    @abc.abstractmethod
    async def retire(self, node_id: uuid.UUID) -> None:
        """Remove the node, and release the claims that it still holds."""

    @abc.abstractmethod
    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        """Take up to ``limit`` RUNNING tasks from nodes whose lease has ended.

        They become PENDING and the attempt does not count, or FAILED as poison the
        ``max_rescues``-th time.
        """

    @abc.abstractmethod
    async def has_nodes(self) -> bool:
        """Return whether a node whose lease has not ended runs the tasks."""
