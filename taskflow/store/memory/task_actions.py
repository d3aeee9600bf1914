"""Actions of clients on tasks (cancel, retry, delete) in memory."""

from __future__ import annotations

import uuid
from collections.abc import Collection

import trio

from taskflow.model import lifecycle
from taskflow.model.lifecycle import Move
from taskflow.model.task import AttemptStatus, ClaimKey, Task
from taskflow.store.base.task_actions import TaskActionStore
from taskflow.store.memory.state import MemoryState


class MemoryTaskActions(MemoryState, TaskActionStore):
    """Cancels, retries and deletes tasks."""

    async def cancel(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._masking.task(self._cancel(task_id)) if task_id in self._tasks else None

    async def retry(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._masking.task(self._retry(task_id)) if task_id in self._tasks else None

    async def delete(self, task_id: uuid.UUID) -> bool:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return False
        lifecycle.check_deletable(task.status)
        self._delete(task_id)
        return True

    async def cancel_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        allowed = self._allowed(Move.CANCEL, task_ids)
        for task_id in allowed:
            self._cancel(task_id)
        return set(allowed)

    async def retry_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        allowed = self._allowed(Move.MANUAL_RETRY, task_ids)
        for task_id in allowed:
            self._retry(task_id)
        return set(allowed)

    async def delete_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        finished = {task.id for task in self._find(task_ids) if task.status.is_final}
        for task_id in finished:
            self._delete(task_id)
        return finished

    def _allowed(self, move: Move, task_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
        """Return the tasks that the move is allowed for, the oldest first."""
        found = self._find(set(task_ids))
        return sorted(task.id for task in found if lifecycle.allows(task.status, move))

    def _cancel(self, task_id: uuid.UUID) -> Task:
        hold = self._holds.get(task_id)
        if hold is not None:
            self._record_attempt(task_id, AttemptStatus.CANCELED)
            self._cancellations.notify(hold.node_id, ClaimKey(task_id, hold.token))
            self._work.notify()  # there is room where it ran
        return self._move(task_id, Move.CANCEL)

    def _retry(self, task_id: uuid.UUID) -> Task:
        return self._move(
            task_id,
            Move.MANUAL_RETRY,
            run_at=self._now(),
            started_at=None,
            attempt=0,
            rescues=0,
            error="",
            error_type=None,
            expires_at=None,
        )
