"""What ``GET /tasks`` takes."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.api.reading import rules
from taskflow.api.reading.filters import (
    A_STATUS,
    TEXT_RULES,
    HostName,
    Statuses,
    UrlText,
    filter_of,
)
from taskflow.api.reading.prefer import WaitRequest
from taskflow.api.reading.rules import PointInTime, Rule, whole_number
from taskflow.api.reading.unknown_fields import unknown_parameters
from taskflow.model.errors import TaskNotFound, Unprocessable
from taskflow.model.filter import TaskFilter
from taskflow.model.outcome import ErrorType
from taskflow.model.suggestions import Vocabulary
from taskflow.model.task import MAX_TAGS, Moment, QueueName, Task, TaskStatus

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000
NO_LIMIT: Final = 2**62
LONGEST_TAG_VALUE: Final = 256
FIELDS: Final = Task.__struct_fields__
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_PAGE)]
# Base64 of 16 bytes, whose last character has four bits that stand for nothing. The length says
# what Python's $ does not: that no newline follows.
Cursor: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{21}[AQgw]$", max_length=22)]
TagText: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:[^\x00-\x1f\x7f]{0,256}$(?!\n)",
        max_length=64 + 1 + LONGEST_TAG_VALUE,
    ),
]
TagTexts: TypeAlias = Annotated[tuple[TagText, ...], Meta(min_length=1, max_length=MAX_TAGS)]
Field: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": list(FIELDS)})]
Fields: TypeAlias = Annotated[tuple[Field, ...], Meta(min_length=1)]
_LIMIT: Final = whole_number(Limit)


class PageRequest(msgspec.Struct, frozen=True):
    """The query of ``GET /tasks``.

    Attributes:
        limit: How many tasks to answer with, at most. Of a stream of lines there may be any
            number, and all of them come if it is not given.
        status: Only tasks with this status, or one of several with commas between them.
        queue: Only tasks of this queue.
        tag: Only tasks with this tag, as its name, a colon and its value; if it is given several
            times, with all of them.
        host: Only tasks whose URL has this host.
        error_type: Only tasks whose last attempt failed for this reason.
        created_after: Only tasks that were handed in then or later.
        created_before: Only tasks that were handed in earlier.
        finished_after: Only tasks that came to their end then or later.
        finished_before: Only tasks that came to their end earlier.
        url: Only tasks whose URL, as it was handed in, has this text in it, with capitals as they
            are.
        fields: Only these fields of each task, with commas between them.
        cursor: A place in the list, as the ``Link`` header gives it; the newest task if it is
            not given.
    """

    limit: Limit = DEFAULT_PAGE
    status: Statuses | None = None
    queue: QueueName | None = None
    tag: TagTexts | None = None
    host: HostName | None = None
    error_type: ErrorType | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    finished_after: Moment | None = None
    finished_before: Moment | None = None
    url: UrlText | None = None
    fields: Fields | None = None
    cursor: Cursor | None = None

    @property
    def before(self) -> uuid.UUID | None:
        """The task after which the page begins."""
        if self.cursor is None:
            return None
        return uuid.UUID(bytes=base64.urlsafe_b64decode(f"{self.cursor}=="))

    @property
    def filter(self) -> TaskFilter:
        """Which tasks are wanted."""
        tags = [text.partition(":") for text in self.tag or ()]
        return filter_of(
            msgspec.structs.asdict(self),
            statuses=self.status or (),
            tags=tuple((name, value) for name, _, value in tags),
        )

    def going_on(self, before: uuid.UUID, *, limit: int) -> PageRequest:
        """The same from this task on, for so many."""
        return msgspec.structs.replace(self, cursor=cursor_of(before), limit=limit)


class ShowRequest(WaitRequest, frozen=True):
    """The query of ``GET /tasks/{id}``.

    Attributes:
        wait: For how many seconds the answer may wait for the end of the task, as ``Prefer`` says
            it otherwise.
        fields: Only these fields of the task, with commas between them.
    """

    fields: Fields | None = None


def page_request_of(query: Mapping[str, Sequence[str]], *, is_stream: bool = False) -> PageRequest:
    """Read the query of ``GET /tasks``.

    Args:
        query: The values of each parameter.
        is_stream: Whether the tasks are to come one after the other, any number of them.

    Raises:
        Unprocessable: Parameters cannot be used; names each and what is allowed.
    """
    values: dict[str, Any] = {"limit": NO_LIMIT} if is_stream else {}
    wrong = unknown_parameters(query, _NAMES)
    for name, texts in query.items():
        if name not in _READERS:
            continue
        try:
            values[name] = _value_of(name, texts, is_stream=is_stream)
        except Unprocessable as error:
            wrong.append(str(error))
    if wrong:
        raise Unprocessable("; ".join(wrong))
    return PageRequest(**values)


def fields_of(texts: Sequence[str]) -> tuple[str, ...] | None:
    """Read the parameter ``fields``; ``None`` if it is not given. In the order of ``Task``.

    Raises:
        Unprocessable: It is not such a list, or given twice.
    """
    return _value_of("fields", texts, is_stream=False) if texts else None


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


def _value_of(name: str, texts: Sequence[str], *, is_stream: bool) -> Any:
    if name == "tag":
        return _tags_of(texts)
    if len(texts) > 1:
        raise Unprocessable(f"{name} is given more than once")
    [text] = texts
    return _any_number_of(text) if is_stream and name == "limit" else _READERS[name](text)


def _limit_of(text: str) -> int:
    digits = text.lstrip("0") if re.fullmatch("[0-9]+", text) else ""
    try:
        limit: int = _LIMIT.value_of(digits.encode())
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise Unprocessable(f"limit must be {_LIMIT.expected}") from None
    return limit


def _any_number_of(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise Unprocessable("limit must be a whole number from 1 on")
    return int(text)


def _statuses_of(text: str) -> tuple[TaskStatus, ...]:
    try:
        return tuple(TaskStatus(name) for name in text.split(","))
    except ValueError:
        raise Unprocessable(
            f"status must be {A_STATUS}, or several with commas between them"
        ) from None


def _tags_of(texts: Sequence[str]) -> tuple[str, ...]:
    try:
        return msgspec.convert(texts, TagTexts)
    except msgspec.ValidationError:
        raise Unprocessable(
            f"tag must be a name, a colon and a value, such as color:red, {MAX_TAGS} times at "
            f"most; a name is {rules.NAME}, a value up to {LONGEST_TAG_VALUE} characters"
        ) from None


def _fields_of(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if not set(asked) <= set(FIELDS):
        raise Unprocessable(
            f"fields must be one of {', '.join(FIELDS)}, or several with commas between them"
        )
    return tuple(name for name in FIELDS if name in asked)


def _text_of(name: str, rule: Rule, text: str) -> Any:
    try:
        return rule.value_of(msgspec.json.encode(text))
    except (msgspec.ValidationError, msgspec.DecodeError):
        hint = "; a + in it is written as %2B" if isinstance(rule, PointInTime) else ""
        raise Unprocessable(f"{name} must be {rule.expected}{hint}") from None


def _cursor_of(text: str) -> str:
    try:
        cursor: str = msgspec.convert(text, Cursor)
    except msgspec.ValidationError:
        raise Unprocessable(
            "cursor is not one that this service gave; follow the Link header with rel=next"
        ) from None
    return cursor


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "limit": _limit_of,
    "status": _statuses_of,
    "cursor": _cursor_of,
    "tag": lambda text: _tags_of([text]),
    **{name: partial(_text_of, name, rule) for name, rule in TEXT_RULES.items()},
    "fields": _fields_of,
}
_NAMES: Final = Vocabulary(_READERS)
