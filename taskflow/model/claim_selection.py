"""Which of the tasks that are due are claimed: by order, by what may start, and by fair shares.

A host that is slow is not to take all workers while tasks of others wait. A node counts what it has
in hand for each host. As long as a host has no more than its share the order of tasks is as it
always is; what is beyond comes last, and of it first those whose host would have the least in hand
by then. So nothing is wasted: alone, a host may have all workers.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from taskflow.model.queue_limits import Flow, Hold, Lane

# From this part of the capacity on a host counts as one of those that share it.
_COUNTS_FROM: Final = 1 / 8


class Candidate(NamedTuple):
    """A task that is due."""

    priority: int
    run_at: dt.datetime
    task_id: uuid.UUID
    lane: Lane

    @property
    def order(self) -> tuple[int, dt.datetime, uuid.UUID]:
        """By this they are claimed."""
        return (-self.priority, self.run_at, self.task_id)


class Shares(msgspec.Struct, frozen=True):
    """What a node has in hand as it claims.

    Attributes:
        in_hand: How many tasks run or wait for a worker, by host.
        capacity: How many can run at once, or are to if it gets all that it claims.
    """

    in_hand: Mapping[str, int]
    capacity: int

    def rooms(self) -> dict[str, int]:
        """How many more of a host are within its share, for those of which some are in hand."""
        large = sum(map(self._is_large, self.in_hand.values()))
        return {
            host: self._share(large - self._is_large(count)) - count
            for host, count in self.in_hand.items()
        }

    def is_tight(self, limit: int) -> bool:
        """Whether a claim of so many, in their order, could give a host more than its share.

        A host may end up with more than that by a claim that is small, but not with all.
        """
        return limit * 2 >= self.capacity or any(room <= 0 for room in self.rooms().values())

    def room_of_others(self) -> int:
        """The same for all others."""
        return self._share(sum(map(self._is_large, self.in_hand.values())))

    def _share(self, others: int) -> int:
        return max(1, self.capacity // (2 + others))

    def _is_large(self, count: int) -> bool:
        return count > max(1, self.capacity * _COUNTS_FROM)


class Choice:
    """Chooses among candidates as they are offered; those that are offered first go first.

    Args:
        limit: How many at most.
        flow: What may start.
        shares: Those of the node; ``None`` if hosts need not share.
    """

    def __init__(self, limit: int, flow: Flow, shares: Shares | None) -> None:
        self._limit = limit
        self._flow = flow
        self._shares = shares
        self._rooms = shares.rooms() if shares else {}
        self._room_of_others = shares.room_of_others() if shares else limit
        self._set_aside: dict[uuid.UUID, Candidate] = {}
        self._filled: list[uuid.UUID] = []
        self._holds: dict[Lane, Hold] = {}
        self.chosen: Final[dict[uuid.UUID, Candidate]] = {}

    @property
    def missing(self) -> int:
        """How many more it would take."""
        return self._limit - len(self.chosen)

    def in_order(self) -> list[uuid.UUID]:
        """What was chosen, in the order in which it is to run: what is beyond a share comes last.

        Else that would get the workers all the same.
        """
        within = [one for one in self.chosen.values() if one.task_id not in self._filled]
        within.sort(key=lambda one: one.order)
        return [*(one.task_id for one in within), *self._filled]

    def next_start(self) -> dt.datetime | None:
        """When something that is held now may start at the earliest, if that is known."""
        moments = (hold.until for hold in self._holds.values() if hold.until is not None)
        return min(moments, default=None)

    def is_held(self, lane: Lane) -> bool:
        """Whether it is known that nothing of this lane may start."""
        return lane in self._holds

    def offer(self, candidates: Iterable[Candidate], *, most: int | None = None) -> None:
        """Take what may start and is within its host's share, ``most`` of them at most."""
        left = self.missing if most is None else min(most, self.missing)
        for candidate in candidates:
            if not left:
                return
            if candidate.task_id not in self.chosen and self._may_start(candidate.lane):
                if self._room(candidate.lane.host) > 0:
                    self._take(candidate)
                    left -= 1
                else:
                    self._set_aside[candidate.task_id] = candidate

    def fill(self) -> None:
        """Take of what is beyond their hosts' shares, for there is nothing else."""
        waiting = sorted(self._set_aside.values(), key=lambda one: one.order)
        # A room below zero says by how much a host is beyond its share.
        rooms = dict(self._rooms)
        levels = []
        for place, candidate in enumerate(waiting):
            host = candidate.lane.host
            levels.append((-rooms[host], place))
            rooms[host] -= 1
        for _, place in sorted(levels):
            if not self.missing:
                return
            if self._may_start(waiting[place].lane):
                self._take(waiting[place])
                self._filled.append(waiting[place].task_id)

    def _may_start(self, lane: Lane) -> bool:
        # What is held stays held until the end of the look: starting others frees nothing.
        if lane in self._holds:
            return False
        hold = self._flow.hold_of(lane)
        if hold is not None:
            self._holds[lane] = hold
        return hold is None

    def _take(self, candidate: Candidate) -> None:
        host = candidate.lane.host
        self._rooms[host] = self._room(host) - 1
        self._flow.start(candidate.lane)
        self.chosen[candidate.task_id] = candidate

    def _room(self, host: str) -> int:
        return self._rooms.get(host, self._room_of_others) if host else self._limit
