"""The ids of a node that is registered in each cell."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from taskflow.store.cells.cell import Cell

_UNKNOWN = uuid.UUID(int=0)


class NodeIds:
    """Which id a node has in each cell."""

    def __init__(self) -> None:
        self._ids: dict[uuid.UUID, Mapping[int, uuid.UUID]] = {}

    def add(self, own_ids: Mapping[int, uuid.UUID]) -> uuid.UUID:
        """Remember the ids of a node by the numbers of cells; return the id for all cells."""
        node_id = next(iter(own_ids.values()))
        self._ids[node_id] = own_ids
        return node_id

    def own_id(self, node_id: uuid.UUID, cell: Cell) -> uuid.UUID:
        """Return the id of a node in a cell; an unknown id if it is not registered there."""
        return self._ids.get(node_id, {}).get(cell.number, node_id)

    def remove(self, node_id: uuid.UUID) -> None:
        """Forget a node."""
        self._ids.pop(node_id, None)
