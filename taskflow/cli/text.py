"""Text that is safe to print on a terminal, and values in words."""

from __future__ import annotations

import datetime as dt
from typing import Final

from taskflow.model.display import duration, escape_invisible

_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str, *, keep: str = "") -> str:
    r"""Escape the characters that could act on a terminal, such as ``\x1b``.

    Args:
        text: Text from anywhere.
        keep: Characters to leave as they are, such as line ends.
    """
    return escape_invisible(text, _escape, keep=keep)


def safe_json(text: str) -> str:
    """Escape the characters in JSON that could act on a terminal; its value is unchanged."""
    # White space outside of strings is harmless; within them it is escaped already.
    return escape_invisible(text, _json_escape, keep="\t\n\r")


def moment(value: dt.datetime | None) -> str:
    """Return a time in the time zone of this machine, to the second."""
    return "-" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(value: dt.datetime, now: dt.datetime, *, units: int = 2) -> str:
    """Return how long ago a time was, or in how long it will be."""
    seconds = (now - value).total_seconds()
    whole = round(abs(seconds)) or abs(seconds)
    if seconds < -1:
        return f"in {duration(whole, units=units)}"
    return f"{duration(whole if seconds > 0 else 0, units=units)} ago"


def moment_and_age(value: dt.datetime | None, now: dt.datetime) -> str | None:
    """Return both for one line; ``None`` stays ``None``."""
    return None if value is None else f"{moment(value)}  {ago(value, now)}"


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 - two digits
        return _SHORT_ESCAPES.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(rf"\u{units[i : i + 4]}" for i in range(0, len(units), 4))
