"""The claim position: never after a waiting task, once that was announced."""

from __future__ import annotations

import datetime as dt

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from taskflow.store.postgres.claim_position import (
    MAX_PAUSE_SECONDS,
    SURVEY_SECONDS,
    ClaimPosition,
    parse,
)

BEGINNING = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PRIORITIES = [5, 0, -5]


def at(seconds: float) -> dt.datetime:
    return BEGINNING + dt.timedelta(seconds=seconds)


@pytest.fixture
def position() -> ClaimPosition:
    return ClaimPosition()


async def surveyed(position: ClaimPosition, **points: float) -> None:
    with position.passing() as one:
        assert one.needs_survey
        one.surveyed((int(name.removeprefix("p")), at(when)) for name, when in points.items())


async def begin(position: ClaimPosition) -> dict[int, dt.datetime]:
    with position.passing() as one:
        return dict(zip(*one.begin(), strict=True))


async def test_claims_move_it_on(position):
    """It begins where the survey says, highest priority first, and goes on with the claims."""
    await surveyed(position, p0=10, p7=20)
    with position.passing() as one:
        assert one.begin() == ([7, 0], [at(20), at(10)])
        one.claimed([(7, at(21)), (7, at(23)), (0, at(10))])
    assert await begin(position) == {7: at(23), 0: at(10)}


async def test_announcements_move_the_cursor_back(position):
    """To the earliest point; a priority that was not known is one from then on."""
    await surveyed(position, p0=10)
    position.announce([(0, at(20)), (3, at(30))])
    assert await begin(position) == {3: at(30), 0: at(10)}
    position.announce([(0, at(5)), (3, at(31))])
    assert await begin(position) == {3: at(30), 0: at(5)}


@pytest.mark.parametrize("is_survey", [True, False])
async def test_announcements_during_a_claim_are_kept(position, is_survey):
    """It may have come too late for the pass, whose end must not hide it."""
    if not is_survey:
        await surveyed(position, p0=10)
    with position.passing() as one:
        if is_survey:
            one.surveyed([(0, at(10))])
        position.announce([(0, at(12)), (1, at(1))])
        one.claimed([(0, at(15))])
    assert await begin(position) == {1: at(1), 0: at(12)}


async def test_a_pass_that_fails_changes_nothing(position):
    """What it saw may not have been committed."""
    await surveyed(position, p0=10)
    with pytest.raises(OSError, match="gone"), position.passing() as one:
        one.claimed([(0, at(15))])
        raise OSError("gone")
    assert await begin(position) == {0: at(10)}


async def test_full_scans_are_periodic(position, autojump_clock):
    """Once a second; at once when announcements may have been missed, also during a survey."""

    async def is_due() -> bool:
        with position.passing() as one:
            return one.needs_survey

    assert await is_due()
    assert not await is_due()
    await trio.sleep(SURVEY_SECONDS)
    with position.passing() as one:
        assert one.needs_survey
        assert not await is_due()  # one at a time
        position.distrust()
    assert await is_due()
    assert not await is_due()


@pytest.mark.parametrize(
    ("took", "pause"),
    [(0.01, SURVEY_SECONDS), (0.2, 4.0), (10.0, MAX_PAUSE_SECONDS)],
)
async def test_slow_surveys_are_rare(position, took, pause, autojump_clock):
    """About a twentieth of the time goes to them."""
    with position.passing():
        await trio.sleep(took)
    await trio.sleep(pause - 0.01)
    with position.passing() as one:
        assert not one.needs_survey
    await trio.sleep(0.02)
    with position.passing() as one:
        assert one.needs_survey


async def test_surveys_after_an_outage(position, autojump_clock):
    """They follow soon, however long the one took that failed, and are rarer if all fail."""
    for pause in (2.0, 4.0, 8.0, 16.0, *[MAX_PAUSE_SECONDS] * 20):
        with pytest.raises(TimeoutError), position.passing() as one:
            assert one.needs_survey
            await trio.sleep(10)
            raise TimeoutError
        await trio.sleep(pause - 0.01)
        with position.passing() as one:
            assert not one.needs_survey
        await trio.sleep(0.02)
    for _ in range(2):
        with position.passing() as one:
            assert one.needs_survey
        await trio.sleep(SURVEY_SECONDS)


@pytest.mark.parametrize(
    ("announcement", "read"),
    [
        (
            "abc -5@1767225600000001 10@1767225601000000",
            ("abc", [(-5, at(0.000001)), (10, at(1))]),
        ),
        ("other-node", ("other-node", [])),
        ("", ("", [])),
        ("two words", ("two", [])),
        ("a 1@", ("a", [])),
        ("a 1@2@3", ("a", [])),
        ("a 1@99999999999999999999999", ("a", [])),
    ],
)
def test_announcements_are_read(announcement, read):
    """Positions are exact to the microsecond; text without a position names a sender only."""
    assert parse(announcement) == read


class World:
    """Tasks in a database, and what was committed but not announced yet."""

    def __init__(self) -> None:
        self.position = ClaimPosition()
        self.waiting: dict[int, set[int]] = {priority: set() for priority in PRIORITIES}
        self.unannounced: list[tuple[int, int]] = []

    def add(self, priority: int, run_at: int) -> None:
        self.waiting[priority].add(run_at)
        self.unannounced.append((priority, run_at))

    def announce(self) -> None:
        self.position.announce((priority, at(run_at)) for priority, run_at in self.unannounced)
        self.unannounced.clear()

    def claim(self, limit: int, *, in_between: list[tuple[int, int]]) -> None:
        """As the statement does; what comes in between, it does not see."""
        with self.position.passing() as one:
            if one.needs_survey:
                firsts = {p: min(waiting) for p, waiting in self.waiting.items() if waiting}
                one.surveyed((priority, at(first)) for priority, first in firsts.items())
            found = [
                (priority, run_at)
                for priority, since in zip(*one.begin(), strict=True)
                for run_at in sorted(self.waiting[priority])
                if at(run_at) >= since
            ][:limit]
            for priority, run_at in found:
                self.waiting[priority].discard(run_at)
            for point in in_between:
                self.add(*point)
            self.announce()
            one.claimed((priority, at(run_at)) for priority, run_at in found)


POINTS = st.tuples(st.sampled_from(PRIORITIES), st.integers(0, 20))
STEPS = st.one_of(
    st.tuples(st.just("add"), POINTS),
    st.tuples(st.just("announce"), st.none()),
    st.tuples(st.just("claim"), st.tuples(st.integers(1, 3), st.lists(POINTS, max_size=2))),
)


@given(st.lists(STEPS, max_size=30))
def test_no_announced_task_is_passed_over(steps):
    """Whatever is added, announced and claimed in whatever order: all that waits is found."""

    async def main() -> None:
        world = World()
        for kind, argument in steps:
            if kind == "add":
                world.add(*argument)
            elif kind == "announce":
                world.announce()
            else:
                limit, in_between = argument
                world.claim(limit, in_between=in_between)
        world.announce()
        with world.position.passing() as one:
            since = dict(zip(*one.begin(), strict=True))
            if one.needs_survey:
                return
        for priority, waiting in world.waiting.items():
            assert all(at(run_at) >= since[priority] for run_at in waiting)

    trio.run(main)
