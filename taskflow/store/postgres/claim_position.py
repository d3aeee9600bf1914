"""From where on claims look.

A task that was claimed leaves an entry behind in the index of claims, which only VACUUM can
take away, and VACUUM cannot while any transaction in the database is older than the claim.
Claims that begin at the beginning walk over all of these entries each time: a report that
runs for an hour would bring claims to a crawl. So a store remembers, for each priority, up to
where tasks have been claimed, and begins there.

What comes in behind that place is announced by whoever puts it there, with its place: within
this process by a call, to other nodes by the notification that wakes them. What no
announcement came for (it can be lost with its connection) is found by a survey from the
beginning, now and then.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Iterable, Iterator
from typing import Final

import trio

from taskflow.store.postgres.cursor import EARLIEST

# What a survey finds is at most so late when an announcement was lost ...
SURVEY_SECONDS: Final = 1.0
# ... unless surveys take long: then so much of the time may go to them at most, about ...
SURVEY_SHARE: Final = 0.05
# ... and this is the end of it.
LONGEST_PAUSE_SECONDS: Final = 30.0

# What is announced where nothing is new, but more of what waits may start.
ROOM: Final = "room"

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Place = tuple[int, dt.datetime]
"""A priority, and when a task of that priority becomes due."""


class Look:
    """One look for tasks: where to begin, and what came of it."""

    def __init__(self, since: dict[int, dt.datetime], *, needs_survey: bool) -> None:
        self._since = since
        self.needs_survey: Final = needs_survey
        self.announced: Final[dict[int, dt.datetime]] = {}

    def begin(self) -> tuple[list[int], list[dt.datetime]]:
        """The priorities to look at, highest first, and from when on at each."""
        priorities = sorted(self._since, reverse=True)
        return priorities, [self._since[priority] for priority in priorities]

    def bounds(self) -> tuple[list[int], list[dt.datetime | None]]:
        """The same for a statement: ``None`` is from the beginning."""
        priorities, since = self.begin()
        return priorities, [None if at <= EARLIEST else at for at in since]

    def surveyed(self, places: Iterable[Place]) -> None:
        """These are the first places of all priorities that have tasks."""
        self._since = dict(places)

    def claimed(self, places: Iterable[Place]) -> None:
        """All due tasks up to here are taken, those of the same priority that is."""
        for priority, run_at in places:
            self._since[priority] = max(self._since[priority], run_at)


class Frontier:
    """Where a store's claims have got to. Belongs to the Trio thread."""

    def __init__(self) -> None:
        self._since: dict[int, dt.datetime] = {}
        self._looks: list[Look] = []
        self._survey_due_at = -math.inf

    def announce(self, places: Iterable[Place]) -> None:
        """There are tasks at these places now, or may be."""
        for priority, run_at in places:
            for since in (self._since, *(look.announced for look in self._looks)):
                since[priority] = min(since.get(priority, run_at), run_at)

    def distrust(self) -> None:
        """Announcements may have been missed: survey at the next look."""
        self._survey_due_at = -math.inf

    def priorities(self) -> list[int]:
        """The priorities that are known to have had tasks lately."""
        return list(self._since)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Look]:
        """Look for tasks within the block; what came of it counts if the block succeeds."""
        began_at = trio.current_time()
        look = Look(dict(self._since), needs_survey=began_at >= self._survey_due_at)
        if look.needs_survey:
            self._survey_due_at = math.inf
        self._looks.append(look)
        try:
            yield look
            # What was announced meanwhile may have come too late for this look.
            self._since = dict(zip(*look.begin(), strict=True))
            self.announce(look.announced.items())
        finally:
            self._looks.remove(look)
            if self._survey_due_at == math.inf:
                self._survey_due_at = trio.current_time() + _pause_seconds(began_at)


def parse(announcement: str) -> tuple[str, list[Place]]:
    """Read who speaks, and the places (see ``taskflow_announce`` in the schema), if it says any."""
    sender, *places = announcement.split(" ")
    try:
        return sender, [_place(place) for place in places]
    except (ValueError, OverflowError):  # somebody else's words
        return sender, []


def _place(text: str) -> Place:
    priority, microseconds = text.split("@")
    return int(priority), _EPOCH + dt.timedelta(microseconds=int(microseconds))


def _pause_seconds(began_at: float) -> float:
    took_seconds = trio.current_time() - began_at
    return min(max(took_seconds / SURVEY_SHARE, SURVEY_SECONDS), LONGEST_PAUSE_SECONDS)
