"""The audit log in memory, up to a maximum number of entries."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from taskflow.model.audit import NO_AUDIT_FILTER, AuditEntry, AuditFilter, NewEntry
from taskflow.model.masking import Masking
from taskflow.store.base.audit import MAX_ENTRIES_SCANNED, AuditPage, AuditStore

# Beyond this number, the oldest tenth is deleted.
MAX_ENTRIES: Final = 100_000


class MemoryAudit(AuditStore):
    """The audit log of a store in memory.

    Args:
        now: The store's clock.
        new_id: Returns a greater id each time.
        masking: What is masked in URLs.
    """

    def __init__(
        self, now: Callable[[], dt.datetime], new_id: Callable[[], uuid.UUID], masking: Masking
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._masking = masking
        # In the order of ids.
        self._entries: dict[uuid.UUID, AuditEntry] = {}
        self._batches: dict[uuid.UUID, uuid.UUID] = {}

    async def record(self, entries: Sequence[NewEntry]) -> None:
        await trio.lowlevel.checkpoint()
        for entry in entries:
            self.add(entry)

    def add(self, entry: NewEntry | None) -> None:
        """Record an entry, if there is one, before the next checkpoint after its change."""
        if entry is None:
            return
        known = entry.batch and self._batches.get(entry.batch)
        if known in self._entries:
            before = self._entries[known]
            count = before.count + entry.count
            self._entries[known] = msgspec.structs.replace(before, count=count)
            return
        made = self._made(entry.masked(self._masking))
        self._entries[made.id] = made
        if entry.batch is not None:
            self._batches[entry.batch] = made.id
        if len(self._entries) > MAX_ENTRIES:
            self._delete(MAX_ENTRIES // 10)

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: AuditFilter = NO_AUDIT_FILTER,
    ) -> AuditPage:
        await trio.lowlevel.checkpoint()
        older = (
            one for one in reversed(self._entries.values()) if before is None or one.id < before
        )
        scanned = list(itertools.islice(older, MAX_ENTRIES_SCANNED))
        found = [one for one in scanned if filter.accepts(one)]
        if len(found) > limit:
            return AuditPage(found[:limit], found[limit - 1].id)
        has_more = len(scanned) == MAX_ENTRIES_SCANNED
        return AuditPage(found, scanned[-1].id if has_more else None)

    async def delete_old(self, *, age_seconds: float, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        horizon = self._now() - dt.timedelta(seconds=age_seconds)
        old = itertools.takewhile(lambda one: one.at < horizon, self._entries.values())
        count = len(list(itertools.islice(old, limit)))
        self._delete(count)
        return count

    def _delete(self, count: int) -> None:
        """Delete the oldest entries."""
        for entry_id in list(itertools.islice(self._entries, count)):
            del self._entries[entry_id]
        self._batches = {
            batch: entry_id
            for batch, entry_id in self._batches.items()
            if entry_id in self._entries
        }

    def _made(self, entry: NewEntry) -> AuditEntry:
        return AuditEntry(
            id=self._new_id(),
            at=self._now(),
            actor=entry.actor.name,
            session=entry.actor.session,
            address=entry.actor.address,
            action=entry.action,
            target_kind=entry.action.target_kind,
            target=entry.target,
            count=entry.count,
            detail=dict(entry.detail),
        )
