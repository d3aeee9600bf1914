"""Where the numbers stand: one row of doubles in a process, its places given out at the start.

To count is to add to a place, which costs less than a tenth of a microsecond. Since all labels are
known beforehand, all processes of the same code have the same places, and the row may as well be a
file that the others read (``sharing.py``).
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from taskflow.metrics.catalogue import Family, Kind, Labels

Cells: TypeAlias = "array[float] | memoryview[float]"


class Part(NamedTuple):
    """The places of a metric: where they begin, and which series they are of."""

    family: Family
    series: tuple[Labels, ...]
    first: int

    @property
    def places(self) -> slice:
        """All of them."""
        return slice(self.first, self.first + len(self.series) * self.family.width)


class Row(NamedTuple):
    """What a process wrote: its numbers, and whether it is still there."""

    cells: list[float]
    is_alive: bool


def _no_others() -> Iterable[Row]:
    return ()


class Board:
    """The numbers of this process.

    Attributes:
        cells: All of them.
        others: Reads what other processes wrote that are told of together with this one.
    """

    def __init__(self) -> None:
        self.cells: Cells = array("d")
        self.others: Callable[[], Iterable[Row]] = _no_others
        self._parts: list[Part] = []

    @property
    def layout(self) -> int:
        """A number that two boards with different places do not share."""
        told = [(part.family.name, part.family.buckets, part.series) for part in self._parts]
        return zlib.crc32(repr(told).encode())

    def allot(self, family: Family, series: tuple[Labels, ...] | None = None) -> Part:
        """Give out places for a metric; before the board is shared.

        Args:
            family: Which.
            series: The values of its labels, if the catalogue does not know them.
        """
        part = Part(family, family.series or series or (), len(self.cells))
        assert isinstance(self.cells, array), "the board is shared already"
        self.cells.extend([0.0] * (len(part.series) * family.width))
        self._parts.append(part)
        return part

    def totals(self) -> Iterator[tuple[Part, list[float]]]:
        """Every metric, over all processes: counters of the dead too, gauges of the living only."""
        rows = [Row(list(self.cells), is_alive=True), *self.others()]
        for part in self._parts:
            counted = [
                row.cells[part.places]
                for row in rows
                if row.is_alive or part.family.kind is not Kind.GAUGE
            ]
            yield part, [sum(column) for column in zip(*counted, strict=True)]

    def add_past(self, cells: list[float]) -> None:
        """Take over what a process counted that is no more."""
        for part in self._parts:
            if part.family.kind is not Kind.GAUGE:
                for place in range(part.places.start, part.places.stop):
                    self.cells[place] += cells[place]


class Numbers:
    """A counter or a gauge of a board.

    Args:
        board: Whose.
        family: Which metric.
        series: The values of its labels, if the catalogue does not know them.
    """

    def __init__(
        self, board: Board, family: Family, series: tuple[Labels, ...] | None = None
    ) -> None:
        self._board = board
        part = board.allot(family, series)
        self._places = {labels: part.first + n for n, labels in enumerate(part.series)}

    def __contains__(self, labels: Labels) -> bool:
        """Whether there is a place for these values of the labels."""
        return labels in self._places

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count."""
        self._board.cells[self._places[labels]] += amount

    def put(self, value: float, *labels: str) -> None:
        """Say how it stands."""
        self._board.cells[self._places[labels]] = value


class Durations:
    """A histogram of a board."""

    def __init__(
        self, board: Board, family: Family, series: tuple[Labels, ...] | None = None
    ) -> None:
        self._board = board
        self._bounds = family.buckets
        self._sum = family.width - 1
        part = board.allot(family, series)
        self._places = {
            labels: part.first + n * family.width for n, labels in enumerate(part.series)
        }

    def observe(self, seconds: float, *labels: str) -> None:
        """Count a duration; one below zero, by clocks that differ, as none."""
        cells, first = self._board.cells, self._places[labels]
        seconds = max(seconds, 0.0)
        cells[first + bisect_left(self._bounds, seconds)] += 1.0
        cells[first + self._sum] += seconds
