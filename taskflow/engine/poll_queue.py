"""The polls that a node has taken: which one starts next. No I/O.

A host whose polls hang must not delay other hosts. So the host with the fewest running polls
comes first, and a host has a limited number of places. A poll that waits too long is dropped: its
attempt is due again a moment later, on any node.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

from taskflow.model.url import place_in
from taskflow.store.base.parking import DueAttempt

MIN_PLACES_OF_HOST: Final = 10
HOSTS: Final = 4
"""Number of hosts that can use all their places at once."""

MAX_WAIT_SECONDS: Final = 4.0
"""Maximum time between taking an attempt and the start of its poll."""


class Poll(NamedTuple):
    """A poll that is to be made.

    Attributes:
        attempt: The attempt.
        url: The URL.
        host: Its host and port.
        taken_at: When the attempt was taken, on Trio's clock.
    """

    attempt: DueAttempt
    url: str
    host: str
    taken_at: float


class PollQueue:
    """Polls that wait, and counts of running polls.

    Args:
        max_running: Maximum number of polls that run at once.
    """

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self._places_of_host = max(MIN_PLACES_OF_HOST, 2 * max_running)
        self._places = HOSTS * self._places_of_host
        self._waiting: dict[str, deque[Poll]] = {}
        self._running: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """How many polls find a place, whatever their hosts are."""
        fullest = max(map(self._taken, self._waiting.keys() | self._running.keys()), default=0)
        return max(0, min(self._places_of_host - fullest, self._places - self._all_taken()))

    @property
    def is_crowded(self) -> bool:
        """True if there is hardly any room."""
        return self.room < self._places_of_host // 2

    def add(self, attempt: DueAttempt, url: str, now: float) -> bool:
        """Add a poll; return whether it found a place."""
        host = place_in(url).authority
        if self._taken(host) >= self._places_of_host or self._all_taken() >= self._places:
            return False
        self._waiting.setdefault(host, deque()).append(Poll(attempt, url, host, now))
        return True

    def start(self, now: float) -> Poll | None:
        """Return the next poll, which is running from now on; ``None`` if none can start."""
        while self._waiting and self._running.total() < self._max_running:
            host = min(self._waiting, key=lambda one: (self._running[one], self._first(one)))
            poll = self._waiting[host].popleft()
            if not self._waiting[host]:
                del self._waiting[host]
            if now - poll.taken_at <= MAX_WAIT_SECONDS:
                self._running[host] += 1
                return poll
        return None

    def finish(self, host: str) -> None:
        """Record that a poll of a host has ended."""
        self._running[host] -= 1
        if not self._running[host]:
            del self._running[host]

    def _first(self, host: str) -> float:
        return self._waiting[host][0].taken_at

    def _taken(self, host: str) -> int:
        return self._running[host] + len(self._waiting.get(host, ()))

    def _all_taken(self) -> int:
        return self._running.total() + sum(map(len, self._waiting.values()))
