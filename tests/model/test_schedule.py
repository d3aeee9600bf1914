"""When schedules are due: compared with what clocks on walls show, minute by minute."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from taskflow.model.schedule import Missed, ScheduleDefinition, StoredSchedule, Timing
from taskflow.model.schedule_times import (
    GRACE_SECONDS,
    TimingError,
    apply_definition,
    check_timing,
    compute_due,
    last_times,
    next_time,
    upcoming_times,
)
from taskflow.model.task import NewTask
from taskflow.model.zones import is_zone

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
BERLIN = "Europe/Berlin"
# Clocks go forward at 2:00 to 3:00, and back at 3:00 to 2:00.
GAP = dt.date(2027, 3, 28)
OVERLAP = dt.date(2027, 10, 31)


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


def definition(missed: Missed = Missed.ONCE, **timing) -> ScheduleDefinition:
    payload = msgspec.Raw(b"1")
    return ScheduleDefinition(
        name="one",
        timing=Timing(**timing),
        task=payload,
        template=NewTask(payload),
        missed=missed,
    )


def times(timing: Timing, since: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
    """All after a moment, one after the other."""
    found, at = [], since
    while (at := next_time(timing, anchor_at=since, after=at)) is not None and at <= until:
        found.append(at)
    return found


def in_berlin(cron: str, day: dt.date) -> list[str]:
    """The times of a day by the clock there, with how far that is from UTC."""
    zone = zoneinfo.ZoneInfo(BERLIN)
    midnight = dt.datetime.combine(day, dt.time(), tzinfo=zone)
    since = midnight.astimezone(dt.UTC) - MINUTE
    end = (midnight + dt.timedelta(days=1)).astimezone(dt.UTC) - MINUTE
    found = times(Timing(cron=cron, timezone=BERLIN), since, end)
    return [at.astimezone(zone).strftime("%H:%M%z")[:8] for at in found]


class TestDaylightSaving:
    @pytest.mark.parametrize(
        ("cron", "expected"),
        [
            ("30 2 * * *", ["03:00+02"]),
            ("0,30 2 * * *", ["03:00+02"]),
            ("30 1,2,3 * * *", ["01:30+01", "03:00+02", "03:30+02"]),
            ("0 3 * * *", ["03:00+02"]),
            ("*/30 2 * * *", []),
            ("30 * * * *", ["00:30+01", "01:30+01", *(f"{h:02}:30+02" for h in range(3, 24))]),
        ],
    )
    def test_clocks_go_forward(self, cron, expected):
        """What names a time of day that is skipped comes after the gap; what has a * does not."""
        assert in_berlin(cron, GAP) == expected

    @pytest.mark.parametrize(
        ("cron", "expected"),
        [
            ("30 2 * * *", ["02:30+02"]),
            ("30 1,2,3 * * *", ["01:30+02", "02:30+02", "03:30+01"]),
            ("*/30 2 * * *", ["02:00+02", "02:30+02", "02:00+01", "02:30+01"]),
            ("0 * * * *", ["00:00+02", "01:00+02", "02:00+02"]),
        ],
    )
    def test_clocks_go_back(self, cron, expected):
        """What names a time of day comes once, the first time; what has a * comes both times."""
        assert in_berlin(cron, OVERLAP)[: len(expected)] == expected
        hours = [text[:2] for text in in_berlin(cron, OVERLAP)]
        assert hours.count("02") == sum(text.startswith("02") for text in in_berlin(cron, OVERLAP))

    def test_every_does_not_know_of_clocks(self):
        """Its times are as far apart on such a day as on any other."""
        timing = Timing(every_seconds=3600.0, timezone=BERLIN)
        found = times(timing, utc(2027, 3, 27, 23), utc(2027, 3, 28, 23))
        assert len(found) == 24
        assert {b - a for a, b in itertools.pairwise(found)} == {dt.timedelta(hours=1)}

    def test_the_second_pass_of_a_repeated_hour(self):
        """No time in the past is found, on either side of the repeated hour."""
        timing = Timing(cron="30 2 * * *", timezone=BERLIN)
        in_second_pass = utc(2027, 10, 31, 1, 10)  # 2:10 by the clock, for the second time
        assert next_time(timing, anchor_at=NOW, after=in_second_pass) == utc(2027, 11, 1, 1, 30)
        assert last_times(timing, anchor_at=NOW, since=NOW, until=in_second_pass, limit=2) == [
            utc(2027, 10, 30, 0, 30),
            utc(2027, 10, 31, 0, 30),
        ]


# Berlin; half an hour in place of one; clocks that go forward at midnight; an hour earlier than
# midnight twice; none at all.
LORD_HOWE = "Australia/Lord_Howe"
ZONES = [BERLIN, LORD_HOWE, "America/Santiago", "Atlantic/Azores", "Asia/Kolkata"]
CHANGES = {
    BERLIN: [utc(2027, 3, 28, 1), utc(2027, 10, 31, 1)],
    LORD_HOWE: [utc(2027, 4, 3, 15), utc(2027, 10, 2, 15, 30)],
    "America/Santiago": [utc(2027, 4, 4, 3), utc(2027, 9, 5, 4)],
    "Atlantic/Azores": [utc(2027, 3, 28, 1), utc(2027, 10, 31, 1)],
    "Asia/Kolkata": [utc(2027, 1, 1)],
}
field = {
    "minute": st.sampled_from(["0", "30", "15,45", "0-10", "59", "*/20", "*", "7/15"]),
    "hour": st.sampled_from(["0", "1", "2", "1,2,3", "23", "0-4", "*/2", "*", "3/6"]),
    "day": st.sampled_from(["*", "*", "*", "1-31", "L", "28", "*/2"]),
    "weekday": st.sampled_from(["*", "*", "0", "SUN,MON", "1-5"]),
}


def members(text: str, least: int, greatest: int) -> set[int]:
    """The numbers that a field stands for."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = least, greatest
        else:
            low, _, high = span.partition("-")
            first = int(low)
            last = int(high) if high else (greatest if step else first)
        found.update(range(first, last + 1, int(step or 1)))
    return found


