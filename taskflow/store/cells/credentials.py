"""Credentials in cells: each cell has all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from taskflow.model.audit import Actor
from taskflow.model.errors import CredentialInUse
from taskflow.model.sealed_credential import (
    CredentialSummary,
    CredentialUsers,
    SealedCredential,
)
from taskflow.store.base.credentials import CredentialStore
from taskflow.store.cells.cell import Cells
from taskflow.store.cells.cell_changes import CellChanges


class CellCredentials(CellChanges, CredentialStore):
    """Stores credentials in all cells; the first cell decides, and has the entry of the audit log.

    A write that fails has to be repeated: some cells may have it.
    """

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells, lambda store: store.credentials)
        self._cells: Final = cells

    async def put(self, credential: SealedCredential, *, by: Actor | None = None) -> bool:
        first = self._cells.first
        is_new = await first.run(lambda store: store.credentials.put(credential, by=by))
        for cell in self._cells:
            if cell is not first:
                await cell.run(lambda store: store.credentials.put(credential))
        return is_new

    async def sealed(self, name: str) -> SealedCredential | None:
        return await self._cells.any(lambda store: store.credentials.sealed(name))

    async def names(self) -> Sequence[str]:
        return await self._cells.any(lambda store: store.credentials.names())

    async def get(self, name: str) -> CredentialSummary | None:
        found = await self._cells.read(lambda store: store.credentials.get(name))
        summaries = [one.result for one in found if one.result is not None]
        return _merged(summaries) if summaries else None

    async def all(self) -> Sequence[CredentialSummary]:
        found = await self._cells.read(lambda store: store.credentials.all())
        by_name: dict[str, list[CredentialSummary]] = {}
        for one in found:
            for summary in one.result:
                by_name.setdefault(summary.name, []).append(summary)
        return [_merged(summaries) for _, summaries in sorted(by_name.items())]

    async def delete(
        self, name: str, *, even_if_used: bool = False, by: Actor | None = None
    ) -> bool:
        """Delete a credential in all cells, the first one last, so that a repetition is complete.

        Raises:
            CredentialInUse: It is used in one cell.
        """
        first = self._cells.first
        if not even_if_used:
            shown = [
                one.result
                for one in await self._cells.each(lambda store: store.credentials.get(name))
                if one.result is not None
            ]
            if shown and (users := _merged(shown).used_by):
                raise CredentialInUse(name, users)
        for cell in self._cells:
            if cell is not first:
                await cell.run(lambda store: store.credentials.delete(name, even_if_used=True))
        return await first.run(
            lambda store: store.credentials.delete(name, even_if_used=even_if_used, by=by)
        )

    async def mark_used(self, name: str) -> None:
        await self._cells.any(lambda store: store.credentials.mark_used(name))


def _merged(summaries: Sequence[CredentialSummary]) -> CredentialSummary:
    """Return a credential as all cells know it: its last use, and what uses it in any of them."""
    first = summaries[0]
    used = [one.last_used_at for one in summaries if one.last_used_at is not None]
    users = CredentialUsers(
        *(
            tuple(sorted({name for one in summaries for name in getattr(one.used_by, kind)}))
            for kind in ("queues", "schedules", "endpoints")
        )
    )
    return msgspec.structs.replace(first, last_used_at=max(used, default=None), used_by=users)
