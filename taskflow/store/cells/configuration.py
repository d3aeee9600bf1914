"""Changes of several resources together, in cells: a transaction in each cell, open at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from taskflow.model.configuration import ResourceKind
from taskflow.model.errors import CellUnavailable, StoreUnavailable
from taskflow.store.base.configuration import Configuration, ConfigurationWork, Result
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.credentials import CellCredentials
from taskflow.store.cells.queues import CellQueues
from taskflow.store.cells.schedules import CellSchedules
from taskflow.store.cells.topics import CellTopics


class CellConfiguration:
    """Changes several resources together.

    The cells commit one after the other, once all changes are made in all of them. If a cell fails
    then, the changes in the cells that have committed stay.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        """Call ``work`` with the verbs of the cells, each in its transaction."""
        committed: list[str] = []
        cells = sorted(self._cells, key=lambda cell: cell.number)
        return await self._configure(cells, [], work, committed)

    async def _configure(
        self,
        rest: Sequence[Cell],
        within: list[Cell],
        work: ConfigurationWork[Result],
        committed: list[str],
    ) -> Result:
        """Open a transaction in each of the remaining cells, one within the other."""
        if not rest:
            return await work(_configuration_of(self._cells_of(within)))
        cell, *others = rest
        if cell.store is None:
            raise CellUnavailable(cell.name)

        async def go_on(found: Configuration) -> Result:
            # Verbs of a configuration use these parts of a store only.
            inner = Cell(cell.number, cell.name, cast("TaskStore", found))
            return await self._configure(others, [*within, inner], work, committed)

        try:
            result = await cell.store.configure(go_on)
        except CellUnavailable:
            raise
        except StoreUnavailable as error:
            cell.note_down()
            raise _unavailable(cell.name, committed) from error
        committed.append(cell.name)
        return result

    def _cells_of(self, within: list[Cell]) -> Cells:
        cells = Cells(within, self._cells.map)
        cells.map_until = self._cells.map_until
        return cells


def _configuration_of(cells: Cells) -> Configuration:
    async def hold(kind: ResourceKind, name: str) -> None:
        cell = _cell_of(cells, kind, name)
        await cell.run(lambda store: cast("Configuration", store).hold(kind, name))

    return Configuration(
        queues=CellQueues(cells),
        topics=CellTopics(cells),
        schedules=CellSchedules(cells),
        credentials=CellCredentials(cells),
        hold=hold,
    )


def _cell_of(cells: Cells, kind: ResourceKind, name: str) -> Cell:
    """Return the cell that decides about a resource."""
    match kind:
        case ResourceKind.CREDENTIAL:
            return cells.first
        case ResourceKind.QUEUE:
            return cells.home_of(name)
        case ResourceKind.ENDPOINT:
            return cells.of_name("topic", name.partition("/")[0])
        case _:
            return cells.of_name(kind.value, name)


def _unavailable(name: str, committed: Sequence[str]) -> CellUnavailable:
    error = CellUnavailable(name)
    if committed:
        error.args = (f"{error}; the changes in these cells were made: {', '.join(committed)}",)
    return error
