"""Times as people type them in filters: ``2h``, ``yesterday 14:00``, ISO 8601. All are UTC."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Final

TIME_RULE: Final = "a time such as 2h, 30m, yesterday 14:00, 09:30 or 2026-11-27T09:00:00Z"

_MAX_CHARACTERS: Final = 64
_SECONDS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)\s*", re.ASCII)
_DAYS_AGO: Final[Mapping[str, int]] = {"today": 0, "yesterday": 1}
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def time_of(text: str, now: dt.datetime) -> dt.datetime:
    """Return the time that a text means; without a zone, it is in UTC.

    An age (``2h``, ``1 day 6 h``, ``90 min ago``) is the time that long ago. A day (``today``,
    ``yesterday``, a day of the week for the last one, or a date) may have a time of the day, which
    is midnight by default. A time of the day alone is today.

    Args:
        text: The text.
        now: The current time.

    Raises:
        ValueError: It is none of these.
    """
    words = " ".join(text.split())
    if not words or len(words) > _MAX_CHARACTERS:
        raise ValueError(TIME_RULE)
    try:
        return _time_of(words.lower(), words, now.astimezone(dt.UTC))
    except (ValueError, OverflowError):
        raise ValueError(TIME_RULE) from None


def _time_of(lower: str, text: str, now: dt.datetime) -> dt.datetime:
    if lower == "now":
        return now
    if (age := _age_of(lower.removesuffix(" ago"))) is not None:
        return now - age
    day, _, clock = lower.rpartition(" ")
    if _CLOCK.fullmatch(clock):
        return dt.datetime.combine(_day_of(day or "today", now), _clock_of(clock), dt.UTC)
    if (on := _named_day(lower, now)) is not None:
        return dt.datetime.combine(on, dt.time(), dt.UTC)
    found = dt.datetime.fromisoformat(text)
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)


def _age_of(text: str) -> dt.timedelta | None:
    seconds, place = 0.0, 0
    while place < len(text):
        part = _PART.match(text, place)
        if part is None or part[2] not in _SECONDS:
            return None
        seconds += float(part[1]) * _SECONDS[part[2]]
        place = part.end()
    return dt.timedelta(seconds=seconds)


def _day_of(text: str, now: dt.datetime) -> dt.date:
    if (day := _named_day(text, now)) is not None:
        return day
    if not _DAY.fullmatch(text):
        raise ValueError(text)
    return dt.date.fromisoformat(text)


def _named_day(text: str, now: dt.datetime) -> dt.date | None:
    if text in _DAYS_AGO:
        return now.date() - dt.timedelta(days=_DAYS_AGO[text])
    if text in _WEEKDAYS:
        return now.date() - dt.timedelta(days=(now.weekday() - _WEEKDAYS.index(text)) % 7 or 7)
    return None


def _clock_of(text: str) -> dt.time:
    hour, minute, *second = text.split(":")
    return dt.time(int(hour), int(minute), int(second[0]) if second else 0)
