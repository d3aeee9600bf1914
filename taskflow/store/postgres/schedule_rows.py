"""Rows of schedules as values of the model."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Final

import msgspec

from taskflow.model.errors import ScheduleNotFound
from taskflow.model.schedule import Schedule, ScheduleDefinition, StoredSchedule, Timing
from taskflow.model.task import NewTask, TaskStatus
from taskflow.model.untrusted_text import printable
from taskflow.store.postgres.rows import UNREADABLE, Row, fields_of, readable_part

_DEFINITION: Final = msgspec.json.Decoder(ScheduleDefinition)
_NOTHING: Final = msgspec.Raw(b"{}")


def read_all(rows: Iterable[Row]) -> tuple[list[StoredSchedule], dict[str, str]]:
    """Return the schedules that can be read, and errors by name of the others."""
    kept: list[StoredSchedule] = []
    unreadable: dict[str, str] = {}
    for row in rows:
        try:
            kept.append(_kept(row))
        except UNREADABLE as error:
            unreadable[row[0]] = f"its row in the database cannot be read: {error}"
    return kept, unreadable


def stored_or_none(row: Row) -> StoredSchedule | None:
    """Return the schedule of a row of ``hold_schedule``; ``None`` if it cannot be read."""
    return next(iter(read_all([row])[0]), None)


def stored_of(row: Row) -> StoredSchedule:
    """Return the schedule of a row of ``hold_schedule``.

    Raises:
        ScheduleNotFound: It cannot be read.
    """
    kept, unreadable = read_all([row])
    for name, reason in unreadable.items():
        raise ScheduleNotFound(unreadable_message(name, reason))
    return kept[0]


def unreadable_message(name: str, reason: str) -> str:
    """Return the error message for a schedule that cannot be run."""
    return f"schedule {name} cannot be run: {printable(reason)}; put it again"


def _kept(row: Row) -> StoredSchedule:
    """Return the schedule of a row of ``hold_schedule``."""
    return _kept_as(row, _DEFINITION.decode(row[1]))


def _kept_as(row: Row, definition: ScheduleDefinition) -> StoredSchedule:
    name, _, anchor_at, next_run_at, created_at, updated_at, fired_at, task_id, *more = row
    compared, skipped_count, last_skipped_at = more
    if definition.name != name:  # its row is found by this name
        definition = msgspec.structs.replace(definition, name=name)
    return StoredSchedule(
        definition=definition,
        anchor_at=anchor_at,
        next_run_at=next_run_at,
        created_at=created_at,
        updated_at=updated_at,
        last_run_at=fired_at,
        last_task_id=task_id,
        compared=tuple(one for one in compared if isinstance(one, uuid.UUID)),
        skipped_count=skipped_count,
        last_skipped_at=last_skipped_at,
    )


def schedule_of(row: Row) -> Schedule:
    """Return the schedule of a row of ``schedule``."""
    *kept, status = row
    try:
        schedule = _kept(tuple(kept))
    except UNREADABLE:
        schedule = _kept_as(tuple(kept), _readable_definition(kept[0], kept[1]))
    return schedule.as_shown(status and TaskStatus(status))


def _readable_definition(name: str, text: str) -> ScheduleDefinition:
    """Return a definition as far as it can be read, to be shown."""
    members = fields_of(text)
    return readable_part(
        text,
        ScheduleDefinition,
        name=name,
        timing=readable_part(members.get("timing", _NOTHING), Timing),
        task=members.get("task", _NOTHING),
        template=NewTask(_NOTHING),
    )
