"""What PostgreSQL gives back, as the values of the model. ``queries.sql`` has the columns."""

from __future__ import annotations

from typing import Any

import msgspec

from taskflow.model.outcome import ErrorType
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus

Row = tuple[Any, ...]


def task_of(row: Row) -> Task:
    """A row of ``read``."""
    (task_id, payload, status, result, error, error_type, *rest) = row
    created_at, run_at, started_at, finished_at, queue, priority, *counts = rest
    attempt, max_attempts, rescues = counts
    return Task(
        id=task_id,
        payload=raw(payload),
        status=TaskStatus(status),
        result=None if result is None else raw(result),
        error=error,
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
    )


def attempt_of(row: Row) -> AttemptRecord:
    """A row of ``attempts``."""
    (number, status, node, started_at, finished_at, elapsed_ms, code, error, error_type) = row
    return AttemptRecord(
        number=number,
        status=AttemptStatus(status),
        node=node,
        started_at=started_at,
        finished_at=finished_at,
        elapsed_ms=elapsed_ms,
        status_code=code,
        error=error,
        error_type=error_type and ErrorType(error_type),
    )


def raw(text: str) -> msgspec.Raw:
    """JSON as it was handed in."""
    return msgspec.Raw(text.encode())
