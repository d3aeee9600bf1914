"""Submission of tasks to the store in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.errors import GroupClosed, NotUnique, Unprocessable
from taskflow.model.masking import Masking
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.model.uniqueness import Existing, OnConflict
from taskflow.store.base.submission import AddedOnce, NotStored, SubmissionStore
from taskflow.store.memory.state import KnownKey, MemoryState, TaskKey, has_not_started


class Fresh(NamedTuple):
    """A task to be stored, and how it was submitted."""

    task: Task
    new: NewTask


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
            added.append(await self._added_or_error(task))
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
            return await self._add_keyed(tasks)
        return await self._add(tasks)

    async def _added_or_error(self, task: NewTask) -> Task | NotStored:
        try:
            [added] = await self._add_keyed([task])
        except (NotUnique, GroupClosed, Unprocessable) as error:
            return error
        return added

    async def _add_keyed(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks of which some have keys, in one step, which is short: they are made before.

        No idle node claims them directly.
        """
        made = await self._made_each(tasks)
        self._groups.check(tasks)
        self._graphs.check(tasks)
        self._reject_taken(tasks)
        fresh: dict[uuid.UUID, Fresh] = {}
        made = self._graphs.linked(made, tasks)
        added = [self._add_or_meet(*one, fresh) for one in zip(made, tasks, strict=True)]
        self._enter([one.task for one in fresh.values()], [one.new for one in fresh.values()])
        self._work.notify()
        return added

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

    def _add_or_meet(self, task: Task, new: NewTask, fresh: dict[uuid.UUID, Fresh]) -> Task:
        """Return a task, to be stored; or, if another task has its key, what the new one says."""
        key = self._key_of(new)
        holder = None if key is None else self._holder_among(fresh, key)
        if holder is None:
            fresh[task.id] = Fresh(task, new)
            if key is not None:
                self._keyed[key] = task.id
            if new.options.debounce and (seconds := new.options.debounce.max_wait_seconds):
                self._debounced_until[task.id] = task.created_at + dt.timedelta(seconds=seconds)
            return task
        existing = _done_to(holder, new)
        if existing is Existing.RETURNED:
            return msgspec.structs.replace(holder, existing=existing)
        replaced = self._replacement(holder, task, existing)
        if holder.id in fresh:
            fresh[holder.id] = Fresh(replaced, new)
        else:
            self._submitted[holder.id] = new
            self._put(replaced)
        return msgspec.structs.replace(replaced, existing=existing)

    def _holder_among(self, fresh: dict[uuid.UUID, Fresh], key: TaskKey) -> Task | None:
        """Return the task that has a key, stored or to be stored."""
        one = fresh.get(self._keyed[key]) if key in self._keyed else None
        return self._holder(key) if one is None else one.task

    def _replacement(self, holder: Task, made: Task, existing: Existing) -> Task:
        """Return a task that has not started with the payload and options of a new one."""
        run_at, debounced = made.run_at, 0
        if existing is Existing.DEBOUNCED:
            debounced = holder.debounced + 1
            until = self._debounced_until.get(holder.id)
            run_at = min(run_at, until) if run_at is not None and until is not None else run_at
        return msgspec.structs.replace(
            made, id=holder.id, created_at=holder.created_at, run_at=run_at, debounced=debounced
        )

    def _known(self, key: IdempotencyKey) -> AddedOnce | None:
        known = self._keys.get(key.text)
        if known is None or known.expires_at <= trio.current_time():
            return None
        if known.fingerprint != key.fingerprint:
            return AddedOnce([], is_replay=True, is_same=False)
        return AddedOnce(self._find(known.task_ids), is_replay=True)


def _done_to(holder: Task, new: NewTask) -> Existing:
    """Return what a new task does to the task that has its key."""
    if new.options.debounce is not None:
        return Existing.DEBOUNCED
    unique = new.options.unique
    is_replacement = unique is not None and unique.on_conflict is OnConflict.REPLACE
    return Existing.REPLACED if is_replacement and has_not_started(holder) else Existing.RETURNED
