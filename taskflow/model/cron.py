"""Cron expressions: parses them, and lists the times at which they are due.

cronsim computes the times. This module also accepts what cronsim does not: ``?`` for a day field,
ranges across the end of the week (``FRI-MON``) or of the year (``NOV-FEB``), names before ``L``
(``FRIL``), tabs and repeated spaces.

cronsim treats daylight saving time as Debian's cron does (``man 8 cron``, "Daylight Saving Time and
other time changes"):

- If neither the minute nor the hour begins with ``*``, the expression names times of day. A time
  that is skipped when clocks go forward is due at the first moment after the gap; a time that
  occurs twice when clocks go back is due at the first occurrence only.
- Any other expression follows the clock: skipped times are not due, repeated times are due twice.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cronsim import CronSim, CronSimError

FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")

_CRONSIM_FIELDS: Final = ("minute", "hour", "day-of-month", "month", "day-of-week")
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
    "1 to 31 (a day that the month has), or L",
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
    "cron must have five fields separated by spaces, such as 30 6 * * MON-FRI: "
    "minute, hour, day of the month, month, day of the week"
)
_UNKNOWN: Final = re.compile(r"[^0-9A-Za-z*/,#?-]")
_RANGE: Final = re.compile(r"([A-Z]{3}|[0-9]{1,2})-([A-Z]{3}|[0-9]{1,2})(?:/([0-9]{1,3}))?")
_LAST_WEEKDAY: Final = re.compile(r"([A-Z]{3})L")


class CronError(ValueError):
    """A cron expression is invalid; the message is one line for its author."""


def occurrences(expression: str, timezone: dt.tzinfo, after: dt.datetime) -> Iterator[dt.datetime]:
    """Yield the times of an expression after a moment, in UTC, each once and in order.

    Raises:
        CronError: The expression is invalid.
    """
    try:
        times = CronSim(normalized(expression), after.astimezone(timezone))
    except CronSimError as error:
        field = _CRONSIM_FIELDS.index(str(error).removeprefix("Bad "))
        raise CronError(_invalid_value(expression, field)) from None
    last = after
    for at in times:
        # Where clocks go back, later local times may be earlier moments; where they go forward,
        # all skipped times are the same moment.
        if (moment := at.astimezone(dt.UTC)) > last:
            yield moment
            last = moment


@functools.lru_cache(maxsize=4096)
def normalized(expression: str) -> str:
    """Return an equivalent expression that cronsim accepts.

    Does not check values that cronsim checks.

    Raises:
        CronError: The expression does not have five fields, or one of them is invalid.
    """
    fields = [part for part in re.split(r"[ \t]+", expression.strip(" \t\r\n")) if part]
    if len(fields) != len(FIELDS):
        raise CronError(_EXPECTED + _hint(expression, fields))
    for index, text in enumerate(fields):
        if _UNKNOWN.search(text):
            raise CronError(f"{_EXPECTED}; {_invalid_value(expression, index)}")
    return " ".join(_field(index, text.upper()) for index, text in enumerate(fields))


def _invalid_value(expression: str, field: int) -> str:
    """Return the message for a field with an invalid value."""
    shown = repr(expression.split()[field][:_MAX_SHOWN_CHARACTERS])
    return f"{_invalid(field)}: {shown}; use {_ALLOWED[field]}, with lists, ranges and steps"


def _invalid(field: int) -> str:
    return f"cron has an invalid {FIELDS[field]}"


def _hint(expression: str, fields: Sequence[str]) -> str:
    """Return what to write instead; empty if that is not known."""
    if nickname := _NICKNAMES.get(expression.strip().lower()):
        return f"; for {expression.strip()} write {nickname}"
    if len(fields) == len(FIELDS) + 1 and not any(map(_UNKNOWN.search, fields)):
        return "; it has six; seconds and years are not supported"
    return ""


def _field(field: int, text: str) -> str:
    if text == "?" and field in (_DAY, _WEEKDAY):
        return "*"
    if "?" in text:
        raise CronError(f"{_invalid(field)}: ? must be the whole field, and only in a day field")
    return ",".join(_term(field, term) for term in text.split(","))


def _term(field: int, term: str) -> str:
    if field == _WEEKDAY and (named := _LAST_WEEKDAY.fullmatch(term)):
        return f"{_NUMBERS[field].get(named[1], named[1])}L"
    if not (found := _RANGE.fullmatch(term)):
        return term
    start, end = _number(field, found[1]), _number(field, found[2])
    step = int(found[3] or 1)
    if start is None or end is None or step < 1:
        return term  # cronsim rejects it
    if field == _WEEKDAY and start > end:
        start, end = start % 7, end + 7 if start % 7 > end else end
        return _listed([day % 7 for day in range(start, end + 1, step)])
    if field == _MONTH and start > end:
        return _listed([(month - 1) % 12 + 1 for month in range(start, end + 13, step)])
    if start > end:
        raise CronError(_backwards(field, start, end))
    # A range of one value would mean "from there to the end" to cronsim if it has a step.
    return term if start < end else str(start)


def _number(field: int, text: str) -> int | None:
    """Return the number that a field's text means; ``None`` if it is not a valid value."""
    value = int(text) if text.isdigit() else _NUMBERS.get(field, {}).get(text)
    return value if value is not None and _FIRST[field] <= value <= _LAST[field] else None


def _listed(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def _backwards(field: int, start: int, end: int) -> str:
    return (
        f"{_invalid(field)}: {start}-{end} runs backwards; "
        f"write {start}-{_LAST[field]},{_FIRST[field]}-{end}"
    )
