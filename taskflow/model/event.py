"""What happened to a task."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

from taskflow.model.outcome import ErrorType
from taskflow.model.task import Moment, TagValue, TaskStatus


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A task stands otherwise than before; the field order is the order of the JSON.

    Attributes:
        id: Where it is in the order of all events; later ones have greater ids.
        task_id: The task's.
        status: How it stands now.
        queue: The queue that the task stands in.
        attempt: How many attempts counted by then, a running one included.
        at: When that was.
        error: Why the last attempt failed, for people; empty if none did.
        error_type: The same for programs.
        tags: The task's.
    """

    id: int
    task_id: uuid.UUID
    status: TaskStatus
    queue: str
    attempt: int
    at: Moment
    error: str = ""
    error_type: ErrorType | None = None
    tags: dict[str, TagValue] = {}


class EventFilter(msgspec.Struct, frozen=True):
    """Which events somebody wants; all that is given must hold.

    Attributes:
        task_id: Those of this task.
        queue: Those of tasks in this queue.
        tags: Those of tasks with these tags, each by its value as text.
    """

    task_id: uuid.UUID | None = None
    queue: str | None = None
    tags: Mapping[str, str] = {}

    def accepts(self, event: TaskEvent) -> bool:
        """Whether this is one of them."""
        return (
            self.task_id in (None, event.task_id)
            and self.queue in (None, event.queue)
            and all(text_of(event.tags.get(name)) == value for name, value in self.tags.items())
        )


def text_of(value: TagValue | None) -> str | None:
    """The value of a tag as it is asked for, which is as JSON has it but for quotes."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower()  # true, false, whole numbers


ALL_EVENTS = EventFilter()
