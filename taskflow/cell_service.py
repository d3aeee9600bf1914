"""The cells of a service: their file, their stores, and changes of their map."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from taskflow.engine.cell_engines import CellEngines
from taskflow.model.cell_map import (
    BUCKETS,
    CellMap,
    new_map,
    with_added,
    with_spread,
    without_lost,
)
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import SettingsError, StoreError, StoreUnavailable
from taskflow.model.task import is_name
from taskflow.settings import Settings, variable_of
from taskflow.settings.loading import read_secret_file
from taskflow.store.base.store import SECRET_BYTES
from taskflow.store.cells.cell import Cell
from taskflow.store.cells.map_changes import MapChange, OpenCell, first_map, latest_map
from taskflow.store.cells.opening import opened_cells
from taskflow.store.cells.store import CellStore
from taskflow.store.encrypted import encrypted_store
from taskflow.store.postgres.migrate import Migrated, migrate_database
from taskflow.store.postgres.store import open_postgres

_POSTGRES_URLS: Final = ("postgresql://", "postgres://")
MAX_LISTED_QUEUES: Final = 10_000
Change: TypeAlias = Callable[[CellMap], CellMap]
_EXPECTED: Final = "a name and the URL of its database, such as: a postgresql://db-a.example/tasks"


def read_cells_file(settings: Settings) -> dict[str, str]:
    """Return the URLs of the cells by their names, in the order of the file.

    Raises:
        SettingsError: The file cannot be read, or a line is invalid.
    """
    variable = variable_of("cells_file")
    found: dict[str, str] = {}
    for place, line in read_secret_file(Path(settings.cells_file), variable).entries:
        name, _, url = line.partition(" ")
        url = url.strip()
        if not is_name(name) or not url.startswith(_POSTGRES_URLS):
            raise SettingsError(f"{variable}: {place}: a line has {_EXPECTED}")
        if name in found:
            raise SettingsError(f"{variable}: {place}: the cell {name} is listed twice")
        found[name] = url
    if not found:
        raise SettingsError(f"{variable}={settings.cells_file!r} names no cell: each line has one")
    return found


def cells_to_run(settings: Settings) -> Collection[str]:
    """Return the names of the cells whose tasks this node runs.

    Raises:
        SettingsError: The file is invalid, or has no line for one of them.
    """
    named = read_cells_file(settings)
    if missing := [name for name in settings.cells if name not in named]:
        raise SettingsError(
            f"{variable_of('cells')}: {settings.cells_file} has no line for {', '.join(missing)}"
        )
    return settings.cells or named


@contextlib.asynccontextmanager
async def open_cells(
    settings: Settings, encryption: Encryption, engines: CellEngines
) -> AsyncIterator[CellStore]:
    """Open the cells that the file names, and yield the store of all; run their engines.

    Raises:
        SettingsError: The file is invalid, or no cell has a map.
    """

    async def work(cell: Cell) -> None:
        assert cell.store is not None
        await engines.work(cell.name, encrypted_store(cell.store, encryption))

    open_store = functools.partial(_open_cell, settings, encryption)
    async with opened_cells(read_cells_file(settings), open_store, work) as cells:
        yield CellStore(cells)


@contextlib.asynccontextmanager
async def _open_cell(
    settings: Settings, encryption: Encryption, url: str
) -> AsyncIterator[OpenCell]:
    async with open_postgres(url, settings, encryption) as store:
        yield OpenCell(store, store.cell_maps)


@contextlib.asynccontextmanager
async def _all_open(
    settings: Settings, *, but: Collection[str] = (), may_leave_out: bool = False
) -> AsyncIterator[dict[str, OpenCell]]:
    """Open all cells of the file, with few connections.

    Args:
        settings: All settings.
        but: The names of cells not to open.
        may_leave_out: Whether cells that do not answer may be left out, except for the last one.

    Raises:
        StoreError: One cannot be opened.
    """
    few = msgspec.structs.replace(settings, database_connections=2)
    cells: dict[str, OpenCell] = {}
    last: StoreUnavailable | None = None
    async with contextlib.AsyncExitStack() as stack:
        for name, url in read_cells_file(settings).items():
            if name in but:
                continue
            try:
                opening = _open_cell(few, NO_ENCRYPTION, url)
                cells[name] = await stack.enter_async_context(opening)
            except StoreUnavailable as error:
                last = StoreUnavailable(f"cell {name}: {error}")
                if not may_leave_out:
                    raise last from error
        if last is not None and not cells:
            raise last
        yield cells


async def migrate_cells(settings: Settings) -> list[Migrated]:
    """Apply the migrations that the cells lack.

    Raises:
        StoreError: A migration failed; those before it were applied.
    """
    return [
        await migrate_database(
            url,
            timeout_seconds=settings.database_timeout_seconds,
            pooler=settings.database_pooler,
        )
        for url in read_cells_file(settings).values()
    ]


class CellsReport(msgspec.Struct, frozen=True):
    """The cells, for ``taskflow cells list``.

    Attributes:
        map: The map.
        unfinished: The number of unfinished tasks in each cell that answers, by its name.
    """

    map: CellMap
    unfinished: Mapping[str, int]


async def list_cells(settings: Settings) -> CellsReport:
    """Return the cells.

    Raises:
        SettingsError: There is no map.
        StoreError: No cell answers.
    """
    _check_is_set(settings)
    async with _all_open(settings, may_leave_out=True) as cells:
        known = await _known_map(cells, lost=read_cells_file(settings))
        unfinished = {}
        for entry in known.cells:
            if entry.name not in cells:
                continue
            total = (await cells[entry.name].store.count(limit=1)).total.counts
            unfinished[entry.name] = sum(
                count for status, count in total.items() if not status.is_final
            )
        return CellsReport(known, unfinished)


async def add_cells(settings: Settings, names: list[str]) -> CellMap:
    """Add cells to the map; make the first map if there is none.

    Raises:
        SettingsError: A cell is not in the file, is in the map, or is not empty.
        StoreError: A cell does not answer.
    """
    _check_is_set(settings)
    if missing := [name for name in names if name not in read_cells_file(settings)]:
        raise SettingsError(f"{settings.cells_file} has no line for {', '.join(missing)}")
    async with _all_open(settings) as cells:
        known = await latest_map(cells)
        if known is not None:
            await _complete(cells, known)
            return await _changed(settings, cells, known, lambda now: with_added(now, names))
        made = new_map(names, secret=secrets.token_bytes(SECRET_BYTES))
        await first_map({name: cells[name] for name in names}, made)
        return made


async def change_cells(settings: Settings, change: Change) -> CellMap:
    """Change the map, and return the new one.

    Raises:
        SettingsError: The change is not possible.
        StoreError: A cell does not answer.
    """
    _check_is_set(settings)
    async with _all_open(settings) as cells:
        return await _changed(settings, cells, await _known_map(cells), change)


async def spread_queue(settings: Settings, queue: str, *, is_spread: bool) -> CellMap:
    """Let the tasks of a queue be spread over all active cells, or no longer.

    Raises:
        SettingsError: The queue has limits, or there is no map.
        StoreError: A cell does not answer.
    """
    _check_is_set(settings)
    async with _all_open(settings) as cells:
        known = await _known_map(cells)
        homes = [one for one in known.cells if one.number == known.home_of(queue)]
        found = await cells[homes[0].name].store.queues.get(queue)
        if is_spread and found is not None and found.has_limits:
            raise SettingsError(f"the queue {queue} has limits: remove them first")
        change = functools.partial(with_spread, queue=queue, is_spread=is_spread)
        return await _changed(settings, cells, known, change)


async def remove_cell(settings: Settings, name: str, remove: Change) -> None:
    """Remove a cell that has drained.

    Raises:
        SettingsError: Something unfinished is left in it.
        StoreError: A cell does not answer.
    """
    _check_is_set(settings)
    async with _all_open(settings) as cells:
        known = await _known_map(cells)
        after = remove(known)
        maps = cells[name].maps
        left = [f"queue {queue}" for queue in sorted(await maps.queues_with_tasks())]
        left += sorted(await maps.names())
        if left:
            raise SettingsError(
                f"the cell {name} still has unfinished tasks, keys or groups of: "
                f"{', '.join(left[:10])}"
            )
        await _changed(settings, cells, known, lambda _: after)


class LostCells(msgspec.Struct, frozen=True):
    """What is known of cells that are lost for good.

    Attributes:
        reasons: Why each of them cannot be opened, by its name.
        share: Their share of all queues, from 0 to 1.
        queues: Their queues that have settings, or that an operator placed, by name.
        kept: What was known to stay in them: ``queue NAME``, ``schedule NAME``, ``topic NAME``.
    """

    reasons: Mapping[str, str]
    share: float
    queues: Sequence[str]
    kept: Sequence[str]


async def examine_lost_cells(settings: Settings, names: Sequence[str]) -> LostCells:
    """Return what would be lost with cells that ``remove_lost_cells`` can remove.

    Raises:
        SettingsError: One of them answers, or there would be no active cell.
        StoreError: Another cell does not answer.
    """
    reasons = await _reasons_of_loss(settings, names)
    async with _all_but_lost(settings, names) as (cells, known):
        numbers = {one.number for one in known.cells if one.name in names}
        anywhere = next(iter(cells.values())).store.queues
        queues = {*await anywhere.first(MAX_LISTED_QUEUES), *known.placed}
        return LostCells(
            reasons,
            sum(number in numbers for number in known.buckets) / BUCKETS,
            sorted(one for one in queues if known.home_of(one) in numbers),
            sorted(key for key, number in known.stays.items() if number in numbers),
        )


async def remove_lost_cells(settings: Settings, names: Sequence[str]) -> CellMap:
    """Remove cells that are lost for good, with all that is in them, and return the new map.

    Raises:
        SettingsError: One of them answers, or there would be no active cell.
        StoreError: Another cell does not answer.
    """
    await _reasons_of_loss(settings, names)
    async with _all_but_lost(settings, names) as (cells, known):
        remove = functools.partial(without_lost, names=names)
        return await _changed(settings, cells, known, remove, lost=names)


@contextlib.asynccontextmanager
async def _all_but_lost(
    settings: Settings, names: Sequence[str]
) -> AsyncIterator[tuple[dict[str, OpenCell], CellMap]]:
    """Open all other cells, and yield them and the map; see ``remove_lost_cells``."""
    async with _all_open(settings, but=names) as cells:
        known = await _known_map(cells, lost=names)
        without_lost(known, names)
        yield cells, known


async def _reasons_of_loss(settings: Settings, names: Sequence[str]) -> dict[str, str]:
    """Return why cells cannot be opened, by their names.

    Raises:
        SettingsError: One can be opened.
    """
    _check_is_set(settings)
    urls = read_cells_file(settings)
    reasons = dict.fromkeys(names, f"{settings.cells_file} has no line for it")
    for name in urls.keys() & set(names):
        try:
            async with _open_cell(settings, NO_ENCRYPTION, urls[name]):
                pass
        except StoreError as error:
            reasons[name] = str(error)
        else:
            raise SettingsError(
                f"the cell {name} answers: run `taskflow cells drain {name}`, and remove it "
                "without --lost"
            )
    return reasons


async def _changed(
    settings: Settings,
    cells: Mapping[str, OpenCell],
    known: CellMap,
    change: Change,
    *,
    lost: Collection[str] = (),
) -> CellMap:
    names = [one.name for one in (*known.cells, *change(known).cells) if one.name not in lost]
    involved = {name: cells[name] for name in names}
    made = MapChange(
        involved,
        known,
        keys_seconds=settings.idempotency_seconds,
        statement_seconds=settings.database_timeout_seconds,
    )
    return await made.run(change)


async def _known_map(cells: Mapping[str, OpenCell], *, lost: Collection[str] = ()) -> CellMap:
    known = await latest_map(cells)
    if known is None:
        raise SettingsError("there is no map of cells: run `taskflow cells add NAME ...`")
    if missing := [one.name for one in known.cells if one.name not in {*cells, *lost}]:
        raise SettingsError(f"TASKFLOW_CELLS_FILE has no line for {', '.join(missing)}")
    await _complete(cells, known)
    return known


async def _complete(cells: Mapping[str, OpenCell], known: CellMap) -> None:
    """Write the latest map to the cells that an interrupted command left with an older one."""
    for entry in known.cells:
        if entry.name in cells:
            await cells[entry.name].maps.write(known)


def _check_is_set(settings: Settings) -> None:
    if not settings.cells_file:
        raise SettingsError("TASKFLOW_CELLS_FILE is not set: it names the cells and their URLs")
