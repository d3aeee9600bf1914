"""Tables that fit a terminal: what matters least is left out, and what is long is cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from taskflow.cli.text import safe

STYLES: Final[Mapping[str, str]] = {
    "COMPLETED": "green",
    "FAILED": "red",
    "RUNNING": "cyan",
    "CANCELED": "dim",
    "LOST": "red",
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
}
_GAP: Final = 2


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: Its head.
        is_number: Whether it stands at the right.
        may_shrink: Whether what does not fit is cut off.
        least: How wide it is at least where it may shrink.
        goes: Where the terminal is too narrow for all, those go first that have most of this;
            those that have none stay.
    """

    title: str
    is_number: bool = False
    may_shrink: bool = False
    least: int = 8
    goes: int = 0


def cell_of(value: object) -> Text:
    """A value in a table: its text and nothing else, in the colour of what it says."""
    text = "-" if value is None else safe(str(value))
    return Text(text, style=STYLES.get(text, ""))


def lines_of(columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int) -> list[Text]:
    """The lines of a table, its head first.

    Args:
        columns: What stands in which.
        rows: The values.
        width: How wide it may be.
    """
    table = [[Text(column.title, "bold") for column in columns]]
    table += [[cell_of(value) for value in row] for row in rows]
    natural = [max(cell_len(row[n].plain) for row in table) for n in range(len(columns))]
    widths = fitted(columns, natural, width)
    return [_line(columns, row, widths) for row in table]


def fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """How wide each column is that stays, by its place.

    Args:
        columns: The columns.
        natural: How wide each would be.
        width: How wide all may be together.
    """
    least = {
        n: min(size, columns[n].least) if columns[n].may_shrink else size
        for n, size in enumerate(natural)
    }
    leaving = sorted((n for n in least if columns[n].goes), key=lambda n: columns[n].goes)
    while leaving and _total(least) > width:
        del least[leaving.pop()]
    spare = width - _total(least)
    # Those that want least first, so that none gets more than it wants.
    waiting = sorted(least, key=lambda n: natural[n] - least[n])
    while waiting:
        share = max(0, spare) // len(waiting)
        n = waiting.pop(0)
        more = min(share, natural[n] - least[n])
        least[n] += more
        spare -= more
    return least


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _line(columns: Sequence[Column], row: Sequence[Text], widths: Mapping[int, int]) -> Text:
    cells = []
    for n, size in widths.items():
        cell = row[n].copy()
        cell.truncate(size, overflow="ellipsis")
        cell.align("right" if columns[n].is_number else "left", size)
        cells.append(cell)
    line = Text(" " * _GAP).join(cells)
    line.rstrip()
    return line
