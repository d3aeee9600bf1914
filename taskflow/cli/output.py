"""What commands print: lines and JSON for programs, tables for people.

Everything is escaped here before it is printed, since most of it comes from the service.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from rich.console import Console, RenderableType
from rich.text import Text

from taskflow.cli.columns import STYLES, Column, lines_of
from taskflow.cli.text import safe, safe_json

T = TypeVar("T")


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
