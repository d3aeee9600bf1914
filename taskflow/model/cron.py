"""Cron expressions as people write them, rewritten as cronsim reads them.

Beyond what cronsim reads: ``?`` for a day field, ranges over the end of the week (``FRI-MON``) or
of the year (``NOV-FEB``), names before ``L`` (``FRIL``), tabs and runs of blanks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Final

FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")

_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = range(len(FIELDS))
_MONTHS: Final = [
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
]
_WEEKDAYS: Final = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_NUMBERS: Final[Mapping[int, Mapping[str, int]]] = {
    _MONTH: {name: number for number, name in enumerate(_MONTHS, 1)},
    _WEEKDAY: {name: number for number, name in enumerate(_WEEKDAYS)},
}
_FIRST: Final = {_MINUTE: 0, _HOUR: 0, _DAY: 1, _MONTH: 1, _WEEKDAY: 0}
_LAST: Final = {_MINUTE: 59, _HOUR: 23, _DAY: 31, _MONTH: 12, _WEEKDAY: 7}
_ALLOWED: Final = (
    "0 to 59",
    "0 to 23",
    "days that the months have, 1 to 31, or L",
    "1 to 12 or JAN to DEC",
    "0 to 7 or SUN to SAT",
)
_MAX_SHOWN_CHARACTERS: Final = 40
_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_EXPECTED: Final = (
    "cron must have five fields with spaces between them, such as 30 6 * * MON-FRI: "
    "minute, hour, day of the month, month, day of the week"
)
_UNKNOWN: Final = re.compile(r"[^0-9A-Za-z*/,#?-]")
_RANGE: Final = re.compile(r"([A-Z]{3}|[0-9]{1,2})-([A-Z]{3}|[0-9]{1,2})(?:/([0-9]{1,3}))?")
_LAST_NAMED: Final = re.compile(r"([A-Z]{3})L")


class CronError(ValueError):
    """A cron expression that cannot be read; the message is one line for its author."""


@functools.lru_cache(maxsize=4096)
def normalized(expression: str) -> str:
    """Return the same times as an expression that cronsim reads.

    Values are not checked here, only what cronsim does not know.

    Raises:
        CronError: It does not have five fields, or one of them cannot be rewritten.
    """
    fields = [part for part in re.split(r"[ \t]+", expression.strip(" \t\r\n")) if part]
    if len(fields) != len(FIELDS):
        raise CronError(_EXPECTED + _hint(expression, fields))
    for place, text in enumerate(fields):
        if _UNKNOWN.search(text):
            raise CronError(f"{_EXPECTED}; {complaint(expression, place)}")
    return " ".join(_field(place, text.upper()) for place, text in enumerate(fields))


def complaint(expression: str, place: int) -> str:
    """Return what is wrong with a field that cannot be read, and what it may be."""
    text = expression.split()[place]
    shown = repr(text[:_MAX_SHOWN_CHARACTERS])
    return f"{_cannot_be(place)}: {shown}; use {_ALLOWED[place]}, with lists, ranges and steps"


def _cannot_be(place: int) -> str:
    article = "an" if place == _HOUR else "a"
    return f"cron has {article} {FIELDS[place]} that cannot be"


def _hint(expression: str, fields: Sequence[str]) -> str:
    """What to write instead, where that is known."""
    if nickname := _NICKNAMES.get(expression.strip().lower()):
        return f"; for {expression.strip()} write {nickname}"
    if len(fields) == len(FIELDS) + 1 and not any(map(_UNKNOWN.search, fields)):
        return "; there are six, and neither seconds nor years can be set"
    return ""


def _field(place: int, text: str) -> str:
    if text == "?" and place in (_DAY, _WEEKDAY):
        return "*"
    if "?" in text:
        raise CronError(
            f"{_cannot_be(place)}: ? stands for a whole day field only, of the month or of the week"
        )
    return ",".join(_term(place, term) for term in text.split(","))


def _term(place: int, term: str) -> str:
    if place == _WEEKDAY and (named := _LAST_NAMED.fullmatch(term)):
        return f"{_NUMBERS[place].get(named[1], named[1])}L"
    if not (found := _RANGE.fullmatch(term)):
        return term
    start, end = _number(place, found[1]), _number(place, found[2])
    step = int(found[3] or 1)
    if start is None or end is None or step < 1:
        return term  # cronsim says what is wrong
    if place == _WEEKDAY and start > end:
        start, end = start % 7, end + 7 if start % 7 > end else end
        return _listed([day % 7 for day in range(start, end + 1, step)])
    if place == _MONTH and start > end:
        return _listed([(month - 1) % 12 + 1 for month in range(start, end + 13, step)])
    if start > end:
        raise CronError(_backwards(place, start, end))
    # Of one value cronsim takes a step as "from there to the end".
    return term if start < end else str(start)


def _number(place: int, text: str) -> int | None:
    """The value of a field, if it is one."""
    value = int(text) if text.isdigit() else _NUMBERS.get(place, {}).get(text)
    return value if value is not None and _FIRST[place] <= value <= _LAST[place] else None


def _listed(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def _backwards(place: int, start: int, end: int) -> str:
    return (
        f"{_cannot_be(place)}: {start}-{end} runs backwards; "
        f"write {start}-{_LAST[place]},{_FIRST[place]}-{end}"
    )
