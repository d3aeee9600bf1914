"""The law of a task: one table of moves, shared by code, tests, database and docs."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from taskflow.model.errors import IllegalMove
from taskflow.model.task import TaskStatus


class Move(enum.StrEnum):
    """What can happen to a task."""

    CLAIM = "claim"
    """A node takes it to run it; the attempt is counted."""
    COMPLETE = "complete"
    """Settled: the answer counts as success."""
    FAIL = "fail"
    """Settled: it failed for good."""
    RETRY = "retry"
    """It failed and will be run again later; the attempt stays counted."""
    RELEASE = "release"
    """Its run was interrupted; the attempt is not counted."""
    RESCUE = "rescue"
    """Its node died; counted as a rescue, not as an attempt."""
    POISON = "poison"
    """Its node died once too often."""
    EXPIRE = "expire"
    """It was still waiting when its time was over."""
    CANCEL = "cancel"
    """Somebody called it off."""
    MANUAL_RETRY = "manual retry"
    """A client retries it: it runs again from the start."""

    @property
    def verb(self) -> str:
        """What the API calls it; errors use this word."""
        return "retry" if self is Move.MANUAL_RETRY else self.value


class Transition(NamedTuple):
    """One legal move: where from, what, where to."""

    source: TaskStatus
    move: Move
    target: TaskStatus


# A new task waits, unless a node that is idle claims it in the moment in which it is stored.
BEGINNINGS: Final = {TaskStatus.PENDING: "add", TaskStatus.RUNNING: "add and claim"}
TRANSITIONS: Final = (
    Transition(TaskStatus.PENDING, Move.CLAIM, TaskStatus.RUNNING),
    Transition(TaskStatus.PENDING, Move.EXPIRE, TaskStatus.FAILED),
    Transition(TaskStatus.PENDING, Move.CANCEL, TaskStatus.CANCELED),
    Transition(TaskStatus.RUNNING, Move.COMPLETE, TaskStatus.COMPLETED),
    Transition(TaskStatus.RUNNING, Move.FAIL, TaskStatus.FAILED),
    Transition(TaskStatus.RUNNING, Move.RETRY, TaskStatus.PENDING),
    Transition(TaskStatus.RUNNING, Move.RELEASE, TaskStatus.PENDING),
    Transition(TaskStatus.RUNNING, Move.RESCUE, TaskStatus.PENDING),
    Transition(TaskStatus.RUNNING, Move.POISON, TaskStatus.FAILED),
    Transition(TaskStatus.RUNNING, Move.CANCEL, TaskStatus.CANCELED),
    Transition(TaskStatus.FAILED, Move.MANUAL_RETRY, TaskStatus.PENDING),
    Transition(TaskStatus.CANCELED, Move.MANUAL_RETRY, TaskStatus.PENDING),
)

_TARGETS: Final = {(row.source, row.move): row.target for row in TRANSITIONS}


def allows(status: TaskStatus, move: Move) -> bool:
    """Whether the table has this move from this status."""
    return (status, move) in _TARGETS


def target_of(status: TaskStatus, move: Move) -> TaskStatus:
    """Where the move leads.

    Raises:
        IllegalMove: The table has no such move from this status.
    """
    try:
        return _TARGETS[status, move]
    except KeyError:
        raise IllegalMove(_refusal(status, move)) from None


def _refusal(status: TaskStatus, move: Move) -> str:
    text = f"cannot {move.verb} a task that is {status}"
    if move is not Move.MANUAL_RETRY:
        return text
    way_on = "submit it again as a new task" if status.is_final else "cancel it first"
    return f"{text}; {way_on}"


def check_deletable(status: TaskStatus) -> None:
    """Let a task be deleted that is at its end. That is no move: afterwards it stands nowhere.

    Raises:
        IllegalMove: It is not at its end.
    """
    if not status.is_final:
        raise IllegalMove(f"cannot delete a task that is {status}; cancel it first")


def sources_of(move: Move) -> tuple[TaskStatus, ...]:
    """The statuses from which the move is legal."""
    return tuple(row.source for row in TRANSITIONS if row.move is move)


def diagram() -> str:
    """The table as a Mermaid state diagram, as the docs show it."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {status}: {how}" for status, how in BEGINNINGS.items()]
    lines += [f"    {row.source} --> {row.target}: {row.move}" for row in TRANSITIONS]
    lines += [f"    {status} --> [*]" for status in TaskStatus if status.is_final]
    return "\n".join(lines)
