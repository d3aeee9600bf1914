"""What is told to those who keep TaskFlow running, by the store in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import trio

from taskflow.model.monitoring import (
    LISTED_TASKS,
    SAMPLED_TASKS,
    FetchedTask,
    HostRecord,
    Minute,
    NodeRecord,
    RunningTask,
    RunningTasks,
    hosts_of,
    minutes_of,
)
from taskflow.store.base.monitoring import MonitoringStore
from taskflow.store.memory.counts import Tally
from taskflow.store.memory.queues import MemoryQueues


class MemoryNode(msgspec.Struct):
    """A node as it is kept in memory; ``expires_at`` is on Trio's clock, in seconds."""

    name: str
    lease_seconds: float
    expires_at: float
    started_at: dt.datetime
    version: str
    workers: int
    tz_version: str | None = None


class InHand(msgspec.Struct, frozen=True):
    """A task that runs: under which node, where it goes, and since when."""

    task_id: uuid.UUID
    node_id: uuid.UUID
    host: str
    started_at: dt.datetime


class MemoryMonitoring(MonitoringStore):
    """A part of ``MemoryStore``.

    Args:
        nodes: All of them.
        in_hand: What runs.
        fetched: What was fetched, the newest tasks first.
        queues: Knows who is held back.
        tally: Knows what ended when.
        now: The store's clock.
    """

    def __init__(
        self,
        *,
        nodes: Mapping[uuid.UUID, MemoryNode],
        in_hand: Callable[[], Iterable[InHand]],
        fetched: Callable[[], Iterable[FetchedTask]],
        queues: MemoryQueues,
        tally: Tally,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._nodes: Final = nodes
        self._in_hand = in_hand
        self._fetched = fetched
        self._queues = queues
        self._tally = tally
        self._now = now

    async def nodes(self, limit: int) -> list[NodeRecord]:
        await trio.lowlevel.checkpoint()
        by_name = sorted(self._nodes.items(), key=lambda one: (one[1].name, one[1].started_at))
        return [self._node_of(node_id, node) for node_id, node in by_name[:limit]]

    async def hosts(self, limit: int) -> list[HostRecord]:
        held = await self._queues.open_circuits(limit)
        fetched = itertools.islice(self._fetched(), SAMPLED_TASKS)
        by_host: dict[str, list[InHand]] = {}
        for one in self._in_hand():
            by_host.setdefault(one.host, []).append(one)
        running = {
            host: RunningTasks(len(ones), max(map(self._seconds, ones)))
            for host, ones in by_host.items()
        }
        return hosts_of(fetched, running, held, limit=limit)

    async def history(self, queue: str | None = None) -> list[Minute]:
        await trio.lowlevel.checkpoint()
        return minutes_of(self._tally.by_minute(queue), self._now())

    def _node_of(self, node_id: uuid.UUID, node: MemoryNode) -> NodeRecord:
        seconds_left = node.expires_at - trio.current_time()
        expires_at = self._now() + dt.timedelta(seconds=seconds_left)
        held = [one for one in self._in_hand() if one.node_id == node_id]
        longest = sorted(held, key=lambda one: (one.started_at, one.task_id))[:LISTED_TASKS]
        return NodeRecord(
            id=node_id,
            name=node.name,
            version=node.version or None,
            workers=node.workers or None,
            tz_version=node.tz_version,
            started_at=node.started_at,
            renewed_at=expires_at - dt.timedelta(seconds=node.lease_seconds),
            expires_at=expires_at,
            alive=seconds_left > 0,
            running=len(held),
            longest_running_seconds=self._seconds(longest[0]) if longest else None,
            longest_running=[
                RunningTask(id=one.task_id, host=one.host, seconds=self._seconds(one))
                for one in longest
            ],
        )

    def _seconds(self, one: InHand) -> float:
        return round((self._now() - one.started_at).total_seconds(), 3)
