"""Submission of requests whose tasks have a unique or debounce key (migration 0025)."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from taskflow.model.errors import KeyIsBusy, NotUnique
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import OnFailure
from taskflow.model.task import IdempotencyKey, NewTask, TagValue, Task
from taskflow.model.uniqueness import Existing
from taskflow.store.postgres.rows import Row

WAIT_MILLISECONDS: Final = 20
"""How long all requests of a statement wait for other transactions that have their keys."""

KeyedResult: TypeAlias = list[Task] | NotUnique | KeyIsBusy | None
"""The tasks of a request, or why there are none; ``None`` if its idempotency key is known."""

_CREATED: Final = "created"
_KNOWN: Final = "known"
_REJECTED: Final = "rejected"
_BUSY: Final = "busy"


class _Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task as the function in the database reads it; most names are the names of its columns."""

    payload: str
    queue: str
    priority: int
    delay_seconds: float
    max_attempts: int
    host: str | None
    authority: str
    options: TaskOptions
    run_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    retention_seconds: float | None = None
    tags: dict[str, TagValue] | None = None
    order_key: str | None = None
    on_failure: OnFailure | None = None


class _Document(msgspec.Struct, frozen=True, omit_defaults=True):
    tasks: list[_Task]
    key: str | None = None
    fingerprint: str | None = None
    key_seconds: float | None = None


class KeyedRequest(msgspec.Struct, frozen=True):
    """A request.

    Attributes:
        tasks: Its tasks, which are stored all or none.
        document: The same as JSON, with its idempotency key.
    """

    tasks: Sequence[NewTask]
    document: str

    @property
    def order(self) -> tuple[str, str]:
        """The queue and key of the first task: all nodes take keys in the same order."""
        options = self.tasks[0].options
        key = options.unique or options.debounce
        return self.tasks[0].queue, key.key if key else ""


def request_of(tasks: Sequence[NewTask], key: IdempotencyKey | None) -> KeyedRequest:
    """Return the request of tasks with an idempotency key, if there is one."""
    document = _Document(list(map(_task_of, tasks)))
    if key is not None:
        document = msgspec.structs.replace(
            document, key=key.text, fingerprint=key.fingerprint.hex(), key_seconds=key.seconds
        )
    return KeyedRequest(tasks, msgspec.json.encode(document).decode())


def _task_of(task: NewTask) -> _Task:
    return _Task(
        payload=bytes(task.payload).decode(),
        queue=task.queue,
        priority=task.priority,
        delay_seconds=float(task.delay_seconds),
        max_attempts=task.max_attempts,
        host=task.host,
        authority=task.authority,
        options=task.options,
        run_at=task.run_at,
        expires_at=task.expires_at,
        retention_seconds=task.retention_seconds,
        tags=task.tags or None,
        order_key=task.order_key,
        on_failure=OnFailure.HOLD if task.on_failure is OnFailure.HOLD else None,
    )


def size_of(request: KeyedRequest) -> int:
    """Return the approximate size of a request in a statement, in bytes."""
    return len(request.document)


def existing_ids(rows: Sequence[Row]) -> list[uuid.UUID]:
    """Return the ids of the tasks that existed, from the rows of ``add_keyed``."""
    return list({row[2] for row in rows if row[-1] in set(Existing)})


def results_of(
    requests: Sequence[KeyedRequest], rows: Sequence[Row], found: Mapping[uuid.UUID, Task]
) -> list[KeyedResult]:
    """Return the results of requests.

    Args:
        requests: The requests, in the order of the statement.
        rows: The rows of ``add_keyed``.
        found: The tasks that existed, in their current state and without the deleted ones.
    """
    by_request = itertools.groupby(rows, key=lambda row: row[0])
    return [_result_of(requests[index], list(part), found) for index, part in by_request]


def _result_of(
    request: KeyedRequest, rows: Sequence[Row], found: Mapping[uuid.UUID, Task]
) -> KeyedResult:
    _, _, task_id, *_, outcome = rows[0]
    if outcome == _KNOWN:
        return None
    if outcome == _REJECTED:
        taken = [(row[1], row[2]) for row in rows]
        return NotUnique(task_id, taken if len(request.tasks) > 1 else ())
    tasks: list[Task] = []
    for _, place, task_id, _, run_at, created_at, outcome in rows:
        if outcome == _CREATED:
            task = request.tasks[place]
            tasks.append(task.as_task(task_id, created_at=created_at, run_at=run_at))
        elif outcome == _BUSY or task_id not in found:  # it was deleted meanwhile
            return KeyIsBusy()
        else:
            tasks.append(msgspec.structs.replace(found[task_id], existing=Existing(outcome)))
    return tasks
