"""How Retry-After is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.fetch.response import retry_after_seconds

DATE = "Tue, 24 Nov 2026 06:57:50 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Tue, 24 Nov 2026 06:58:20 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 06:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 06:58:20 -0000", "date": DATE}, 30.0),
        ({"retry-after": "Tue, 99 Nov 2026 06:58:20 GMT", "date": DATE}, None),
    ],
)
def test_what_is_read(headers, seconds):
    """Seconds, or a date measured from the target's own; else it is not there."""
    assert retry_after_seconds(headers) == seconds


@given(text=st.text(max_size=40), date=st.text(max_size=40))
def test_no_text_is_a_fault(text, date):
    """A stranger's header never raises."""
    seconds = retry_after_seconds({"retry-after": text, "date": date})
    assert seconds is None or seconds >= 0


@given(numbers=st.lists(st.integers(0, 99999), min_size=4, max_size=6), zone=st.integers(0, 99999))
def test_no_date_is_a_fault(numbers, zone):
    """A date with odd numbers neither."""
    day, year, hour, minute, *_ = numbers
    text = f"Tue, {day} Nov {year} {hour}:{minute}:50 +{zone}"
    seconds = retry_after_seconds({"retry-after": text, "date": DATE})
    assert seconds is None or seconds >= 0
