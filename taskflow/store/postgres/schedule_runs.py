"""The history of the runs of schedules in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from taskflow.model.schedule import KEPT_RUNS, RunKind, ScheduleRun
from taskflow.model.task import Task, TaskStatus
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import Statements


class NewRun(NamedTuple):
    """A run to record: the schedule, and what became of which time."""

    schedule: str
    at: dt.datetime
    kind: RunKind
    task: Task | None = None
    times: int = 1


def manual_run(name: str, task: Task) -> NewRun:
    """Return the run of a schedule that a client has run now."""
    return NewRun(name, task.created_at, RunKind.MANUAL, task)


def runs_of(
    made: Iterable[tuple[str, dt.datetime, Task]],
    skipped: Iterable[tuple[str, dt.datetime]],
    missed: Iterable[tuple[str, Sequence[dt.datetime]]],
) -> list[NewRun]:
    """Return what became of the times of schedules that were due.

    Args:
        made: The times that created a task.
        skipped: The times that were skipped because an earlier task was open.
        missed: The times that no node started in time, by schedule.
    """
    return [
        *(NewRun(name, at, RunKind.SCHEDULED, task) for name, at, task in made),
        *(NewRun(name, at, RunKind.SKIPPED) for name, at in skipped),
        *(
            NewRun(name, times[-1], RunKind.MISSED, times=len(times))
            for name, times in missed
            if times
        ),
    ]


def record_runs(statements: Statements, connection: Connection, runs: Sequence[NewRun]) -> None:
    """Record runs in the transaction that makes them, and forget old ones of these schedules."""
    if not runs:
        return
    parameters = {
        "names": [one.schedule for one in runs],
        "ats": [one.at for one in runs],
        "kinds": [one.kind.value for one in runs],
        "task_ids": [one.task and one.task.id for one in runs],
        "counts": [one.times for one in runs],
        "kept": KEPT_RUNS,
    }
    statements.execute(connection, "record_runs", parameters)


def run_of(row: Row) -> ScheduleRun:
    """Return the run of a row of ``schedule_runs``."""
    at, kind, count, task_id, status, started_at, finished_at, attempt, error = row
    return ScheduleRun(
        at=at,
        kind=RunKind(kind),
        count=count,
        task_id=task_id,
        status=None if status is None else TaskStatus(status),
        started_at=started_at,
        finished_at=finished_at,
        attempt=attempt or 0,
        error=error,
    )
