"""Values as they are written on the command line."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from taskflow.model.task import TagValue

# Generic for who checks types; in older versions of click it cannot be subscripted.
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType

NO_LIMIT: Final = "none"
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|m|h|d|w)?")
_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")


class Kind(_ParamType):
    """A kind of value that is written on the command line."""


class Duration(Kind):
    """A number of seconds, or of other units: ``90``, ``90s``, ``15m``, ``2h``, ``7d``."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read it, as seconds."""
        if isinstance(value, float | int):
            return float(value)
        if not (match := _DURATION.fullmatch(value.strip())):
            self.fail(f"{value!r} is not a duration such as 90, 90s, 15m, 2h or 7d", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "s"]


class Future(Kind):
    """A moment in ISO 8601, by the clock of this machine if it says no other."""

    name = "moment"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.datetime:
        """Read it."""
        if isinstance(value, dt.datetime):
            return value
        try:
            return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a moment such as 2026-11-27T12:00:00Z", param, ctx)


class Past(Kind):
    """The same, or how long ago."""

    name = "moment"

    def convert(self, value: Any, param: Any, ctx: Any) -> dt.datetime:
        """Read it."""
        if isinstance(value, dt.datetime):
            return value
        if match := _DURATION.fullmatch(value.strip()):
            return dt.datetime.now(dt.UTC) - dt.timedelta(
                seconds=float(match[1]) * _UNITS[match[2] or "s"]
            )
        try:
            return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a moment such as 2026-11-27T12:00:00Z or 2h", param, ctx)


class Tag(Kind):
    """``name=value``; whole numbers and true and false are what they look like."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, TagValue]:
        """Read it."""
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not sign or not name:
            self.fail(f"{value!r} is not a tag such as customer=42", param, ctx)
        if text in ("true", "false") or _WHOLE.fullmatch(text):
            return name, msgspec.json.decode(text, type=int | bool)
        return name, text


class HeaderField(Kind):
    """``Name: value``."""

    name = "name: value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Read it."""
        if isinstance(value, tuple):
            return value
        name, colon, text = value.partition(":")
        if not colon or not name.strip():
            self.fail(f"{value!r} is not a header field such as 'Accept: text/html'", param, ctx)
        return name.strip(), text.strip()


class Limit(Kind):
    """A number, or ``none`` for no limit.

    Args:
        kind: The type of the number.
    """

    def __init__(self, kind: type[int | float]) -> None:
        self.name = "integer|none" if kind is int else "number|none"
        self._kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        """Read it; ``NO_LIMIT`` of no limit, as ``None`` is an option that was not given."""
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
FUTURE: Final = Future()
PAST: Final = Past()
TAG: Final = Tag()
HEADER_FIELD: Final = HeaderField()


def dict_of(pairs: Sequence[tuple[str, Any]], option: str) -> dict[str, Any] | None:
    """Pairs as a dict; ``None`` if there are none.

    Raises:
        click.UsageError: One name is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.UsageError(f"{option} has a name twice")
    return found or None
