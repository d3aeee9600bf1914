"""Throttling of the log: each event is logged a limited number of times per period."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

PERIOD_SECONDS = 10.0
MAX_PER_PERIOD: Final = 20

Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass
class _Count:
    """Counts of one key: logged in the current period, dropped since the last report."""

    period_start: float = -math.inf
    logged: int = 0
    dropped: int = 0


class Throttle(Generic[Key]):
    """Decides which events are logged, and counts the others."""

    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}

    def admit(self, key: Key, limit: int = MAX_PER_PERIOD) -> bool:
        """Return whether the event may be logged now; if not, count it as dropped."""
        count = self._counts.setdefault(key, _Count())
        now = time.monotonic()
        if now - count.period_start >= PERIOD_SECONDS:
            count.period_start, count.logged = now, 0
        if count.logged >= limit:
            count.dropped += 1
            return False
        count.logged += 1
        return True

    def take_dropped(self) -> list[tuple[Key, int]]:
        """Return how often each key was dropped since the last call."""
        dropped = [(key, count.dropped) for key, count in [*self._counts.items()] if count.dropped]
        for key, _ in dropped:
            self._counts[key].dropped = 0
        return dropped
