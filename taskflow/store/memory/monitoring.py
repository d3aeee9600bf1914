"""Nodes, hosts and throughput in memory."""

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
from taskflow.store.memory.queues import FinishedCounts, MemoryQueues
from taskflow.store.memory.state import MemoryNode


class RunningHold(msgspec.Struct, frozen=True):
    """A running task: its node, its host, and since when it runs."""

    task_id: uuid.UUID
    node_id: uuid.UUID
    host: str
    started_at: dt.datetime


class MemoryMonitoring(MonitoringStore):
    """The part of ``MemoryStore`` that operators read.

    Args:
        nodes: All nodes.
        running: Returns the running tasks.
        fetched: Returns the fetched tasks, newest first.
        queues: Has the circuits of hosts.
        finished: Numbers of finished tasks.
        now: The store's clock.
    """

    def __init__(
        self,
        *,
        nodes: Mapping[uuid.UUID, MemoryNode],
        running: Callable[[], Iterable[RunningHold]],
        fetched: Callable[[], Iterable[FetchedTask]],
        queues: MemoryQueues,
        finished: FinishedCounts,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._nodes: Final = nodes
        self._running = running
        self._fetched = fetched
        self._queues = queues
        self._finished = finished
        self._now = now

    async def nodes(self, limit: int) -> list[NodeRecord]:
        await trio.lowlevel.checkpoint()
        by_name = sorted(self._nodes.items(), key=lambda one: (one[1].name, one[1].started_at))
        return [self._node_of(node_id, node) for node_id, node in by_name[:limit]]

    async def hosts(self, limit: int) -> list[HostRecord]:
        held = await self._queues.open_circuits(limit)
        fetched = itertools.islice(self._fetched(), SAMPLED_TASKS)
        by_host: dict[str, list[RunningHold]] = {}
        for one in self._running():
            by_host.setdefault(one.host, []).append(one)
        running = {
            host: RunningTasks(len(ones), max(map(self._seconds, ones)))
            for host, ones in by_host.items()
        }
        return hosts_of(fetched, running, held, limit=limit)

    async def history(self, queue: str | None = None) -> list[Minute]:
        await trio.lowlevel.checkpoint()
        return minutes_of(self._finished.by_minute(queue), self._now())

    def _node_of(self, node_id: uuid.UUID, node: MemoryNode) -> NodeRecord:
        seconds_left = node.expires_at - trio.current_time()
        expires_at = self._now() + dt.timedelta(seconds=seconds_left)
        held = [one for one in self._running() if one.node_id == node_id]
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
                RunningTask(id=one.task_id, host=one.host, running_seconds=self._seconds(one))
                for one in longest
            ],
        )

    def _seconds(self, one: RunningHold) -> float:
        return round((self._now() - one.started_at).total_seconds(), 3)
