"""Conditional fetches: validators of the last response (RFC 9110, section 8.8)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from taskflow.model.options import TaskOptions
from taskflow.model.request import MAX_HEADER_BYTES
from taskflow.model.task import TaskStatus

NOT_MODIFIED: Final = 304
CONDITIONAL_METHODS: Final = ("GET", "HEAD")
"""For other methods, targets respond with 412 instead of 304 (RFC 9110, section 13.1.2)."""
CONDITIONAL_FIELDS: Final = ("if-none-match", "if-modified-since")

# RFC 9110, section 8.8.3, without bytes that request headers must not contain; or without quotes,
# as some targets send it, but then neither a list nor ``*``.
_ETAG: Final = re.compile(r'(W/)?"[!#-~]*"|(?!\*$)[!#-+\--~]+')
_DATE: Final = re.compile(r"[ -~]+")


class Validators(msgspec.Struct, frozen=True):
    """The validators of a response.

    Attributes:
        etag: The value of ``ETag``.
        last_modified: The value of ``Last-Modified``.
    """

    etag: str | None = None
    last_modified: str | None = None


class _Result(msgspec.Struct):
    """The fields of a ``Response`` that matter here."""

    headers: dict[str, str] = {}
    not_modified: bool = False


_RESULT: Final = msgspec.json.Decoder(_Result)


def find_compared_task(
    last_tasks: Sequence[uuid.UUID], statuses: Mapping[uuid.UUID, TaskStatus]
) -> uuid.UUID | None:
    """Return the last task that completed, if its response is still the latest one that is known.

    Args:
        last_tasks: The last tasks of a schedule, newest first.
        statuses: Statuses of the tasks that are still stored. The response of a deleted task is
            unknown, so no earlier task can be compared with.
    """
    for task_id in last_tasks:
        status = statuses.get(task_id)
        if status is None:
            return None
        if status is TaskStatus.COMPLETED:
            return task_id
    return None


def validators_of(result: bytes, options: TaskOptions) -> Validators | None:
    """Return the validators that make a fetch conditional on the response of a task.

    A 304 need not repeat the validators; then the validators of the task's own request still hold.

    Args:
        result: The result of the task, as JSON text.
        options: The options of the task, with the validators of its request.
    """
    response = _RESULT.decode(result)
    etag = _matching(_ETAG, response.headers.get("etag"))
    last_modified = _matching(_DATE, response.headers.get("last-modified"))
    if response.not_modified:
        etag = etag or options.if_none_match
        last_modified = last_modified or options.if_modified_since
    return Validators(etag, last_modified) if etag or last_modified else None


def _matching(pattern: re.Pattern[str], value: str | None) -> str | None:
    is_valid = value and len(value) <= MAX_HEADER_BYTES and pattern.fullmatch(value)
    return value if is_valid else None
