"""What the parts of the engine share: its collaborators, and whether the store is available."""

from __future__ import annotations

import dataclasses
from typing import Final

import trio

from taskflow.fetch.interface import Fetcher
from taskflow.metrics import Metrics
from taskflow.model.errors import StoreUnavailable
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.model.signature import NO_SIGNER, Signer
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore
from taskflow.telemetry import Event, emit
from taskflow.tracing import NO_TRACING, Tracing

_FIRST_PAUSE_SECONDS: Final = 0.1
_MAX_PAUSE_SECONDS: Final = 1.0


class Outage:
    """Whether the store is unavailable; shared by all parts of the engine."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineContext:
    """Collaborators of the engine.

    Attributes:
        store: Stores the tasks.
        fetcher: Sends their requests.
        settings: All settings.
        signer: Signs requests and callbacks.
        keyring: Encrypts and decrypts data at rest.
        metrics: Counts what happens.
        tracing: Creates spans.
        outage: Tracks whether the store can be reached.
    """

    store: TaskStore
    fetcher: Fetcher
    settings: Settings
    signer: Signer = NO_SIGNER
    keyring: Keyring = NO_KEYS
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    tracing: Tracing = NO_TRACING
    outage: Outage = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outage", Outage(self.metrics))
