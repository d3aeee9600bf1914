"""What commands print: lines and JSON for programs, tables for people.

Everything is escaped here before it is printed, since most of it comes from the service.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from taskflow.cli.text import safe, safe_json

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
T = TypeVar("T")


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


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


def console(*, is_error: bool = False) -> Console:
    """Return a console that prints text literally: no markup, highlighting or emoji codes."""
    return Console(stderr=is_error, markup=False, highlight=False, emoji=False)


def line(*cells: object) -> None:
    """Print one line; several cells are separated by tabs."""
    sys.stdout.write("\t".join(safe(str(cell)) for cell in cells) + "\n")


def raw_json(document: bytes) -> None:
    """Print a JSON document, unchanged, on one line."""
    sys.stdout.write(safe_json(document.decode("utf-8", "replace")) + "\n")


def json_line(value: Any) -> None:
    """Print a value as JSON on one line."""
    raw_json(msgspec.json.format(msgspec.json.encode(value), indent=-1))


def flush() -> None:
    """Write buffered output now, for a reader that follows it."""
    sys.stdout.flush()


def records(
    found: Iterable[T],
    columns: Sequence[Column],
    row_of: Callable[[T], Sequence[object]],
    *,
    as_json: bool,
) -> None:
    """Print records as a table, or as JSON with one object per line.

    Args:
        found: The records.
        columns: The columns of the table.
        row_of: Returns the cells of a record.
        as_json: Whether to print JSON.
    """
    if as_json:
        for one in found:
            json_line(one)
    else:
        table(columns, map(row_of, found))


def record(
    found: T, pairs_of: Callable[[T], Iterable[tuple[str, object]]], *, as_json: bool
) -> None:
    """Print one record as names and values, or as a line of JSON."""
    if as_json:
        json_line(found)
    else:
        pairs(pairs_of(found))


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table that fits the terminal; elsewhere a tab-separated line per row, no header."""
    if is_terminal():
        draw(table_of(columns, rows))
        return
    for row in rows:
        line(*("" if cell is None else cell for cell in row))


def table_of(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> Text:
    """Return a table that fits the terminal, to be drawn."""
    return Text("\n").join(lines_of(columns, rows, console().width))


def pairs(values: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair per line; a value of ``None`` is left out."""
    shown = [(name, value) for name, value in values if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        written = safe(str(value))
        draw(Text.assemble((f"{name:<{width}}  ", "bold"), (written, STYLES.get(written, ""))))


def draw(content: RenderableType) -> None:
    """Print with colors on a terminal, and as plain text elsewhere."""
    console().print(content, soft_wrap=True)
