"""Which tasks are meant: what a task must be to be found."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec

from taskflow.model.outcome import ErrorType
from taskflow.model.task import TagValue, Task, TaskStatus


class TaskFilter(msgspec.Struct, frozen=True):
    """What tasks are looked for; all that is given must hold, and nothing given is all tasks.

    Attributes:
        statuses: They stand at one of these.
        queue: They stand in this queue.
        tags: They have all of these, each a name and a value as text.
        host: Their URL has this host, in the spelling that ``parse_target`` gives.
        error_type: Their last attempt failed for this reason.
        created_after: They were stored then or later.
        created_before: They were stored earlier.
        finished_after: They ended then or later.
        finished_before: They ended earlier.
        url: Their URL, as it was handed in, has this text in it, with capitals as they are.
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
    url: str | None = None


NO_FILTER: Final = TaskFilter()


class _Request(msgspec.Struct):
    url: Any = None


_URL: Final = msgspec.json.Decoder(str)
_REQUEST: Final = msgspec.json.Decoder(_Request)


def matches(task: Task, host: str | None, wanted: TaskFilter) -> bool:
    """Whether a task, with a URL of this host, is one of those that are looked for."""
    return (
        (not wanted.statuses or task.status in wanted.statuses)
        and wanted.queue in (None, task.queue)
        and all(_has_tag(task, name, value) for name, value in wanted.tags)
        and wanted.host in (None, host)
        and wanted.error_type in (None, task.error_type)
        and _is_within(task.created_at, wanted.created_after, wanted.created_before)
        and _is_within(task.finished_at, wanted.finished_after, wanted.finished_before)
        and (wanted.url is None or wanted.url in url_of(task.payload))
    )


def tag_text(value: TagValue) -> str:
    """The value of a tag as it is looked for: true and false in small letters, as in JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def url_of(payload: msgspec.Raw) -> str:
    """The URL of a payload as it was handed in; empty if it has none."""
    text = bytes(payload).lstrip()
    try:
        if text.startswith(b'"'):
            return _URL.decode(text)
        if text.startswith(b"{"):
            url = _REQUEST.decode(text).url
            return url if isinstance(url, str) else ""
    except (msgspec.DecodeError, RecursionError):  # other JSON than is handed in over HTTP
        pass
    return ""


def _has_tag(task: Task, name: str, value: str) -> bool:
    return name in task.tags and tag_text(task.tags[name]) == value


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
