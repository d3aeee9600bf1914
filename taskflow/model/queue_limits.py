"""How fast tasks may be started: what queues ask for, and which task may start at this moment.

Nothing here waits or asks: a store looks up how things stand, and this decides, for every store
alike. A *lane* is a queue and, of the tasks in it, those of one host. A *pace* is what a rate
remembers: the moment at which the next start would be on time (the theoretical arrival time of
the generic cell rate algorithm, ITU-T I.371).
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
    """How many tasks may be started.

    Attributes:
        per_second: So many in the long run.
        burst: So many at once after a pause.
    """

    per_second: PerSecond
    burst: Burst = 1

    @property
    def spacing(self) -> dt.timedelta:
        """The time between two starts, in the long run."""
        return dt.timedelta(seconds=1 / self.per_second)

    @property
    def slack(self) -> dt.timedelta:
        """So much too early a start may be."""
        return (self.burst - 1) * self.spacing


class HostLimits(msgspec.Struct, frozen=True):
    """What holds for each host by itself: its name, and its port where the URL gives one.

    Attributes:
        max_concurrency: How many tasks of a host may run at once, on all nodes together.
        rate: How many may be started.
    """

    max_concurrency: MaxConcurrency | None = None
    rate: Rate | None = None


_NO_LIMITS: Final = HostLimits()


class QueueSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operator asks of a queue.

    Attributes:
        paused: Whether nothing of it is started.
        max_concurrency: How many of its tasks may run at once, on all nodes together.
        rate: How many of its tasks may be started.
        per_host: The same for its tasks of each host.
    """

    paused: bool = False
    max_concurrency: MaxConcurrency | None = None
    rate: Rate | None = None
    per_host: HostLimits | None = None

    @property
    def of_each_host(self) -> HostLimits:
        """What holds for each host; nothing if nothing is said."""
        return self.per_host or _NO_LIMITS

    @property
    def is_limited(self) -> bool:
        """Whether anything can keep a task of the queue waiting."""
        return self != NO_SETTINGS


NO_SETTINGS: Final = QueueSettings()
QueueChange: TypeAlias = Callable[[QueueSettings], QueueSettings]
"""Returns the new settings of a queue, given its settings now."""


class Lane(NamedTuple):
    """The tasks of a queue that go to one host: ``host:port``; empty if they go nowhere."""

    queue: str
    host: str


class HostHold(msgspec.Struct, frozen=True):
    """A host that failed again and again: nothing goes there for a while, then one at a time.

    Attributes:
        until: How long nothing goes there.
        why: What it failed with, for people.
    """

    until: Moment
    why: str


class HoldReason(enum.StrEnum):
    """Why a task that is due does not start."""

    QUEUE_PAUSED = "queue_paused"
    """Its queue is paused."""
    QUEUE_CONCURRENCY = "queue_concurrency"
    """As many tasks of its queue run as may."""
    QUEUE_RATE = "queue_rate"
    """As many tasks of its queue were started lately as may be."""
    HOST_CONCURRENCY = "host_concurrency"
    """As many tasks of its queue run for its host as may."""
    HOST_RATE = "host_rate"
    """As many tasks of its queue were started for its host lately as may be."""
    HOST_FAILING = "host_failing"
    """Its host failed again and again, and is left alone for a while."""


class Hold(msgspec.Struct, frozen=True):
    """What a task that is due waits for.

    Attributes:
        reason: In one word, for programs.
        detail: In a sentence, for people.
        until: When it is over at the earliest, where that is known.
    """

    reason: HoldReason
    detail: str
    until: Moment | None = None


class State(msgspec.Struct, frozen=True):
    """How things stand, as far as some lanes are concerned.

    Attributes:
        now: By the store's clock.
        queues: What is asked of their queues; those of which nothing is asked may be missing.
        running: How many tasks run in each lane, at least in those that are limited.
        paces: By key (see ``queue_pace`` and ``lane_pace``).
        hosts: Those of the hosts that are held back.
    """

    now: dt.datetime
    queues: Mapping[str, QueueSettings] = {}
    running: Mapping[Lane, int] = {}
    paces: Mapping[str, dt.datetime] = {}
    hosts: Mapping[str, HostHold] = {}

    @property
    def is_free(self) -> bool:
        """Whether nothing keeps any task of these lanes waiting."""
        return not (self.queues or self.hosts)

    @property
    def needs_counts(self) -> bool:
        """Whether it matters how many tasks run."""
        return bool(self.hosts) or any(
            (asked.max_concurrency or asked.of_each_host.max_concurrency) is not None
            for asked in self.queues.values()
        )


