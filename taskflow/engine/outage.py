"""Outages of the store: logged and counted once each, with growing pauses between retries."""

from __future__ import annotations

from typing import Final

import trio

from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable
from taskflow.telemetry import Event, emit

_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 1.0


class Outage:
    """Whether the store is unavailable; shared by all parts of the engine.

    Args:
        metrics: Counts outages.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._since: float | None = None
        self._metrics = metrics

    @property
    def is_active(self) -> bool:
        """True if the last heartbeat, claim or write failed."""
        return self._since is not None

    def begin(self, error: StoreUnavailable) -> None:
        """Record a failed call; the first one of an outage is logged."""
        if self._since is None:
            self._since = trio.current_time()
            self._metrics.store_lost()
            emit(Event.STORE_LOST, reason=str(error))

    def end(self) -> None:
        """Record a successful call."""
        if self._since is not None:
            emit(Event.STORE_BACK, after_seconds=round(trio.current_time() - self._since, 1))
            self._since = None


class RetryPauses:
    """Growing pauses between attempts to reach the store."""

    def __init__(self) -> None:
        self._seconds = _FIRST_PAUSE_SECONDS

    async def pause(self) -> None:
        """Sleep; each time twice as long, up to a second."""
        await trio.sleep(self._seconds)
        self._seconds = min(self._seconds * 2, _MAX_PAUSE_SECONDS)
