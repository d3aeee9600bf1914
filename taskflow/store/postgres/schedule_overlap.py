"""Keeps the tasks of a schedule from overlapping, in the transaction that fires it.

Tasks of schedules that limit overlaps have a row in ``taskflow_schedule_tasks`` until they are seen
to be finished. One transaction reads a limited number of rows. If it cannot decide by these, it
deletes the rows of finished tasks, and a later one goes on.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from taskflow.model.schedule import Overlap, StoredSchedule
from taskflow.model.task import Task, TaskStatus
from taskflow.store.base.task_actions import MAX_PER_ACTION
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import Statements

# Minimum number of rows per schedule. Usually there is one.
_MIN_ROWS: Final = 2


class TaskCanceler(Protocol):
    """Cancels tasks in a transaction of the caller."""

    def cancel_open(self, connection: Connection, task_ids: Sequence[uuid.UUID]) -> list[Row]:
        """Cancel the open ones among up to ``MAX_PER_ACTION`` tasks."""

    def announce_canceled(self, rows: Sequence[Row]) -> None:
        """Announce what ``cancel_open`` returned in this process, once it is committed."""


class Earlier(enum.Enum):
    """What is known about the earlier tasks of a schedule."""

    FINISHED = enum.auto()
    """None is PENDING or RUNNING."""
    OPEN = enum.auto()
    """At least one is, and the schedule does not cancel it."""
    UNDECIDED = enum.auto()
    """There may be more of them than one transaction reads."""


class EarlierTasks(msgspec.Struct, frozen=True):
    """Earlier tasks of schedules.

    Attributes:
        states: By name of the schedules that limit overlaps.
        canceled: The tasks that were canceled, as rows of ``cancel_open``.
    """

    states: Mapping[str, Earlier] = {}
    canceled: Sequence[Row] = ()

    @property
    def has_undecided(self) -> bool:
        """True if there are schedules that a later transaction must decide on."""
        return Earlier.UNDECIDED in self.states.values()

    def of(self, schedule: StoredSchedule) -> Earlier:
        return self.states.get(schedule.definition.name, Earlier.FINISHED)


class ScheduleOverlaps:
    """Checks earlier tasks of schedules that the transaction of the caller has locked."""

    def __init__(self, statements: Statements, tasks: TaskCanceler) -> None:
        self._statements = statements
        self._tasks = tasks

    def check(self, connection: Connection, schedules: Iterable[StoredSchedule]) -> EarlierTasks:
        """Return what is known about earlier tasks, of which some are canceled first."""
        limiting = {
            one.definition.name: one.definition.overlap
            for one in schedules
            if one.definition.limits_overlap
        }
        if not limiting:
            return EarlierTasks()
        limit = max(_MIN_ROWS, MAX_PER_ACTION // len(limiting))
        names = list(limiting)
        # Locked, so that none of them is retried between the reading and the deletion.
        rows = self._execute(connection, "hold_schedule_tasks", names=names, limit=limit)
        open_ids = self._open(connection, [task_id for _, task_id in rows])
        canceled = self._cancel(
            connection,
            [
                task_id
                for name, task_id in rows
                if task_id in open_ids and limiting[name] is Overlap.CANCEL_PREVIOUS
            ],
        )
        open_ids -= {row[0] for row in canceled}
        self._forget(connection, [row for row in rows if row[1] not in open_ids])
        found: dict[str, list[uuid.UUID]] = {name: [] for name in names}
        for name, task_id in rows:
            found[name].append(task_id)
        states = {
            name: _state(
                overlap,
                has_open_task=not open_ids.isdisjoint(found[name]),
                has_more=len(found[name]) == limit,
            )
            for name, overlap in limiting.items()
        }
        return EarlierTasks(states, canceled)

    def add(self, connection: Connection, tasks: Mapping[str, Sequence[Task]]) -> None:
        """Remember new tasks of schedules that limit overlaps, by name of the schedule."""
        rows = [(name, task.id) for name, made in tasks.items() for task in made]
        if rows:
            self._execute(connection, "add_schedule_tasks", **_columns(rows))

    def record_skips(
        self, connection: Connection, counts: Mapping[str, int], now: dt.datetime
    ) -> None:
        """Record that times of schedules were skipped."""
        if counts:
            parameters = {"names": list(counts), "counts": list(counts.values()), "now": now}
            self._execute(connection, "record_skips", **parameters)

    def change(
        self, connection: Connection, before: StoredSchedule | None, after: StoredSchedule
    ) -> None:
        """Remember or forget the open tasks of a schedule, as it limits overlaps or does not."""
        limited = before is not None and before.definition.limits_overlap
        if limited == after.definition.limits_overlap:
            return
        name = after.definition.name
        if limited:
            self._execute(connection, "forget_tasks_of_schedule", name=name)
        else:
            last_task_id = after.last_task_id
            self._execute(connection, "adopt_schedule_tasks", name=name, last_task_id=last_task_id)

    def _open(self, connection: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        rows = self._execute(connection, "last_tasks", ids=ids) if ids else []
        return {row[0] for row in rows if not TaskStatus(row[1]).is_final}

    def _cancel(self, connection: Connection, ids: Sequence[uuid.UUID]) -> list[Row]:
        return self._tasks.cancel_open(connection, ids) if ids else []

    def _forget(self, connection: Connection, rows: Sequence[Row]) -> None:
        if rows:
            self._execute(connection, "forget_schedule_tasks", **_columns(rows))

    def _execute(self, connection: Connection, name: str, /, **parameters: object) -> list[Row]:
        return self._statements.execute(connection, name, parameters)


def _state(overlap: Overlap, *, has_open_task: bool, has_more: bool) -> Earlier:
    if has_open_task:  # what could not be canceled at once is left to the next transaction
        return Earlier.OPEN if overlap is Overlap.SKIP else Earlier.UNDECIDED
    return Earlier.UNDECIDED if has_more else Earlier.FINISHED


def _columns(rows: Sequence[Sequence[object]]) -> dict[str, object]:
    return {"names": [row[0] for row in rows], "ids": [row[1] for row in rows]}
