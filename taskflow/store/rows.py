"""What PostgreSQL gives back, as the values of the model. ``queries`` has the columns."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from taskflow.model.event import TaskEvent
from taskflow.model.flow import Flow, Lane
from taskflow.model.options import NO_OPTIONS, TaskOptions
from taskflow.model.outcome import ErrorType, response_of
from taskflow.model.statistics import Line
from taskflow.model.task import AttemptRecord, AttemptStatus, Claim, TagValue, Task, TaskStatus

Row = tuple[Any, ...]

_TAGS: Final = msgspec.json.Decoder(dict[str, TagValue])
_OPTIONS: Final = msgspec.json.Decoder(TaskOptions)


def task_of(row: Row) -> Task:
    """A row of ``read``."""
    (task_id, payload, status, result, error, error_type, *rest) = row
    created_at, run_at, started_at, finished_at, queue, priority, *counts = rest
    attempt, max_attempts, rescues, tags, expires_at, *said = counts
    retention, options_text, callback_id = said
    options = options_of(options_text)
    return Task(
        id=task_id,
        payload=raw(payload),
        status=TaskStatus(status),
        result=None if result is None else raw(result),
        error=error or "",
        error_type=error_type and ErrorType(error_type),
        created_at=created_at,
        run_at=run_at,
        started_at=started_at,
        finished_at=finished_at,
        queue=queue,
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        rescues=rescues,
        tags={} if tags is None else _TAGS.decode(tags),
        expires_at=expires_at,
        backoff=options.backoff,
        retry_on=options.retry_on,
        success_on=options.success_on,
        retention=retention,
        callback_url=options.callback_url,
        callback_id=callback_id,
        callback_of=options.callback_of,
        schedule=options.schedule,
        scheduled_at=options.scheduled_at,
    )


def claim_of(row: Row, token: uuid.UUID, flow: Flow | None) -> Claim:
    """A row of ``claim_if_alive``, or of ``take_if_alive`` and what it was decided by."""
    task_id, payload, attempt, max_attempts, options, _, _, authority, queue, waited = row
    lane = Lane(queue, authority)
    return Claim(
        task_id,
        token,
        raw(payload),
        attempt,
        max_attempts,
        options_of(options),
        authority,
        is_limited=flow is not None and flow.is_limited(lane),
        is_probe=flow is not None and flow.is_probe(lane),
        waited_seconds=waited,
    )


def attempt_of(row: Row) -> AttemptRecord:
    """A row of ``attempts``."""
    (number, status, node, started_at, finished_at, elapsed_ms, code, error, *said) = row
    error_type, response = said
    return AttemptRecord(
        number=number,
        status=AttemptStatus(status),
        node=node,
        started_at=started_at,
        finished_at=finished_at,
        elapsed_ms=elapsed_ms,
        status_code=code,
        error=error or "",
        error_type=error_type and ErrorType(error_type),
        response=response_of(response),
    )


def event_of(row: Row) -> TaskEvent:
    """A row of ``events_after``."""
    (event_id, task_id, status, queue, attempt, at, error, error_type, tags) = row
    return TaskEvent(
        id=event_id,
        task_id=task_id,
        status=TaskStatus(status),
        queue=queue,
        attempt=attempt,
        at=at,
        error=error or "",
        error_type=error_type and ErrorType(error_type),
        tags={} if tags is None else _TAGS.decode(tags),
    )


def options_of(text: str | None) -> TaskOptions:
    """How a task is to be run."""
    return NO_OPTIONS if text is None else _OPTIONS.decode(text)


def line_of(row: Row) -> Line:
    """A row of ``count``."""
    (_, status, count, *entered) = row
    return Line(TaskStatus(status), count, tuple(entered))


def raw(text: str) -> msgspec.Raw:
    """JSON as it was handed in."""
    return msgspec.Raw(text.encode())
