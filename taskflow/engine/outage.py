"""The store goes away and comes back: few log lines, no busy loops."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable
from taskflow.telemetry import Event, emit

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0


class Outage:
    """Whether the store is out of reach, as all parts of a node see it together.

    Args:
        metrics: What is told of outages.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._since: float | None = None
        self._metrics = metrics or Metrics()

    @property
    def is_on(self) -> bool:
        """Whether the last attempt to use the store failed."""
        return self._since is not None

    def began(self, error: StoreUnavailable) -> None:
        """A part found the store out of reach; only the first one is logged."""
        if self._since is None:
            self._since = trio.current_time()
            self._metrics.store_lost()
            emit(Event.STORE_LOST, reason=str(error))

    def is_over(self) -> None:
        """A part got through."""
        if self._since is not None:
            emit(Event.STORE_BACK, after_seconds=round(trio.current_time() - self._since, 1))
            self._since = None


class Pauses:
    """Growing pauses between attempts to reach the store."""

    def __init__(self) -> None:
        self._seconds = _FIRST_PAUSE_SECONDS

    async def pause(self) -> None:
        """Wait, longer each time up to a bound."""
        await trio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, _LONGEST_PAUSE_SECONDS)
