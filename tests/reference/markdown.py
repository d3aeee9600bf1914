"""How the pages are put together."""

from __future__ import annotations

from collections.abc import Iterable

NOTE = "<!-- Written by `python -m tests.reference` from {}: change that. -->"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table, a line for each row."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([_cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """The text as code, or nothing."""
    return f"`{text}`" if text else ""


def page(title: str, source: str, *parts: str) -> str:
    """A page with a title and a note on what it is written from."""
    return "\n\n".join([f"# {title}", NOTE.format(source), *parts]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
