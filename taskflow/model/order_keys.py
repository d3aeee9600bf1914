"""Order keys: the tasks of a key run one at a time, in the order in which they were submitted.

The tasks of a queue that have the same order key form a *line*. At most one of them is active: it
runs, or waits for its next attempt. The others wait, until the first of them is started (promoted)
because the active task has finished. A FAILED task that holds its key keeps its place in the line.
"""

from __future__ import annotations

import enum
import uuid
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.uniqueness import KEY_PATTERN, MAX_KEY_CHARACTERS

OrderKey: TypeAlias = Annotated[
    str,
    Meta(
        pattern=KEY_PATTERN,
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        extra={
            "expected": f"text of 1 to {MAX_KEY_CHARACTERS} characters, none of them control "
            "characters"
        },
    ),
]


class OnFailure(enum.StrEnum):
    """What happens to an order key when a task with that key fails."""

    CONTINUE = "continue"
    """The next task of the key starts."""
    HOLD = "hold"
    """None starts until a client retries, cancels, skips or deletes the failed task."""


class WaitReason(enum.StrEnum):
    """What a task waits for."""

    ORDER_KEY = "order_key"
    """Tasks with the same order key come first."""
    PARENTS = "parents"
    """Its parents have not finished."""
    COMPLETION = "completion"
    """Its target has accepted the work, and its outcome is not known yet."""


class WaitingFor(msgspec.Struct, frozen=True):
    """What a task waits for.

    Attributes:
        reason: The reason, for programs.
        task_id: The task directly ahead in line, or the first of the parents that have not
            finished. `null` if there is none, so that the task starts in a moment, and in responses
            to submissions.
        detail: The reason, for people.
    """

    reason: WaitReason
    task_id: uuid.UUID | None
    detail: str


IN_LINE: Final = WaitingFor(
    WaitReason.ORDER_KEY, None, "it starts when no earlier task of its order key is left"
)
"""What a task with an order key waits for if no task is known to be ahead."""


def behind(task_id: uuid.UUID, *, is_holding: bool) -> WaitingFor:
    """Return what a task waits for that is behind another one in line.

    Args:
        task_id: The task ahead.
        is_holding: Whether that task FAILED and holds the key.
    """
    how = "failed and holds the order key until it is retried, canceled or skipped"
    detail = f"the task ahead {how}" if is_holding else "a task ahead has not finished"
    return WaitingFor(WaitReason.ORDER_KEY, task_id, detail)
