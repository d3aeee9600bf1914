"""The clock of a service in a test: it stands still, except while something is about to happen."""

from __future__ import annotations

import time
from typing import Final

import trio

NEAR_SECONDS: Final = 0.1
"""Deadlines as close as this are waited for: pauses of the service itself are this short."""

_FOREVER_SECONDS: Final = 86_400.0


class StoppedClock(trio.abc.Clock):
    """A clock of Trio that stands still until ``move``.

    Only while the next deadline is near, time passes as it does elsewhere, up to that deadline.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._passes_until = 0.0
        self._passes_since = 0.0

    def start_clock(self) -> None:
        """See Trio."""

    def current_time(self) -> float:
        """See Trio."""
        if self._passes_until <= self._now:
            return self._now
        passed = time.perf_counter() - self._passes_since
        return min(self._now + passed, self._passes_until)

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See Trio, which asks for the next deadline before it waits."""
        self._now = self.current_time()
        left = deadline - self._now
        if left > NEAR_SECONDS:
            self._passes_until = self._now
            return _FOREVER_SECONDS
        self._passes_until, self._passes_since = deadline, time.perf_counter()
        return max(left, 0.0)

    def move(self, seconds: float) -> None:
        """Move the clock."""
        self._now = self._passes_until = self.current_time() + seconds
