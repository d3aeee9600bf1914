"""Submission of tasks to the store in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import trio

from taskflow.model.masking import Masking
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.store.base.submission import AddedOnce, SubmissionStore
from taskflow.store.memory.state import KnownKey, MemoryState


class MemorySubmission(MemoryState, SubmissionStore):
    """Stores new tasks."""

    def __init__(self, max_per_host: int | None, masking: Masking) -> None:
        super().__init__(max_per_host, masking)
        self._adding_once = trio.Lock()

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        await trio.lowlevel.checkpoint()
        return await self._shown(await self._add(tasks))

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        async with self._adding_once:  # a request with the same key waits
            if (known := self._known(key)) is not None:
                return AddedOnce(await self._shown(known.tasks), known.is_replay, known.is_same)
            added = await self._add(tasks)
            expires_at = trio.current_time() + key.seconds
            ids = [task.id for task in added]
            self._keys[key.text] = KnownKey(key.fingerprint, ids, expires_at)
        return AddedOnce(await self._shown(added))

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

    def _known(self, key: IdempotencyKey) -> AddedOnce | None:
        known = self._keys.get(key.text)
        if known is None or known.expires_at <= trio.current_time():
            return None
        if known.fingerprint != key.fingerprint:
            return AddedOnce([], is_replay=True, is_same=False)
        return AddedOnce(self._find(known.task_ids), is_replay=True)
