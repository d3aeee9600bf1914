"""Text from tasks and responses is escaped before it is printed."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow.cli.text import ago, safe, safe_json
from taskflow.model.display import duration, size

HARMLESS = {" ", *map(chr, range(0x21, 0x7F))}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, [bold]no markup[/bold]", "plain text, [bold]no markup[/bold]"),
        ("h\xe9llo \u65e5\u672c \U0001f600", "h\xe9llo \u65e5\u672c \U0001f600"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\rc\td\x08\x7f\x00", "a\\nb\\rc\\td\\x08\\x7f\\x00"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("\u2066\u2069\u200e\u200f\u061c\ufeff", "\\u2066\\u2069\\u200e\\u200f\\u061c\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert safe(text) == shown


def test_printable_characters_stay():
    assert safe("a\nb\tc\x1b", keep="\n\t") == "a\nb\tc\\x1b"


@given(st.text())
def test_nothing_acts_whatever_the_text(text):
    for char in safe(text):
        assert char in HARMLESS or unicodedata.category(char)[0] in "LMNPSZ"
        assert unicodedata.category(char) not in ("Zl", "Zp")


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists))
def test_json_means_the_same(value):
    written = json.dumps(value, ensure_ascii=False)
    shown = safe_json(written)
    assert json.loads(shown) == value
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0421, "42 ms"),
        (1, "1 s"),
        (1.26, "1.3 s"),
        (59.4, "59.4 s"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (86_400 * 3 + 7200, "3 d 2 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_sizes():
    assert [size(n) for n in (0, 1023, 1536, 3 * 2**30, 2**52)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
        "4096.0 TiB",
    ]


def test_moments_before_and_after():
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert ago(now - dt.timedelta(minutes=3), now) == "3 min ago"
    assert ago(now + dt.timedelta(hours=2), now) == "in 2 h"