def on_the_wall(cron: str, zone_name: str, since: dt.datetime, until: dt.datetime):
    """The times of an expression as ``man 8 cron`` of Debian has them, by looking each minute."""
    minute, hour, day, _, weekday = cron.split()
    zone = zoneinfo.ZoneInfo(zone_name)
    minutes, hours = members(minute, 0, 59), members(hour, 0, 23)
    weekdays = members(weekday.replace("SUN", "0").replace("MON", "1"), 0, 6)
    days = set() if day == "L" else members(day, 1, 31)
    is_either = not (day.startswith("*") or weekday.startswith("*"))

    def is_wanted(wall: dt.datetime) -> bool:
        last = (wall.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(days=1)
        is_day = wall.day == last.day if day == "L" else wall.day in days
        is_weekday = wall.isoweekday() % 7 in weekdays
        is_right_day = is_day or is_weekday if is_either else is_day and is_weekday
        return is_right_day and wall.hour in hours and wall.minute in minutes

    found = set()
    if minute.startswith("*") or hour.startswith("*"):
        at = since
        while (at := at + MINUTE) <= until:
            if is_wanted(at.astimezone(zone).replace(tzinfo=None)):
                found.add(at)
        return sorted(found)
    wall = (since.astimezone(zone).replace(tzinfo=None)) - dt.timedelta(hours=3)
    while wall < until.astimezone(zone).replace(tzinfo=None) + dt.timedelta(hours=3):
        if is_wanted(wall):
            shown = wall
            # One that the clock does not show comes with the first one after it that it does.
            while (
                shown.replace(tzinfo=zone).astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None)
                != shown
            ):
                shown += MINUTE
            found.add(shown.replace(tzinfo=zone).astimezone(dt.UTC))
        wall += MINUTE
    return sorted(at for at in found if since < at <= until)


crons = st.builds(
    "{} {} {} * {}".format, field["minute"], field["hour"], field["day"], field["weekday"]
)


