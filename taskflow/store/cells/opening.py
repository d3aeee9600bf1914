"""The cells of a running process: opened, and opened again, by the file and the map."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import trio

from taskflow.model.cell_map import NO_MAP, CellMap
from taskflow.model.errors import SettingsError, StoreError, StoreUnavailable
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.map_changes import MAP_SECONDS, OpenCell, fence
from taskflow.telemetry import Event, emit
from taskflow.wakeup import WakeUp

READ_MAP_SECONDS: Final = 1.0
OPEN_AGAIN_SECONDS: Final = 2.0
START_SECONDS: Final = 10.0
"""Time for which a start waits for all cells; then one of them is enough."""

OpenStore: TypeAlias = Callable[[str], contextlib.AbstractAsyncContextManager[OpenCell]]
Work: TypeAlias = Callable[[Cell], Awaitable[None]]


class CellOpener:
    """Opens the cells that the file names, and follows the map.

    Attributes:
        cells: The cells in the map.

    Args:
        urls: The URLs by the names of the cells.
        open_store: Opens the store of a URL.
        work: What runs in each open cell; ends when it is canceled.
    """

    def __init__(self, urls: Mapping[str, str], open_store: OpenStore, work: Work) -> None:
        self._urls: Final = urls
        self._open_store: Final = open_store
        self._work: Final = work
        self._opened: dict[str, OpenCell] = {}
        self._asked: set[str] = set()  # cells that were asked for their map, and answered
        self._changed: Final = WakeUp()
        self._has_begun: Final = trio.Event()
        self.cells: Final = Cells([], NO_MAP)
        self.cells.map_until = -math.inf

    async def run(self) -> None:
        """Keep all cells open until canceled."""
        async with trio.open_nursery() as nursery:
            for name in self._urls:
                nursery.start_soon(self._keep_open, name)

    async def wait_until_open(self) -> None:
        """Wait for all cells in the map, or for some time, and then for one.

        Nothing runs in any cell before that: a cell that was removed while it was lost has an older
        map, and the others have the one that applies.

        Raises:
            SettingsError: No cell has a map.
        """
        with trio.move_on_after(START_SECONDS):
            while not self._opened or not all(map(self._is_known, self.cells)):
                await self._changed.wait()
                self._refuse_no_map()
        while not any(cell.store is not None for cell in self.cells):
            await self._changed.wait()
            self._refuse_no_map()
        self._has_begun.set()

    def _is_known(self, cell: Cell) -> bool:
        return cell.store is not None and cell.name in self._asked

    def _refuse_no_map(self) -> None:
        if self._asked == self._urls.keys() and self.cells.map is NO_MAP:
            raise SettingsError(
                "TASKFLOW_CELLS_FILE is set, and there is no map of cells: run `taskflow cells add "
                "NAME ...`"
            )

    async def _keep_open(self, name: str) -> None:
        while True:
            try:
                async with self._open_store(self._urls[name]) as opened:
                    self._opened[name] = opened
                    await self._follow(name, opened)
            except StoreError as error:
                emit(Event.CELL_UNAVAILABLE, cell=name, reason=str(error))
            finally:
                self._opened.pop(name, None)
                self._apply(self.cells.map)
            await trio.sleep(OPEN_AGAIN_SECONDS)

    async def _follow(self, name: str, opened: OpenCell) -> None:
        """Read the map periodically, and work in the cell while it is in the map."""
        async with trio.open_nursery() as nursery:
            working: trio.CancelScope | None = None
            fenced = NO_MAP.version
            while True:
                await self._read_map(name, opened)
                self._changed.notify()
                if not self._has_begun.is_set():
                    with trio.move_on_after(READ_MAP_SECONDS):
                        await self._has_begun.wait()
                    continue
                cell = self._cell(name)
                if cell is not None and working is None:
                    working = await nursery.start(self._work_in, cell)
                elif cell is None and working is not None:
                    working.cancel()
                    working = None
                if cell is None and fenced != self.cells.map.version:
                    fenced = await self._fence(name, opened)
                await trio.sleep(READ_MAP_SECONDS)

    async def _fence(self, name: str, opened: OpenCell) -> int:
        """Write the map to a cell that is not in it; return its version once that is done."""
        known = self.cells.map
        try:
            if await fence(name, opened.maps, known):
                emit(Event.CELL_FENCED, cell=name, version=known.version)
        except StoreUnavailable:
            return NO_MAP.version
        return known.version

    async def _work_in(self, cell: Cell, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await self._work(cell)

    async def _read_map(self, name: str, opened: OpenCell) -> None:
        """Read the map; all cells have the same, or an older one for a moment."""
        began = trio.current_time()
        known = self.cells.map
        try:
            found = await opened.maps.read(known.version)
        except StoreUnavailable:
            return
        self._asked.add(name)
        if found is not None and found.version > self.cells.map.version:
            emit(Event.CELLS_CHANGED, version=found.version)
            self._apply(found)
        elif self.cells.map is NO_MAP:
            return
        else:
            self._apply(self.cells.map)
        self.cells.map_until = max(self.cells.map_until, began + MAP_SECONDS)

    def _apply(self, cell_map: CellMap) -> None:
        """Replace the cells with the cells of a map, and keep the stores that are open."""
        known = {cell.number: cell for cell in self.cells}
        cells = []
        for entry in cell_map.cells:
            cell = known.get(entry.number)
            if cell is None or cell.name != entry.name:
                cell = Cell(entry.number, entry.name)
            opened = self._opened.get(entry.name)
            cell.store = None if opened is None else opened.store
            cells.append(cell)
        self.cells.replace(cells, cell_map)

    def _cell(self, name: str) -> Cell | None:
        return next((cell for cell in self.cells if cell.name == name), None)


@contextlib.asynccontextmanager
async def opened_cells(
    urls: Mapping[str, str], open_store: OpenStore, work: Work
) -> AsyncIterator[Cells]:
    """Keep cells open within the block.

    Raises:
        SettingsError: No cell has a map.
    """
    opener = CellOpener(urls, open_store, work)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opener.run)
        await opener.wait_until_open()
        yield opener.cells
        nursery.cancel_scope.cancel()
