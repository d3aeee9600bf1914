"""What ``GET /tasks`` takes."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.api.reading.rules import whole_number
from taskflow.model.errors import TaskNotFound, Unprocessable
from taskflow.model.task import TaskStatus

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_PAGE)]
# Base64 of 16 bytes, whose last character has four bits that stand for nothing. The length says
# what Python's $ does not: that no newline follows.
Cursor: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{21}[AQgw]$", max_length=22)]
_LIMIT: Final = whole_number(Limit)


class PageRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /tasks``.

    Attributes:
        limit: How many tasks to answer with, at most.
        status: Only tasks that stand so; all if it is not given.
        cursor: A place in the list, as the ``Link`` header gives it; the newest task if it is
            not given.
    """

    limit: Limit = DEFAULT_PAGE
    status: TaskStatus | None = None
    cursor: Cursor | None = None

    @property
    def before(self) -> uuid.UUID | None:
        """The task after which the page begins."""
        if self.cursor is None:
            return None
        return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{self.cursor}=="))


def page_request_of(query: Mapping[str, Iterable[str]]) -> PageRequest:
    """Read the query of ``GET /tasks``.

    Raises:
        Unprocessable: A parameter cannot be used; names it and what is allowed.
    """
    readers = {"limit": _limit_of, "status": _status_of, "cursor": _cursor_of}
    values: dict[str, Any] = {}
    for name, (text, *more) in query.items():
        if name not in readers:
            raise Unprocessable(f"there is no parameter {name!r}; known are {', '.join(readers)}")
        if more:
            raise Unprocessable(f"{name} is given more than once")
        values[name] = readers[name](text)
    return PageRequest(**values)


def task_id_of(text: str) -> uuid.UUID:
    """Read a task's id.

    Raises:
        TaskNotFound: It is not an id at all, so no task has it.
    """
    if not _UUID.fullmatch(text):
        raise TaskNotFound("there is no task with this id; an id is a UUID")
    return uuid.UUID(text)


def cursor_of(task_id: uuid.UUID) -> str:
    """An opaque text for the place in the list after this task."""
    return base64.urlsafe_b64encode(task_id.bytes).rstrip(b"=").decode()


def _limit_of(text: str) -> int:
    digits = text.lstrip("0") if re.fullmatch("[0-9]+", text) else ""
    try:
        limit: int = _LIMIT.value_of(digits.encode())
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Unprocessable(f"limit must be {_LIMIT.expected}") from None
    return limit


def _status_of(text: str) -> TaskStatus:
    try:
        return TaskStatus(text)
    except ValueError:
        raise Unprocessable(f"status must be one of {', '.join(TaskStatus)}") from None


def _cursor_of(text: str) -> str:
    try:
        cursor: str = msgspec.convert(text, Cursor)
    except msgspec.ValidationError:
        raise Unprocessable(
            "cursor is not one that this service gave; follow the Link header with rel=next"
        ) from None
    return cursor
