"""What clients send, read strictly and named in their own terms.

``/openapi.json`` shows the types here as they are: bounds come from ``Meta``, descriptions from
the docstrings.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, NoReturn, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from taskflow.model.errors import BadRequest, TaskNotFound, Unprocessable
from taskflow.model.json_text import MAX_NESTING, is_too_deep
from taskflow.model.task import (
    GREATEST_PRIORITY,
    LEAST_PRIORITY,
    MOST_ATTEMPTS,
    NewTask,
    Payload,
    TaskStatus,
)

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000
_HOW: Final = 'send a JSON object with a payload, such as {"payload": "https://example.com/"}'
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


MaxAttempts: TypeAlias = Annotated[int, Meta(ge=1, le=MOST_ATTEMPTS)]
Priority: TypeAlias = Annotated[int, Meta(ge=LEAST_PRIORITY, le=GREATEST_PRIORITY)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_PAGE)]
# Base64 of 16 bytes, whose last character has four bits that stand for nothing. The length says
# what Python's $ does not: that no newline follows.
Cursor: TypeAlias = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{21}[AQgw]$", max_length=22)]


class TaskRequest(msgspec.Struct):
    """A task to be handed in; fields that are not named here are passed over.

    Attributes:
        payload: The URL to fetch. Any JSON but null is taken and kept to the byte, up to 500
            levels deep and without unpaired surrogates; a task whose payload is no URL fails as
            ``invalid_url``.
        max_attempts: How many attempts may fail before the task does; if it is not given, as many
            as the setting ``TASKFLOW_MAX_ATTEMPTS`` says.
        priority: Higher is claimed first; 0 if it is not given.
    """

    payload: Payload
    max_attempts: MaxAttempts | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET


class _Envelope(msgspec.Struct):
    """The same fields unread: the body is judged as a whole first, then field by field."""

    payload: msgspec.Raw | UnsetType = UNSET
    max_attempts: msgspec.Raw | UnsetType = UNSET
    priority: msgspec.Raw | UnsetType = UNSET


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)


def new_task_of(body: bytes, *, max_attempts: int) -> NewTask:
    """Read the body of ``POST /tasks``; the payload is kept to the byte.

    Args:
        body: JSON text.
        max_attempts: For a task that does not say how many it gets.

    Raises:
        BadRequest: It is not a JSON object with a payload that is not null.
        Unprocessable: It is, but cannot be stored unchanged, or another field cannot be used.
    """
    if not body.strip():
        raise BadRequest(f"the body is empty; {_HOW}")
    _check_is_utf8(body)
    envelope = _envelope_of(body)
    payload = envelope.payload
    if isinstance(payload, UnsetType):
        raise BadRequest(f"payload is missing; {_HOW}")
    if bytes(payload) == b"null":
        raise BadRequest(f"payload is null; {_HOW}")
    if is_too_deep(bytes(payload)):
        _refuse_depth()
    return NewTask(
        payload.copy(),
        max_attempts=_given("max_attempts", envelope.max_attempts, MaxAttempts, max_attempts),
        priority=_given("priority", envelope.priority, Priority, 0),
    )


def _given(name: str, value: msgspec.Raw | UnsetType, kind: Any, default: int) -> int:
    return default if isinstance(value, UnsetType) else _whole_number(name, bytes(value), kind)


def _whole_number(name: str, text: bytes, kind: Any) -> int:
    """Read a number by its type, an ``int`` with bounds; 2.0 is whole, as JSON Schema has it."""
    try:
        number = msgspec.json.decode(text)
        is_whole = isinstance(number, float) and number.is_integer()
        whole: int = msgspec.convert(int(number) if is_whole else number, kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        [bounds] = kind.__metadata__
        raise Unprocessable(
            f"{name} must be a whole number from {bounds.ge} to {bounds.le}"
        ) from None
    return whole


def _check_is_utf8(body: bytes) -> None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (at byte {error.start}); {_HOW}") from None


def _envelope_of(body: bytes) -> _Envelope:
    try:
        return _ENVELOPE.decode(body)
    except msgspec.ValidationError:
        raise BadRequest(f"the body is not a JSON object; {_HOW}") from None
    except RecursionError:
        _refuse_depth()
    except msgspec.DecodeError as error:
        if _is_json(body.decode()):
            raise Unprocessable(
                "the body has an unpaired surrogate escape (\\ud800 to \\udfff), which is no "
                "character and cannot be stored; remove it"
            ) from None
        raise BadRequest(f"the body is not JSON ({error}); {_HOW}") from None


def _is_json(text: str) -> bool:
    """Whether the standard library's reader takes it, which is easy about surrogates.

    It gets text, for of bytes it would also take UTF-16.
    """
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except RecursionError:
        _refuse_depth()
    except ValueError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_depth() -> NoReturn:
    raise Unprocessable(f"the payload is nested more than {MAX_NESTING} levels deep; flatten it")


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
    return _whole_number("limit", digits.encode(), Limit)


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
