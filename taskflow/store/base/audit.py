"""The audit log: the store interface.

The verbs of actions take the actor (``by``), or the entry of a bulk action, and record the entry in
the transaction of the change: neither exists without the other. They make it with a function of
``model/audit_entries.py`` and pass it to ``add`` of their store: in memory before the next
checkpoint, in PostgreSQL with the connection of the transaction. This interface records entries
without another change, such as a sign-in, and returns entries.
"""

from __future__ import annotations

import abc
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from taskflow.model.audit import NO_AUDIT_FILTER, AuditEntry, AuditFilter, NewEntry

# Maximum number of entries that are scanned for a page.
MAX_ENTRIES_SCANNED: Final = 10_000


class AuditPage(msgspec.Struct, frozen=True):
    """Some entries, newest first, and the id that the next page continues from.

    ``next_before`` is ``None`` at the end. A page ends when ``MAX_ENTRIES_SCANNED`` entries were
    scanned, so it may have fewer entries than requested, even none, and still have a next page.
    """

    entries: list[AuditEntry]
    next_before: uuid.UUID | None


class AuditStore(abc.ABC):
    """Keeps the audit log; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def record(self, entries: Sequence[NewEntry]) -> None:
        """Record entries, all or none."""

    @abc.abstractmethod
    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: AuditFilter = NO_AUDIT_FILTER,
    ) -> AuditPage:
        """Return a page of entries, newest first, at a cost that does not depend on their number.

        Args:
            limit: Maximum number of entries.
            before: Only entries older than this id, which may no longer exist.
            filter: Only entries that match.
        """

    @abc.abstractmethod
    async def delete_old(self, *, age_seconds: float, limit: int) -> int:
        """Delete up to ``limit`` entries that are older than this, and return their number."""
