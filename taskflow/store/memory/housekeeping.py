"""Periodic jobs in memory: expiry and retention."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid

import trio

from taskflow.model.lifecycle import Move
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Task
from taskflow.store.base.housekeeping import EXPIRED, HousekeepingStore
from taskflow.store.memory.state import MemoryState
from taskflow.yielding import Checkpoints


class MemoryHousekeeping(MemoryState, HousekeepingStore):
    """Expires and deletes tasks."""

    async def expire(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = self._now()
        over = [task_id for at, task_id in self._expiries() if at <= now][:limit]
        for task_id in over:
            self._move(task_id, Move.EXPIRE, error=EXPIRED, error_type=ErrorType.EXPIRED)
        return len(over)

    async def seconds_to_expiry(self) -> float | None:
        await trio.lowlevel.checkpoint()
        first = next(iter(self._expiries()), None)
        return None if first is None else (first[0] - self._now()).total_seconds()

    def _expiries(self) -> list[tuple[dt.datetime, uuid.UUID]]:
        """Return the expiry times of PENDING tasks with their ids, in order."""
        tasks = (self._tasks[one.task_id] for one in self._pending)
        return sorted((task.expires_at, task.id) for task in tasks if task.expires_at is not None)

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now, checkpoints, deleted = self._now(), Checkpoints(), 0
        for task_id in list(self._tasks):
            if (task := self._tasks.get(task_id)) and _is_over(task, age_seconds, now):
                self._delete(task_id)
                deleted += 1
            if deleted == limit:
                break
            await checkpoints.after(0)
        return deleted

    async def delete_expired_keys(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        old = (text for text, key in self._keys.items() if key.expires_at <= now)
        deleted = list(itertools.islice(old, limit))
        for text in deleted:
            del self._keys[text]
        return len(deleted)

    async def fold_counts(self, *, limit: int) -> int:  # noqa: ARG002 - there is nothing to fold
        await trio.lowlevel.checkpoint()
        self._finished.delete_old(self._now().timestamp())
        return 0


def _is_over(task: Task, age_seconds: float | None, now: dt.datetime) -> bool:
    """Return whether a task was kept long enough after its end."""
    seconds = age_seconds if task.retention_seconds is None else task.retention_seconds
    if task.finished_at is None or seconds is None:
        return False
    return task.finished_at + dt.timedelta(seconds=seconds) <= now
