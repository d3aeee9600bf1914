"""Events of all cells in one order.

A position is the positions in all cells together, each in 64 bits of one whole number. What a cell
has recorded only grows, so the positions of one reader grow, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from taskflow.model.event import ALL_EVENTS, EventFilter, TaskEvent
from taskflow.store.base.events import EventPage, EventStore
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Call, Cell, Cells
from taskflow.store.cells.first_wait import first_of

_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1


def packed(positions: Mapping[int, int]) -> int:
    """Return the positions in cells, by their numbers, as one number."""
    return sum(position << _BITS * number for number, position in positions.items())


def position_in(position: int, number: int) -> int:
    """Return the position in one cell."""
    return position >> _BITS * number & _MASK


class CellEvents(EventStore):
    """Records and reads the events of all cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def record_events(self) -> int:
        found = await self._cells.read(lambda store: store.record_events())
        return packed({one.cell.number: one.result for one in found})

    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        def read(cell: Cell) -> Call[EventPage]:
            begin = position_in(position, cell.number)
            end = None if until is None else position_in(until, cell.number)

            async def events_after(store: TaskStore) -> EventPage:
                if not begin:  # it may not have answered when events were last to be recorded
                    await store.record_events()
                return await store.events_after(begin, limit=limit, until=end, wanted=wanted)

            return events_after

        pages = {one.cell.number: one.result for one in await self._cells.read_each(read)}
        events = list(_merged(position, {number: one.events for number, one in pages.items()}))
        is_complete = all(page.is_complete for page in pages.values())
        return EventPage(events[:limit], is_complete=is_complete)

    async def wait_for_events(self) -> None:
        await first_of([cell.store.wait_for_events for cell in self._cells if cell.store])

    async def delete_old_events(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.delete_old_events(limit=limit))


def _merged(position: int, by_cell: Mapping[int, Iterable[TaskEvent]]) -> Iterable[TaskEvent]:
    """Yield events of cells by their times, each with the positions up to it in all cells."""
    merged = sorted(
        ((event.at, number, place, event) for number, events in by_cell.items()
         for place, event in enumerate(events)),
        key=lambda one: one[:3],
    )  # fmt: skip
    at = {number: position_in(position, number) for number in by_cell}
    rest = position - packed(at)
    queues = {number: iter(events) for number, events in by_cell.items()}
    for _, number, _, _ in merged:  # clocks go back: the order within a cell is kept
        event = next(queues[number])
        at[number] = event.id
        yield msgspec.structs.replace(event, id=rest + packed(at))
