"""Unique keys and debounce: submissions that meet a task which exists already."""

from __future__ import annotations

import enum
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.task_status import TaskStatus

MAX_KEY_CHARACTERS: Final = 255
KEY_PATTERN: Final = "^[^\x00-\x1f\x7f]+$(?!\n)"
MIN_DEBOUNCE_SECONDS: Final = 0.001
MAX_DEBOUNCE_SECONDS: Final = 31_622_400  # 366 days
ALWAYS_UNIQUE: Final = (TaskStatus.PENDING, TaskStatus.RUNNING)
"""A task in one of these may enter the other by itself, and must not meet a conflict then."""

Key: TypeAlias = Annotated[
    str,
    Meta(
        pattern=KEY_PATTERN,
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        extra={"expected": f"1 to {MAX_KEY_CHARACTERS} characters without control characters"},
    ),
]
DebounceSeconds: TypeAlias = Annotated[
    float,
    Meta(ge=MIN_DEBOUNCE_SECONDS, le=MAX_DEBOUNCE_SECONDS, extra={"unit": "seconds"}),
]


class OnConflict(enum.StrEnum):
    """What happens to a submission whose unique key another task has."""

    RETURN = "return"
    """That task is returned, unchanged."""
    REPLACE = "replace"
    """Before its first attempt, that task gets the new payload and options; later as `return`."""
    REJECT = "reject"
    """The submission is rejected: 409 `not-unique`."""


class Unique(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that one task of a queue can have at a time."""

    key: Annotated[
        Key, Meta(description="The key, unique within the queue.", examples=["invoice-4711"])
    ]
    statuses: Annotated[
        Annotated[tuple[TaskStatus, ...], Meta(min_length=1, max_length=len(TaskStatus))],
        Meta(
            description="The statuses in which the task has the key. They include `PENDING` and "
            "`RUNNING`; with final statuses, the key is taken until the task is deleted. "
            "Default: `PENDING` and `RUNNING`.",
            examples=[["PENDING", "RUNNING", "COMPLETED"]],
        ),
    ] = msgspec.field(default=ALWAYS_UNIQUE, name="while")
    on_conflict: Annotated[
        OnConflict,
        Meta(
            description="What happens to this submission if another task has the key. Default: "
            "`return`.",
            examples=["replace"],
        ),
    ] = OnConflict.RETURN


class Debounce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key by which later submissions replace a task that has not started."""

    key: Annotated[
        Key, Meta(description="The key, within the queue.", examples=["reindex-customer-42"])
    ]
    delay_seconds: Annotated[
        DebounceSeconds,
        Meta(
            description="Time without a submission of this key after which the task is due.",
            examples=[5],
        ),
    ]
    max_wait_seconds: Annotated[
        DebounceSeconds | None,
        Meta(
            description="The task is due at the latest this time after its first submission, "
            "whose value counts. Default: no limit.",
            examples=[60],
        ),
    ] = None


class Existing(enum.StrEnum):
    """What a submission did to a task that existed."""

    RETURNED = "returned"
    """Nothing: the task has the unique key."""
    REPLACED = "replaced"
    """The task, which has the unique key, got the payload and options of the submission."""
    DEBOUNCED = "debounced"
    """The task got the payload and options of the submission, and its time was moved."""