@given(cron=crons, zone=st.sampled_from(ZONES), change=st.integers(0, 1), shift=st.integers(0, 600))
@example(cron="15 2 * * *", zone=LORD_HOWE, change=1, shift=0)
@example(cron="30 2 * * *", zone=BERLIN, change=1, shift=30)
@settings(max_examples=60, derandomize=True)
def test_times_are_those_that_clocks_show(cron, zone, change, shift):
    """Around the changes of clocks in all kinds of zones, from wherever it is looked."""
    # There cronsim 2.8 passes over some times with a *, for it goes on by whole hours.
    assume(zone != LORD_HOWE or not any(part.startswith("*") for part in cron.split()[:2]))
    at = CHANGES[zone][change % len(CHANGES[zone])]
    since, until = at - dt.timedelta(hours=9, minutes=shift), at + dt.timedelta(hours=20)
    timing = Timing(cron=cron, timezone=zone)
    expected = on_the_wall(cron, zone, since, until)
    assert times(timing, since, until) == expected
    back = last_times(timing, anchor_at=since, since=since + MINUTE, until=until, limit=10_000)
    assert back == [at for at in expected if at >= since + MINUTE]
    middle = at + dt.timedelta(minutes=shift % 90 - 30)
    until_then = [at for at in expected if since + MINUTE <= at <= middle]
    assert (
        last_times(timing, anchor_at=since, since=since + MINUTE, until=middle, limit=3)
        == until_then[-3:]
    )
    if later := [at for at in expected if at > middle]:
        assert next_time(timing, anchor_at=since, after=middle) == later[0]


@given(
    every_seconds=st.floats(1, 1e6),
    after_seconds=st.floats(-1e7, 1e8),
    count=st.integers(1, 50),
)
@settings(max_examples=200, derandomize=True)
def test_every_never_drifts(every_seconds, after_seconds, count):
    """Each time is a whole number of distances from the first one, to the microsecond."""
    timing = Timing(every_seconds=every_seconds)
    after = NOW + dt.timedelta(seconds=after_seconds)
    following = next_time(timing, anchor_at=NOW, after=after)
    step = dt.timedelta(microseconds=round(every_seconds * 1e6))
    assert following > after
    assert following >= NOW
    assert (following - NOW) % step == dt.timedelta()
    assert following == NOW or following - step <= after
    until = following + step * (count - 1)
    found = last_times(timing, anchor_at=NOW, since=following, until=until, limit=1000)
    assert found == [following + step * number for number in range(count)]


class TestExpressions:
    @pytest.mark.parametrize(
        ("cron", "word"),
        [
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * * 8", "day of the week"),
            ("* * * * FOO", "day of the week"),
            ("*/0 * * * *", "minute"),
            ("5-1 * * * *", "minute"),
            ("* * * *", "five fields"),
            ("0 * * * * *", "five fields"),
            ("@daily", "five fields"),
            ("", "five fields"),
            ("٣ * * * *", "five fields"),
            ("0 0 30 2 *", "day"),
            ("0 0 31 4,6 *", "day"),
            ("0 0 LW * */7", "never comes"),
        ],
    )
    def test_invalid_schedules(self, cron, word):
        """An invalid schedule is an error that names the field."""
        with pytest.raises(TimingError, match=word) as caught:
            check_timing(Timing(cron=cron), NOW)
        assert caught.value.field == "cron"

    @pytest.mark.parametrize(
        ("cron", "expected"),
        [
            ("0 0 29 2 *", utc(2028, 2, 29)),
            ("0 0 L * *", utc(2026, 11, 30)),
            ("0 0 LW 1 *", utc(2027, 1, 29)),
            ("0 0 * * 5L", utc(2026, 12, 25)),
            ("0 0 * * 1#2", utc(2026, 12, 14)),
            ("0 0 1 jan *", utc(2027, 1, 1)),
            ("0 0 13 * FRI", utc(2026, 12, 4)),
            ("0 0 1-7 * */7", utc(2026, 12, 6)),
            ("0  0 1 1  7", utc(2027, 1, 1)),
        ],
    )
    def test_valid_schedules(self, cron, expected):
        """Names, the last days of months, and days by their number among their like."""
        timing = Timing(cron=cron)
        check_timing(timing, NOW)
        assert next_time(timing, anchor_at=NOW, after=NOW) == expected

    @given(st.text("0123456789*/,-#LW MONJAN", max_size=30))
    @settings(max_examples=200, derandomize=True)
    def test_whatever_is_sent(self, cron):
        """There is a next time, or it is said what is wrong."""
        timing = Timing(cron=cron)
        try:
            check_timing(timing, NOW)
        except TimingError:
            return
        assert next_time(timing, anchor_at=NOW, after=NOW) > NOW

    @pytest.mark.parametrize(
        "name",
        ["Europe/Utopia", "Europe", "../UTC", "localtime", "right/UTC", "tzdata.zi", "", "a" * 300],
    )
    def test_invalid_time_zones(self, name):
        """Nor a folder of zones, nor a clock that counts leap seconds, nor this machine's."""
        assert not is_zone(name)
        with pytest.raises(TimingError):
            check_timing(Timing(cron="* * * * *", timezone=name), NOW)

    def test_seconds_of_the_day_do_not_matter(self):
        """A time is the first moment of its minute."""
        timing = Timing(cron="0 12 * * *")
        before = NOW - dt.timedelta(microseconds=1)
        assert next_time(timing, anchor_at=NOW, after=before) == NOW
        assert next_time(timing, anchor_at=NOW, after=NOW) == NOW + dt.timedelta(days=1)


