"""Tables that fit a terminal: minor columns are dropped, and long values are truncated."""

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
        title: The text of the header.
        is_number: Whether to align it on the right.
        may_shrink: Whether to truncate its values if the table does not fit.
        min_width: The minimum width of a column that may shrink.
        drop_order: Which columns to drop if the table does not fit: the highest number first.
            Columns with 0 always stay.
    """

    title: str
    is_number: bool = False
    may_shrink: bool = False
    min_width: int = 8
    drop_order: int = 0


def cell_of(value: object) -> Text:
    """Return a value as escaped text, in the color of its meaning."""
    text = "-" if value is None else safe(str(value))
    return Text(text, style=STYLES.get(text, ""))


def lines_of(columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int) -> list[Text]:
    """Return the lines of a table, starting with the header.

    Args:
        columns: The columns.
        rows: The values of each row, one per column.
        width: The maximum width of a line.
    """
    table = [[Text(column.title, "bold") for column in columns]]
    table += [[cell_of(value) for value in row] for row in rows]
    natural = [max(cell_len(row[n].plain) for row in table) for n in range(len(columns))]
    widths = fitted(columns, natural, width)
    return [_line(columns, row, widths) for row in table]


def fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """Return the width of each column that is shown, by its index.

    Args:
        columns: The columns.
        natural: The width that the content of each column needs.
        width: The maximum width of a line.
    """
    widths = {
        n: min(size, columns[n].min_width) if columns[n].may_shrink else size
        for n, size in enumerate(natural)
    }
    droppable = sorted(
        (n for n in widths if columns[n].drop_order), key=lambda n: columns[n].drop_order
    )
    while droppable and _total(widths) > width:
        del widths[droppable.pop()]
    _share_out(widths, natural, max(0, width - _total(widths)))
    return widths


def _share_out(widths: dict[int, int], natural: Sequence[int], spare: int) -> None:
    """Widen the columns by equal shares of the spare width, up to what they need."""
    # By ascending need, so that what one column leaves of its share goes to the others.
    open_columns = sorted(widths, key=lambda n: natural[n] - widths[n])
    while open_columns:
        share = spare // len(open_columns)
        n = open_columns.pop(0)
        more = min(share, natural[n] - widths[n])
        widths[n] += more
        spare -= more


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
