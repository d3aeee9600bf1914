"""Saved views of the dashboard, in cells: the first cell has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from taskflow.model.audit import Actor
from taskflow.model.views import View
from taskflow.store.base.views import ViewStore
from taskflow.store.cells.cell import Cells


class CellViews(ViewStore):
    """Views in the first cell."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def all(self) -> Sequence[View]:
        return await self._cells.first.run(lambda store: store.views.all())

    async def put(self, view: View, *, by: Actor | None = None) -> bool:
        return await self._cells.first.run(lambda store: store.views.put(view, by=by))

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        return await self._cells.first.run(lambda store: store.views.delete(name, by=by))
