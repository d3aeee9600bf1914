"""Submission of tasks to the store in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Sequence

import msgspec
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.errors import NotUnique
from taskflow.model.masking import Masking
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.model.uniqueness import Existing, OnConflict
from taskflow.store.base.submission import AddedOnce, NotStored, SubmissionStore
from taskflow.store.memory.state import KnownKey, MemoryState, TaskKey, due_at, has_not_started


class MemorySubmission(MemoryState, SubmissionStore):
    """Stores new tasks."""

    def __init__(self, max_per_host: int | None, masking: Masking) -> None:
        super().__init__(max_per_host, masking)
        self._adding_once = trio.Lock()

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        await trio.lowlevel.checkpoint()
        return await self._shown(await self._add_any(tasks), are_new=True)

    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        await trio.lowlevel.checkpoint()
        added, checkpoints = [], Checkpoints()
        for task in tasks:
            added.append(self._added_or_error(task))
            await checkpoints.after(0)
        stored = [one for one in added if isinstance(one, Task)]
        shown = iter(await self._shown(stored, are_new=True))
        return [next(shown) if isinstance(one, Task) else one for one in added]

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        async with self._adding_once:  # a request with the same key waits
            if (known := self._known(key)) is not None:
                return AddedOnce(await self._shown(known.tasks), known.is_replay, known.is_same)
            added = await self._add_any(tasks)
            expires_at = trio.current_time() + key.seconds
            ids = [task.id for task in added]
            self._keys[key.text] = KnownKey(key.fingerprint, ids, expires_at)
        return AddedOnce(await self._shown(added, are_new=True))

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        await trio.lowlevel.checkpoint()
        if (known := self._known(key)) is None:
            return None
        return AddedOnce(await self._shown(known.tasks), known.is_replay, known.is_same)

    async def delete_expired_keys(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        old = (text for text, key in self._keys.items() if key.expires_at <= now)
        deleted = list(itertools.islice(old, limit))
        for text in deleted:
            del self._keys[text]
        return len(deleted)

    async def _add_any(self, tasks: Sequence[NewTask]) -> list[Task]:
        if any(task.is_keyed for task in tasks):
            return self._add_keyed(tasks)
        return await self._add(tasks)

    def _added_or_error(self, task: NewTask) -> Task | NotStored:
        try:
            [added] = self._add_keyed([task])
        except NotUnique as error:
            return error
        return added

    def _add_keyed(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks of which some have unique or debounce keys, in one step."""
        self._reject_taken(tasks)
        return [self._add_or_meet(task) for task in tasks]

    def _reject_taken(self, tasks: Sequence[NewTask]) -> None:
        """Check the keys of the tasks that are rejected if another task has the key.

        Raises:
            NotUnique: Another task has it, or will: one before it in this request.
        """
        before: set[TaskKey] = set()
        taken: list[tuple[int, uuid.UUID | None]] = []
        for index, task in enumerate(tasks):
            key = self._key_of(task)
            if key is None:
                continue
            unique = task.options.unique
            if unique is not None and unique.on_conflict is OnConflict.REJECT:
                holder = self._holder(key)
                if holder is not None or key in before:
                    taken.append((index, holder.id if holder else None))
            before.add(key)
        if taken:
            raise NotUnique(taken[0][1], taken if len(tasks) > 1 else ())

    def _add_or_meet(self, new: NewTask) -> Task:
        """Store a task; or, if another task has its key, do what the new one says."""
        key = self._key_of(new)
        holder = key and self._holder(key)
        if holder is None:
            task = self._made(new, self._now())
            self._enter([task], [new])  # no idle node claims it directly
            self._work.notify()
            if key is not None:
                self._keyed[key] = task.id
            if new.options.debounce and (seconds := new.options.debounce.max_wait_seconds):
                self._debounced_until[task.id] = task.created_at + dt.timedelta(seconds=seconds)
            return task
        if new.options.debounce is not None:
            return self._replace(holder, new, Existing.DEBOUNCED)
        assert new.options.unique is not None
        if new.options.unique.on_conflict is OnConflict.REPLACE and has_not_started(holder):
            return self._replace(holder, new, Existing.REPLACED)
        return msgspec.structs.replace(holder, existing=Existing.RETURNED)

    def _replace(self, task: Task, new: NewTask, existing: Existing) -> Task:
        """Give a task that has not started the payload and options of a new one."""
        now = self._now()
        run_at, debounced = due_at(new, now), 0
        if existing is Existing.DEBOUNCED:
            debounced = task.debounced + 1
            run_at = min(run_at, self._debounced_until.get(task.id, run_at))
        made = new.as_task(task.id, created_at=task.created_at, run_at=run_at)
        replaced = msgspec.structs.replace(made, debounced=debounced)
        self._submitted[task.id] = new
        self._put(replaced)
        self._work.notify()
        return msgspec.structs.replace(replaced, existing=existing)

    def _known(self, key: IdempotencyKey) -> AddedOnce | None:
        known = self._keys.get(key.text)
        if known is None or known.expires_at <= trio.current_time():
            return None
        if known.fingerprint != key.fingerprint:
            return AddedOnce([], is_replay=True, is_same=False)
        return AddedOnce(self._find(known.task_ids), is_replay=True)
