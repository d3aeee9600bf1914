"""Groups: tasks that belong together, and a task that is created when all of them have finished.

A group is OPEN while tasks can join it. Once it is closed, it completes when its last member has
finished: in PostgreSQL, triggers create the completion task in that transaction (migration 0027).
This module has the same for groups in memory.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.errors import (
    MAX_NAMED_CONFLICTS,
    FieldError,
    GroupClosed,
    IllegalMove,
    Unprocessable,
)
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import DEFAULT_QUEUE, Moment, NewTask, TagValue

MAX_GROUP_NAME_CHARACTERS: Final = 255
MAX_FIRST_FAILURES: Final = 10
"""Number of FAILED members that a group shows."""

MAX_ERROR_CHARACTERS: Final = 1000
"""Maximum length of the error of each."""

NO_TASK: Final = msgspec.Raw(b"null")
"""What a group shows if it has no completion task."""

GroupName: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[^\x00-\x1f\x7f]+$(?!\n)",
        min_length=1,
        max_length=MAX_GROUP_NAME_CHARACTERS,
        extra={
            "expected": f"text of 1 to {MAX_GROUP_NAME_CHARACTERS} characters without control "
            "characters"
        },
    ),
]


class GroupStatus(enum.StrEnum):
    """The status of a group."""

    OPEN = "OPEN"
    """Tasks can join it."""
    CLOSED = "CLOSED"
    """No more tasks can join it, and some have not finished."""
    COMPLETED = "COMPLETED"
    """It is closed, and all of its tasks have finished. A retry of one makes it CLOSED again."""
    CANCELED = "CANCELED"
    """It was canceled. It creates no completion task."""

    @property
    def is_final(self) -> bool:
        """True if the group is deleted after a time."""
        return self in (GroupStatus.COMPLETED, GroupStatus.CANCELED)


class OnMemberFailure(enum.StrEnum):
    """What happens when a task of a group fails."""

    RUN = "run"
    """The other tasks run."""
    CANCEL_REST = "cancel_rest"
    """The other tasks are canceled, and no more can join the group."""


class GroupCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Number of tasks of a group by status. Deleted tasks are counted with their last status.

    Attributes:
        PENDING: Number of PENDING tasks.
        RUNNING: Number of RUNNING tasks.
        COMPLETED: Number of COMPLETED tasks.
        FAILED: Number of FAILED tasks.
        CANCELED: Number of CANCELED tasks.
    """

    PENDING: int = 0
    RUNNING: int = 0
    COMPLETED: int = 0
    FAILED: int = 0
    CANCELED: int = 0

    @property
    def total(self) -> int:
        """The number of tasks."""
        return sum(msgspec.structs.astuple(self))

    @property
    def open(self) -> int:
        """The number of tasks that have not finished."""
        return self.PENDING + self.RUNNING


class FailedMember(msgspec.Struct, frozen=True):
    """A FAILED task of a group.

    Attributes:
        task_id: The id of the task.
        error: Why it failed, for people; at most 1000 characters.
        error_type: Why it failed, for programs.
    """

    task_id: uuid.UUID
    error: str
    error_type: ErrorType | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as the API shows it; the field order is the order of the JSON.

    Attributes:
        id: The id of the group; later groups have greater ids.
        name: The name, if it has one. Names need not be unique.
        queue: The queue that it belongs to. A key that is limited to some queues sees the group if
            it may use this queue.
        status: The status.
        counts: The number of its tasks by status.
        first_failures: Up to ten of its FAILED tasks, the oldest first.
        on_complete: The task that is created when it completes, as it was submitted; or null.
        on_failure: What happens when a task of it fails.
        tags: Its tags.
        created_at: When it was created.
        closed_at: When it was closed or canceled.
        finished_at: When it completed or was canceled.
        completions: How often it has completed. A retry of its tasks lets it complete again.
        completion_task_id: The id of the task that its last completion created.
    """

    id: uuid.UUID
    name: str | None = None
    queue: str = DEFAULT_QUEUE
    status: GroupStatus = GroupStatus.OPEN
    counts: GroupCounts = GroupCounts()
    first_failures: tuple[FailedMember, ...] = ()
    on_complete: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": ["object", "null"]})]
    on_failure: OnMemberFailure = OnMemberFailure.RUN
    tags: dict[str, TagValue] = {}
    created_at: Moment
    closed_at: Moment | None = None
    finished_at: Moment | None = None
    completions: int = 0
    completion_task_id: uuid.UUID | None = None

    @property
    def has_completion_task(self) -> bool:
        """True if it creates a task when it completes."""
        return self.on_complete != NO_TASK


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A validated group to create.

    Attributes:
        name: The name.
        queue: The queue that it belongs to.
        on_complete: The template of the completion task, byte for byte as it was submitted.
        completion: The parsed template; its payload is an object without a body.
        on_failure: What happens when a member fails.
        tags: Tags.
        is_open: Whether tasks can join it later.
    """

    name: str | None = None
    queue: str = DEFAULT_QUEUE
    on_complete: msgspec.Raw | None = None
    completion: NewTask | None = None
    on_failure: OnMemberFailure = OnMemberFailure.RUN
    tags: dict[str, TagValue] = {}
    is_open: bool = True


