"""The columns of the list of tasks: which there are, which are shown, and what is in them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from taskflow.model.errors import Unprocessable
from taskflow.model.task import Task
from taskflow.model.task_states import TaskState, state_of


class TaskColumn(NamedTuple):
    """A column: its name in the address, its title, and whether it is shown by default."""

    name: str
    title: str
    is_default: bool = True


COLUMNS: Final = (
    TaskColumn("queue", "Queue"),
    TaskColumn("submitted", "Submitted"),
    TaskColumn("due", "Due", is_default=False),
    TaskColumn("started", "Started", is_default=False),
    TaskColumn("finished", "Finished", is_default=False),
    TaskColumn("duration", "Duration"),
    TaskColumn("http", "HTTP"),
    TaskColumn("attempt", "Attempt"),
    TaskColumn("priority", "Priority", is_default=False),
    TaskColumn("tags", "Tags"),
    TaskColumn("error", "Error"),
    TaskColumn("id", "ID", is_default=False),
)
"""All columns besides the state and the target, which are always shown."""

_BY_NAME: Final[Mapping[str, TaskColumn]] = {column.name: column for column in COLUMNS}
# The class of the label of a state, which decides about its color.
_KINDS: Final[Mapping[TaskState, str]] = {
    TaskState.RUNNING: "running",
    TaskState.PARKED: "running",
    TaskState.HELD: "held",
    TaskState.SCHEDULED: "later",
    TaskState.WAITING_FOR_PARENTS: "later",
    TaskState.WAITING_FOR_ORDER: "later",
}
_LABELS: Final[Mapping[TaskState, str]] = {
    TaskState.WAITING_FOR_PARENTS: "WAITING",
    TaskState.WAITING_FOR_ORDER: "WAITING",
}


class TaskRow(NamedTuple):
    """What a row shows besides the fields of its task.

    Attributes:
        label: The state of an open task, or the status of a finished one.
        kind: The class of the label.
        seconds: Duration of the last attempt; ``None`` if none has started.
        status_code: HTTP status of the last response, if there was one.
    """

    label: str
    kind: str
    seconds: float | None
    status_code: int | None


def shown_columns(texts: Iterable[str]) -> tuple[TaskColumn, ...]:
    """Return the columns that an address names, in their order; without names, the default.

    Raises:
        Unprocessable: There is no such column.
    """
    names = {name.strip() for text in texts for name in text.split(",")}
    if unknown := sorted(names - _BY_NAME.keys()):
        raise Unprocessable(f"there is no column {unknown[0]!r}; there are {', '.join(_BY_NAME)}")
    return tuple(one for one in COLUMNS if (one.name in names if names else one.is_default))


def without_empty(
    columns: Iterable[TaskColumn], tasks: Sequence[Task], rows: Mapping[uuid.UUID, TaskRow]
) -> tuple[TaskColumn, ...]:
    """Return the columns without those that are empty in all rows, so that the target has room."""
    filled = {
        "duration": any(row.seconds is not None for row in rows.values()),
        "http": any(row.status_code for row in rows.values()),
        "tags": any(task.tags for task in tasks),
        "error": any(task.error for task in tasks),
    }
    return tuple(column for column in columns if filled.get(column.name, True))


def row_of(task: Task, now: dt.datetime, status_code: int | None) -> TaskRow:
    """Return what the row of a task shows.

    Args:
        task: The task.
        now: The time by the clock of the store.
        status_code: HTTP status of its last response.
    """
    state = state_of(task, now, is_held=task.held is not None)
    label = str(task.status) if state is None else _LABELS.get(state, state.value.upper())
    kind = task.status.lower() if state is None else _KINDS.get(state, "pending")
    is_over = state in (None, TaskState.RUNNING, TaskState.PARKED)
    end = task.finished_at or now
    seconds = (end - task.started_at).total_seconds() if task.started_at and is_over else None
    return TaskRow(label, kind, None if seconds is None else max(0.0, seconds), status_code)


def finished_ids(tasks: Sequence[Task]) -> list[uuid.UUID]:
    """Return the ids of the tasks that may have got a response."""
    return [task.id for task in tasks if task.status.is_final and task.attempt > 0]
