"""Limits of queues: their settings, and the rules by which a task may start now.

Pure decisions without I/O: a store loads a ``LimiterState``, and a ``Limiter`` decides for every
store alike. Concurrency limits count running tasks. Rate limits use the generic cell rate algorithm
(ITU-T I.371): per limit, only its theoretical arrival time is stored, the time at which the next
start would be exactly on rate.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

MAX_STARTS_PER_SECOND: Final = 100_000
MAX_CONCURRENCY: Final = 1_000_000
Moment: TypeAlias = Annotated[dt.datetime, Meta(tz=True)]
PerSecond: TypeAlias = Annotated[float, Meta(gt=0, le=MAX_STARTS_PER_SECOND)]
Burst: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_STARTS_PER_SECOND)]
MaxConcurrency: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_CONCURRENCY)]


class Rate(msgspec.Struct, frozen=True):
    """A rate limit for starting tasks.

    Attributes:
        per_second: Sustained number of starts per second.
        burst: Maximum number of starts at once after a pause.
    """

    per_second: PerSecond
    burst: Burst = 1

    @property
    def interval(self) -> dt.timedelta:
        """The time between two starts at the sustained rate."""
        return dt.timedelta(seconds=1 / self.per_second)

    @property
    def tolerance(self) -> dt.timedelta:
        """How much earlier than on rate a start may be."""
        return (self.burst - 1) * self.interval


class HostLimits(msgspec.Struct, frozen=True):
    """Limits for each host (and port, if the URL has one) in a queue.

    Attributes:
        max_concurrency: Maximum number of running tasks for a host, across all nodes.
        rate: The rate limit for a host.
    """

    max_concurrency: MaxConcurrency | None = None
    rate: Rate | None = None


_NO_LIMITS: Final = HostLimits()


class QueueSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings of a queue.

    Attributes:
        paused: True if none of its tasks start.
        max_concurrency: Maximum number of its running tasks, across all nodes.
        rate: The rate limit of the queue.
        per_host: Limits for its tasks of each host.
        sign: Whether requests of its tasks are signed; ``None`` for the setting.
        credential: The name of the credential of their requests, if there is one.
        egress_proxy: The URL of the proxy that its tasks use, with its credentials, or ``DIRECT``
            for none; ``None`` for the setting.
    """

    paused: bool = False
    max_concurrency: MaxConcurrency | None = None
    rate: Rate | None = None
    per_host: HostLimits | None = None
    sign: bool | None = None
    credential: str | None = None
    egress_proxy: str | None = None

    @property
    def host_limits(self) -> HostLimits:
        """The limits for each host; no limits if none are set."""
        return self.per_host or _NO_LIMITS

    @property
    def is_limited(self) -> bool:
        """True if a setting can keep a task of the queue from starting."""
        return self.paused or self.has_limits

    @property
    def has_limits(self) -> bool:
        """True if its running tasks, or their rate, are limited."""
        return (self.max_concurrency, self.rate, self.per_host) != (None,) * 3


NO_SETTINGS: Final = QueueSettings()
QueueChange: TypeAlias = Callable[[QueueSettings], QueueSettings]
"""Returns the new settings of a queue, given its current settings."""


class QueueHost(NamedTuple):
    """A queue and one host in it (``host:port``); the host is empty for tasks without a URL."""

    queue: str
    host: str


class HostHold(msgspec.Struct, frozen=True):
    """A host whose circuit breaker is open.

    Attributes:
        until: When the circuit breaker becomes half-open: then one task at a time probes the host.
        why: The last failure.
        since: When it opened; ``None`` if that is unknown.
    """

    until: Moment
    why: str
    since: Moment | None = None


class HoldReason(enum.StrEnum):
    """Why a task that is due does not start."""

    QUEUE_PAUSED = "queue_paused"
    """The queue is paused."""
    QUEUE_CONCURRENCY = "queue_concurrency"
    """The concurrency limit of the queue is reached."""
    QUEUE_RATE = "queue_rate"
    """The rate limit of the queue is reached."""
    HOST_CONCURRENCY = "host_concurrency"
    """The concurrency limit of the host is reached."""
    HOST_RATE = "host_rate"
    """The rate limit of the host is reached."""
    HOST_FAILING = "host_failing"
    """The circuit breaker of the host is open, because its last requests failed."""


class Hold(msgspec.Struct, frozen=True):
    """Why a task that is due does not start, and until when.

    Attributes:
        reason: The reason, for programs.
        detail: The reason, for people.
        until: The earliest time at which the task may start, if that is known.
    """

    reason: HoldReason
    detail: str
    until: Moment | None = None


class LimiterState(msgspec.Struct, frozen=True):
    """What a ``Limiter`` needs to know about some queues and hosts.

    Attributes:
        now: The current time by the store's clock.
        queues: Settings by queue; queues without settings may be absent.
        running: Number of running tasks by queue and host, at least where a limit needs it.
        next_starts: By rate key (``queue_rate_key``, ``host_rate_key``), the time at which the next
            start is exactly on rate.
        hosts: The hosts whose circuit breaker is open.
    """

    now: dt.datetime
    queues: Mapping[str, QueueSettings] = {}
    running: Mapping[QueueHost, int] = {}
    next_starts: Mapping[str, dt.datetime] = {}
    hosts: Mapping[str, HostHold] = {}

    @property
    def is_unlimited(self) -> bool:
        """True if nothing can keep a task of these queues and hosts from starting."""
        return not (self.queues or self.hosts)

    @property
    def needs_counts(self) -> bool:
        """True if a decision depends on the number of running tasks."""
        return bool(self.hosts) or any(
            (settings.max_concurrency or settings.host_limits.max_concurrency) is not None
            for settings in self.queues.values()
        )


