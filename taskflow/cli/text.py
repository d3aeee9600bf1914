"""Text that may come from strangers, made fit to be shown; and values put into words."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from typing import Final

# What acts on a terminal or on the text around it, or shows as nothing: controls (escape
# sequences begin with them), formats (which turn the direction of text), line and paragraph
# separators, halves of pairs, and what stands for nothing that all agree on.
_UNSAFE_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Whatever may be among them; plain ASCII is passed over without a look at each.
_SUSPECT: Final = re.compile(r"[^ -~]")
# In JSON white space is between values only: in texts it is written out already.
_SUSPECT_IN_JSON: Final = re.compile(r"[^\t\n\r -~]")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI: Final = 1024


def safe(text: str, *, keep: str = "") -> str:
    r"""The text with all that could act on a terminal written out, such as ``\x1b``.

    Args:
        text: Anything, of whomever.
        keep: Characters that may stay, such as line ends.
    """

    def written(match: re.Match[str]) -> str:
        char = match[0]
        if char in keep or unicodedata.category(char) not in _UNSAFE_CATEGORIES:
            return char
        return _SHORT.get(char) or _escape(ord(char))

    return _SUSPECT.sub(written, text)


def safe_json(text: str) -> str:
    """JSON without anything in its texts that could act on a terminal; it means the same."""

    def written(match: re.Match[str]) -> str:
        char = match[0]
        if unicodedata.category(char) not in _UNSAFE_CATEGORIES:
            return char
        units = char.encode("utf-16-be", "surrogatepass").hex()
        return "".join(rf"\u{units[i : i + 4]}" for i in range(0, len(units), 4))

    return _SUSPECT_IN_JSON.sub(written, text)


def moment(value: dt.datetime | None) -> str:
    """A moment on this machine's clock, to the second."""
    return "-" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(value: dt.datetime, now: dt.datetime, *, units: int = 2) -> str:
    """How long ago it was, or in what time it will be."""
    seconds = (now - value).total_seconds()
    if seconds < -1:
        return f"in {duration(-seconds, units=units)}"
    return f"{duration(max(0.0, seconds), units=units)} ago"


def duration(seconds: float, *, units: int = 2) -> str:
    """A time by its largest units."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    left = round(seconds)
    parts = []
    for whole, unit in _UNITS:
        count, left = divmod(left, whole)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:units])


def size(count: float) -> str:
    """So many bytes."""
    left, unit = count, 0
    while left >= _KIBI and unit < len(_BYTE_UNITS) - 1:
        left, unit = left / _KIBI, unit + 1
    return f"{left:.1f} {_BYTE_UNITS[unit]}" if unit else f"{left:.0f} B"


def _escape(code: int) -> str:
    if code <= 0xFF:  # noqa: PLR2004 - two digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits
