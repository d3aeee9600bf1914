"""What clients send, read strictly and named in their own terms."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

import msgspec

from taskflow.model.errors import BadRequest, TaskNotFound, Unprocessable
from taskflow.model.json_text import MAX_NESTING, is_too_deep
from taskflow.model.task import (
    GREATEST_PRIORITY,
    LEAST_PRIORITY,
    MOST_ATTEMPTS,
    NewTask,
    TaskStatus,
)

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000
_HOW: Final = 'send a JSON object with a payload, such as {"payload": "https://example.com/"}'
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class _Envelope(msgspec.Struct):
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    max_attempts: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    priority: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


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
    if isinstance(payload, msgspec.UnsetType):
        raise BadRequest(f"payload is missing; {_HOW}")
    if bytes(payload) == b"null":
        raise BadRequest(f"payload is null; {_HOW}")
    if is_too_deep(bytes(payload)):
        _refuse_depth()
    return NewTask(
        payload.copy(),
        max_attempts=_whole_number(
            "max_attempts", envelope.max_attempts, 1, MOST_ATTEMPTS, default=max_attempts
        ),
        priority=_whole_number(
            "priority", envelope.priority, LEAST_PRIORITY, GREATEST_PRIORITY, default=0
        ),
    )


def _whole_number(
    name: str, value: msgspec.Raw | msgspec.UnsetType, least: int, greatest: int, *, default: int
) -> int:
    if isinstance(value, msgspec.UnsetType):
        return default
    with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
        number = msgspec.json.decode(value, type=int)
        if least <= number <= greatest:
            return number
    raise Unprocessable(f"{name} must be a whole number from {least} to {greatest}")


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
    """The query of ``GET /tasks``."""

    limit: int
    status: TaskStatus | None
    before: uuid.UUID | None


def page_request_of(query: Mapping[str, Iterable[str]]) -> PageRequest:
    """Read the query of ``GET /tasks``.

    Raises:
        Unprocessable: A parameter cannot be used; names it and what is allowed.
    """
    readers = {"limit": _limit_of, "status": _status_of, "cursor": _id_of_cursor}
    values: dict[str, object] = {}
    for name, (text, *more) in query.items():
        if name not in readers:
            raise Unprocessable(f"there is no parameter {name!r}; known are {', '.join(readers)}")
        if more:
            raise Unprocessable(f"{name} is given more than once")
        values[name] = readers[name](text)
    return msgspec.convert(
        {
            "limit": values.get("limit", DEFAULT_PAGE),
            "status": values.get("status"),
            "before": values.get("cursor"),
        },
        PageRequest,
    )


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
    limit = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= limit <= LARGEST_PAGE:
        raise Unprocessable(f"limit must be a whole number from 1 to {LARGEST_PAGE}")
    return limit


def _status_of(text: str) -> TaskStatus:
    try:
        return TaskStatus(text)
    except ValueError:
        raise Unprocessable(f"status must be one of {', '.join(TaskStatus)}") from None


def _id_of_cursor(text: str) -> uuid.UUID:
    try:
        task_id = uuid.UUID(bytes=base64.b64decode(text + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        task_id = None
    if task_id is None or cursor_of(task_id) != text:
        raise Unprocessable(
            "cursor is not one that this service gave; follow the Link header with rel=next"
        )
    return task_id