class GroupFilter(msgspec.Struct, frozen=True):
    """A filter for groups: all given conditions must match.

    Attributes:
        status: The status.
        queue: The name of the queue.
        name: The name.
        scope: The queue is one of these.
    """

    status: GroupStatus | None = None
    queue: str | None = None
    name: str | None = None
    scope: QueueScope | None = None

    def matches(self, group: Group) -> bool:
        """Return whether a group matches."""
        return (
            self.status in (None, group.status)
            and self.queue in (None, group.queue)
            and self.name in (None, group.name)
            and (self.scope is None or self.scope.allows(group.queue))
        )


ALL_GROUPS: Final = GroupFilter()


def refuse_mix(tasks: Sequence[NewTask]) -> None:
    """Reject an array in which some tasks join a group, and others have keys.

    Raises:
        Unprocessable: It is one.
    """
    keyed = [index for index, task in enumerate(tasks) if task.is_keyed]
    if keyed and any(task.group for task in tasks):
        detail = "an array with tasks that join a group must not have tasks with unique or debounce"
        raise Unprocessable(detail, errors=[FieldError(f"#/{keyed[0]}", detail)])


class GroupState(NamedTuple):
    """What decides whether tasks can join a group.

    Attributes:
        status: Its status.
        is_canceling: Whether a member failed, and the others are canceled.
        is_closing: Whether it is being closed or canceled at this moment.
    """

    status: GroupStatus
    is_canceling: bool = False
    is_closing: bool = False

    @property
    def why_not(self) -> str | None:
        """Why no task can join it; ``None`` if tasks can."""
        if self.status is not GroupStatus.OPEN:
            return f"it is {self.status}"
        if self.is_canceling:
            return "a task of it failed, and its other tasks are canceled"
        return "it is being closed" if self.is_closing else None


def refusal_of(
    tasks: Sequence[NewTask], states: Mapping[uuid.UUID, GroupState]
) -> GroupClosed | Unprocessable | None:
    """Return why tasks of one request cannot join their groups; ``None`` if they can.

    Args:
        tasks: The tasks of the request.
        states: The groups that exist.
    """
    places: dict[uuid.UUID, list[int]] = {}
    for index, task in enumerate(tasks):
        if task.group is not None:
            places.setdefault(task.group, []).append(index)
    for group_id, indexes in places.items():
        in_array = indexes if len(tasks) > 1 else []
        state = states.get(group_id)
        if state is None:
            return _unknown_group(group_id, in_array)
        if state.why_not is not None:
            return GroupClosed(group_id, state.why_not, in_array)
    return None


def _unknown_group(group_id: uuid.UUID, places: Sequence[int]) -> Unprocessable:
    what = f"no group has the id {group_id}; POST /groups creates one, and returns its id"
    pointers = [f"#/{index}/group" for index in places[:MAX_NAMED_CONFLICTS]] or ["#/group"]
    return Unprocessable(what, errors=[FieldError(pointer, what) for pointer in pointers])


def check_cancelable(status: GroupStatus) -> None:
    """Check that a group can be canceled; a canceled one can be canceled again.

    Raises:
        IllegalMove: It is COMPLETED.
    """
    if status is GroupStatus.COMPLETED:
        raise IllegalMove("cannot cancel a group that is COMPLETED; all of its tasks have finished")


def check_closable(status: GroupStatus) -> None:
    """Check that a group can be closed; a closed one can be closed again.

    Raises:
        IllegalMove: It is CANCELED.
    """
    if status is GroupStatus.CANCELED:
        raise IllegalMove("cannot close a group that is CANCELED; create another one")


def check_retryable(status: GroupStatus) -> None:
    """Check that the FAILED tasks of a group can be retried together.

    Raises:
        IllegalMove: It is CANCELED.
    """
    if status is GroupStatus.CANCELED:
        raise IllegalMove(
            "cannot retry a group that is CANCELED; retry its tasks one by one, or create another "
            "group"
        )


def completion_of(group: Group, template: NewTask) -> NewTask:
    """Return the task of a completed group.

    Args:
        group: The group, COMPLETED.
        template: Its completion template.
    """
    shown: dict[str, Any] = {
        name: getattr(group, name)
        for name in ("id", "name", "queue", "status", "tags", "created_at", "closed_at")
    }
    shown |= {"finished_at": group.finished_at, "completions": group.completions}
    body = msgspec.json.encode({"group": shown, "counts": group.counts})
    payload = b'%b,"body":%b}' % (bytes(template.payload)[:-1], body)
    options = msgspec.structs.replace(template.options, completion_of=group.id)
    return msgspec.structs.replace(template, payload=msgspec.Raw(payload), options=options)
