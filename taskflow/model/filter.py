"""Filters for tasks."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import TagValue, Task, TaskStatus
from taskflow.model.task_states import TaskState


class PageOrder(enum.StrEnum):
    """The order of the tasks in a list."""

    NEWEST = "newest"
    """The newest task first."""
    OLDEST = "oldest"
    """The oldest task first."""


class TaskFilter(msgspec.Struct, frozen=True):
    """A filter for tasks: all given conditions must match; without conditions, all tasks match.

    Attributes:
        statuses: The status is one of these.
        queue: The name of the queue.
        tags: Tags that the task must have, with their values as text.
        host: The host of the URL, normalized as by ``parse_target``.
        error_type: Why the last attempt failed.
        created_after: Stored at this time or later.
        created_before: Stored before this time.
        finished_after: Finished at this time or later.
        finished_before: Finished before this time.
        url_contains: The submitted URL contains this text (case-sensitive).
        id_prefix: The id begins with these hexadecimal digits, in lower case and without hyphens.
        order_key: The order key.
        group: The id of the group.
        endpoint: The id of the endpoint that an event is delivered to.
        parent: The id of a parent.
        failure: The id of a failure; such tasks are FAILED.
        scope: The queue is one of these.
        states: The state is one of these.
    """

    statuses: tuple[TaskStatus, ...] = ()
    queue: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    host: str | None = None
    error_type: ErrorType | None = None
    created_after: dt.datetime | None = None
    created_before: dt.datetime | None = None
    finished_after: dt.datetime | None = None
    finished_before: dt.datetime | None = None
    url_contains: str | None = None
    id_prefix: str | None = None
    order_key: str | None = None
    group: uuid.UUID | None = None
    endpoint: uuid.UUID | None = None
    parent: uuid.UUID | None = None
    failure: uuid.UUID | None = None
    scope: QueueScope | None = None
    states: tuple[TaskState, ...] = ()

    @property
    def depends_on_limits(self) -> bool:
        """True if limits and circuit breakers decide which tasks match."""
        chosen = {state for state in self.states if state.depends_on_limits}
        return len(chosen) == 1  # without either, or with both, it makes no difference


NO_FILTER: Final = TaskFilter()


class _Request(msgspec.Struct):
    url: Any = None


_URL: Final = msgspec.json.Decoder(str)
_REQUEST: Final = msgspec.json.Decoder(_Request)


def matches(
    task: Task, host: str | None, wanted: TaskFilter, *, failure: uuid.UUID | None = None
) -> bool:
    """Return whether a task matches a filter, but for its state.

    Args:
        task: The task.
        host: The host of its URL.
        wanted: The filter.
        failure: The failure that it is in.
    """
    return (
        (not wanted.statuses or task.status in wanted.statuses)
        and wanted.queue in (None, task.queue)
        and (wanted.scope is None or wanted.scope.allows(task.queue))
        and all(has_tag(task.tags, name, value) for name, value in wanted.tags)
        and wanted.host in (None, host)
        and wanted.error_type in (None, task.error_type)
        and (wanted.id_prefix is None or task.id.hex.startswith(wanted.id_prefix))
        and wanted.order_key in (None, task.order_key)
        and wanted.group in (None, task.group)
        and wanted.endpoint in (None, task.endpoint_id)
        and (wanted.parent is None or wanted.parent in (task.after or ()))
        and wanted.failure in (None, failure)
        and _is_within(task.created_at, wanted.created_after, wanted.created_before)
        and _is_within(task.finished_at, wanted.finished_after, wanted.finished_before)
        and (wanted.url_contains is None or wanted.url_contains in url_of(task.payload))
    )


def tag_text(value: TagValue) -> str:
    """Return the value of a tag as text, as in JSON but without quotes."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def url_of(payload: msgspec.Raw | bytes) -> str:
    """Return the submitted URL of a payload; empty if it has none."""
    text = bytes(payload).lstrip()
    try:
        if text.startswith(b'"'):
            return _URL.decode(text)
        if text.startswith(b"{"):
            url = _REQUEST.decode(text).url
            return url if isinstance(url, str) else ""
    except (msgspec.DecodeError, RecursionError):  # JSON that the API would have rejected
        pass
    return ""


def has_tag(tags: Mapping[str, TagValue], name: str, value: str) -> bool:
    """Return whether there is a tag with this name and value (as text)."""
    return name in tags and tag_text(tags[name]) == value


def _is_within(
    moment: dt.datetime | None, after: dt.datetime | None, before: dt.datetime | None
) -> bool:
    if after is None and before is None:
        return True
    return (
        moment is not None
        and (after is None or moment >= after)
        and (before is None or moment < before)
    )