class TestWhatIsMissed:
    def late(self, missed: Missed, seconds: float, **timing) -> tuple[list[float], float]:
        """Return how late the times are that fire now, and the seconds until the next one.

        The schedule was not processed for ``seconds``.
        """
        kept = apply_definition(
            definition(missed, **timing), None, NOW - dt.timedelta(seconds=seconds)
        )
        found = compute_due(kept, NOW)
        return (
            [(NOW - at).total_seconds() for at in found.times],
            (found.next_run_at - NOW).total_seconds(),
        )

    @pytest.mark.parametrize("missed", Missed)
    def test_times_that_are_on_time_fire(self, missed):
        """Each time up to a minute late fires."""
        assert self.late(missed, 50.0, every_seconds=20.0) == ([30.0, 10.0], 10.0)
        assert self.late(missed, GRACE_SECONDS + 30.0, every_seconds=30.0)[0] == [60.0, 30.0, 0.0]

    def test_skip(self):
        """What is later than that is passed over."""
        assert self.late(Missed.SKIP, 500.0, every_seconds=100.0) == ([0.0], 100.0)
        assert self.late(Missed.SKIP, 590.0, every_seconds=100.0) == ([], 10.0)
        assert self.late(Missed.SKIP, 7200.0, every_seconds=86_400.0) == ([], 79_200.0)

    def test_once(self):
        """The last one stands for all, or one that is due in time."""
        assert self.late(Missed.ONCE, 590.0, every_seconds=100.0) == ([90.0], 10.0)
        assert self.late(Missed.ONCE, 500.0, every_seconds=100.0) == ([0.0], 100.0)

    def test_all(self):
        """Each, but no more than a hundred."""
        assert self.late(Missed.ALL, 590.0, every_seconds=100.0)[0] == [
            490.0,
            390.0,
            290.0,
            190.0,
            90.0,
        ]
        fired, ahead = self.late(Missed.ALL, 1e8 - 10.0, every_seconds=1000.0)
        assert fired == [990.0 + 1000.0 * number for number in range(99, -1, -1)]
        assert ahead == 10.0

    def test_all_by_an_expression(self):
        """A year of minutes is not walked through."""
        fired, ahead = self.late(Missed.ALL, 365 * 86_400.0, cron="* * * * *")
        assert fired == [60.0 * number for number in range(99, -1, -1)]
        assert ahead == 60.0

    def test_the_oldest_times_fire_first(self):
        """If there are more times than the limit, the oldest fire first."""
        kept = apply_definition(
            definition(Missed.ALL, every_seconds=100.0), None, NOW - dt.timedelta(seconds=590)
        )
        found = compute_due(kept, NOW, limit=2)
        assert [(NOW - at).total_seconds() for at in found.times] == [490.0, 390.0]
        assert found.next_run_at == NOW - dt.timedelta(seconds=290)

    def test_schedules_that_are_not_due(self):
        """Nothing fires before its time."""
        kept = apply_definition(definition(every_seconds=100.0), None, NOW)
        assert compute_due(kept, NOW + dt.timedelta(seconds=99.9)).times == ()
        assert compute_due(msgspec.structs.replace(kept, next_run_at=None), NOW).times == ()


