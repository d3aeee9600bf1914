"""The values of all metrics of a process: one array of doubles, allocated at the start.

Counting adds to a cell of the array, which takes less than 0.1 us. All values of all labels are
known beforehand, so all processes that run the same code have the same layout, and the array can be
a file that other processes read (``sharing.py``).
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from taskflow.metrics.catalogue import Family, Kind, Labels

Cells: TypeAlias = "array[float] | memoryview[float]"


class Allocation(NamedTuple):
    """The cells of a metric: the series in order, and the index of the first cell."""

    family: Family
    series: tuple[Labels, ...]
    first: int

    @property
    def cells(self) -> slice:
        """The range of all its cells."""
        return slice(self.first, self.first + len(self.series) * self.family.width)


class ProcessValues(NamedTuple):
    """The values of another process, and whether that process is alive."""

    cells: list[float]
    is_alive: bool


def _no_others() -> Iterable[ProcessValues]:
    return ()


class Registry:
    """The values of this process.

    Attributes:
        cells: The array.
        others: Reads the values of the other processes that are exposed together with this one.
    """

    def __init__(self) -> None:
        self.cells: Cells = array("d")
        self.others: Callable[[], Iterable[ProcessValues]] = _no_others
        self._allocations: list[Allocation] = []

    @property
    def layout(self) -> int:
        """A checksum of the layout; processes with different layouts cannot be added up."""
        layout = [(one.family.name, one.family.buckets, one.series) for one in self._allocations]
        return zlib.crc32(repr(layout).encode())

    def allocate(self, family: Family, series: tuple[Labels, ...] | None = None) -> Allocation:
        """Allocate the cells of a metric, before the registry is shared.

        Args:
            family: The metric.
            series: The values of its labels, if the catalogue does not have them.
        """
        allocation = Allocation(family, family.series or series or (), len(self.cells))
        assert isinstance(self.cells, array), "the registry is shared already"
        self.cells.extend([0.0] * (len(allocation.series) * family.width))
        self._allocations.append(allocation)
        return allocation

    def totals(self) -> Iterator[tuple[Allocation, list[float]]]:
        """Yield each metric, summed over all processes: gauges of live processes only."""
        processes = [ProcessValues(list(self.cells), is_alive=True), *self.others()]
        for allocation in self._allocations:
            columns = [
                process.cells[allocation.cells]
                for process in processes
                if process.is_alive or allocation.family.kind is not Kind.GAUGE
            ]
            yield allocation, [sum(column) for column in zip(*columns, strict=True)]

    def add_counts(self, cells: list[float]) -> None:
        """Add the counters and histograms of a process that has ended."""
        for allocation in self._allocations:
            if allocation.family.kind is not Kind.GAUGE:
                for index in range(allocation.cells.start, allocation.cells.stop):
                    self.cells[index] += cells[index]


class Scalar:
    """A counter or a gauge.

    Args:
        registry: Holds its values.
        family: The metric.
        series: The values of its labels, if the catalogue does not have them.
    """

    def __init__(
        self, registry: Registry, family: Family, series: tuple[Labels, ...] | None = None
    ) -> None:
        self._registry = registry
        allocation = registry.allocate(family, series)
        self._cells = {labels: allocation.first + n for n, labels in enumerate(allocation.series)}

    def __contains__(self, labels: Labels) -> bool:
        """Return whether there is a series with these labels."""
        return labels in self._cells

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Increment a series."""
        self._registry.cells[self._cells[labels]] += amount

    def set(self, value: float, *labels: str) -> None:
        """Set a series of a gauge."""
        self._registry.cells[self._cells[labels]] = value


class Histogram:
    """A histogram of durations; arguments as for ``Scalar``."""

    def __init__(
        self, registry: Registry, family: Family, series: tuple[Labels, ...] | None = None
    ) -> None:
        self._registry = registry
        self._bounds = family.buckets
        self._sum = family.width - 1
        allocation = registry.allocate(family, series)
        self._cells = {
            labels: allocation.first + n * family.width
            for n, labels in enumerate(allocation.series)
        }

    def observe(self, seconds: float, *labels: str) -> None:
        """Count a duration. A negative one, between two clocks, counts as zero."""
        cells, first = self._registry.cells, self._cells[labels]
        seconds = max(seconds, 0.0)
        cells[first + bisect_left(self._bounds, seconds)] += 1.0
        cells[first + self._sum] += seconds
