"""JSON as a tree that browsers fold without scripts: a flat list of rows for a template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from taskflow.api.dashboard.formatting import short, visible

MAX_DOCUMENT_BYTES: Final = 64 * 2**10
MAX_ROWS: Final = 500
MAX_DEPTH: Final = 12
MAX_VALUE_CHARACTERS: Final = 500
OPEN_DEPTH: Final = 2
"""Objects and arrays down to this depth are unfolded at first."""
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_KINDS: Final = {'"': "string", "t": "boolean", "f": "boolean", "n": "null"}


class Row(NamedTuple):
    """A row of a tree.

    Attributes:
        kind: ``open`` and ``close`` enclose the rows of an object or array. Otherwise the type of
            the value: ``string``, ``number``, ``boolean``, ``null``, ``json`` or ``more``.
        key: The name of the member, or the index; ``None`` for the document itself.
        text: The value, or the size of the object or array.
        is_open: True if it is unfolded at first.
    """

    kind: str
    key: str | None = None
    text: str = ""
    is_open: bool = False


def tree_of(document: bytes) -> list[Row]:
    """Return the tree of a document; empty if it is no object or array, too long or not JSON.

    Values beyond the limits of rows and depth are truncated; the text of the document is complete.
    """
    if len(document) > MAX_DOCUMENT_BYTES or not document.lstrip().startswith((b"{", b"[")):
        return []
    try:
        return list(_bounded(_rows(document.strip(), None, 0)))
    except (ValueError, RecursionError):  # other bytes, or nested too deeply
        return []


def _bounded(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows up to the limit, and close what is open."""
    depth = 0
    for index, row in enumerate(rows):
        if index >= MAX_ROWS:
            yield Row("more", None, "…")
            break
        depth += {"open": 1, "close": -1}.get(row.kind, 0)
        yield row
    for _ in range(depth):
        yield Row("close")


def _rows(value: bytes, key: str | None, depth: int) -> Iterator[Row]:
    first = value[:1]
    if first not in (b"{", b"[") or depth > MAX_DEPTH:
        yield _leaf(value, key, is_truncated=depth > MAX_DEPTH)
        return
    is_object = first == b"{"
    inner: Any = _OBJECT.decode(value) if is_object else _ARRAY.decode(value)
    noun = "member" if is_object else "item"
    size = f"{len(inner)} {noun}{'' if len(inner) == 1 else 's'}"
    yield Row("open", key, size, is_open=depth < OPEN_DEPTH)
    for name, one in inner.items() if is_object else enumerate(inner):
        yield from _rows(bytes(one).strip(), short(visible(str(name))), depth + 1)
    yield Row("close")


def _leaf(value: bytes, key: str | None, *, is_truncated: bool) -> Row:
    text = value.decode("utf-8", "replace")
    kind = "json" if is_truncated and text[:1] in "{[" else _KINDS.get(text[:1], "number")
    return Row(kind, key, visible(short(text, MAX_VALUE_CHARACTERS)))