class TestHandedInAgain:
    def kept(self, ago_seconds: float = 50.0, **timing) -> StoredSchedule:
        return apply_definition(definition(**timing), None, NOW - dt.timedelta(seconds=ago_seconds))

    def test_the_same_times_stay(self):
        """This includes times that have not fired yet."""
        before = self.kept(250.0, every_seconds=100.0)
        after = apply_definition(definition(Missed.ALL, every_seconds=100.0), before, NOW)
        assert (after.next_run_at, after.anchor_at) == (before.next_run_at, before.anchor_at)

    def test_other_times_begin_anew(self):
        """From now on, whatever was left of the old ones."""
        before = self.kept(250.0, every_seconds=100.0)
        after = apply_definition(definition(every_seconds=100.5), before, NOW)
        assert (after.next_run_at, after.anchor_at) == (NOW + dt.timedelta(seconds=100.5), NOW)
        after = apply_definition(definition(cron="* * * * *"), before, NOW)
        assert after.next_run_at == NOW + MINUTE

    def test_a_start_ahead_is_the_first_time(self):
        """And one that is past only says where the times are."""
        ahead, past = NOW + dt.timedelta(days=3), NOW - dt.timedelta(seconds=250)
        assert (
            apply_definition(definition(every_seconds=100.0, start_at=ahead), None, NOW).next_run_at
            == ahead
        )
        kept = apply_definition(definition(every_seconds=100.0, start_at=past), None, NOW)
        assert kept.next_run_at == NOW + dt.timedelta(seconds=50)


class TestUpcoming:
    def upcoming(self, count: int, now: dt.datetime = NOW, **fields) -> list[dt.datetime]:
        """The next times of a new schedule."""
        is_paused = fields.pop("paused", False)
        new = msgspec.structs.replace(definition(**fields), paused=is_paused)
        stored = apply_definition(new, None, now)
        return list(itertools.islice(upcoming_times(stored, now), count))

    @pytest.mark.parametrize(
        ("cron", "day", "expected"),
        [
            ("30 2 * * *", GAP, ["27 02:30+01", "28 03:00+02", "29 02:30+02"]),
            ("*/30 2 * * *", GAP, ["27 02:00+01", "27 02:30+01", "29 02:00+02"]),
            ("30 2 * * *", OVERLAP, ["30 02:30+02", "31 02:30+02", "01 02:30+01"]),
            ("30 */2 31 10 *", OVERLAP, ["31 00:30+02", "31 02:30+02", "31 02:30+01"]),
        ],
    )
    @pytest.mark.parametrize("paused", [False, True])
    def test_clock_changes(self, cron, day, expected, paused):
        """Times in a gap and in a repeated hour are the times that will fire."""
        zone = zoneinfo.ZoneInfo(BERLIN)
        now = dt.datetime.combine(day - dt.timedelta(days=1), dt.time(), tzinfo=zone)
        found = self.upcoming(3, now.astimezone(dt.UTC), cron=cron, timezone=BERLIN, paused=paused)
        assert [at.astimezone(zone).strftime("%d %H:%M%z")[:11] for at in found] == expected

    @pytest.mark.parametrize("paused", [False, True])
    def test_a_start_in_the_future(self, paused):
        """The first run is at the start."""
        start_at = NOW + dt.timedelta(days=3)
        found = self.upcoming(2, every_seconds=90.0, start_at=start_at, paused=paused)
        assert found == [start_at, start_at + dt.timedelta(seconds=90)]

    def test_a_time_that_is_due(self):
        """It comes first; then the times that are still to come, without the missed ones."""
        stored = apply_definition(definition(every_seconds=60.0), None, NOW)
        later = NOW + dt.timedelta(minutes=10, seconds=1)
        found = list(itertools.islice(upcoming_times(stored, later), 3))
        assert found == [NOW + n * MINUTE for n in (1, 11, 12)]

    def test_the_end_of_time(self):
        """Times after the year 9999 are left out."""
        last = utc(9999, 12, 31)
        assert self.upcoming(9, every_seconds=80_000.0, start_at=last) == [
            last,
            last + dt.timedelta(seconds=80_000),
        ]

    @given(
        st.integers(1, 10**6).map(float),
        st.integers(-(10**7), 10**7),
        st.booleans(),
    )
    def test_they_are_the_times_that_fire(self, every_seconds, offset, paused):
        """Each is the next one after the one before."""
        start_at = NOW + dt.timedelta(seconds=offset)
        timing = Timing(every_seconds=every_seconds, start_at=start_at)
        at = NOW
        timed = {"every_seconds": every_seconds, "start_at": start_at}
        for found in self.upcoming(5, **timed, paused=paused):
            at = next_time(timing, anchor_at=start_at, after=at)
            assert found == at
