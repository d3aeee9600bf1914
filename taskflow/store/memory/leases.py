"""Nodes and their leases in memory, and the rescue of tasks whose node died."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping

import trio

from taskflow.model.errors import LeaseLost
from taskflow.model.lifecycle import Move
from taskflow.model.outcome import ErrorType
from taskflow.model.task import AttemptStatus
from taskflow.store.base.leases import LeaseStore, Rescued
from taskflow.store.memory.state import MemoryNode, MemoryState


class MemoryLeases(MemoryState, LeaseStore):
    """Registers nodes, and takes tasks from dead nodes."""

    async def register(  # noqa: PLR0913 - all that a node reports of itself
        self,
        name: str,
        lease_seconds: float,
        *,
        version: str = "",
        workers: int = 1,
        tz_version: str | None = None,
        encrypts_payloads: bool = False,  # noqa: ARG002 - no SQL submits tasks here
        settings: Mapping[str, str] | None = None,
    ) -> uuid.UUID:
        await trio.lowlevel.checkpoint()
        node_id = uuid.uuid4()
        expires_at = trio.current_time() + lease_seconds
        self._nodes[node_id] = MemoryNode(
            name, lease_seconds, expires_at, self._now(), version, workers, tz_version, settings
        )
        self._cancellations.register(node_id)
        return node_id

    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        await trio.lowlevel.checkpoint()
        if not self._is_alive(node_id):
            raise LeaseLost
        node = self._nodes[node_id]
        node.expires_at = trio.current_time() + node.lease_seconds
        return self._now()

    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        await trio.lowlevel.checkpoint()
        unknown = [
            task_id
            for task_id, hold in self._holds.items()
            if hold.node_id == node_id
            and hold.token not in tokens
            and (self._tasks[task_id].started_at or before) < before
        ]
        for task_id in unknown:
            self._move(task_id, Move.RELEASE, counted=-1)
        return len(unknown)

    async def retire(self, node_id: uuid.UUID) -> None:
        await trio.lowlevel.checkpoint()
        self._nodes.pop(node_id, None)
        self._cancellations.unregister(node_id)
        for task_id in [i for i, hold in self._holds.items() if hold.node_id == node_id]:
            self._record_attempt(task_id, AttemptStatus.INTERRUPTED)
            self._move(task_id, Move.RELEASE, counted=-1)

    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        await trio.lowlevel.checkpoint()
        lost = [
            task_id
            for task_id, hold in self._holds.items()
            if task_id not in self._parked and not self._is_alive(hold.node_id)
        ][:limit]
        rescued = Rescued(pending=[], poisoned=[])
        for task_id in lost:
            rescues = self._tasks[task_id].rescues + 1
            self._record_attempt(task_id, AttemptStatus.LOST)
            if rescues < max_rescues:
                self._move(task_id, Move.RESCUE, rescues=rescues, counted=-1)
                rescued.pending.append(task_id)
            else:
                error = f"poison: its node died {rescues} times while running it"
                failed = {"error": error, "error_type": ErrorType.POISON}
                self._move(task_id, Move.POISON, rescues=rescues, counted=-1, **failed)
                rescued.poisoned.append(task_id)
        self._cancel_rest()
        return rescued

    async def has_nodes(self) -> bool:
        await trio.lowlevel.checkpoint()
        return any(map(self._is_alive, self._nodes))
