"""Changes of the map of cells: nothing is in two cells at any moment.

A change takes two versions. The first one freezes the buckets that may move: their submissions are
rejected with a 503. Once no process can use an older version, nothing more is stored in them, so
what is unfinished can be found, and stays where it is. The second version moves the rest.

A process uses a version for ``MAP_SECONDS`` after it was read. All cells must answer during a
change, so every process reads the new version, from whichever cell. If the command ends in between,
it can be run again: submissions are rejected until then.

A cell that is lost for good is removed by the same two versions, in all other cells. If it comes
back, it has an older version, which does not apply once a newer one was read anywhere; the first
process that reaches it writes the newer one to it (``fence``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import trio

from taskflow.model.cell_map import CellMap, moved_buckets, with_stays
from taskflow.model.errors import SettingsError
from taskflow.model.topic_events import OPERATIONS_TOPIC
from taskflow.store.base.store import TaskStore

MAP_SECONDS: Final = 5.0
"""Time for which a process uses the map after it was read."""

IN_FLIGHT_SECONDS: Final = 5.0
"""Maximum time between the choice of a cell and the request to it: requests have a timeout."""

_PAGE: Final = 10_000


class MapStore(Protocol):
    """The copy of the map in a cell; ``PostgresCellMaps`` implements it."""

    async def read(self, known: int = 0) -> CellMap | None:
        """Return the map, if its version is higher than a known one."""

    async def write(self, cell_map: CellMap) -> bool:
        """Write a map; return whether the cell had an older one, or none."""

    async def mark_ids(self, number: int) -> None:
        """Let all new ids of the cell end with its number."""

    async def queues_with_tasks(self) -> set[str]:
        """Return the queues that have unfinished tasks, keys or groups in the cell."""

    async def names(self) -> set[str]:
        """Return ``schedule NAME`` and ``topic NAME`` of all that are in the cell."""


class OpenCell(msgspec.Struct, frozen=True):
    """A cell of the file that was opened for a change."""

    store: TaskStore
    maps: MapStore


async def latest_map(cells: Mapping[str, OpenCell]) -> CellMap | None:
    """Return the map with the highest version in any cell; ``None`` if there is none."""
    found = [known for one in cells.values() if (known := await one.maps.read()) is not None]
    return max(found, key=lambda one: one.version, default=None)


class MapChange:
    """A change of the map.

    Args:
        cells: The opened cells by name: all that are in the map before or after the change, except
            lost cells.
        known: The map that applies.
        keys_seconds: How long idempotency keys are kept.
        statement_seconds: Timeout of a statement in a cell.
    """

    def __init__(
        self,
        cells: Mapping[str, OpenCell],
        known: CellMap,
        *,
        keys_seconds: float,
        statement_seconds: float,
    ) -> None:
        self._cells: Final = cells
        self._known: Final = known
        self._keys_seconds: Final = keys_seconds
        self._wait_seconds: Final = MAP_SECONDS + IN_FLIGHT_SECONDS + statement_seconds

    async def run(self, change: Callable[[CellMap], CellMap]) -> CellMap:
        """Change the map, and return the new one.

        Args:
            change: A pure function.

        Raises:
            SettingsError: The change is not possible; the map is as it was.
            StoreUnavailable: A cell does not answer; the command has to be repeated.
        """
        known = self._known
        after = change(msgspec.structs.replace(known, frozen=()))
        await self._prepare_new_cells(after)
        frozen = tuple(sorted({*moved_buckets(known, after), *known.frozen}))
        version = known.version
        if frozen:
            version += 1
            await self._write(msgspec.structs.replace(known, version=version, frozen=frozen))
            await trio.sleep(self._wait_seconds)
        try:
            made = with_stays(
                known,
                after,
                await self._busy(),
                now=time.time(),
                keys_seconds=self._keys_seconds,
            )
        except SettingsError:
            version += 1
            await self._write(msgspec.structs.replace(known, version=version, frozen=()))
            raise
        made = msgspec.structs.replace(made, version=version + 1)
        await self._write(made)
        return made

    async def _busy(self) -> dict[int, set[str]]:
        busy = {}
        for entry in self._known.cells:
            if entry.name not in self._cells:
                continue  # it is lost
            maps = self._cells[entry.name].maps
            queues = {f"queue {queue}" for queue in await maps.queues_with_tasks()}
            # The topic of operational events is in all cells.
            busy[entry.number] = queues | await maps.names() - {f"topic {OPERATIONS_TOPIC}"}
        return busy

    async def _write(self, cell_map: CellMap) -> None:
        """Write a version to all cells, to the first one first: it decides between two changes.

        Raises:
            SettingsError: Another change was faster; if that removed the first cell, it was so in
                the other cells.
        """
        for cell in self._cells.values():
            if not await cell.maps.write(cell_map):
                raise SettingsError("the cells were changed by another command: try again")

    async def _prepare_new_cells(self, after: CellMap) -> None:
        new = [one for one in after.cells if self._known.entry(one.name) is None]
        if not new:
            return
        source = self._cells[self._known.cells[0].name].store
        for entry in new:
            cell = self._cells[entry.name]
            if await cell.maps.queues_with_tasks() or await cell.maps.names():
                raise SettingsError(f"the cell {entry.name} is not empty: a new cell must be")
            await cell.maps.mark_ids(entry.number)
            await copy_settings(source, cell.store)


async def fence(name: str, maps: MapStore, known: CellMap) -> bool:
    """Write a map to a cell that was removed as lost, and has come back with an older map.

    Args:
        name: The name of the cell.
        maps: Its copy of the map.
        known: The map that applies, without the cell.

    Returns:
        Whether the cell was in its own map.
    """
    own = await maps.read()
    if own is None or own.version >= known.version or own.entry(name) is None:
        return False
    return await maps.write(known)


async def first_map(cells: Mapping[str, OpenCell], cell_map: CellMap) -> None:
    """Write the first map. The first cell may have tasks, the others are empty.

    Raises:
        SettingsError: Another command was faster, or a cell is not empty.
    """
    (_, first), *others = cells.items()
    for name, cell in others:
        if await cell.maps.queues_with_tasks() or await cell.maps.names():
            raise SettingsError(f"the cell {name} is not empty: only the first cell may have tasks")
    for entry in cell_map.cells:
        await cells[entry.name].maps.mark_ids(entry.number)
        if entry.number:
            await copy_settings(first.store, cells[entry.name].store)
    for place, cell in enumerate(cells.values()):
        if not await cell.maps.write(cell_map) and place == 0:
            raise SettingsError("the cells were changed by another command: try again")


async def copy_settings(source: TaskStore, target: TaskStore) -> None:
    """Copy to a new cell what all cells have: settings of queues, and credentials."""
    for name, settings in (await source.queues.first(_PAGE)).items():
        await target.queues.put(name, settings)
    for name in await source.credentials.names():
        if (sealed := await source.credentials.sealed(name)) is not None:
            await target.credentials.put(sealed)
