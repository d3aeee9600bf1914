"""Keys that sign ID tokens, in cells.

The engine of each cell has keys of its own, in its cell. Verifiers get the keys of all cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import NewEntry
from taskflow.model.key_generation import KeyGeneration
from taskflow.store.base.signing_keys import SigningKeyStore
from taskflow.store.cells.cell import Cells
from taskflow.store.cells.cell_changes import CellChanges


class CellSigningKeys(CellChanges, SigningKeyStore):
    """Returns the keys of all cells; new ones are for the first cell."""

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells, lambda store: store.signing_keys)
        self._cells: Final = cells

    async def all(self) -> Sequence[KeyGeneration]:
        found = await self._cells.read(lambda store: store.signing_keys.all())
        return [generation for one in found for generation in one.result]

    async def add_if_next(
        self, generation: KeyGeneration, *, is_only: bool = False, entry: NewEntry | None = None
    ) -> bool:
        return await self._cells.first.run(
            lambda store: store.signing_keys.add_if_next(generation, is_only=is_only, entry=entry)
        )

    async def delete_before(self, number: int) -> None:
        await self._cells.first.run(lambda store: store.signing_keys.delete_before(number))
