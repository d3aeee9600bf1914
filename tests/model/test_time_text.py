"""Times as people type them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.time_text import TIME_RULE, time_of

# A Sunday.
NOW = dt.datetime(2026, 11, 29, 17, 22, 13, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-29T17:22:13"),
        ("2h", "2026-11-29T15:22:13"),
        ("30m", "2026-11-29T16:52:13"),
        ("90 s", "2026-11-29T17:20:43"),
        ("1.5h", "2026-11-29T15:52:13"),
        ("1d 6h", "2026-11-28T11:22:13"),
        ("2 hours ago", "2026-11-29T15:22:13"),
        (" 3   Days   ago ", "2026-11-26T17:22:13"),
        ("1w", "2026-11-22T17:22:13"),
        ("today", "2026-11-29T00:00:00"),
        ("Yesterday", "2026-11-28T00:00:00"),
        ("yesterday 14:00", "2026-11-28T14:00:00"),
        ("today 9:05", "2026-11-29T09:05:00"),
        ("09:30:15", "2026-11-29T09:30:15"),
        ("23:00", "2026-11-29T23:00:00"),
        ("friday", "2026-11-27T00:00:00"),
        ("sunday 08:00", "2026-11-22T08:00:00"),
        ("2026-11-27", "2026-11-27T00:00:00"),
        ("2026-11-27 09:00", "2026-11-27T09:00:00"),
        ("2026-11-27T09:00:00Z", "2026-11-27T09:00:00"),
        ("2026-11-27T09:00:00+02:00", "2026-11-27T07:00:00"),
        ("20261127T090000Z", "2026-11-27T09:00:00"),
    ],
)
def test_times(text, expected):
    """Ages, days and times of the day; without a zone they are in UTC."""
    assert time_of(text, NOW) == dt.datetime.fromisoformat(expected + "+00:00")


def test_the_zone_of_now_does_not_matter():
    """A day is a day in UTC, wherever the clock is read."""
    there = NOW.astimezone(dt.timezone(dt.timedelta(hours=14)))
    assert time_of("today", there) == time_of("today", NOW)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "2x", "h", "2h of", "-2h", "ago", "\N{ARABIC-INDIC DIGIT ONE}h"),
        *("tomorrow", "yesterday 24:00", "yesterday 7", "25:00", "2026-13-01"),
        *("0001-01-01T00:00:00+14:00", "999999999w", "2h " * 40),
    ],
)
def test_other_text(text):
    """One error says what a time is."""
    with pytest.raises(ValueError, match=r"^a time such as 2h, 30m, yesterday 14:00"):
        time_of(text, NOW)


@given(st.text(max_size=80))
def test_any_text(text):
    """Any text is a time in UTC, or the error."""
    try:
        assert time_of(text, NOW).tzinfo is dt.UTC
    except ValueError as error:
        assert str(error) == TIME_RULE
