"""Reading of tasks and their counts from the store in memory."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import uuid
from collections import Counter
from collections.abc import Collection

import msgspec
import trio
from msgspec import UNSET

from taskflow.model.filter import NO_FILTER, TaskFilter, matches
from taskflow.model.queues import TaskStatistics, queue_of, total_of
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus
from taskflow.store.base.listing import (
    MAX_RESPONSES,
    MAX_SCANNED,
    PAGE_BUDGET_BYTES,
    ListingStore,
    Page,
)
from taskflow.store.memory.queues import Kind, lines_of, sum_of
from taskflow.store.memory.state import MemoryState
from taskflow.yielding import Checkpoints


class MemoryListing(MemoryState, ListingStore):
    """Reads tasks."""

    async def get(self, task_id: uuid.UUID) -> Task | None:
        return next(iter(await self.get_many([task_id])), None)

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._tasks.get(task_id)

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        await trio.lowlevel.checkpoint()
        return await self._shown(self._find(task_ids))

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return None
        attempts = list(self._attempts.get(task_id, []))
        if task.status is TaskStatus.RUNNING:
            attempts.append(self._attempt(task, AttemptStatus.RUNNING, finished_at=None))
        older, last = attempts[:-MAX_RESPONSES], attempts[-MAX_RESPONSES:]
        return [*(msgspec.structs.replace(one, response=UNSET) for one in older), *last]

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
    ) -> Page:
        await trio.lowlevel.checkpoint()
        ids = list(self._tasks)
        end = len(ids) if before is None else bisect.bisect_left(ids, before)
        begin = max(0, end - MAX_SCANNED)
        page: list[Task] = []
        size_bytes, checkpoints = 0, Checkpoints()
        for task_id in reversed(ids[begin:end]):
            if self._matches(task_id, filter):
                if len(page) == limit or size_bytes >= PAGE_BUDGET_BYTES:
                    return Page(await self._shown(page), next_before=page[-1].id)
                page.append(self._tasks[task_id])
                size_bytes += _size_of(page[-1], without)
            await checkpoints.after(self._scanned_bytes(task_id, filter))
        return Page(await self._shown(page), next_before=ids[begin] if begin else None)

    def _matches(self, task_id: uuid.UUID, filter: TaskFilter) -> bool:
        task = self._tasks.get(task_id)
        if task is None:  # deleted meanwhile
            return False
        shown = task if filter.url_contains is None else self._masking.task(task)
        return matches(shown, self._submitted[task_id].host, filter)

    def _scanned_bytes(self, task_id: uuid.UUID, filter: TaskFilter) -> int:
        task = None if filter.url_contains is None else self._tasks.get(task_id)
        return 0 if task is None else len(bytes(task.payload))

    async def count_pending(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        return min(len(self._pending), limit)

    async def count(
        self,
        *,
        limit: int,
        queue: str | None = None,
        is_after_write: bool = False,  # noqa: ARG002 - nothing waits here
    ) -> TaskStatistics:
        await trio.lowlevel.checkpoint()
        now, counts, checkpoints = self._now(), Counter[Kind](), Checkpoints()
        first: dict[str, dt.datetime] = {}
        finished = self._finished.by_window(now.timestamp())
        for task in list(self._tasks.values()):
            counts[task.queue, task.status] += 1
            if task.status is TaskStatus.PENDING and task.run_at <= now:
                first[task.queue] = min(first.get(task.queue, now), task.run_at)
            await checkpoints.after(0)
        lines = lines_of(counts, finished)
        oldest = {name: (now - run_at).total_seconds() for name, run_at in first.items()}
        names = sorted(lines) if queue is None else [queue]
        return TaskStatistics(
            queues=[
                queue_of(name, lines.get(name, ()), oldest.get(name)) for name in names[:limit]
            ],
            total=total_of(
                sum_of(itertools.chain.from_iterable(lines.values())),
                max(oldest.values(), default=None),
            ),
            complete=len(names) <= limit,
        )

    async def fold_counts(self, *, limit: int) -> int:  # noqa: ARG002 - there is nothing to fold
        await trio.lowlevel.checkpoint()
        self._finished.delete_old(self._now().timestamp())
        return 0


def _size_of(task: Task, without: Collection[str]) -> int:
    """Return the size of the large fields of a task in bytes."""
    return sum(
        len(bytes(document))
        for name, document in (("payload", task.payload), ("result", task.result))
        if document is not None and name not in without
    )
