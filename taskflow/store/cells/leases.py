"""Leases of a node that works for all cells."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from taskflow.store.base.leases import LeaseStore, Rescued
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Cells
from taskflow.store.cells.node_ids import NodeIds

Result = TypeVar("Result")


class CellLeases(LeaseStore):
    """Registers nodes in all cells, and takes tasks from dead nodes in all cells."""

    def __init__(self, cells: Cells, nodes: NodeIds) -> None:
        self._cells = cells
        self._nodes = nodes

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
        count = len(list(self._cells))
        shares = {
            cell.store: max(1, (workers + place) // count) for place, cell in enumerate(self._cells)
        }
        found = await self._cells.each(
            lambda store: store.register(
                name,
                lease_seconds,
                version=version,
                workers=shares[store],
                tz_version=tz_version,
                encrypts_payloads=encrypts_payloads,
                settings=settings,
            )
        )
        return self._nodes.add({one.cell.number: one.result for one in found})

    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        """Restart the leases, and return the time by the earliest clock of a cell."""
        return min(await self._for_node(node_id, lambda store, own_id: store.renew(own_id)))

    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        return sum(
            await self._for_node(
                node_id, lambda store, own_id: store.reconcile(own_id, tokens, before=before)
            )
        )

    async def retire(self, node_id: uuid.UUID) -> None:
        await self._for_node(node_id, lambda store, own_id: store.retire(own_id))
        self._nodes.remove(node_id)

    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        found = await self._cells.each(
            lambda store: store.rescue(limit=limit, max_rescues=max_rescues)
        )
        return Rescued(
            [task_id for one in found for task_id in one.result.pending],
            [task_id for one in found for task_id in one.result.poisoned],
        )

    async def has_nodes(self) -> bool:
        return any(one.result for one in await self._cells.read(lambda store: store.has_nodes()))

    async def _for_node(
        self,
        node_id: uuid.UUID,
        call: Callable[[TaskStore, uuid.UUID], Awaitable[Result]],
    ) -> list[Result]:
        """Call a verb of every cell with the id of a node there."""
        own_ids = {cell.store: self._nodes.own_id(node_id, cell) for cell in self._cells}
        found = await self._cells.each(lambda store: call(store, own_ids[store]))
        return [one.result for one in found]
