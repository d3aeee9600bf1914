"""Types of the values on the command line."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from taskflow.model.task import TagValue

# Generic for type checkers only; older versions of click do not allow a subscript.
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

NO_LIMIT: Final = "none"
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|m|h|d|w)?")
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]){0,24}-?")


class Duration(_ParamType):
    """A number of seconds, or a number with a unit: ``90``, ``90s``, ``15m``, ``2h``, ``7d``."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Parse it, as seconds."""
        if isinstance(value, float | int):
            return float(value)
        if not (match := _DURATION.fullmatch(value.strip())):
            self.fail(f"{value!r} is not a duration such as 90, 90s, 15m, 2h or 7d", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "s"]


class Moment(_ParamType):
    """A time in ISO 8601, in the time zone of this machine if it has none.

    Args:
        may_be_age: Whether a duration is allowed, too: the time that long ago.
    """

    name = "moment"

    def __init__(self, *, may_be_age: bool = False) -> None:
        self._may_be_age = may_be_age
        self._example = "2026-11-27T12:00:00Z" + (" or 2h" if may_be_age else "")

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.datetime:
        """Parse it."""
        if isinstance(value, dt.datetime):
            return value
        try:
            if self._may_be_age and _DURATION.fullmatch(value.strip()):
                age = dt.timedelta(seconds=DURATION.convert(value, param, ctx))
                return dt.datetime.now(dt.UTC) - age
            return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a moment such as {self._example}", param, ctx)


class Tag(_ParamType):
    """``name=value``; integers and true and false are sent as such, other values as text."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, TagValue]:
        """Parse it."""
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not sign or not name:
            self.fail(f"{value!r} is not a tag such as customer=42", param, ctx)
        if text in ("true", "false") or _INTEGER.fullmatch(text):
            return name, msgspec.json.decode(text, type=int | bool)
        return name, text


class HeaderField(_ParamType):
    """``Name: value``."""

    name = "name: value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Parse it."""
        if isinstance(value, tuple):
            return value
        name, colon, text = value.partition(":")
        if not colon or not name.strip():
            self.fail(f"{value!r} is not a header such as 'Accept: text/html'", param, ctx)
        return name.strip(), text.strip()


class TaskId(_ParamType):
    """The id of a task, or its first 8 or more digits; ``full_id`` completes it."""

    name = "id"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Check it."""
        text = str(value).strip().lower()
        if not _ID_PREFIX.fullmatch(text):
            self.fail(
                f"{value!r} is neither the id of a task nor its first 8 or more digits", param, ctx
            )
        return text


class TextOrFile(_ParamType):
    """Text, or ``@FILE`` for the text of a file without leading and trailing whitespace."""

    name = "text or @file"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Read it."""
        if not value.startswith("@"):
            return str(value)
        try:
            return Path(value[1:]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.fail(f"{value[1:]} cannot be read: {reason}", param, ctx)


class Limit(_ParamType):
    """A number, or ``none`` for no limit."""

    def __init__(self, kind: type[int | float]) -> None:
        self.name = "integer|none" if kind is int else "number|none"
        self._kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        """Parse it; no limit is ``NO_LIMIT``, since ``None`` means that the option is absent."""
        if isinstance(value, int | float):
            return value
        if value == NO_LIMIT:
            return NO_LIMIT
        try:
            return self._kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {NO_LIMIT}", param, ctx)


DURATION: Final = Duration()
WHOLE_LIMIT: Final = Limit(int)
LIMIT: Final = Limit(float)
FUTURE: Final = Moment()
PAST: Final = Moment(may_be_age=True)
TEXT_OR_FILE: Final = TextOrFile()
TAG: Final = Tag()
TASK_ID: Final = TaskId()
HEADER_FIELD: Final = HeaderField()


def dict_of(pairs: Sequence[tuple[str, Any]], option: str) -> dict[str, Any] | None:
    """Return pairs as a dict; ``None`` if there are none.

    Raises:
        click.UsageError: A name occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.UsageError(f"{option} is given twice for the same name")
    return found or None
