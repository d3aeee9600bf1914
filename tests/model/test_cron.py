"""Cron expressions as people write them, compared with a simple model minute by minute."""

import datetime as dt
import random

import pytest

from taskflow.model.cron import CronError, normalized
from taskflow.model.schedule import Timing
from taskflow.model.schedule_times import TimingError, check_timing, next_time

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)  # a Friday
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
WRAPS = {3: 12, 4: 7}


def value(text, place):
    """The number of a value; Sunday is 0 and 7."""
    if place == 3 and text.upper() in MONTHS:
        return MONTHS.index(text.upper()) + 1
    if place == 4 and text.upper() in DAYS:
        return DAYS.index(text.upper())
    return int(text)


def field(text, place):
    """All values of a field, by walking from the start of each range to its end."""
    low, high = BOUNDS[place]
    found = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        start, dash, end = span.partition("-")
        if span in ("*", "?"):
            walked = range(low, high + (place != 4))
        elif dash:
            first, last = value(start, place), value(end, place)
            walked = [first]
            while walked[-1] != last and not (place == 4 and (walked[-1], last) == (7, 0)):
                wrapped = walked[-1] + 1 > high
                walked.append((1 if place == 4 else low) if wrapped else walked[-1] + 1)
        else:
            walked = range(value(start, place), high + 1) if step else [value(start, place)]
        found.update(list(walked)[:: int(step or 1)])
    return {one % 7 for one in found} if place == 4 else found


def model(text, after):
    """The next time, minute by minute (days that do not match are skipped whole)."""
    texts = text.split()
    minutes, hours, days, months, weekdays = (field(one, n) for n, one in enumerate(texts))
    at = after.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
    while True:
        of_month, of_week = at.day in days, (at.weekday() + 1) % 7 in weekdays
        is_both = texts[2][0] in "*?" or texts[4][0] in "*?"
        if at.month in months and ((of_month and of_week) if is_both else (of_month or of_week)):
            if at.hour in hours and at.minute in minutes:
                return at
            at += dt.timedelta(minutes=1)
        else:
            at = at.replace(hour=0, minute=0) + dt.timedelta(days=1)


def made_up(draw):
    """A valid expression of the kinds that people write."""

    def term(place):
        low, high = BOUNDS[place]
        names = {3: dict(enumerate(MONTHS, 1)), 4: dict(enumerate(DAYS))}.get(place, {})

        def one(number):
            name = names.get(number)
            return draw.choice([name, name.lower(), str(number)]) if name else str(number)

        start, end = draw.randint(low, high), draw.randint(low, high)
        if place not in WRAPS:
            start, end = sorted((start, end))
        step = draw.choice(["", "", f"/{draw.randint(1, 4)}"])
        kind = draw.choice(["*", "one", "range", "range"])
        return {"*": f"*{step}", "one": one(start)}.get(kind, f"{one(start)}-{one(end)}{step}")

    parts = [",".join(term(place) for _ in range(draw.choice([1, 1, 2]))) for place in range(5)]
    for place in (2, 4):
        if draw.random() < 0.2:
            parts[place] = "?"
    if parts[2] in ("30", "31", "29", "30-31"):
        parts[2] = "28"
    return parts


def test_any_expression_agrees_with_the_model():
    """Thousands of expressions, with every kind of range, step, name and blank."""
    draw = random.Random(20260101)
    for _ in range(1500):
        parts = made_up(draw)
        if min(field(parts[2], 2)) > 28:
            continue
        written = draw.choice(["", " ", "\t"]) + draw.choice([" ", "\t", " \t  "]).join(parts)
        timing = Timing(cron=written + draw.choice(["", " ", "\t", "\n"]))
        after = NOW + dt.timedelta(minutes=draw.randint(0, 500_000))
        expected = model(" ".join(parts), after)
        assert next_time(timing, anchor_at=NOW, after=after) == expected, written


