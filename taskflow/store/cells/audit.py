"""The audit log of all cells."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import NO_AUDIT_FILTER, AuditFilter, NewEntry
from taskflow.store.base.audit import AuditPage, AuditStore
from taskflow.store.cells.cell import Cells
from taskflow.store.cells.listing import merged_page


class CellAudit(AuditStore):
    """Keeps the entries of an action in the cell where it is done, and others in any cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def record(self, entries: Sequence[NewEntry]) -> None:
        await self._cells.any(lambda store: store.audit.record(entries))

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: AuditFilter = NO_AUDIT_FILTER,
    ) -> AuditPage:
        found = await self._cells.read(
            lambda store: store.audit.page(limit=limit, before=before, filter=filter)
        )
        entries, next_before = merged_page(
            [(one.result.entries, one.result.next_before) for one in found], limit
        )
        return AuditPage(entries, next_before)

    async def delete_old(self, *, age_seconds: float, limit: int) -> int:
        return await self._cells.total(
            lambda store: store.audit.delete_old(age_seconds=age_seconds, limit=limit)
        )