def queue_pace(queue: str) -> str:
    """The key of the pace of a queue."""
    return queue


def lane_pace(lane: Lane) -> str:
    """The key of the pace of a host within a queue. A space is in no queue's name, nor host's."""
    return f"{lane.queue} {lane.host}"


class Flow:
    """Decides which tasks may start, and counts those that do.

    Args:
        state: How things stand.
        max_per_host: How many tasks of a host may run at once, whatever their queue.

    Attributes:
        paces: Those that starts have changed.
    """

    def __init__(self, state: State, *, max_per_host: int | None = None) -> None:
        self._state = state
        self._max_per_host = max_per_host
        self._in_lane = Counter(state.running)
        self._in_queue: Counter[str] = Counter()
        self._at_host: Counter[str] = Counter()
        for lane, count in state.running.items():
            self._in_queue[lane.queue] += count
            self._at_host[lane.host] += count
        self.paces: dict[str, dt.datetime] = {}

    def hold_of(self, lane: Lane) -> Hold | None:
        """What keeps a task of this lane from starting, if anything does."""
        asked = self._asked(lane)
        return self._queue_hold(lane.queue, asked) or (
            self._host_hold(lane, asked) if lane.host else None
        )

    def is_probe(self, lane: Lane) -> bool:
        """Whether a task of this lane that starts now shows if its host is well again."""
        return lane.host in self._state.hosts

    def is_limited(self, lane: Lane) -> bool:
        """Whether others may wait for the end of a task of this lane."""
        return self._max_per_host is not None or self._asked(lane).is_limited or self.is_probe(lane)

    def start(self, lane: Lane) -> None:
        """A task of this lane starts."""
        self._in_lane[lane] += 1
        self._in_queue[lane.queue] += 1
        self._at_host[lane.host] += 1
        asked = self._asked(lane)
        self._keep_pace(queue_pace(lane.queue), asked.rate)
        if lane.host:
            self._keep_pace(lane_pace(lane), asked.of_each_host.rate)

    def _asked(self, lane: Lane) -> QueueSettings:
        return self._state.queues.get(lane.queue, NO_SETTINGS)

    def _queue_hold(self, queue: str, asked: QueueSettings) -> Hold | None:
        if asked.paused:
            return Hold(HoldReason.QUEUE_PAUSED, f"the queue {queue} is paused")
        most = asked.max_concurrency
        if most is not None and self._in_queue[queue] >= most:
            return Hold(
                HoldReason.QUEUE_CONCURRENCY,
                f"of the queue {queue} no more than {most} run at once",
            )
        if until := self._too_early(queue_pace(queue), asked.rate):
            return Hold(
                HoldReason.QUEUE_RATE,
                f"of the queue {queue} no more than {_per_second(asked.rate)} start",
                until,
            )
        return None

    def _host_hold(self, lane: Lane, asked: QueueSettings) -> Hold | None:
        host, each = lane.host, asked.of_each_host
        if hold := self._failing(host):
            return hold
        counts = (
            (self._at_host[host], self._max_per_host),
            (
                self._in_lane[lane],
                each.max_concurrency,
            ),
        )
        for count, most in counts:
            if most is not None and count >= most:
                return Hold(
                    HoldReason.HOST_CONCURRENCY,
                    f"no more than {most} go to {host} at once",
                )
        if until := self._too_early(lane_pace(lane), each.rate):
            return Hold(
                HoldReason.HOST_RATE,
                f"no more than {_per_second(each.rate)} are started to {host}",
                until,
            )
        return None

    def _failing(self, host: str) -> Hold | None:
        held = self._state.hosts.get(host)
        if held is None:
            return None
        if held.until > self._state.now:
            return Hold(HoldReason.HOST_FAILING, f"{host} is failing: {held.why}", held.until)
        if self._at_host[host]:
            return Hold(HoldReason.HOST_FAILING, f"one task tries whether {host} is well again")
        return None

    def _too_early(self, key: str, rate: Rate | None) -> dt.datetime | None:
        """When the next start may be, if that is not now."""
        due = self.paces.get(key) or self._state.paces.get(key)
        if rate is None or due is None or due - rate.slack <= self._state.now:
            return None
        return due - rate.slack

    def _keep_pace(self, key: str, rate: Rate | None) -> None:
        if rate is not None:
            due = self.paces.get(key) or self._state.paces.get(key) or self._state.now
            self.paces[key] = max(due, self._state.now) + rate.spacing


def _per_second(rate: Rate | None) -> str:
    assert rate is not None
    return f"{rate.per_second:g} a second"
