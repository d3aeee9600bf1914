"""The SQL statements in ``queries``, and their rows as values of the model.

A statement is a block ``-- name: ...`` of a file. A name that ends in ``_if_...`` states the
condition under which the statement changes anything. Arrays are passed as ``%(...)b``, in the
binary format: in the text format psycopg searches each element for characters to quote, which took
seven times as long as all the rest of sending 16 results.

Triggers, restores and people can leave documents in the database that no version of TaskFlow
writes. Such rows are shown as far as they can be read, and never run.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import math
import re
import uuid
from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET

from taskflow.model.completion import FOR_COMPLETION
from taskflow.model.event import TaskEvent
from taskflow.model.options import NO_OPTIONS, TaskOptions
from taskflow.model.order_keys import IN_LINE, OnFailure, WaitingFor, WaitReason
from taskflow.model.outcome import ErrorType, response_of
from taskflow.model.parents import FOR_PARENTS
from taskflow.model.queue_limits import Limiter, QueueHost, QueueSettings
from taskflow.model.queues import Line
from taskflow.model.task import AttemptRecord, AttemptStatus, Claim, TagValue, Task, TaskStatus
from taskflow.model.untrusted_text import MAX_NESTING, is_too_deep, without_lone_surrogates

_HEADING: Final = re.compile(r"^-- (name|part): (\w+)$", re.MULTILINE)
_INSERTED_PART: Final = re.compile(r"^-- insert: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^--.*\n", re.MULTILINE)
Row = tuple[Any, ...]
Execute = Callable[[str, Mapping[str, object]], list[Row]]
"""Executes a statement by its name, with these parameters."""
# Raised by msgspec for an invalid document, and for one that is nested too deep.
UNREADABLE: Final = (ValueError, RecursionError)
Kind = TypeVar("Kind", bound=msgspec.Struct)
Name = TypeVar("Name", bound=enum.StrEnum)
# Callbacks hold a payload, and a result a body, a few levels down.
_MAX_SHOWN_NESTING: Final = MAX_NESTING + 10
_MAX_SHOWN_CHARACTERS: Final = 16 * 2**10
_TAGS: Final = msgspec.json.Decoder(dict[str, TagValue])
_OPTIONS: Final = msgspec.json.Decoder(TaskOptions)
_SETTINGS: Final = msgspec.json.Decoder(QueueSettings)


@functools.cache
def load_queries() -> Mapping[str, str]:
    """Return the statements by name, without their comments, and with the parts that they share.

    Raises:
        ValueError: Two have the same name.
    """
    found: dict[str, dict[str, str]] = {"name": {}, "part": {}}
    for file in resources.files("taskflow.store.postgres").joinpath("queries").iterdir():
        if file.name.endswith(".sql"):
            _, *pieces = _HEADING.split(file.read_text("utf-8"))
            for kind, name, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
                if name in found[kind]:
                    raise ValueError(f"two statements are named {name}")
                found[kind][name] = body.strip()
    parts = found["part"]
    return MappingProxyType(
        {
            name: _COMMENT.sub("", _INSERTED_PART.sub(lambda line: parts[line[1]], body)).strip()
            for name, body in found["name"].items()
        }
    )


def task_of(row: Row) -> Task:
    """Return the task of a row of ``read``, without what cannot be read."""
    try:
        return _task_of(row, _error_type_of(row[5]), _tags_of(row[15]), options_of(row[18]))
    except UNREADABLE:
        options = readable_options_of(row[18])
        return _task_of(row, named(ErrorType, row[5]), readable_tags(row[15]), options)


def _task_of(
    row: Row, error_type: ErrorType | None, tags: dict[str, TagValue], options: TaskOptions
) -> Task:
    (task_id, payload, status, result, error, _, *rest) = row
    created_at, run_at, started_at, finished_at, queue, priority, *counts = rest
    attempt, max_attempts, rescues, _, expires_at, retention, _, callback_id, debounced, *order = (
        counts
    )
    order_key, on_failure, waiting_for, group = order
    return Task(
        id=task_id,
        payload=shown_json(payload),
        status=TaskStatus(status),
        result=None if result is None else shown_json(result),
        error=error or "",
        error_type=error_type,
        created_at=created_at,
        run_at=run_at,
        started_at=started_at,
        finished_at=finished_at,
        queue=queue,
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        rescues=rescues,
        tags=tags,
        expires_at=expires_at,
        backoff=options.shown_backoff,
        retry_on=options.retry_on,
        success_on=options.success_on,
        sign=options.sign,
        credential=options.credential,
        unique=options.unique,
        debounce=options.debounce,
        debounced=debounced or 0,
        retention_seconds=_finite(retention),
        completion=options.completion,
        callback_url=options.callback_url,
        callback_id=callback_id,
        callback_of=options.callback_of,
        schedule=options.schedule,
        scheduled_at=options.scheduled_at,
        order_key=order_key,
        on_failure=None if order_key is None else OnFailure(on_failure or OnFailure.CONTINUE),
        group=group,
        completion_of=options.completion_of,
        delivery=options.delivery or UNSET,
        name=options.name,
        after=None if options.on_parent_failure is None else (),
        on_parent_failure=options.on_parent_failure,
        waiting_for=_waiting_for(TaskStatus(status), waiting_for),
    )


def _waiting_for(status: TaskStatus, reason: str | None) -> WaitingFor | None:
    """Return what a task waits for; the tasks that must come first are read separately."""
    if status is TaskStatus.RUNNING and reason == WaitReason.COMPLETION:
        return FOR_COMPLETION
    if status is not TaskStatus.PENDING or reason is None:
        return None
    return FOR_PARENTS if reason == WaitReason.PARENTS else IN_LINE


def claim_of(row: Row, token: uuid.UUID, limiter: Limiter | None) -> Claim:
    """Return the claim of a row of ``claim_if_alive``, or of a scan with its limiter."""
    task_id, payload, attempt, max_attempts, options, _, _, authority, queue, *rest = row
    waited, tags, settings = rest
    lane = QueueHost(queue, authority)
    fault, egress_proxy = "", None
    try:
        read = options_of(options)
        _tags_of(tags)
        if settings is not None:
            of_queue = settings_of(settings)
            read = read.with_queue_defaults(sign=of_queue.sign, credential=of_queue.credential)
            egress_proxy = of_queue.egress_proxy
    except UNREADABLE as error:
        read, fault = NO_OPTIONS, f"its row in the database cannot be read: {error}"
    return Claim(
        task_id,
        token,
        raw(payload),
        attempt,
        max_attempts,
        read,
        egress_proxy,
        authority,
        is_limited=limiter is not None and limiter.is_limited(lane),
        is_probe=limiter is not None and limiter.is_probe(lane),
        waited_seconds=waited,
        fault=fault,
        queue=queue,
    )


def attempt_of(row: Row) -> AttemptRecord:
    """Return the attempt of a row of ``attempts``."""
    (number, status, node, started_at, finished_at, elapsed_ms, code, error, *said) = row
    error_type, response = said
    return AttemptRecord(
        number=number,
        status=AttemptStatus(status),
        node=node,
        started_at=started_at,
        finished_at=finished_at,
        elapsed_seconds=_seconds(_finite(elapsed_ms)),
        status_code=code,
        error=error or "",
        error_type=named(ErrorType, error_type),
        response=response_of(response),
    )


def event_of(row: Row) -> TaskEvent:
    """Return the event of a row of ``events_after``."""
    try:
        return _event_of(row, _error_type_of(row[7]), _tags_of(row[8]))
    except UNREADABLE:
        return _event_of(row, named(ErrorType, row[7]), readable_tags(row[8]))


def _event_of(row: Row, error_type: ErrorType | None, tags: dict[str, TagValue]) -> TaskEvent:
    (event_id, task_id, status, queue, attempt, at, error, _, _, group) = row
    return TaskEvent(
        id=event_id,
        task_id=task_id,
        status=TaskStatus(status),
        queue=queue,
        attempt=attempt,
        at=at,
        error=error or "",
        error_type=error_type,
        tags=tags,
        group=group,
    )


def shown_json(text: str) -> msgspec.Raw:
    """Return JSON as it was submitted, or as text if clients could not parse it."""
    document = without_lone_surrogates(text).encode()
    if is_too_deep(document, _MAX_SHOWN_NESTING):
        return msgspec.Raw(msgspec.json.encode(text[:_MAX_SHOWN_CHARACTERS]))
    return msgspec.Raw(document)


def _finite(number: float | None) -> float | None:
    """Return the number, if JSON has it: PostgreSQL also has NaN and infinity."""
    return number if number is not None and math.isfinite(number) else None


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 6)


def _error_type_of(text: str | None) -> ErrorType | None:
    return None if text is None else ErrorType(text)


def _tags_of(text: str | None) -> dict[str, TagValue]:
    return {} if text is None else _TAGS.decode(text)


def readable_tags(text: str | None) -> dict[str, TagValue]:
    """Return the tags that can be read."""
    tags: dict[str, TagValue] = {}
    for name, value in fields_of(text or "{}").items():
        with contextlib.suppress(*UNREADABLE):
            tags[name] = msgspec.json.decode(value, type=TagValue)
    return tags


def options_of(text: str | None) -> TaskOptions:
    """Return the options of a task."""
    return NO_OPTIONS if text is None else _OPTIONS.decode(text)


def readable_options_of(text: str | None) -> TaskOptions:
    """Return the options of a task as far as they can be read."""
    return NO_OPTIONS if text is None else readable_part(text, TaskOptions)


def settings_of(text: str) -> QueueSettings:
    """Return the settings of a queue; unreadable ones have their defaults."""
    try:
        return _SETTINGS.decode(text)
    except UNREADABLE:
        return readable_part(text, QueueSettings)


def line_of(row: Row) -> Line:
    """Return the line of a row of ``count``."""
    (_, status, count, *entered) = row
    return Line(TaskStatus(status), count, tuple(entered))


def raw(text: str) -> msgspec.Raw:
    """Return JSON as it was submitted."""
    return msgspec.Raw(text.encode())


def fields_of(text: str | bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object; none if the text is no object."""
    with contextlib.suppress(*UNREADABLE):
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return {}


def readable_part(text: str | bytes | msgspec.Raw, kind: type[Kind], **known: Any) -> Kind:
    """Return a struct of the members that can be read; the others have their defaults.

    Args:
        text: JSON.
        kind: The struct; its fields have defaults, except the known ones.
        known: Fields that are not read.
    """
    members = fields_of(text)
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in members:
            with contextlib.suppress(*UNREADABLE):
                found[field.name] = msgspec.json.decode(members[field.encode_name], type=field.type)
    return kind(**{**found, **known})


def named(kind: type[Name], value: str | None) -> Name | None:
    """Return the member of an enumeration with this value, if there is one."""
    return kind(value) if value in set(kind) else None
