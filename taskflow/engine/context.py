"""What the parts of the engine share: its collaborators, and whether the store is available."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

import trio

from taskflow.engine.configured_secrets import read_mailer
from taskflow.engine.credentials import Credentials
from taskflow.engine.endpoints import Endpoints
from taskflow.engine.identity import Identity
from taskflow.engine.notifications import Notifications
from taskflow.fetch.authenticators import Authenticators
from taskflow.fetch.interface import Fetcher
from taskflow.metrics import Metrics
from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.errors import KeyMissing, StoreUnavailable
from taskflow.model.keyring import NO_KEYS, Keyring
from taskflow.model.outcome import ErrorType, Postponed
from taskflow.model.signature import NO_SIGNER, Signer
from taskflow.settings import Settings
from taskflow.store.base.store import TaskStore
from taskflow.telemetry import Event, emit
from taskflow.tracing import NO_TRACING, Tracing

MAX_KEY_DELAY_SECONDS: Final = 30.0
"""Maximum delay of a task that this node cannot decrypt; another node may be able to."""
_KEY_PAUSE_SECONDS: Final = 0.1
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


class MissingKeys:
    """Releases tasks that this node cannot decrypt, for other nodes.

    Each missing key is logged once: the keys of a process never change.

    Args:
        initial_delay_seconds: Maximum delay of the first task.
    """

    def __init__(self, initial_delay_seconds: float) -> None:
        self._initial_delay_seconds = initial_delay_seconds
        self._since: dict[str, float] = {}

    async def postponed(self, error: KeyMissing) -> Postponed:
        """Return the outcome of an attempt, after a pause that limits the rate of releases."""
        now = trio.current_time()
        if error.key_id not in self._since:
            emit(Event.ENCRYPTION_KEY_MISSING, key=error.key_id)
        missing_seconds = now - self._since.setdefault(error.key_id, now)
        delay = min(max(self._initial_delay_seconds, missing_seconds), MAX_KEY_DELAY_SECONDS)
        delay *= 0.5 + random.random() / 2  # noqa: S311 - not for secrets
        await trio.sleep(_KEY_PAUSE_SECONDS)
        return Postponed(ErrorType.KEY_MISSING, f"key missing: {error}", delay)


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
        keyring: Encrypts and decrypts credentials.
        encryption: Decrypts the payloads of claims.
        metrics: Counts what happens.
        tracing: Creates spans.
        outage: Tracks whether the store can be reached.
        missing_keys: Postpones tasks that this node cannot decrypt.
        identity: Signs ID tokens.
        authenticators: Add credentials to requests.
        credentials: Finds the credentials of tasks.
        endpoints: Finds the endpoints of deliveries, and records which fail.
        notifications: Delivers the notifications of alerts.
    """

    store: TaskStore
    fetcher: Fetcher
    settings: Settings
    signer: Signer = NO_SIGNER
    keyring: Keyring = NO_KEYS
    encryption: Encryption = NO_ENCRYPTION
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    tracing: Tracing = NO_TRACING
    outage: Outage = dataclasses.field(init=False)
    missing_keys: MissingKeys = dataclasses.field(init=False)
    identity: Identity = dataclasses.field(init=False)
    authenticators: Authenticators = dataclasses.field(init=False)
    credentials: Credentials = dataclasses.field(init=False)
    endpoints: Endpoints = dataclasses.field(init=False)
    notifications: Notifications = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outage", Outage(self.metrics))
        missing_keys = MissingKeys(self.settings.backoff_seconds)
        object.__setattr__(self, "missing_keys", missing_keys)
        identity = Identity(self.store.signing_keys, self.keyring, self.settings.public_url)
        object.__setattr__(self, "identity", identity)
        authenticators = Authenticators(self.fetcher, identity.issuer, self.metrics)
        object.__setattr__(self, "authenticators", authenticators)
        credentials = Credentials(self.store.credentials, self.keyring, authenticators.of)
        object.__setattr__(self, "credentials", credentials)
        endpoints = Endpoints(
            self.store.topics,
            self.keyring,
            self.signer,
            self.metrics,
            self.settings.endpoint_disable_seconds,
        )
        object.__setattr__(self, "endpoints", endpoints)
        notifications = Notifications(self.store.alerts, self.keyring, read_mailer(self.settings))
        object.__setattr__(self, "notifications", notifications)
