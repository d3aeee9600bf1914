"""From where on claims look: never behind a task that waits, once it was announced."""

from __future__ import annotations

import datetime as dt

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from taskflow.store.postgres.claim_position import (
    LONGEST_PAUSE_SECONDS,
    SURVEY_SECONDS,
    Frontier,
    parse,
)

BEGINNING = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PRIORITIES = [5, 0, -5]


def at(seconds: float) -> dt.datetime:
    return BEGINNING + dt.timedelta(seconds=seconds)


@pytest.fixture
def frontier() -> Frontier:
    return Frontier()


async def surveyed(frontier: Frontier, **places: float) -> None:
    with frontier.looking() as look:
        assert look.needs_survey
        look.surveyed((int(name.removeprefix("p")), at(when)) for name, when in places.items())


async def begin(frontier: Frontier) -> dict[int, dt.datetime]:
    with frontier.looking() as look:
        return dict(zip(*look.begin(), strict=True))


async def test_claims_move_it_on(frontier):
    """It begins where the survey says, highest priority first, and goes on with the claims."""
    await surveyed(frontier, p0=10, p7=20)
    with frontier.looking() as look:
        assert look.begin() == ([7, 0], [at(20), at(10)])
        look.claimed([(7, at(21)), (7, at(23)), (0, at(10))])
    assert await begin(frontier) == {7: at(23), 0: at(10)}


async def test_what_is_announced_moves_it_back(frontier):
    """To the earliest place; a priority that was not known is one from then on."""
    await surveyed(frontier, p0=10)
    frontier.announce([(0, at(20)), (3, at(30))])
    assert await begin(frontier) == {3: at(30), 0: at(10)}
    frontier.announce([(0, at(5)), (3, at(31))])
    assert await begin(frontier) == {3: at(30), 0: at(5)}


@pytest.mark.parametrize("is_survey", [True, False])
async def test_what_is_announced_during_a_look_is_not_passed_over(frontier, is_survey):
    """It may have come too late for the look, whose end must not hide it."""
    if not is_survey:
        await surveyed(frontier, p0=10)
    with frontier.looking() as look:
        if is_survey:
            look.surveyed([(0, at(10))])
        frontier.announce([(0, at(12)), (1, at(1))])
        look.claimed([(0, at(15))])
    assert await begin(frontier) == {1: at(1), 0: at(12)}


async def test_a_look_that_fails_changes_nothing(frontier):
    """What it saw may not have been committed."""
    await surveyed(frontier, p0=10)
    with pytest.raises(OSError, match="gone"), frontier.looking() as look:
        look.claimed([(0, at(15))])
        raise OSError("gone")
    assert await begin(frontier) == {0: at(10)}


async def test_surveys_come_by_the_clock(frontier, autojump_clock):
    """Once a second; at once when announcements may have been missed, also during a survey."""

    async def is_due() -> bool:
        with frontier.looking() as look:
            return look.needs_survey

    assert await is_due()
    assert not await is_due()
    await trio.sleep(SURVEY_SECONDS)
    with frontier.looking() as look:
        assert look.needs_survey
        assert not await is_due()  # one at a time
        frontier.distrust()
    assert await is_due()
    assert not await is_due()


@pytest.mark.parametrize(
    ("took", "pause"),
    [(0.01, SURVEY_SECONDS), (0.2, 4.0), (10.0, LONGEST_PAUSE_SECONDS)],
)
async def test_slow_surveys_come_seldom(frontier, took, pause, autojump_clock):
    """Whether they succeed or not, about a twentieth of the time goes to them."""
    with pytest.raises(TimeoutError), frontier.looking():
        await trio.sleep(took)
        raise TimeoutError
    await trio.sleep(pause - 0.01)
    with frontier.looking() as look:
        assert not look.needs_survey
    await trio.sleep(0.02)
    with frontier.looking() as look:
        assert look.needs_survey


@pytest.mark.parametrize(
    ("announcement", "read"),
    [
        (
            "abc -5@1767225600000001 10@1767225601000000",
            ("abc", [(-5, at(0.000001)), (10, at(1))]),
        ),
        ("somebody", ("somebody", [])),
        ("", ("", [])),
        ("two words", ("two", [])),
        ("a 1@", ("a", [])),
        ("a 1@2@3", ("a", [])),
        ("a 1@99999999999999999999999", ("a", [])),
    ],
)
def test_announcements_are_read(announcement, read):
    """Microsecond for microsecond; what says no place is somebody's all the same."""
    assert parse(announcement) == read


class World:
    """Tasks in a database, and what was committed but not announced yet."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.waiting: dict[int, set[int]] = {priority: set() for priority in PRIORITIES}
        self.unannounced: list[tuple[int, int]] = []

    def add(self, priority: int, run_at: int) -> None:
        self.waiting[priority].add(run_at)
        self.unannounced.append((priority, run_at))

    def announce(self) -> None:
        self.frontier.announce((priority, at(run_at)) for priority, run_at in self.unannounced)
        self.unannounced.clear()

    def claim(self, limit: int, *, in_between: list[tuple[int, int]]) -> None:
        """As the statement does; what comes in between, it does not see."""
        with self.frontier.looking() as look:
            if look.needs_survey:
                firsts = {p: min(waiting) for p, waiting in self.waiting.items() if waiting}
                look.surveyed((priority, at(first)) for priority, first in firsts.items())
            found = [
                (priority, run_at)
                for priority, since in zip(*look.begin(), strict=True)
                for run_at in sorted(self.waiting[priority])
                if at(run_at) >= since
            ][:limit]
            for priority, run_at in found:
                self.waiting[priority].discard(run_at)
            for place in in_between:
                self.add(*place)
            self.announce()
            look.claimed((priority, at(run_at)) for priority, run_at in found)


PLACES = st.tuples(st.sampled_from(PRIORITIES), st.integers(0, 20))
STEPS = st.one_of(
    st.tuples(st.just("add"), PLACES),
    st.tuples(st.just("announce"), st.none()),
    st.tuples(st.just("claim"), st.tuples(st.integers(1, 3), st.lists(PLACES, max_size=2))),
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
        with world.frontier.looking() as look:
            since = dict(zip(*look.begin(), strict=True))
            if look.needs_survey:
                return
        for priority, waiting in world.waiting.items():
            assert all(at(run_at) >= since[priority] for run_at in waiting)

    trio.run(main)
