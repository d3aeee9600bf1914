"""Selects the due tasks to claim: by order, by limits, and by fair shares of hosts.

A slow host must not take all workers while tasks of other hosts are due. A node counts its claimed
tasks by host. While a host has at most its share, tasks are claimed in the usual order. Tasks
beyond a share come last, and among them first those whose host has the fewest. So no worker idles:
a host that is alone may have all workers.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from taskflow.model.queue_limits import Hold, Limiter, QueueHost

_LARGE_FRACTION: Final = 1 / 8
"""Fraction of the capacity above which a host counts as sharing it."""


class Candidate(NamedTuple):
    """A task that is due."""

    priority: int
    run_at: dt.datetime
    task_id: uuid.UUID
    queue_host: QueueHost

    @property
    def order(self) -> tuple[int, dt.datetime, int]:
        """The sort key by which tasks are claimed; ids are compared as numbers, for speed."""
        return (-self.priority, self.run_at, self.task_id.int)


class HostShares(msgspec.Struct, frozen=True):
    """The load of a node by host, from which the fair shares of hosts follow.

    Attributes:
        in_flight: Number of claimed tasks by host, running or waiting for a worker.
        capacity: Number of tasks that run at once when the claim is made.
    """

    in_flight: Mapping[str, int]
    capacity: int

    def headroom(self) -> dict[str, int]:
        """Return how many more tasks are within the share of each host in flight."""
        large = sum(map(self._is_large, self.in_flight.values()))
        return {
            host: self._share(large - self._is_large(count)) - count
            for host, count in self.in_flight.items()
        }

    def headroom_of_others(self) -> int:
        """Return how many tasks are within the share of a host that is not in flight."""
        return self._share(sum(map(self._is_large, self.in_flight.values())))

    def is_tight(self, limit: int) -> bool:
        """Return whether claiming ``limit`` tasks in the usual order could exceed a share.

        A small claim may exceed a share slightly, but never gives a host all workers.
        """
        return limit * 2 >= self.capacity or any(room <= 0 for room in self.headroom().values())

    def _share(self, others: int) -> int:
        return max(1, self.capacity // (2 + others))

    def _is_large(self, count: int) -> bool:
        return count > max(1, self.capacity * _LARGE_FRACTION)


class ClaimSelector:
    """Selects candidates in the order in which they are offered.

    Args:
        limit: Maximum number of tasks to select.
        limiter: Decides which tasks may start.
        shares: The shares of the node's hosts; ``None`` if hosts do not share.

    Attributes:
        selected: The selected candidates by task id.
    """

    def __init__(self, limit: int, limiter: Limiter, shares: HostShares | None) -> None:
        self._limit = limit
        self._limiter = limiter
        self._headroom = shares.headroom() if shares else {}
        self._headroom_of_others = shares.headroom_of_others() if shares else limit
        self._over_share: dict[uuid.UUID, Candidate] = {}
        self._selected_over_share: list[uuid.UUID] = []
        self._holds: dict[QueueHost, Hold] = {}
        self.selected: Final[dict[uuid.UUID, Candidate]] = {}

    @property
    def remaining(self) -> int:
        """How many more tasks can be selected."""
        return self._limit - len(self.selected)

    def ordered_ids(self) -> list[uuid.UUID]:
        """Return the selected tasks in the order in which to run them.

        Tasks beyond a share come last; otherwise they would get the workers first after all.
        """
        within = [
            candidate
            for candidate in self.selected.values()
            if candidate.task_id not in self._selected_over_share
        ]
        within.sort(key=lambda candidate: candidate.order)
        return [*(candidate.task_id for candidate in within), *self._selected_over_share]

    def next_start(self) -> dt.datetime | None:
        """Return when the first held task may start; ``None`` if that is not known."""
        moments = (hold.until for hold in self._holds.values() if hold.until is not None)
        return min(moments, default=None)

    def is_held(self, queue_host: QueueHost) -> bool:
        """Return whether tasks of this queue and host are known to be held."""
        return queue_host in self._holds

    def offer(self, candidates: Iterable[Candidate], *, limit: int | None = None) -> None:
        """Select candidates that may start and are within their host's share, up to ``limit``."""
        left = self.remaining if limit is None else min(limit, self.remaining)
        for candidate in candidates:
            if not left:
                return
            if candidate.task_id not in self.selected and self._may_start(candidate.queue_host):
                if self._headroom_for(candidate.queue_host.host) > 0:
                    self._select(candidate)
                    left -= 1
                else:
                    self._over_share[candidate.task_id] = candidate

    def fill(self) -> None:
        """Select offered candidates beyond their hosts' shares, if there is nothing else."""
        waiting = sorted(self._over_share.values(), key=lambda candidate: candidate.order)
        # Negative headroom is the number of tasks beyond the share.
        headroom = dict(self._headroom)
        excesses = []
        for index, candidate in enumerate(waiting):
            host = candidate.queue_host.host
            excesses.append((-headroom[host], index))
            headroom[host] -= 1
        for _, index in sorted(excesses):
            if not self.remaining:
                return
            if self._may_start(waiting[index].queue_host):
                self._select(waiting[index])
                self._selected_over_share.append(waiting[index].task_id)

    def _may_start(self, queue_host: QueueHost) -> bool:
        # A hold lasts until the end of the selection: starting other tasks lifts no limit.
        if queue_host in self._holds:
            return False
        hold = self._limiter.hold_of(queue_host)
        if hold is not None:
            self._holds[queue_host] = hold
        return hold is None

    def _select(self, candidate: Candidate) -> None:
        host = candidate.queue_host.host
        self._headroom[host] = self._headroom_for(host) - 1
        self._limiter.start(candidate.queue_host)
        self.selected[candidate.task_id] = candidate

    def _headroom_for(self, host: str) -> int:
        return self._headroom.get(host, self._headroom_of_others) if host else self._limit
