"""Values as the command line and the dashboard show them to people."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

# Control characters (escape sequences begin with them), format characters (some of them reverse
# the direction of text), surrogates, private use, unassigned, line and paragraph separators.
_INVISIBLE_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI: Final = 1024
YES_OR_NO: Final[Mapping[bool | None, str | None]] = {True: "yes", False: "no", None: None}


def escape_invisible(text: str, escape: Callable[[str], str], *, keep: str = "") -> str:
    """Replace characters that are invisible, or that change how others are displayed.

    Args:
        text: Text from anywhere.
        escape: Returns what to show instead of a character.
        keep: Characters to leave as they are, such as line ends.
    """
    # Each character is looked up once, however often it occurs.
    escapes = {
        ord(char): escape(char)
        for char in set(text).difference(keep)
        if unicodedata.category(char) in _INVISIBLE_CATEGORIES
    }
    return text.translate(escapes) if escapes else text


def duration(seconds: float, *, units: int = 2) -> str:
    """Return a duration in its largest units, such as ``42 ms``, ``1.3 s`` or ``1 h 5 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{round(seconds, 1):g} s"
    left = round(seconds)
    parts = []
    for whole, unit in _UNITS:
        count, left = divmod(left, whole)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:units])


def size(count: float) -> str:
    """Return a number of bytes in a binary unit, such as ``1.5 KiB``."""
    left, unit = count, 0
    while left >= _KIBI and unit < len(_BYTE_UNITS) - 1:
        left, unit = left / _KIBI, unit + 1
    return f"{left:.1f} {_BYTE_UNITS[unit]}" if unit else f"{left:.0f} B"
