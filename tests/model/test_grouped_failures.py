"""Causes of failures: messages without what differs from task to task."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.model.grouped_failures import (
    MAX_MESSAGE_CHARACTERS,
    MAX_READ_CHARACTERS,
    TREND_HOURS,
    Cause,
    Occurrences,
    hour_of,
    merged_failures,
    normalized_message,
    once,
)

NOW = dt.datetime(2026, 11, 24, 6, 57, 50, tzinfo=dt.UTC)
CAUSE = Cause("mail", "a.example", "timeout", None, "no response in <n> s")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("no response in 30 s", "no response in <n> s"),
        ("no response in 1.5 s", "no response in <n> s"),
        ("order 4711 of customer -7", "order <n> of customer <n>"),
        ("connect to 10.0.0.1:8080: refused", "connect to <address>: refused"),
        ("connect to [2001:db8::1]:443: refused", "connect to <address>: refused"),
        ("connect to 2001:db8:0:0:0:0:0:1 failed", "connect to <address> failed"),
        ("no user jane.doe+x@mail.example", "no user <address>"),
        ("task 01a20c58-b6fd-77bf-9328-1ccde011d8da", "task <id>"),
        ("at 2026-11-24T06:57:50.332789Z it ended", "at <time> it ended"),
        ("at 2026-11-24 06:57:50 it ended", "at <time> it ended"),
        ("until 06:57:50", "until <time>"),
        ("object at 0x7f8bdeadbeef", "object at <id>"),
        ("commit 9f86d081884c7d65", "commit <id>"),
        ("token eyJhbGciOiJIUzI1NiJ9x4", "token <id>"),
        ('key "customer 42" is taken', 'key "..." is taken'),
        ("key 'customer 42' is taken", 'key "..." is taken'),
        ("it doesn't, and it won't", "it doesn't, and it won't"),
        ("nothing of `a b`\n\n  at all", 'nothing of "..." at all'),
        ("a\x00b\x1b[0m", "a\\x00b\\x1b[<n>m"),
        ("no host ip-10-0-0-1", "no host ip-<n>-<n>-<n>-<n>"),
        ("no-such-0.invalid", "no-such-<n>.invalid"),
        ("from -3 to +4, (-5)", "from <n> to <n>, (<n>)"),
        (r"a\u202eb\x1b[31m\U0001f600 \x", r"a\u202eb\x1b[<n>m\U0001f600 \x"),
        ("", ""),
    ],
)
def test_what_differs_is_replaced(error, message):
    assert normalized_message(error) == message


def test_the_status_stays():
    """It is a part of the cause, and other numbers are not."""
    assert normalized_message("status: 503, try 7", 503) == "status: 503, try <n>"


def test_messages_are_shortened():
    assert len(normalized_message("word " * 999)) == MAX_MESSAGE_CHARACTERS


@given(st.text(max_size=2 * MAX_READ_CHARACTERS))
def test_any_text_has_a_message(error):
    """It can be stored and shown, and normalizing it again changes nothing that is stored."""
    message = normalized_message(error)
    assert len(message) <= MAX_MESSAGE_CHARACTERS
    assert message.isprintable()
    assert "\x00" not in message


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.uuids(), st.uuids())
def test_messages_that_differ_in_values_are_the_same(number, other, one, two):
    first, second = (
        normalized_message(f"order {n} of {task_id} failed: 'x{n}'")
        for n, task_id in ((number, one), (other, two))
    )
    assert first == second == 'order <n> of <id> failed: "..."'


@pytest.mark.parametrize(
    "char", ["a-", "\N{LEFT DOUBLE QUOTATION MARK}", "1.", "a@", ":", "'", "0"]
)
def test_no_text_takes_long(char):
    """The number of steps is bounded, because the number of characters is."""
    assert normalized_message(char * 100_000) is not None


def test_ids_are_those_of_the_cause():
    """The same cause has the same id everywhere; any other part makes another one."""
    assert CAUSE.id == Cause(*CAUSE).id
    assert (CAUSE.id.version, CAUSE.id.variant) == (8, uuid.RFC_4122)
    others = [
        CAUSE._replace(**{name: 7 if name == "status_code" else "x"}) for name in CAUSE._fields
    ]
    assert len({one.id for one in (CAUSE, *others)}) == 1 + len(others)


def test_the_trend_has_the_last_hours():
    occurrences = Occurrences(0, NOW, NOW, {})
    for hours in (30, 23, 1, 0, 0):
        occurrences.add(once(NOW - dt.timedelta(hours=hours)))
    trend = occurrences.trend(NOW)
    assert (len(trend), trend[0], trend[-2:]) == (TREND_HOURS, 1, [1, 2])
    assert occurrences.count == 5
    assert occurrences.first_at == NOW - dt.timedelta(hours=30)
    assert min(occurrences.by_hour) > hour_of(NOW) - TREND_HOURS
    assert sum(occurrences.trend(NOW + dt.timedelta(hours=25))) == 0


def test_failures_of_several_stores_are_added():
    ids = [uuid.UUID(int=n) for n in range(5)]
    one, other = (
        CAUSE.as_failure(once(at), failed=failed, example_ids=examples, now=NOW)
        for at, failed, examples in (
            (NOW - dt.timedelta(hours=1), 2, ids[:2]),
            (NOW, 3, ids[2:]),
        )
    )
    [merged] = merged_failures([one, other])
    assert (merged.failed, merged.occurrences, merged.trend[-2:]) == (5, 2, [1, 1])
    assert (merged.first_at, merged.last_at) == (one.first_at, other.last_at)
    assert merged.example_ids == [ids[4], ids[3], ids[2]]
