"""The cells of a process, and how a verb is run on one, on each, or on the one that has an id."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec
import trio

from taskflow.model.cell_map import CellMap, mark_of
from taskflow.model.errors import (
    CellsChange,
    CellUnavailable,
    KeyIsBusy,
    StatementRejected,
    StoreUnavailable,
    TooManySearches,
)
from taskflow.store.base.partial_reads import is_partial, note_missing
from taskflow.store.base.store import TaskStore


class _Write(Protocol):
    @property
    def task_id(self) -> uuid.UUID: ...


Result = TypeVar("Result")
Write = TypeVar("Write", bound=_Write)
Part = TypeVar("Part")
Call: TypeAlias = Callable[[TaskStore], Awaitable[Result]]

# A read leaves a cell out that has not answered by then.
READ_SECONDS: Final = 2.0
# A cell that did not answer is left out of reads, and gets no spread tasks, for this time.
DOWN_SECONDS: Final = 5.0
# For this time, other calls are refused at once.
REFUSED_SECONDS: Final = 1.0
_EARLIER_SECONDS: Final = 0.25
# These errors are answers.
_ANSWERS: Final = (KeyIsBusy, StatementRejected, TooManySearches)


class Cell:
    """A cell.

    Attributes:
        number: Its number.
        name: Its name.
        store: Its store; ``None`` while it cannot be opened.
    """

    def __init__(self, number: int, name: str, store: TaskStore | None = None) -> None:
        self.number: Final = number
        self.name: Final = name
        self.store = store
        self._down_until = self._refused_until = -math.inf

    def __repr__(self) -> str:
        return f"<Cell {self.number} {self.name}>"

    @property
    def is_up(self) -> bool:
        """True unless it is not open, or did not answer a moment ago."""
        return self.store is not None and trio.current_time() >= self._down_until

    async def run(self, call: Call[Result]) -> Result:
        """Call a verb of its store.

        Raises:
            CellUnavailable: The cell does not answer.
        """
        if self.store is None or trio.current_time() < self._refused_until:
            raise CellUnavailable(self.name)
        # Requests of the API have a deadline, and would not know which cell was late.
        deadline = math.inf
        if is_partial():
            deadline = trio.current_effective_deadline() - _EARLIER_SECONDS
        try:
            with trio.move_on_at(deadline):
                result = await call(self.store)
                self._down_until = -math.inf
                return result
        except _ANSWERS:
            raise
        except StoreUnavailable as error:
            self.note_down()
            raise CellUnavailable(self.name) from error
        self.note_down()
        raise CellUnavailable(self.name)

    def note_down(self) -> None:
        """Leave it out for a moment: each call might wait for a connection or a response."""
        self._down_until = trio.current_time() + DOWN_SECONDS
        self._refused_until = trio.current_time() + REFUSED_SECONDS


class Answer(msgspec.Struct, Generic[Result], frozen=True):
    """What a cell returned."""

    cell: Cell
    result: Result


class Cells:
    """The cells that this process knows.

    Attributes:
        map: The map that applies.
        map_until: The time on Trio's clock until which writes may use it.
    """

    def __init__(self, cells: Iterable[Cell], cell_map: CellMap) -> None:
        self._cells = {cell.number: cell for cell in cells}
        self._turns: Final = itertools.count()
        self.map = cell_map
        self.map_until = math.inf

    def __iter__(self) -> Iterator[Cell]:
        return iter(tuple(self._cells.values()))

    def replace(self, cells: Iterable[Cell], cell_map: CellMap) -> None:
        """Replace the cells and the map."""
        self._cells = {cell.number: cell for cell in cells}
        self.map = cell_map

    def __getitem__(self, number: int) -> Cell:
        return self._cells[number]

    @property
    def first(self) -> Cell:
        """The cell with the lowest number, which has what needs to be in one cell only."""
        return self._cells[min(self._cells)]

    def home_of(self, queue: str) -> Cell:
        """Return the cell of a queue."""
        return self._cells[self.map.home_of(queue)]

    def of_name(self, kind: str, name: str) -> Cell:
        """Return the cell of a schedule, a topic, a heartbeat or a key."""
        return self._cells[self.map.cell_of(kind, name)]

    def check_map(self, name: str) -> None:
        """Check, before a write, that the map is up to date, and that what has a name stays.

        A change of the map waits until no process writes by an older one.

        Raises:
            CellsChange: The map may have changed, or is about to.
        """
        if self.map.is_frozen(name) or trio.current_time() > self.map_until:
            raise CellsChange

    def next_active(self) -> Cell:
        """Return an active cell for a task that may be anywhere: the ones that are up take turns.

        Raises:
            StoreUnavailable: None is up.
        """
        active = [self._cells[number] for number in self.map.active if self._cells[number].is_up]
        if not active:
            raise StoreUnavailable
        return active[next(self._turns) % len(active)]

    async def each(self, call: Call[Result]) -> list[Answer[Result]]:
        """Call a verb of every cell at once; all must answer."""
        return _checked(await outcomes(self, call))

    async def total(self, call: Call[int]) -> int:
        """Call a verb of every cell at once, as ``each``; return the sum."""
        return sum(one.result for one in await self.each(call))

    async def soonest(self, call: Call[float | None]) -> float | None:
        """Call a verb of every cell at once, as ``each``; return the shortest time, if any."""
        found = await self.each(call)
        return min((one.result for one in found if one.result is not None), default=None)

    async def read(self, call: Call[Result]) -> list[Answer[Result]]:
        """Call a reading verb of every cell at once; see ``read_each``."""
        return await self.read_each(lambda _: call)

    async def read_each(self, call_of: Callable[[Cell], Call[Result]]) -> list[Answer[Result]]:
        """Call a reading verb of every cell at once, with arguments of its own.

        Cells that do not answer in time are left out within ``partial_reads``.

        Raises:
            CellUnavailable: A cell does not answer, and may not be left out; or none does.
        """
        may_leave_out = is_partial()
        asked = [cell for cell in self if cell.is_up or not may_leave_out]
        limit_time = _in_time if may_leave_out else _unchanged
        found = await outcomes_of({cell: limit_time(call_of(cell)) for cell in asked})
        down = [
            cell for cell in self if cell not in found or isinstance(found[cell], CellUnavailable)
        ]
        answers = _checked({cell: one for cell, one in found.items() if cell not in down})
        if down and not (may_leave_out and answers):
            raise CellUnavailable(down[0].name)
        for cell in down:
            note_missing(cell.name)
        return answers

    async def any(self, call: Call[Result]) -> Result:
        """Call a verb of the first cell that answers, where all cells have the same data.

        Raises:
            StoreUnavailable: None answers.
        """
        last: StoreUnavailable = StoreUnavailable()
        for cell in sorted(self, key=lambda cell: (not cell.is_up, cell.number)):
            try:
                return await cell.run(call)
            except CellUnavailable as error:
                last = error
        raise last

    async def find(self, wanted: uuid.UUID, call: Call[Result]) -> Result | None:
        """Call a verb for an id: in the cell that the id names, and if it is not there, in others.

        Args:
            wanted: The id.
            call: Returns something that is not true if the cell does not have the id.

        Raises:
            CellUnavailable: It was not found, and a cell that may have it does not answer.
        """
        named = self._cells.get(mark_of(wanted))
        missing: Exception | None = None
        if named is not None:
            try:
                if result := await named.run(call):
                    return result
            except CellUnavailable as error:
                missing = error
        found = await outcomes([cell for cell in self if cell is not named], call)
        return _found(found.values(), missing)

    async def by_ids(
        self,
        ids: Collection[uuid.UUID],
        call: Callable[[TaskStore, list[uuid.UUID]], Awaitable[Part]],
        known: Callable[[Part], Collection[uuid.UUID]],
        *,
        may_leave_out: bool = False,
    ) -> list[Part]:
        """Call a verb for ids: in the cells that they name, then in the others for the rest.

        Args:
            ids: The ids.
            call: Is called for some of the ids.
            known: Returns the ids that a result is about.
            may_leave_out: Whether cells that do not answer may be left out within
                ``partial_reads``.
        """
        answers = await self._by_ids(ids, call, known, may_leave_out=may_leave_out)
        return [one.result for one in answers]

    async def change(
        self,
        ids: Collection[uuid.UUID],
        call: Callable[[TaskStore, list[uuid.UUID]], Awaitable[set[uuid.UUID]]],
    ) -> set[uuid.UUID]:
        """Call a verb that changes what has these ids, as ``by_ids``; return what it changed."""
        parts = await self.by_ids(ids, call, lambda changed: changed)
        return set[uuid.UUID]().union(*parts)

    async def write(
        self,
        writes: Sequence[Write],
        call: Callable[[TaskStore, list[Write]], Awaitable[set[uuid.UUID]]],
    ) -> set[uuid.UUID]:
        """Call a verb that writes to tasks, as ``change``; return the ids of these tasks."""

        async def call_for(store: TaskStore, ids: list[uuid.UUID]) -> set[uuid.UUID]:
            wanted = set(ids)
            return await call(store, [one for one in writes if one.task_id in wanted])

        return await self.change([one.task_id for one in writes], call_for)

    async def cells_with(
        self,
        ids: Collection[uuid.UUID],
        call: Callable[[TaskStore, list[uuid.UUID]], Awaitable[Mapping[uuid.UUID, object]]],
    ) -> set[Cell]:
        """Return the cells that have some of these ids.

        Args:
            ids: The ids.
            call: Returns something for each id that a store has.

        Raises:
            CellUnavailable: A cell does not answer that may have an id that no other one has.
        """
        answers = await self._by_ids(ids, call, lambda found: found.keys())
        return {one.cell for one in answers if one.result}

    async def _by_ids(
        self,
        ids: Collection[uuid.UUID],
        call: Callable[[TaskStore, list[uuid.UUID]], Awaitable[Part]],
        known: Callable[[Part], Collection[uuid.UUID]],
        *,
        may_leave_out: bool = False,
    ) -> list[Answer[Part]]:
        asked: dict[Cell, set[uuid.UUID]] = {cell: set() for cell in self}
        for one in ids:
            if (cell := self._cells.get(mark_of(one))) is not None:
                asked[cell].add(one)
        answers = await self._portions(asked, call, may_leave_out=may_leave_out)
        rest = set(ids).difference(*(known(one.result) for one in answers))
        others = {cell: rest - own for cell, own in asked.items()} if rest else {}
        return [*answers, *await self._portions(others, call, may_leave_out=may_leave_out)]

    async def _portions(
        self,
        wanted: dict[Cell, set[uuid.UUID]],
        call: Callable[[TaskStore, list[uuid.UUID]], Awaitable[Part]],
        *,
        may_leave_out: bool,
    ) -> list[Answer[Part]]:
        def call_for(ids: list[uuid.UUID]) -> Call[Part]:
            return lambda store: call(store, ids)

        calls = {cell: call_for(list(ids)) for cell, ids in wanted.items() if ids}
        found = await outcomes_of(calls)
        if may_leave_out and is_partial():
            for cell, one in list(found.items()):
                if isinstance(one, CellUnavailable):
                    note_missing(cell.name)
                    del found[cell]
        return _checked(found)


async def outcomes(cells: Iterable[Cell], call: Call[Result]) -> dict[Cell, Result | Exception]:
    """Call a verb of cells at once; return what each returned or raised."""
    return await outcomes_of(dict.fromkeys(cells, call))


async def outcomes_of(calls: Mapping[Cell, Call[Result]]) -> dict[Cell, Result | Exception]:
    """Call a verb of each of these cells at once; return what each returned or raised."""
    found: dict[Cell, Result | Exception] = {}

    async def run(cell: Cell) -> None:
        try:
            found[cell] = await cell.run(calls[cell])
        except Exception as error:  # noqa: BLE001 - the caller decides
            found[cell] = error

    if len(calls) == 1:
        await run(next(iter(calls)))
        return found
    async with trio.open_nursery() as nursery:
        for cell in calls:
            nursery.start_soon(run, cell)
    return {cell: found[cell] for cell in calls}


def _unchanged(call: Call[Result]) -> Call[Result]:
    return call


def _checked(found: dict[Cell, Result | Exception]) -> list[Answer[Result]]:
    """Return the results; raise an error, first one that is not about a missing cell."""
    errors = [one for one in found.values() if isinstance(one, Exception)]
    for error in sorted(errors, key=lambda error: isinstance(error, CellUnavailable)):
        raise error
    return [Answer(cell, one) for cell, one in found.items() if not isinstance(one, Exception)]


def _found(found: Iterable[Result | Exception], missing: Exception | None) -> Result | None:
    errors: list[Exception] = []
    for one in found:
        if isinstance(one, Exception):
            errors.append(one)
        elif one:
            return one
    errors.sort(key=lambda error: isinstance(error, CellUnavailable))
    for error in (*errors, missing):
        if error is not None:
            raise error
    return None


def _in_time(call: Call[Result]) -> Call[Result]:
    async def limited(store: TaskStore) -> Result:
        with trio.move_on_after(READ_SECONDS):
            return await call(store)
        raise StoreUnavailable("it does not answer in time")

    return limited
