"""Events: changes of the status of tasks, and filters for them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

from taskflow.model.filter import has_tag
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import Moment, TagValue, TaskStatus


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the status of a task; the field order is the order of the JSON.

    Attributes:
        id: Its position in the order of all events; later events have greater ids.
        task_id: The id of the task.
        status: The new status.
        queue: The queue of the task.
        attempt: Number of attempts that count, including a running one.
        at: When the status changed.
        error: Why the last attempt failed, for people; empty if it did not fail.
        error_type: Why the last attempt failed, for programs.
        tags: The tags of the task.
        group: The id of the group of the task, if it is in one.
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
    group: uuid.UUID | None = None


class EventFilter(msgspec.Struct, frozen=True):
    """A filter for events; all given conditions must match.

    Attributes:
        task_id: The id of the task.
        group: The id of the group of the task.
        queue: The queue of the task.
        tags: Tags of the task, with their values as text.
        scope: The queue of the task is one of these.
    """

    task_id: uuid.UUID | None = None
    group: uuid.UUID | None = None
    queue: str | None = None
    tags: Mapping[str, str] = {}
    scope: QueueScope | None = None

    def accepts(self, event: TaskEvent) -> bool:
        """Return whether an event matches."""
        return (
            self.task_id in (None, event.task_id)
            and self.group in (None, event.group)
            and self.queue in (None, event.queue)
            and (self.scope is None or self.scope.allows(event.queue))
            and all(has_tag(event.tags, name, value) for name, value in self.tags.items())
        )


ALL_EVENTS = EventFilter()
