"""What a process knows of changes in all cells."""

from __future__ import annotations

from collections.abc import Callable

import trio

from taskflow.store.base.changes import Changes, Reading
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Cells


class CellChanges(Changes):
    """Counts the changes in all cells.

    Args:
        cells: The cells.
        part_of: Returns the part of a store whose changes count.
    """

    def __init__(self, cells: Cells, part_of: Callable[[TaskStore], Changes]) -> None:
        super().__init__()
        self._of_cells = cells
        self._part_of = part_of

    def reading(self) -> Reading:
        return Reading(self._known, trio.current_time())

    def is_fresh(self, reading: Reading | None, *, max_age_seconds: float) -> bool:
        return (
            reading is not None
            and reading.changes == self._known
            and trio.current_time() - reading.at < max_age_seconds
        )

    @property
    def _known(self) -> int:
        """The number of changes that are known."""
        parts = [self._part_of(cell.store) for cell in self._of_cells if cell.store]
        return self._changes + sum(part.reading().changes for part in parts)
