"""Settings of queues, and circuit breakers of hosts, in memory."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping
from typing import Final

import trio

from taskflow.model.queue_limits import (
    NO_SETTINGS,
    HostHold,
    LimiterState,
    QueueChange,
    QueueHost,
    QueueSettings,
)
from taskflow.store.base.queues import (
    MAX_OPEN_SECONDS,
    MIN_OPEN_SECONDS,
    Changed,
    QueueStore,
)

_MAX_TIMES: Final = 30


class MemoryQueues(QueueStore):
    """The part of ``MemoryStore`` that says what may keep tasks waiting.

    Args:
        now: The store's clock.
        make_room: Called when held tasks may start.
    """

    def __init__(self, now: Callable[[], dt.datetime], make_room: Callable[[], None]) -> None:
        self._now = now
        self._make_room = make_room
        self._settings: dict[str, QueueSettings] = {}
        self._hosts: dict[str, HostHold] = {}
        self._times: dict[str, int] = {}
        self._next_starts: dict[str, dt.datetime] = {}

    async def change(self, name: str, change: QueueChange) -> Changed:
        await trio.lowlevel.checkpoint()
        is_new = name not in self._settings
        settings = self._settings[name] = change(self._settings.get(name, NO_SETTINGS))
        self._make_room()
        return Changed(settings, is_new)

    async def get(self, name: str) -> QueueSettings | None:
        await trio.lowlevel.checkpoint()
        return self._settings.get(name)

    async def first(self, limit: int) -> Mapping[str, QueueSettings]:
        await trio.lowlevel.checkpoint()
        return dict(itertools.islice(sorted(self._settings.items()), limit))

    async def open_circuit(
        self, host: str, *, reason: str, retry_after_seconds: float | None
    ) -> None:
        await trio.lowlevel.checkpoint()
        now, times = self._now(), self._times.get(host, 0)
        held = self._hosts.get(host)
        until = held.until if held else now
        if retry_after_seconds is not None or until <= now:
            backoff_seconds = min(MAX_OPEN_SECONDS, MIN_OPEN_SECONDS * 2**times)
            seconds = backoff_seconds if retry_after_seconds is None else retry_after_seconds
            until = max(until, now + dt.timedelta(seconds=seconds))
        if held is None or held.until <= now:
            self._times[host] = min(times + 1, _MAX_TIMES)
        self._hosts[host] = HostHold(until, reason)

    async def close_circuit(self, host: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._hosts.pop(host, None):
            del self._times[host]
            self._make_room()

    async def open_circuits(self, limit: int) -> Mapping[str, HostHold]:
        await trio.lowlevel.checkpoint()
        return dict(itertools.islice(sorted(self._hosts.items()), limit))

    async def delete_stale(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = self._now()
        minute_ago = now - dt.timedelta(minutes=1)
        rates = [key for key, at in self._next_starts.items() if at < minute_ago]
        hosts = [
            host for host, held in self._hosts.items() if held.until < now - dt.timedelta(hours=1)
        ]
        for key in rates[:limit]:
            del self._next_starts[key]
        for host in hosts[:limit]:
            del self._hosts[host], self._times[host]
        return len(rates[:limit]) + len(hosts[:limit])

    def state(self, running: Mapping[QueueHost, int]) -> LimiterState:
        """Return all limits, and how much of them is used by these running tasks."""
        limited = {name: one for name, one in self._settings.items() if one.is_limited}
        return LimiterState(self._now(), limited, running, self._next_starts, self._hosts)

    def is_free(self, queue_host: QueueHost) -> bool:
        """Return whether the queue has no limits, and the circuit of the host is closed."""
        return (
            not self._settings.get(queue_host.queue, NO_SETTINGS).is_limited
            and queue_host.host not in self._hosts
        )

    def keep_rates(self, next_starts: Mapping[str, dt.datetime]) -> None:
        """Keep the state of rates after tasks were started."""
        self._next_starts |= next_starts
