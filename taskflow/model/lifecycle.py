"""The life cycle of a task: the table of its transitions, used by code, tests and docs."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from taskflow.model.errors import IllegalMove
from taskflow.model.task import TaskStatus


class Move(enum.StrEnum):
    """An event that changes the status of a task."""

    CLAIM = "claim"
    """A node claims it to run it; the attempt counts."""
    COMPLETE = "complete"
    """The response counts as success."""
    FAIL = "fail"
    """The attempt failed, and no other follows."""
    RETRY = "retry"
    """The attempt failed, and another follows later."""
    RELEASE = "release"
    """The attempt was interrupted and does not count."""
    RESCUE = "rescue"
    """Its node died; counts as a rescue, not as an attempt."""
    POISON = "poison"
    """The rescue limit is reached."""
    EXPIRE = "expire"
    """It had not started by its ``expires_at``."""
    PARENT_FAILED = "parent failed"
    """A parent FAILED or was CANCELED, and it has ``on_parent_failure: fail``."""
    CANCEL = "cancel"
    """A client cancels it; or a parent FAILED or was CANCELED."""
    MANUAL_RETRY = "manual retry"
    """A client retries it; attempts are counted anew."""

    @property
    def verb(self) -> str:
        """The verb of the API, as used in error messages."""
        return "retry" if self is Move.MANUAL_RETRY else self.value


class Transition(NamedTuple):
    """A legal move between two statuses.

    Attributes:
        source: The status before.
        move: The move.
        target: The status after.
        is_for_holders: True if only a task that holds its order key can make the move.
    """

    source: TaskStatus
    move: Move
    target: TaskStatus
    is_for_holders: bool = False


# A new task is PENDING, unless an idle node claims it in the statement that stores it.
INITIAL_STATUSES: Final = {TaskStatus.PENDING: "add", TaskStatus.RUNNING: "add and claim"}
TRANSITIONS: Final = (
    Transition(TaskStatus.PENDING, Move.CLAIM, TaskStatus.RUNNING),
    Transition(TaskStatus.PENDING, Move.EXPIRE, TaskStatus.FAILED),
    Transition(TaskStatus.PENDING, Move.PARENT_FAILED, TaskStatus.FAILED),
    Transition(TaskStatus.PENDING, Move.CANCEL, TaskStatus.CANCELED),
    Transition(TaskStatus.RUNNING, Move.COMPLETE, TaskStatus.COMPLETED),
    Transition(TaskStatus.RUNNING, Move.FAIL, TaskStatus.FAILED),
    Transition(TaskStatus.RUNNING, Move.RETRY, TaskStatus.PENDING),
    Transition(TaskStatus.RUNNING, Move.RELEASE, TaskStatus.PENDING),
    Transition(TaskStatus.RUNNING, Move.RESCUE, TaskStatus.PENDING),
    Transition(TaskStatus.RUNNING, Move.POISON, TaskStatus.FAILED),
    Transition(TaskStatus.RUNNING, Move.CANCEL, TaskStatus.CANCELED),
    Transition(TaskStatus.FAILED, Move.MANUAL_RETRY, TaskStatus.PENDING),
    Transition(TaskStatus.FAILED, Move.CANCEL, TaskStatus.CANCELED, is_for_holders=True),
    Transition(TaskStatus.CANCELED, Move.MANUAL_RETRY, TaskStatus.PENDING),
)

_TARGETS: Final = {(row.source, row.move): row for row in TRANSITIONS}


def allows(status: TaskStatus, move: Move, *, holds_key: bool = False) -> bool:
    """Return whether a task with this status can make a move.

    Args:
        status: The status.
        move: The move.
        holds_key: Whether the task FAILED and holds its order key.
    """
    row = _TARGETS.get((status, move))
    return row is not None and (holds_key or not row.is_for_holders)


def target_of(status: TaskStatus, move: Move, *, holds_key: bool = False) -> TaskStatus:
    """Return the status after a move; the arguments are the same as for ``allows``.

    Raises:
        IllegalMove: The move is not allowed from this status.
    """
    if not allows(status, move, holds_key=holds_key):
        raise IllegalMove(_rejection(status, move))
    return _TARGETS[status, move].target


def _rejection(status: TaskStatus, move: Move) -> str:
    text = f"cannot {move.verb} a task that is {status}"
    if move is not Move.MANUAL_RETRY:
        return text
    advice = "submit it again as a new task" if status.is_final else "cancel it first"
    return f"{text}; {advice}"


def check_deletable(status: TaskStatus) -> None:
    """Check that a task with this status may be deleted. Deletion is not a move: no status follows.

    Raises:
        IllegalMove: The task is not finished.
    """
    if not status.is_final:
        raise IllegalMove(f"cannot delete a task that is {status}; cancel it first")


def check_skippable(status: TaskStatus, *, holds_key: bool) -> None:
    """Check that a task may be skipped. That is not a move: the task stays FAILED.

    Raises:
        IllegalMove: It does not hold its order key.
    """
    if not holds_key:
        what = "does not hold an order key" if status is TaskStatus.FAILED else f"is {status}"
        raise IllegalMove(
            f"cannot skip a task that {what}; only a task that FAILED with on_failure hold can be "
            "skipped"
        )


def sources_of(move: Move) -> tuple[TaskStatus, ...]:
    """Return the statuses from which a move is allowed to any task."""
    return tuple(row.source for row in TRANSITIONS if row.move is move and not row.is_for_holders)


def diagram() -> str:
    """Return the table as the Mermaid state diagram that the docs show."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {status}: {how}" for status, how in INITIAL_STATUSES.items()]
    lines += [f"    {row.source} --> {row.target}: {_label(row)}" for row in TRANSITIONS]
    lines += [f"    {status} --> [*]" for status in TaskStatus if status.is_final]
    return "\n".join(lines)


def _label(row: Transition) -> str:
    return f"{row.move} (holds its order key)" if row.is_for_holders else str(row.move)
