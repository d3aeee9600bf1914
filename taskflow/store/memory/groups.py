"""Groups in memory."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of
from taskflow.model.groups import (
    ALL_GROUPS,
    MAX_ERROR_CHARACTERS,
    MAX_FIRST_FAILURES,
    NO_TASK,
    FailedMember,
    Group,
    GroupFilter,
    GroupStatus,
    NewGroup,
    check_cancelable,
    check_closable,
    check_retryable,
)
from taskflow.model.masking import Masking
from taskflow.model.task import IdempotencyKey, NewTask, Task, TaskStatus
from taskflow.store.base.groups import MAX_RETRIED_MEMBERS, AddedGroup, GroupPage, GroupStore
from taskflow.store.memory.audit import MemoryAudit
from taskflow.store.memory.group_book import GroupBook, KeptGroup


class GroupTasks(msgspec.Struct, frozen=True):
    """The tasks beside the groups.

    Attributes:
        new_id: Returns an id that is greater than all before.
        make: Makes new tasks.
        enter: Stores them.
        find: Returns the tasks that exist.
        cancel_rest: Cancels the open members of groups that are to be canceled.
        retry: Retries a finished task.
        check_parents: Checks that the parents of new tasks exist.
    """

    new_id: Callable[[], uuid.UUID]
    make: Callable[[Sequence[NewTask]], Awaitable[list[Task]]]
    enter: Callable[[Sequence[Task], Sequence[NewTask]], list[Task]]
    find: Callable[[Iterable[uuid.UUID]], list[Task]]
    cancel_rest: Callable[[], int]
    retry: Callable[[uuid.UUID], Task]
    check_parents: Callable[[Sequence[NewTask]], None]


class MemoryGroups(GroupStore):
    """Groups beside the tasks of a store in memory.

    Args:
        book: The groups.
        tasks: The tasks.
        now: The store's clock.
        masking: What is masked in groups that are shown.
        audit: The audit log.
    """

    def __init__(
        self,
        book: GroupBook,
        tasks: GroupTasks,
        *,
        now: Callable[[], dt.datetime],
        masking: Masking,
        audit: MemoryAudit,
    ) -> None:
        self._book = book
        self._tasks = tasks
        self._now = now
        self._masking = masking
        self._audit = audit
        self._adding: Final = trio.Lock()
        self._keys: dict[str, tuple[IdempotencyKey, float, uuid.UUID]] = {}

    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        async with self._adding:  # a request with the same key waits
            if key is not None and (known := self._known(key)) is not None:
                return known
            kept = self._made(new)
            members = [msgspec.structs.replace(task, group=kept.group.id) for task in tasks]
            made = await self._tasks.make(members)
            self._tasks.check_parents(tasks)
            self._book.kept[kept.group.id] = kept
            self._tasks.enter(made, members)
            if not new.is_open:
                self._close(kept)
            if key is not None:
                self._forget_expired_keys()
                self._keys[key.text] = (key, trio.current_time() + key.seconds, kept.group.id)
        return AddedGroup(self._shown(kept))

    async def get(self, group_id: uuid.UUID) -> Group | None:
        await trio.lowlevel.checkpoint()
        return self._shown_if_any(group_id)

    async def queues_of(self, group_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
        await trio.lowlevel.checkpoint()
        known = self._book.kept
        return {one: known[one].group.queue for one in group_ids if one in known}

    async def page(
        self, *, limit: int, before: uuid.UUID | None = None, filter: GroupFilter = ALL_GROUPS
    ) -> GroupPage:
        await trio.lowlevel.checkpoint()
        found = [
            kept
            for group_id, kept in sorted(self._book.kept.items(), reverse=True)
            if (before is None or group_id < before) and filter.matches(kept.group)
        ]
        groups = [self._shown(kept) for kept in found[:limit]]
        return GroupPage(groups, groups[-1].id if len(found) > limit else None)

    async def close(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        await trio.lowlevel.checkpoint()
        kept = self._book.kept.get(group_id)
        if kept is None:
            return None
        check_closable(kept.group.status)
        if kept.group.status is GroupStatus.OPEN:
            self._close(kept)
            self._audit.add(entry_of(Action.GROUP_CLOSE, by, str(group_id)))
        return self._shown(kept)

    async def cancel(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        await trio.lowlevel.checkpoint()
        kept = self._book.kept.get(group_id)
        if kept is None:
            return None
        group, now = kept.group, self._now()
        check_cancelable(group.status)
        if group.status is not GroupStatus.CANCELED:
            closed_at = group.closed_at or now
            kept.change(status=GroupStatus.CANCELED, closed_at=closed_at, finished_at=now)
            self._book.cancel_members(kept)
            self._audit.add(entry_of(Action.GROUP_CANCEL, by, str(group_id)))
            self._tasks.cancel_rest()
        return self._shown(kept)

    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        await trio.lowlevel.checkpoint()
        kept = self._book.kept.get(group_id)
        if kept is None:
            return None
        check_retryable(kept.group.status)
        known = self._tasks.find(kept.ids_of(TaskStatus.FAILED))
        failed = sorted(task.id for task in known)[:MAX_RETRIED_MEMBERS]
        for task_id in failed:
            self._tasks.retry(task_id)
        entry = entry_of(Action.GROUP_RETRY, by, str(group_id))
        if failed and entry is not None:
            self._audit.add(entry.counted(len(failed)))
        return self._shown(kept)

    async def cancel_rest(self) -> int:
        await trio.lowlevel.checkpoint()
        return self._tasks.cancel_rest()

    async def fold_counts(self, *, limit: int) -> int:  # noqa: ARG002 - there is nothing to fold
        await trio.lowlevel.checkpoint()
        return 0

    async def delete_finished(self, *, age_seconds: float, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        oldest = self._now() - dt.timedelta(seconds=age_seconds)
        old = [
            group_id
            for group_id, kept in self._book.kept.items()
            if kept.group.finished_at is not None and kept.group.finished_at < oldest
        ][:limit]
        for group_id in old:
            del self._book.kept[group_id]
        return len(old)

    def _made(self, new: NewGroup) -> KeptGroup:
        group = Group(
            id=self._tasks.new_id(),
            name=new.name,
            queue=new.queue,
            on_complete=new.on_complete or NO_TASK,
            on_failure=new.on_failure,
            tags=new.tags,
            created_at=self._now(),
        )
        return KeptGroup(group, new.completion)

    def _close(self, kept: KeptGroup) -> None:
        kept.change(status=GroupStatus.CLOSED, closed_at=self._now())
        self._book.complete_if_done(kept)

    def _known(self, key: IdempotencyKey) -> AddedGroup | None:
        known = self._keys.get(key.text)
        if known is None or known[1] <= trio.current_time():
            return None
        if known[0].fingerprint != key.fingerprint:
            return AddedGroup(None, is_replay=True, is_same=False)
        return AddedGroup(self._shown_if_any(known[2]), is_replay=True)

    def _forget_expired_keys(self) -> None:
        """Forget the oldest keys; all of them are kept for the same time."""
        now = trio.current_time()
        expired = itertools.takewhile(lambda one: one[1][1] <= now, self._keys.items())
        for text, _ in list(expired):
            del self._keys[text]

    def _shown_if_any(self, group_id: uuid.UUID) -> Group | None:
        kept = self._book.kept.get(group_id)
        return None if kept is None else self._shown(kept)

    def _shown(self, kept: KeptGroup) -> Group:
        failed = self._tasks.find(kept.ids_of(TaskStatus.FAILED))[:MAX_FIRST_FAILURES]
        failures = tuple(
            FailedMember(task.id, task.error[:MAX_ERROR_CHARACTERS], task.error_type)
            for task in failed
        )
        group = msgspec.structs.replace(kept.group, counts=kept.counts, first_failures=failures)
        return self._masking.group(group)
