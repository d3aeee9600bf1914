"""Actions on tasks (cancel, retry, delete) in memory, by clients or by time."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Collection

import msgspec
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model import lifecycle
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.audit_entries import entry_of
from taskflow.model.errors import NotUnique
from taskflow.model.lifecycle import Move
from taskflow.model.order_keys import OnFailure
from taskflow.model.outcome import ErrorType
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.store.base.task_actions import EXPIRED, TaskActionStore
from taskflow.store.memory.state import MemoryState


class MemoryTaskActions(MemoryState, TaskActionStore):
    """Cancels, retries, expires and deletes tasks."""

    async def cancel(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        await trio.lowlevel.checkpoint()
        if task_id not in self._tasks:
            return None
        canceled = self._cancel(task_id)
        self._audit.add(entry_of(Action.TASK_CANCEL, by, str(task_id)))
        return self._masking.task(canceled)

    async def retry(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        await trio.lowlevel.checkpoint()
        if task_id not in self._tasks:
            return None
        retried = self._retry(task_id)
        self._audit.add(entry_of(Action.TASK_RETRY, by, str(task_id)))
        return self._masking.task(self._explained(retried))

    async def skip(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return None
        lifecycle.check_skippable(task.status, holds_key=task.holds_key)
        skipped = msgspec.structs.replace(task, on_failure=OnFailure.CONTINUE)
        self._put(skipped)
        self._line_up(skipped)
        self._audit.add(entry_of(Action.TASK_SKIP, by, str(task_id)))
        return self._masking.task(skipped)

    async def delete(self, task_id: uuid.UUID, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return False
        lifecycle.check_deletable(task.status)
        self._delete(task_id)
        self._audit.add(entry_of(Action.TASK_DELETE, by, str(task_id)))
        return True

    async def cancel_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        with self._graphs.together():
            return await self._act(Move.CANCEL, self._cancel, task_ids, entry)

    async def retry_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        return await self._act(Move.MANUAL_RETRY, self._retry, task_ids, entry)

    async def delete_many(
        self, task_ids: Collection[uuid.UUID], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        finished = {task.id for task in self._find(task_ids) if task.status.is_final}
        for task_id in finished:
            self._delete(task_id)
        if entry is not None and finished:
            self._audit.add(entry.counted(len(finished)))
        return finished

    async def expire(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = self._now()
        over = [task_id for at, task_id in await self._in_order() if at <= now][:limit]
        with self._graphs.together():
            for task_id in over:
                self._move(task_id, Move.EXPIRE, error=EXPIRED, error_type=ErrorType.EXPIRED)
        self._cancel_rest()
        return len(over)

    async def seconds_to_expiry(self) -> float | None:
        await trio.lowlevel.checkpoint()
        first = next(iter(await self._in_order()), None)
        return None if first is None else (first[0] - self._now()).total_seconds()

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now, checkpoints, deleted = self._now(), Checkpoints(), 0
        for task_id in [*self._ended_apart, *self._ended]:
            task = self._tasks.get(task_id)
            is_over = task is not None and _is_over(task, age_seconds, now)
            if is_over and not self._graphs.has_open_children(task_id):
                self._delete(task_id)
                deleted += 1
            if deleted == limit or _is_too_new(task, age_seconds, now):
                break
            await checkpoints.after(0)
        return deleted

    async def _act(
        self,
        move: Move,
        act: Callable[[uuid.UUID], Task],
        task_ids: Collection[uuid.UUID],
        entry: NewEntry | None,
    ) -> set[uuid.UUID]:
        """Act on the tasks that the move is allowed for, each when its turn comes."""
        moved, checkpoints = set(), Checkpoints()
        for task_id in self._allowed(move, task_ids):
            task = self._tasks.get(task_id)
            if task is None or not lifecycle.allows(task.status, move):  # it changed meanwhile
                continue
            try:
                act(task_id)
            except NotUnique:
                continue
            self._audit.add(entry)
            moved.add(task_id)
            await checkpoints.after(task.size_bytes)  # it may have a callback
        return moved

    def _allowed(self, move: Move, task_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
        """Return the tasks that the move is allowed for, the oldest first."""
        found = self._find(set(task_ids))
        return sorted(task.id for task in found if lifecycle.allows(task.status, move))

    def _redeliver_if_failed(self, task_id: uuid.UUID, new: NewTask) -> bool:
        """Retry a FAILED task with another request."""
        task = self._tasks.get(task_id)
        if task is None or task.status is not TaskStatus.FAILED:
            return False
        sent = new.as_task(task_id, created_at=task.created_at, run_at=task.run_at)
        names = ("payload", "max_attempts", "backoff", "retry_on", "sign", "credential")
        self._submitted[task_id] = new
        self._put(msgspec.structs.replace(task, **{name: getattr(sent, name) for name in names}))
        self._retry(task_id)
        return True

    def _retry(self, task_id: uuid.UUID) -> Task:
        task = self._tasks[task_id]
        lifecycle.target_of(task.status, Move.MANUAL_RETRY)
        self._take_key(task_id)
        waiting_for = self._submitted[task_id].waiting_for
        retried = self._move(
            task_id,
            Move.MANUAL_RETRY,
            run_at=None if waiting_for else self._now(),
            waiting_for=waiting_for,
            started_at=None,
            attempt=0,
            rescues=0,
            error="",
            error_type=None,
            expires_at=None,
        )
        if task.schedule in self._schedule_tasks:
            self._schedule_tasks[task.schedule].add(task_id)
        self._graphs.rejoin(retried)
        return self._tasks[task_id]  # the next one in line may be this one

    def _take_key(self, task_id: uuid.UUID) -> None:
        """Give a finished task its unique key again; its debounce key is not used any more.

        Raises:
            NotUnique: Another task has it.
        """
        key = self._key_of(self._submitted[task_id])
        if key is None:
            return
        self._forget_key(task_id)
        if key.is_debounce:
            return
        if (other := self._holder(key)) is not None:
            raise NotUnique(other.id)
        self._keyed[key] = task_id

    async def _in_order(self) -> list[tuple[dt.datetime, uuid.UUID]]:
        """Return the expiry times of PENDING tasks with their ids, in order."""
        checkpoints, found = Checkpoints(), []
        for task_id, expires_at in list(self._expiries.items()):
            found.append((expires_at, task_id))
            await checkpoints.after(0)
        return [one for one in sorted(found) if one[1] in self._expiries]


def _is_over(task: Task, age_seconds: float | None, now: dt.datetime) -> bool:
    """Return whether a task was kept long enough after its end."""
    seconds = age_seconds if task.retention_seconds is None else task.retention_seconds
    if task.finished_at is None or seconds is None or task.holds_key:
        return False
    return task.finished_at + dt.timedelta(seconds=seconds) <= now


def _is_too_new(task: Task | None, age_seconds: float | None, now: dt.datetime) -> bool:
    """Return whether neither this task nor any that finished later is deleted now."""
    if task is None or task.finished_at is None or task.retention_seconds is not None:
        return False
    age = math.inf if age_seconds is None else age_seconds
    return (now - task.finished_at).total_seconds() < age
