"""Failures, which group FAILED tasks by their cause, in memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from taskflow.model.grouped_failures import (
    MAX_EXAMPLES,
    MAX_FAILURES,
    OPEN_FAILURES,
    RESOLVED_KEPT_SECONDS,
    Cause,
    Failure,
    FailureFilter,
    Occurrences,
    failures_in_order,
    matches_failure,
    normalized_message,
    once,
)
from taskflow.model.masking import Masking
from taskflow.model.task import Task, TaskStatus
from taskflow.store.base.grouped_failures import FailureStore


class KeptFailure(msgspec.Struct):
    """A failure, with the ids of its FAILED tasks."""

    cause: Cause
    occurrences: Occurrences
    tasks: set[uuid.UUID]


class MemoryFailures(FailureStore):
    """The part of ``MemoryStore`` that keeps failures.

    Args:
        now: The store's clock.
        masking: What is masked in errors.
    """

    def __init__(self, now: Callable[[], dt.datetime], masking: Masking) -> None:
        self._now = now
        self._masking = masking
        self._failures: dict[uuid.UUID, KeptFailure] = {}
        self._failure_of: Final[dict[uuid.UUID, uuid.UUID]] = {}

    def note(self, task: Task, host: str, status_code: int | None) -> None:
        """Add a task that has just failed to its failure, or remove one that is not FAILED."""
        self.forget(task.id)
        if task.status is not TaskStatus.FAILED:
            return
        message = normalized_message(self._masking.text(task.error), status_code)
        error_type = task.error_type and task.error_type.value
        cause = Cause(task.queue, host, error_type, status_code, message)
        if cause.id not in self._failures and len(self._failures) >= MAX_FAILURES:
            cause = cause.without_details
        failure = self._failures.get(cause.id)
        if failure is None:
            self._failures[cause.id] = KeptFailure(cause, once(self._now()), {task.id})
        else:
            failure.occurrences.add(once(self._now()))
            failure.tasks.add(task.id)
        self._failure_of[task.id] = cause.id

    def forget(self, task_id: uuid.UUID) -> None:
        """Remove a task from its failure, if it is in one."""
        failure_id = self._failure_of.pop(task_id, None)
        if failure_id is not None:
            self._failures[failure_id].tasks.discard(task_id)

    def failure_of(self, task_id: uuid.UUID) -> uuid.UUID | None:
        """Return the id of the failure of a FAILED task."""
        return self._failure_of.get(task_id)

    async def first(self, limit: int, filter: FailureFilter = OPEN_FAILURES) -> list[Failure]:
        await trio.lowlevel.checkpoint()
        shown = (self._shown(failure_id) for failure_id in self._failures)
        return failures_in_order(one for one in shown if matches_failure(one, filter))[:limit]

    async def get(self, failure_id: uuid.UUID) -> Failure | None:
        await trio.lowlevel.checkpoint()
        return self._shown(failure_id) if failure_id in self._failures else None

    async def check_tasks(self, *, limit: int) -> int:  # noqa: ARG002 - nothing is lost here
        await trio.lowlevel.checkpoint()
        return 0

    async def delete_resolved(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        oldest = self._now() - dt.timedelta(seconds=RESOLVED_KEPT_SECONDS)
        old = [
            failure_id
            for failure_id, one in self._failures.items()
            if not one.tasks and one.occurrences.last_at < oldest
        ]
        for failure_id in old[:limit]:
            del self._failures[failure_id]
        return len(old[:limit])

    def _shown(self, failure_id: uuid.UUID) -> Failure:
        kept = self._failures[failure_id]
        return kept.cause.as_failure(
            kept.occurrences,
            failed=len(kept.tasks),
            example_ids=sorted(kept.tasks, reverse=True)[:MAX_EXAMPLES],
            now=self._now(),
        )
