"""Saved views: named addresses of the list of tasks."""

from __future__ import annotations

import re
from typing import Final

import msgspec

MAX_VIEWS: Final = 50
MAX_NAME_CHARACTERS: Final = 64
MAX_QUERY_CHARACTERS: Final = 4096
_NAME: Final = re.compile(rf"[^\x00-\x1f\x7f]{{1,{MAX_NAME_CHARACTERS}}}")


class View(msgspec.Struct, frozen=True):
    """A saved view: all users of the dashboard see it.

    Attributes:
        name: Its name.
        query: The query of its address: filters, as they were typed, and columns.
    """

    name: str
    query: str


def is_view_name(text: str) -> bool:
    """Return whether a text can be the name of a view."""
    return _NAME.fullmatch(text) is not None
