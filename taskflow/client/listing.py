"""Lists of a service with several cells, of which some may not answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

_HEADER: Final = "taskflow-missing-cells"


class Listing(list[T]):
    """A list, as the service returns it.

    Attributes:
        missing_cells: Names of the cells that did not answer, whose items are missing; empty if
            the list is complete.
    """

    def __init__(self, items: Iterable[T] = (), missing_cells: Iterable[str] = ()) -> None:
        super().__init__(items)
        self.missing_cells: Final = frozenset(missing_cells)


def missing_cells_of(headers: Mapping[str, str]) -> frozenset[str]:
    """Return the names of the cells that a response leaves out."""
    names = headers.get(_HEADER, "").split(",")
    return frozenset(filter(None, (name.strip() for name in names)))
