"""What keeps the log from being flooded: the same is said so often at most, and then counted."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

PERIOD_SECONDS = 10.0
MOST_IN_A_PERIOD: Final = 20

Key = TypeVar("Key", bound=Hashable)


@dataclasses.dataclass
class _Count:
    """How often something was said since then, and how often it was not."""

    began: float = -math.inf
    said: int = 0
    unsaid: int = 0


class Repeats(Generic[Key]):
    """Counts what is said, and what is not because it came too often."""

    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}

    def admit(self, key: Key, most: int = MOST_IN_A_PERIOD) -> bool:
        """Whether this may be said now; if not, it is counted."""
        count = self._counts.setdefault(key, _Count())
        now = time.monotonic()
        if now - count.began >= PERIOD_SECONDS:
            count.began, count.said = now, 0
        if count.said >= most:
            count.unsaid += 1
            return False
        count.said += 1
        return True

    def take_unsaid(self) -> list[tuple[Key, int]]:
        """What was not said since the last time, and how often."""
        unsaid = [(key, count.unsaid) for key, count in [*self._counts.items()] if count.unsaid]
        for key, _ in unsaid:
            self._counts[key].unsaid = 0
        return unsaid
