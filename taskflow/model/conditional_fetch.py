"""Conditional fetches: what the last answer said of itself (RFC 9110, section 8.8)."""

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
"""Others answer 412 in place of 304 (RFC 9110, section 13.1.2)."""
CONDITIONAL_FIELDS: Final = ("if-none-match", "if-modified-since")

# RFC 9110, section 8.8.3, without the bytes that no header of ours has; or without its quotes, as
# some targets send it, but then neither several of them nor the one that stands for all.
_ETAG: Final = re.compile(r'(W/)?"[!#-~]*"|(?!\*$)[!#-+\--~]+')
_DATE: Final = re.compile(r"[ -~]+")


class Validators(msgspec.Struct, frozen=True):
    """By what an answer can be told from a later one.

    Attributes:
        etag: An entity tag, as it was sent.
        last_modified: A date, as it was sent.
    """

    etag: str | None = None
    last_modified: str | None = None


class _Answer(msgspec.Struct):
    """What of a ``Response`` is looked at."""

    headers: dict[str, str] = {}
    not_modified: bool = False


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def compared_with(
    last_tasks: Sequence[uuid.UUID], statuses: Mapping[uuid.UUID, TaskStatus]
) -> uuid.UUID | None:
    """The task whose answer the next one is to be compared with; ``None`` if there is none.

    Args:
        last_tasks: The last tasks of a schedule, the newest first.
        statuses: Where they stand, of those that are still kept. What another one had for an
            answer nobody knows, so none before it is compared with.
    """
    for task_id in last_tasks:
        status = statuses.get(task_id)
        if status is None:
            return None
        if status is TaskStatus.COMPLETED:
            return task_id
    return None


def validators_of(result: bytes, options: TaskOptions) -> Validators | None:
    """What a fetch is to be conditional on that is to be compared with a task's answer.

    A target need not repeat in a 304 what it is about; then that is what was asked for.

    Args:
        result: Of the task, as JSON text.
        options: Of the task: by which its own fetch was conditional.
    """
    answer = _ANSWER.decode(result)
    etag = _matching(_ETAG, answer.headers.get("etag"))
    last_modified = _matching(_DATE, answer.headers.get("last-modified"))
    if answer.not_modified:
        etag = etag or options.if_none_match
        last_modified = last_modified or options.if_modified_since
    return Validators(etag, last_modified) if etag or last_modified else None


def _matching(pattern: re.Pattern[str], value: str | None) -> str | None:
    is_one = value and len(value) <= MAX_HEADER_BYTES and pattern.fullmatch(value)
    return value if is_one else None
