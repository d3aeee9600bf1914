"""What commands print: lines and JSON for programs, tables for people.

What came from a service is made safe here, on its way out, whatever it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.text import Text

from taskflow.cli.columns import STYLES, Column, lines_of
from taskflow.cli.text import safe, safe_json


def is_terminal() -> bool:
    """Whether a person sees what is printed."""
    return sys.stdout.isatty()


def console(*, is_error: bool = False) -> Console:
    """What draws on a terminal; it takes nothing in texts for markup."""
    return Console(stderr=is_error, markup=False, highlight=False, emoji=False)


def line(*cells: object) -> None:
    """A line, with tabs between what it has several of."""
    sys.stdout.write("\t".join(safe(str(cell)) for cell in cells) + "\n")


def raw_json(document: bytes) -> None:
    """JSON as it came, on a line."""
    sys.stdout.write(safe_json(document.decode("utf-8", "replace")) + "\n")


def json_line(value: Any) -> None:
    """A value as JSON, on a line."""
    raw_json(msgspec.json.format(msgspec.json.encode(value), indent=-1))


def flush() -> None:
    """Let what was printed be seen."""
    sys.stdout.flush()


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """A table that fits the terminal; elsewhere a line for each row, with tabs and no head."""
    if is_terminal():
        draw(table_of(columns, rows))
        return
    for row in rows:
        line(*("" if cell is None else cell for cell in row))


def table_of(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> Text:
    """The same to be drawn."""
    return Text("\n").join(lines_of(columns, rows, console().width))


def pairs(values: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each; a value of several lines stands under its name."""
    shown = [(name, value) for name, value in values if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        written = safe(str(value))
        draw(Text.assemble((f"{name:<{width}}  ", "bold"), (written, STYLES.get(written, ""))))


def draw(what: RenderableType) -> None:
    """Draw on the terminal, or write it plainly where there is none."""
    console().print(what, soft_wrap=True)
