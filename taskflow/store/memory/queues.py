"""Settings of queues, circuit breakers of hosts, and counts of tasks by queue, in memory."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.audit import Actor
from taskflow.model.audit_entries import queue_entry
from taskflow.model.queue_limits import (
    NO_SETTINGS,
    HostHold,
    LimiterState,
    QueueChange,
    QueueHost,
    QueueSettings,
)
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import BUCKET_SECONDS, KEPT_SECONDS, WINDOWS_SECONDS, Line, shares
from taskflow.model.task import TaskStatus
from taskflow.store.base.queues import MAX_OPEN_SECONDS, MIN_OPEN_SECONDS, Changed, QueueStore
from taskflow.store.memory.audit import MemoryAudit

_MAX_TIMES: Final = 30
Kind = tuple[str, TaskStatus]
"""A queue and a status."""


class MemoryQueues(QueueStore):
    """The part of ``MemoryStore`` that says what may keep tasks waiting.

    Args:
        now: The store's clock.
        make_room: Called when held tasks may start.
        audit: The audit log.
    """

    def __init__(
        self, now: Callable[[], dt.datetime], make_room: Callable[[], None], audit: MemoryAudit
    ) -> None:
        self._now = now
        self._make_room = make_room
        self._audit = audit
        self._settings: dict[str, QueueSettings] = {}
        self._hosts: dict[str, HostHold] = {}
        self._times: dict[str, int] = {}
        self._next_starts: dict[str, dt.datetime] = {}

    async def change(self, name: str, change: QueueChange, *, by: Actor | None = None) -> Changed:
        await trio.lowlevel.checkpoint()
        is_new = name not in self._settings
        before = self._settings.get(name, NO_SETTINGS)
        settings = self._settings[name] = change(before)
        self._audit.add(queue_entry(by, name, before, settings, is_new=is_new))
        self._make_room()
        return Changed(settings, is_new)

    async def get(self, name: str) -> QueueSettings | None:
        await trio.lowlevel.checkpoint()
        return self._settings.get(name)

    async def first(
        self, limit: int, scope: QueueScope | None = None
    ) -> Mapping[str, QueueSettings]:
        await trio.lowlevel.checkpoint()
        found = (one for one in sorted(self._settings.items()) if _is_in(scope, one[0]))
        return dict(itertools.islice(found, limit))

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
        self._hosts[host] = HostHold(until, reason, held.since if held else now)

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

    def settings_of(self, queue: str) -> QueueSettings:
        """Return the settings of a queue."""
        return self._settings.get(queue, NO_SETTINGS)

    def names_with_credential(self, name: str) -> list[str]:
        """Return the queues whose settings name this credential."""
        return [queue for queue, one in self._settings.items() if one.credential == name]

    def is_free(self, queue_host: QueueHost) -> bool:
        """Return whether the queue has no limits, and the circuit of the host is closed."""
        return (
            not self.settings_of(queue_host.queue).is_limited and queue_host.host not in self._hosts
        )

    def keep_rates(self, next_starts: Mapping[str, dt.datetime]) -> None:
        """Keep the state of rates after tasks were started."""
        self._next_starts |= next_starts


class FinishedCounts:
    """Numbers of finished tasks by minute. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, Kind]] = Counter()

    def record(self, queue: str, status: TaskStatus, now: float) -> None:
        """Count a task that finished now."""
        self._counts[int(now // BUCKET_SECONDS), (queue, status)] += 1

    def delete_old(self, now: float) -> None:
        """Delete the counts of minutes long past."""
        oldest = (now - KEPT_SECONDS) / BUCKET_SECONDS
        for key in [key for key in self._counts if key[0] < oldest]:
            del self._counts[key]

    async def by_window(
        self, now: float, scope: QueueScope | None = None
    ) -> dict[Kind, list[float]]:
        """Return how many tasks finished in the last minute, five minutes and hour."""
        counts: dict[Kind, list[float]] = defaultdict(lambda: [0.0] * len(WINDOWS_SECONDS))
        checkpoints = Checkpoints()
        for (minute, kind), count in list(self._counts.items()):
            await checkpoints.after(0)
            if not _is_in(scope, kind[0]):
                continue
            for index, share in enumerate(shares(now - minute * BUCKET_SECONDS)):
                counts[kind][index] += share * count
        return counts

    async def by_minute(
        self, queue: str | None, scope: QueueScope | None
    ) -> dict[tuple[dt.datetime, TaskStatus], int]:
        """Return how many tasks of a queue, or of all in a scope, finished in each minute."""
        counts: Counter[tuple[dt.datetime, TaskStatus]] = Counter()
        checkpoints = Checkpoints()
        for (minute, (name, status)), count in list(self._counts.items()):
            await checkpoints.after(0)
            if queue in (None, name) and _is_in(scope, name):
                at = dt.datetime.fromtimestamp(minute * BUCKET_SECONDS, dt.UTC)
                counts[at, status] += count
        return counts


def _is_in(scope: QueueScope | None, queue: str) -> bool:
    return scope is None or scope.allows(queue)


async def lines_of(
    counts: Counter[Kind], finished: dict[Kind, list[float]]
) -> dict[str, list[Line]]:
    """Return the statistics of each queue that has tasks, or had one that finished recently."""
    lines: dict[str, list[Line]] = defaultdict(list)
    checkpoints = Checkpoints()
    for queue, status in counts.keys() | finished.keys():
        await checkpoints.after(0)
        entered = finished.get((queue, status), [0.0] * len(WINDOWS_SECONDS))
        line = Line(status, counts[queue, status], tuple(entered))
        if not line.is_blank:
            lines[queue].append(line)
    return lines


async def sum_of(lines: Iterable[Line]) -> list[Line]:
    """Return the sums of the lines of several queues."""
    counts: Counter[TaskStatus] = Counter()
    entered: dict[TaskStatus, list[float]] = defaultdict(lambda: [0.0] * len(WINDOWS_SECONDS))
    checkpoints = Checkpoints()
    for line in lines:
        await checkpoints.after(0)
        counts[line.status] += line.count
        for index, number in enumerate(line.entered):
            entered[line.status][index] += number
    return [Line(status, counts[status], tuple(entered[status])) for status in counts]