@pytest.mark.parametrize(
    ("weekdays", "expected"),
    [
        ("FRI-MON", "FRI SAT SUN MON"),
        ("fri-mon", "FRI SAT SUN MON"),
        ("5-1", "FRI SAT SUN MON"),
        ("FRI-1", "FRI SAT SUN MON"),
        ("SAT-SUN", "SAT SUN"),
        ("6-7", "SAT SUN"),
        ("6-0", "SAT SUN"),
        ("7-1", "SUN MON"),
        ("SUN-MON", "SUN MON"),
        ("0-7", "MON TUE WED THU FRI SAT SUN"),
        ("MON-SUN", "MON TUE WED THU FRI SAT SUN"),
        ("SUN-SAT", "MON TUE WED THU FRI SAT SUN"),
        ("WED-TUE", "MON TUE WED THU FRI SAT SUN"),
        ("SUN-SUN", "SUN"),
        ("7-0", "SUN"),
        ("FRI-MON/2", "FRI SUN"),
        ("FRI-FRI/2", "FRI"),
        ("MON-SUN/3", "MON THU SUN"),
        ("SAT-MON,WED", "SAT SUN MON WED"),
        ("?", "MON TUE WED THU FRI SAT SUN"),
    ],
)
def test_ranges_over_the_end_of_the_week(weekdays, expected):
    """A range of days of the week may begin and end anywhere."""
    timing = Timing(cron=f"0 6 ? * {weekdays}")
    check_timing(timing, NOW)
    found, at = set(), NOW
    for _ in range(8):
        at = next_time(timing, anchor_at=NOW, after=at)
        found.add(DAYS[(at.weekday() + 1) % 7])
    assert found == set(expected.split())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0 0 1 NOV-FEB *", "0 0 1 11,12,1,2 *"),
        ("0 0 1 nov-feb/2 *", "0 0 1 11,1 *"),
        ("0 0 1 12-1 ?", "0 0 1 12,1 *"),
        ("0\t0   1 * ?", "0 0 1 * *"),
        ("  0 0 ? * ?\r\n", "0 0 * * *"),
        ("0 0 ? * FRIL", "0 0 * * 5L"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 * * 1#2", "0 0 * * 1#2"),
        ("5-5/10 * * * *", "5 * * * *"),
        ("*/15 22-23,0-6 * * mon-fri", "*/15 22-23,0-6 * * MON-FRI"),
    ],
)
def test_rewriting_for_cronsim(written, read):
    """Only expressions that cronsim does not accept are rewritten."""
    assert normalized(written) == read
    check_timing(Timing(cron=written), NOW)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("@daily", "for @daily write 0 0 \\* \\* \\*"),
        ("0 0 0 * * ?", "it has six"),
        ("? * * * *", "invalid minute: \\? must be the whole field"),
        ("0 ? * * *", "an invalid hour"),
        ("60 * * * *", "an invalid minute: '60'; use 0 to 59"),
        ("* 24 * * *", "an invalid hour: '24'; use 0 to 23"),
        (
            "* * 32 * *",
            "an invalid day of the month: '32'; use 1 to 31 \\(a day that the month has\\)",
        ),
        (
            "* * 31 FEB *",
            "an invalid day of the month: '31'; use 1 to 31 \\(a day that the month has\\)",
        ),
        ("* * * January *", "an invalid month: 'January'; use 1 to 12 or JAN to DEC"),
        ("* * * * 8", "an invalid day of the week: '8'; use 0 to 7 or SUN to SAT"),
        ("1.5 * * * *", "an invalid minute: '1.5'; use 0 to 59"),
        ("+5 * * * *", "an invalid minute: '\\+5'"),
        ("*/0 * * * *", "an invalid minute: '\\*/0'; use 0 to 59, with lists, ranges and"),
        ("0 0 * ? *", "invalid month"),
        ("0 0 ?/2 * *", "invalid day of the month"),
        ("0 0 * * ?,MON", "invalid day of the week"),
        ("0 22-6 * * *", "write 22-23,0-6"),
        ("50-10 * * * *", "write 50-59,0-10"),
        ("0 0 28-3 * *", "write 28-31,1-3"),
        ("0 0 * NOV-0 *", "invalid month"),
        ("0 0 * * FRI-8", "invalid day of the week"),
        ("0 0 * * FRI-FOO", "invalid day of the week"),
        ("0 0 * * FRI-MON/0", "invalid day of the week"),
        ("0 0 * * FRI-MON-TUE", "invalid day of the week"),
        ("0 0 * * FOOL", "invalid day of the week"),
        ("0 0 15W * *", "invalid day of the month"),
        ("0 0\n* * *", "five fields"),
        ("0\u00a00 * * *", "five fields"),
        ("", "five fields"),
    ],
)
def test_invalid_expressions(written, words):
    """The error names the field, and says what to write if that is known."""
    with pytest.raises(TimingError, match=words) as caught:
        check_timing(Timing(cron=written), NOW)
    assert caught.value.field == "cron"
    assert "\n" not in str(caught.value)


def test_errors_are_of_one_kind():
    """A caller of the rewriting alone deals with one error."""
    with pytest.raises(CronError):
        normalized("0 22-6 * * *")
