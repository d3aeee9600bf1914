"""The groups in memory, and what the ends of their members do to them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from taskflow.model.groups import (
    Group,
    GroupCounts,
    GroupState,
    GroupStatus,
    OnMemberFailure,
    completion_of,
    refusal_of,
)
from taskflow.model.task import NewTask, Task, TaskStatus


class KeptGroup(msgspec.Struct):
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
        self.kept: Final[dict[uuid.UUID, KeptGroup]] = {}
        # Groups whose open members are to be canceled.
        self._to_cancel: set[uuid.UUID] = set()

    def check(self, tasks: Sequence[NewTask]) -> None:
        """Check that the tasks of a request can join their groups.

        Raises:
            Unprocessable: A group does not exist.
            GroupClosed: A group takes no more tasks.
        """
        ids = {task.group for task in tasks if task.group is not None}
        states = {one: self.kept[one].state for one in ids if one in self.kept}
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
            self._to_cancel.discard(group.id)
        cancels = group.on_failure is OnMemberFailure.CANCEL_REST and not group.status.is_final
        if task.status is TaskStatus.FAILED and cancels:
            self.cancel_members(kept)
        self.complete_if_done(kept)

    def cancel_members(self, kept: KeptGroup) -> None:
        """Let no more tasks join a group, and let ``open_to_cancel`` return its open members."""
        kept.is_canceling = True
        self._to_cancel.add(kept.group.id)

    def complete_if_done(self, kept: KeptGroup) -> None:
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
        """Return, once, the open members of groups whose members are to be canceled."""
        groups = [self.kept[group_id] for group_id in self._to_cancel if group_id in self.kept]
        self._to_cancel.clear()
        statuses = (TaskStatus.PENDING, TaskStatus.RUNNING)
        return [task_id for kept in groups for task_id in kept.ids_of(*statuses)]
