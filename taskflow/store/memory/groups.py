"""Groups in memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
    GroupCounts,
    GroupFilter,
    GroupState,
    GroupStatus,
    NewGroup,
    OnMemberFailure,
    check_cancelable,
    check_closable,
    check_retryable,
    completion_of,
    refusal_of,
)
from taskflow.model.masking import Masking
from taskflow.model.task import IdempotencyKey, NewTask, Task, TaskStatus
from taskflow.store.base.groups import AddedGroup, GroupPage, GroupStore
from taskflow.store.memory.audit import MemoryAudit


class _Kept(msgspec.Struct):
    """A group, and the last status of each of its members, deleted ones included."""

    group: Group
    completion: NewTask | None
    members: dict[uuid.UUID, TaskStatus] = {}
    tally: Counter[str] = msgspec.field(default_factory=Counter)
    is_canceling: bool = False

    @property
    def counts(self) -> GroupCounts:
        return GroupCounts(**self.tally)

    @property
    def state(self) -> GroupState:
        return GroupState(self.group.status, self.is_canceling)

    def change(self, **fields: object) -> None:
        self.group = msgspec.structs.replace(self.group, **fields)

    def note(self, task: Task) -> TaskStatus | None:
        """Note the status of a member, and return the one before."""
        before = self.members.get(task.id)
        if before is not None:
            self.tally[before.value] -= 1
        self.members[task.id] = task.status
        self.tally[task.status.value] += 1
        return before

    def ids_of(self, *statuses: TaskStatus) -> list[uuid.UUID]:
        return sorted(one for one, status in self.members.items() if status in statuses)


class GroupBook:
    """The groups of a store, and what the ends of their members do to them.

    Args:
        now: The store's clock.
        enter: Stores a new task, and returns its id.
    """

    def __init__(
        self, now: Callable[[], dt.datetime], enter: Callable[[NewTask], uuid.UUID]
    ) -> None:
        self._now = now
        self._enter = enter
        self.kept: Final[dict[uuid.UUID, _Kept]] = {}

    def check(self, tasks: Sequence[NewTask]) -> None:
        """Check that the tasks of a request can join their groups.

        Raises:
            Unprocessable: A group does not exist.
            GroupClosed: A group takes no more tasks.
        """
        if not any(task.group for task in tasks):
            return
        states = {group_id: kept.state for group_id, kept in self.kept.items()}
        if (refusal := refusal_of(tasks, states)) is not None:
            raise refusal

    def note(self, task: Task) -> None:
        """Note the status of a task that was stored or moved."""
        kept = None if task.group is None else self.kept.get(task.group)
        if kept is None:
            return
        before = kept.note(task)
        if before is None or not (before.is_final or task.status.is_final):
            return
        group = kept.group
        if not task.status.is_final and group.status is GroupStatus.COMPLETED:
            kept.change(status=GroupStatus.CLOSED, finished_at=None)
            kept.is_canceling = False
        cancels = group.on_failure is OnMemberFailure.CANCEL_REST and not group.status.is_final
        if task.status is TaskStatus.FAILED and cancels:
            kept.is_canceling = True
        self.complete_if_done(kept)

    def complete_if_done(self, kept: _Kept) -> None:
        """Complete a group if it is closed and no member is open."""
        if kept.group.status is not GroupStatus.CLOSED or kept.counts.open:
            return
        kept.change(
            status=GroupStatus.COMPLETED,
            finished_at=self._now(),
            completions=kept.group.completions + 1,
            completion_task_id=None,
        )
        if kept.completion is not None:
            counted = msgspec.structs.replace(kept.group, counts=kept.counts)
            task_id = self._enter(completion_of(counted, kept.completion))
            kept.change(completion_task_id=task_id)

    def open_to_cancel(self) -> list[uuid.UUID]:
        """Return the open members of groups whose members are to be canceled."""
        open_ids: list[uuid.UUID] = []
        for kept in self.kept.values():
            if kept.is_canceling:
                open_ids += kept.ids_of(TaskStatus.PENDING, TaskStatus.RUNNING)
        return open_ids


class GroupTasks(msgspec.Struct, frozen=True):
    """The tasks beside the groups.

    Attributes:
        new_id: Returns an id that is greater than all before.
        add: Stores new tasks.
        find: Returns the tasks that exist.
        cancel_rest: Cancels the open members of groups that are to be canceled.
        retry: Retries a finished task.
        check_parents: Checks that the parents of new tasks exist.
    """

    new_id: Callable[[], uuid.UUID]
    add: Callable[[Sequence[NewTask]], list[Task]]
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
        self._keys: dict[str, tuple[IdempotencyKey, float, uuid.UUID]] = {}

    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        await trio.lowlevel.checkpoint()
        if key is not None and (known := self._known(key)) is not None:
            return known
        self._tasks.check_parents(tasks)
        group = Group(
            id=self._tasks.new_id(),
            name=new.name,
            queue=new.queue,
            on_complete=new.on_complete or NO_TASK,
            on_failure=new.on_failure,
            tags=new.tags,
            created_at=self._now(),
        )
        kept = self._book.kept[group.id] = _Kept(group, new.completion)
        self._tasks.add([msgspec.structs.replace(task, group=group.id) for task in tasks])
        if not new.is_open:
            self._close(kept)
        if key is not None:
            self._keys[key.text] = (key, trio.current_time() + key.seconds, group.id)
        return AddedGroup(self._shown(kept))

    async def get(self, group_id: uuid.UUID) -> Group | None:
        await trio.lowlevel.checkpoint()
        return self._shown_if_any(group_id)

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
            kept.is_canceling = True
            self._audit.add(entry_of(Action.GROUP_CANCEL, by, str(group_id)))
            self._tasks.cancel_rest()
        return self._shown(kept)

    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        await trio.lowlevel.checkpoint()
        kept = self._book.kept.get(group_id)
        if kept is None:
            return None
        check_retryable(kept.group.status)
        failed = [task.id for task in self._tasks.find(kept.ids_of(TaskStatus.FAILED))]
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

    def _close(self, kept: _Kept) -> None:
        kept.change(status=GroupStatus.CLOSED, closed_at=self._now())
        self._book.complete_if_done(kept)

    def _known(self, key: IdempotencyKey) -> AddedGroup | None:
        known = self._keys.get(key.text)
        if known is None or known[1] <= trio.current_time():
            return None
        if known[0].fingerprint != key.fingerprint:
            return AddedGroup(None, is_replay=True, is_same=False)
        return AddedGroup(self._shown_if_any(known[2]), is_replay=True)

    def _shown_if_any(self, group_id: uuid.UUID) -> Group | None:
        kept = self._book.kept.get(group_id)
        return None if kept is None else self._shown(kept)

    def _shown(self, kept: _Kept) -> Group:
        failed = self._tasks.find(kept.ids_of(TaskStatus.FAILED))[:MAX_FIRST_FAILURES]
        failures = tuple(
            FailedMember(task.id, task.error[:MAX_ERROR_CHARACTERS], task.error_type)
            for task in failed
        )
        group = msgspec.structs.replace(kept.group, counts=kept.counts, first_failures=failures)
        return self._masking.group(group)
