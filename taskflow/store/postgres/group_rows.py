"""Rows of groups as values of the model."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from taskflow.model.groups import (
    NO_TASK,
    FailedMember,
    Group,
    GroupCounts,
    GroupState,
    GroupStatus,
    NewGroup,
    OnMemberFailure,
)
from taskflow.model.options import NO_OPTIONS
from taskflow.model.outcome import ErrorType
from taskflow.model.task import NewTask
from taskflow.store.postgres.rows import UNREADABLE, Row, named, readable_tags, shown_json

_FAILED: Final = msgspec.json.Decoder(tuple[uuid.UUID, str | None, str | None])


class _Completion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A completion template as the database reads it."""

    payload: str
    queue: str
    priority: int
    delay_seconds: float
    max_attempts: int
    host: str | None
    authority: str
    retention_seconds: float | None = None
    tags: dict[str, str | int | bool] | None = None
    options: object = None


def group_of(row: Row) -> Group:
    """Return the group of a row of ``read_group``."""
    (group_id, name, queue, status, on_complete, on_failure, tags, *rest) = row
    created_at, closed_at, finished_at, completions, completion_task_id, counts, failed = rest
    return Group(
        id=group_id,
        name=name,
        queue=queue,
        status=GroupStatus(status),
        counts=GroupCounts(**dict(zip(GroupCounts.__struct_fields__, counts, strict=True))),
        first_failures=tuple(map(_failed_of, failed)),
        on_complete=NO_TASK if on_complete is None else shown_json(on_complete),
        on_failure=OnMemberFailure(on_failure or OnMemberFailure.RUN),
        tags=readable_tags(tags),
        created_at=created_at,
        closed_at=closed_at,
        finished_at=finished_at,
        completions=completions,
        completion_task_id=completion_task_id,
    )


def states_of(rows: Sequence[Row]) -> dict[uuid.UUID, GroupState]:
    """Return the groups of rows of ``group_states``."""
    return {
        group_id: GroupState(GroupStatus(status), is_canceling, is_closing)
        for group_id, status, is_canceling, is_closing in rows
    }


def _failed_of(text: str) -> FailedMember:
    try:
        task_id, error, error_type = _FAILED.decode(text)
    except UNREADABLE:
        return FailedMember(uuid.UUID(int=0), "", None)
    return FailedMember(task_id, error or "", named(ErrorType, error_type))


def columns_of(new: NewGroup, group_id: uuid.UUID) -> dict[str, object]:
    """Return the parameters of ``add_group``."""
    is_canceling = new.on_failure is OnMemberFailure.CANCEL_REST
    return {
        "id": group_id,
        "name": new.name,
        "queue": new.queue,
        "on_complete": None if new.on_complete is None else bytes(new.on_complete).decode(),
        "completion": None if new.completion is None else _completion_of(new.completion),
        "on_failure": new.on_failure.value if is_canceling else None,
        "tags": msgspec.json.encode(new.tags).decode() if new.tags else None,
    }


def _completion_of(task: NewTask) -> str:
    completion = _Completion(
        payload=bytes(task.payload).decode(),
        queue=task.queue,
        priority=task.priority,
        delay_seconds=float(task.delay_seconds),
        max_attempts=task.max_attempts,
        host=task.host,
        authority=task.authority,
        retention_seconds=task.retention_seconds,
        tags=task.tags or None,
        options=None if task.options == NO_OPTIONS else task.options,
    )
    return msgspec.json.encode(completion).decode()
