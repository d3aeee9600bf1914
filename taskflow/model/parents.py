"""Parents: the tasks that must have finished before a task starts."""

from __future__ import annotations

import enum
import re
import uuid
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from taskflow.model.order_keys import WaitingFor, WaitReason

MAX_PARENTS: Final = 100
"""Maximum number of parents of a task."""

MAX_CHILDREN: Final = 10_000
"""Maximum number of tasks that have the same parent."""

NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)"
_ID: Final = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

Parent: TypeAlias = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64)]
"""The name of a task of the same array, or the id of any task."""

Parents: TypeAlias = Annotated[
    tuple[Parent, ...],
    Meta(
        max_length=MAX_PARENTS,
        extra={
            "expected": f"a list of up to {MAX_PARENTS} ids of tasks, or names of tasks of the "
            "same array"
        },
    ),
]


class OnParentFailure(enum.StrEnum):
    """What happens to a task when one of its parents FAILED or was CANCELED."""

    CANCEL = "cancel"
    """It is canceled at once."""
    RUN = "run"
    """It runs once all parents have finished, however they did."""
    FAIL = "fail"
    """It fails at once, as ``parent_failed``."""


FOR_PARENTS: Final = WaitingFor(
    WaitReason.PARENTS, None, "it starts when its parents have finished"
)
"""What a task with parents waits for if it is not known which of them have not finished."""


def is_id(parent: str) -> bool:
    """Return whether a parent is given by its id, and not by its name."""
    return _ID.fullmatch(parent) is not None


def after_parents(task_id: uuid.UUID, count: int) -> WaitingFor:
    """Return what a task waits for.

    Args:
        task_id: The first of its parents that have not finished.
        count: Their number.
    """
    parents = "a parent has" if count == 1 else f"{count} parents have"
    return WaitingFor(WaitReason.PARENTS, task_id, f"{parents} not finished")


def failure_of(task_id: uuid.UUID, status: str) -> str:
    """Return the error of a task of which a parent FAILED or was CANCELED."""
    return f"parent failed: the task {task_id} is {status}"