def queue_rate_key(queue: str) -> str:
    """Return the key under which the rate of a queue is stored."""
    return queue


def host_rate_key(queue_host: QueueHost) -> str:
    """Return the key under which the rate of a host in a queue is stored.

    Neither queues nor hosts contain a space, so keys are distinct.
    """
    return f"{queue_host.queue} {queue_host.host}"


class Limiter:
    """Decides which tasks may start, and counts the started ones.

    Args:
        state: The state from which the decisions start.
        max_per_host: Maximum number of running tasks for a host, over all queues.

    Attributes:
        next_starts: The entries of ``LimiterState.next_starts`` that starts have changed.
    """

    def __init__(self, state: LimiterState, *, max_per_host: int | None = None) -> None:
        self._state = state
        self._max_per_host = max_per_host
        self._running = Counter(state.running)
        self._running_in_queue: Counter[str] = Counter()
        self._running_at_host: Counter[str] = Counter()
        for queue_host, count in state.running.items():
            self._running_in_queue[queue_host.queue] += count
            self._running_at_host[queue_host.host] += count
        self.next_starts: dict[str, dt.datetime] = {}

    def hold_of(self, queue_host: QueueHost) -> Hold | None:
        """Return what keeps a task of this queue and host from starting; ``None`` if nothing."""
        settings = self._settings_of(queue_host)
        return self._queue_hold(queue_host.queue, settings) or (
            self._host_hold(queue_host, settings) if queue_host.host else None
        )

    def is_probe(self, queue_host: QueueHost) -> bool:
        """Return whether a task that starts now probes a host whose circuit breaker is open."""
        return queue_host.host in self._state.hosts

    def is_limited(self, queue_host: QueueHost) -> bool:
        """Return whether other tasks may be held until a task of this queue and host finishes."""
        is_limited = self._settings_of(queue_host).is_limited
        return is_limited or self._max_per_host is not None or self.is_probe(queue_host)

    def start(self, queue_host: QueueHost) -> None:
        """Count a task of this queue and host as started."""
        self._running[queue_host] += 1
        self._running_in_queue[queue_host.queue] += 1
        self._running_at_host[queue_host.host] += 1
        settings = self._settings_of(queue_host)
        self._advance(queue_rate_key(queue_host.queue), settings.rate)
        if queue_host.host:
            self._advance(host_rate_key(queue_host), settings.host_limits.rate)

    def _settings_of(self, queue_host: QueueHost) -> QueueSettings:
        return self._state.queues.get(queue_host.queue, NO_SETTINGS)

    def _queue_hold(self, queue: str, settings: QueueSettings) -> Hold | None:
        if settings.paused:
            return Hold(HoldReason.QUEUE_PAUSED, f"queue {queue} is paused")
        limit = settings.max_concurrency
        if limit is not None and self._running_in_queue[queue] >= limit:
            return Hold(
                HoldReason.QUEUE_CONCURRENCY, f"concurrency limit of queue {queue} reached: {limit}"
            )
        if until := self._next_start(queue_rate_key(queue), settings.rate):
            detail = f"rate limit of queue {queue} reached: {_per_second(settings.rate)}"
            return Hold(HoldReason.QUEUE_RATE, detail, until)
        return None

    def _host_hold(self, queue_host: QueueHost, settings: QueueSettings) -> Hold | None:
        host, limits = queue_host.host, settings.host_limits
        if hold := self._breaker_hold(host):
            return hold
        counts = (
            (self._running_at_host[host], self._max_per_host),
            (self._running[queue_host], limits.max_concurrency),
        )
        for count, limit in counts:
            if limit is not None and count >= limit:
                detail = f"concurrency limit of host {host} reached: {limit}"
                return Hold(HoldReason.HOST_CONCURRENCY, detail)
        if until := self._next_start(host_rate_key(queue_host), limits.rate):
            detail = f"rate limit of host {host} reached: {_per_second(limits.rate)}"
            return Hold(HoldReason.HOST_RATE, detail, until)
        return None

    def _breaker_hold(self, host: str) -> Hold | None:
        held = self._state.hosts.get(host)
        if held is None:
            return None
        if held.until > self._state.now:
            detail = f"circuit breaker of host {host} is open: {held.why}"
            return Hold(HoldReason.HOST_FAILING, detail, held.until)
        if self._running_at_host[host]:
            detail = f"circuit breaker of host {host} is half-open: one task probes it"
            return Hold(HoldReason.HOST_FAILING, detail)
        return None

    def _next_start(self, key: str, rate: Rate | None) -> dt.datetime | None:
        """Return when the next start may be; ``None`` if that is now."""
        on_rate = self.next_starts.get(key) or self._state.next_starts.get(key)
        if rate is None or on_rate is None or on_rate - rate.tolerance <= self._state.now:
            return None
        return on_rate - rate.tolerance

    def _advance(self, key: str, rate: Rate | None) -> None:
        if rate is not None:
            now = self._state.now
            on_rate = self.next_starts.get(key) or self._state.next_starts.get(key) or now
            self.next_starts[key] = max(on_rate, now) + rate.interval


def _per_second(rate: Rate | None) -> str:
    assert rate is not None
    return f"{rate.per_second:g} per second"
