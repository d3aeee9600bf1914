"""Firing of schedules in PostgreSQL.

Due schedules are fired in one transaction: it locks them, computes their times in Python, skips the
times that have fired before (each has a row), checks earlier tasks where ``overlap`` demands it,
stores the tasks with the statement for new tasks, and moves the schedules on. If the node is killed
during it, nothing has happened.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from taskflow.model.conditional_fetch import Validators, find_compared_task, validators_of
from taskflow.model.encryption import Encryption
from taskflow.model.errors import ScheduleOverlap
from taskflow.model.schedule import StoredSchedule, overlap_message
from taskflow.model.schedule_times import MAX_TIMES_PER_STEP, Due, compute_due, times_to_run
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.base.schedules import Fired
from taskflow.store.postgres.database import REFUSED, one_line
from taskflow.store.postgres.group_commit import MAX_BATCH_BYTES, MAX_BATCH_ITEMS
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row, raw, readable_options_of
from taskflow.store.postgres.schedule_overlap import (
    Earlier,
    EarlierTasks,
    ScheduleOverlaps,
    TaskCanceler,
)
from taskflow.store.postgres.schedule_rows import read_all, stored_of
from taskflow.store.postgres.schedule_runs import manual_run, record_runs, runs_of
from taskflow.store.postgres.statements import Statements


class TaskWriter(TaskCanceler, Protocol):
    """Stores and cancels tasks in a transaction of the caller."""

    def insert(self, connection: Connection, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks, as PENDING."""

    def announce_added(self, tasks: Sequence[Task]) -> None:
        """Announce the tasks in this process, once they are committed."""


class _Firing(msgspec.Struct, frozen=True):
    """A due schedule.

    Attributes:
        schedule: The schedule.
        due: Its times.
    """

    schedule: StoredSchedule
    due: Due

    @property
    def name(self) -> str:
        return self.schedule.definition.name

    def without(self, old: Container[tuple[str, dt.datetime]]) -> _Firing:
        """Return it without the times that have fired before."""
        times = tuple(at for at in self.due.times if (self.name, at) not in old)
        missed = tuple(at for at in self.due.missed if (self.name, at) not in old)
        return _Firing(self.schedule, Due(times, self.due.next_run_at, missed))

    @property
    def limits_overlap(self) -> bool:
        """True if it has times, and earlier tasks matter."""
        return bool(self.due.times) and self.schedule.definition.limits_overlap

    def run_times(self, earlier: EarlierTasks) -> Sequence[dt.datetime]:
        """Return the times that create a task; the others are skipped."""
        has_open_task = earlier.of(self.schedule) is Earlier.OPEN
        overlap = self.schedule.definition.overlap
        return times_to_run(self.due.times, overlap, has_open_task=has_open_task)


class Changes(msgspec.Struct, frozen=True):
    """What a transaction did, to be announced once it is committed.

    Attributes:
        fired: The counts.
        tasks: The new tasks.
        canceled: The canceled tasks, as rows of ``cancel_open``.
    """

    fired: Fired = Fired()
    tasks: list[Task] = []
    canceled: list[Row] = []


class ScheduleFiring:
    """Makes the tasks of schedules, on a connection of the caller."""

    def __init__(
        self,
        statements: Statements,
        tasks: TaskWriter,
        overlaps: ScheduleOverlaps,
        encryption: Encryption,
    ) -> None:
        self._statements = statements
        self._tasks = tasks
        self._overlaps = overlaps
        self._encryption = encryption

    def run_now(self, connection: Connection, name: str) -> Changes | None:
        """Make a task of a schedule; none yet if more earlier tasks must be canceled first.

        Returns:
            What was done; ``None`` if there is no such schedule.

        Raises:
            ScheduleOverlap: An earlier task is open, and the schedule skips its times then.
        """
        rows = self._execute(connection, "hold_schedule", name=name)
        if not rows:
            return None
        kept = stored_of(rows[0])
        earlier = self._overlaps.check(connection, [kept])
        match earlier.of(kept):
            case Earlier.OPEN:
                raise ScheduleOverlap(overlap_message(name))
            case Earlier.UNDECIDED:
                return Changes(canceled=list(earlier.canceled))
        validators = self._validators(connection, [kept])
        wanted = kept.definition.make_task(None, validators.get(name))
        [task] = self._tasks.insert(connection, [wanted])
        self._overlaps.add(connection, {one: [task] for one in earlier.states})
        self._move_on(connection, [kept.with_task(task.id, task.created_at)])
        record_runs(self._statements, connection, [manual_run(name, task)])
        return Changes(tasks=[task], canceled=list(earlier.canceled))

    def fire_apart(self, connection: Connection, limit: int) -> Changes:
        """Fire the schedules one by one, because PostgreSQL refused a task of one of them."""
        with connection.transaction():
            names = [row[0] for row in self._hold_due(connection, limit, None)]
        refused, total = dict[str, str](), Changes()
        for name in names:
            try:
                total = _sum(total, self.fire(connection, 1, name))
            except REFUSED as error:
                refused[name] = one_line(error)
        fired = msgspec.structs.replace(total.fired, refused={**refused, **total.fired.refused})
        return msgspec.structs.replace(total, fired=fired)

    def _hold_due(self, connection: Connection, limit: int, name: str | None) -> list[Row]:
        if name is not None:
            return self._execute(connection, "hold_schedule", name=name)
        bounds = {"limit": limit, "budget_bytes": PAGE_BUDGET_BYTES}
        return self._execute(connection, "hold_due_schedules", **bounds)

    def fire(self, connection: Connection, limit: int, name: str | None = None) -> Changes:
        """Fire some schedules, or the one with this name, in a transaction."""
        with connection.transaction():
            held, unreadable = read_all(self._hold_due(connection, limit, name))
            changes = Changes(Fired(len(unreadable), refused=unreadable))
            if held:
                made = self._fire_held(connection, held)
                fired = made.fired
                refused = {**fired.refused, **unreadable}
                changes = msgspec.structs.replace(
                    made, fired=msgspec.structs.replace(fired, refused=refused)
                )
            return changes

    def _fire_held(self, connection: Connection, held: Sequence[StoredSchedule]) -> Changes:
        [(now,)] = self._execute(connection, "clock")
        found, refused = _firings(held, now)
        new = self._without_old_times(connection, found)
        limiting = [firing for firing in new if firing.limits_overlap]
        earlier = self._overlaps.check(connection, [firing.schedule for firing in limiting])
        if earlier.has_undecided:  # these stay due
            new = [one for one in new if earlier.of(one.schedule) is not Earlier.UNDECIDED]
        return self._fire_new(connection, new, earlier, now, Fired(len(held), refused=refused))

    def _fire_new(
        self,
        connection: Connection,
        firings: Sequence[_Firing],
        earlier: EarlierTasks,
        now: dt.datetime,
        fired: Fired,
    ) -> Changes:
        """Create the tasks for times that have not fired, and move their schedules on."""
        validators = self._validators(connection, [firing.schedule for firing in firings])
        wanted, skipped = list[tuple[_Firing, dt.datetime]](), list[tuple[str, dt.datetime]]()
        for firing in firings:
            run = firing.run_times(earlier)
            wanted += ((firing, at) for at in run)
            if len(run) < len(firing.due.times):
                skipped += ((firing.name, at) for at in firing.due.times if at not in run)
        new = [
            firing.schedule.definition.make_task(at, validators.get(firing.name))
            for firing, at in wanted
        ]
        tasks = self._tasks.insert(connection, new) if new else []
        self._record(connection, [*((one.name, at) for one, at in wanted), *skipped], tasks)
        made: dict[str, list[Task]] = {}
        for (firing, _), task in zip(wanted, tasks, strict=True):
            made.setdefault(firing.name, []).append(task)
        self._move_on(connection, (_moved_on(one, made.get(one.name, []), now) for one in firings))
        self._overlaps.add(connection, {name: made.get(name, []) for name in earlier.states})
        self._overlaps.record_skips(connection, Counter(name for name, _ in skipped), now)
        made_runs = [(one.name, at, task) for (one, at), task in zip(wanted, tasks, strict=True)]
        missed = [(one.name, one.due.missed) for one in firings]
        record_runs(self._statements, connection, runs_of(made_runs, skipped, missed))
        counted = msgspec.structs.replace(fired, tasks=len(tasks), skipped=len(skipped))
        return Changes(counted, tasks, list(earlier.canceled))

    def _without_old_times(
        self, connection: Connection, firings: Sequence[_Firing]
    ) -> Sequence[_Firing]:
        """Return the firings without the times that have fired before."""
        times = [(firing.name, at) for firing in firings for at in firing.due.times]
        names, ats = [name for name, _ in times], [at for _, at in times]
        rows = self._execute(connection, "fired_already", names=names, ats=ats)
        old = {(name, at) for name, at in rows}
        return [firing.without(old) for firing in firings] if old else firings

    def _record(
        self,
        connection: Connection,
        times: Sequence[tuple[str, dt.datetime]],
        tasks: Sequence[Task],
    ) -> None:
        """Record that these times have fired; the last ones without a task."""
        ids: list[uuid.UUID | None] = [task.id for task in tasks]
        self._execute(
            connection,
            "record_firings",
            names=[name for name, _ in times],
            ats=[at for _, at in times],
            task_ids=ids + [None] * (len(times) - len(ids)),
        )

    def _move_on(self, connection: Connection, schedules: Iterable[StoredSchedule]) -> None:
        """Write the next times of schedules that this transaction has locked."""
        moved = list(schedules)
        self._execute(
            connection,
            "move_schedules_on",
            names=[one.definition.name for one in moved],
            next_ats=[one.next_run_at for one in moved],
            last_fired_ats=[one.last_run_at for one in moved],
            last_task_ids=[one.last_task_id for one in moved],
        )
        for one in moved:
            if one.definition.conditional:
                compared = {"name": one.definition.name, "compared": list(one.compared)}
                self._execute(connection, "compare_with", **compared)

    def _validators(
        self, connection: Connection, schedules: Iterable[StoredSchedule]
    ) -> dict[str, Validators | None]:
        """Return by name the validators of the next fetches, if these are conditional."""
        conditional = [one for one in schedules if one.compared]
        ids = [task_id for one in conditional for task_id in one.compared]
        rows = self._execute(connection, "last_tasks", ids=ids) if ids else []
        statuses = {row[0]: TaskStatus(row[1]) for row in rows}
        found = {
            one.definition.name: find_compared_task(one.compared, statuses) for one in conditional
        }
        wanted = set(found.values())
        validators = self._read_validators(connection, [row for row in rows if row[0] in wanted])
        return {name: validators.get(task_id) for name, task_id in found.items()}

    def _read_validators(
        self, connection: Connection, tasks: Sequence[Row]
    ) -> dict[uuid.UUID | None, Validators | None]:
        """Return the validators in results of tasks (rows of ``last_tasks``), read in portions."""
        options = {row[0]: readable_options_of(row[2]) for row in tasks}
        validators: dict[uuid.UUID | None, Validators | None] = {}
        for ids in _portions(tasks):
            for task_id, result in self._execute(connection, "results", ids=ids):
                opened = self._encryption.opened_result(raw(result), task_id)
                validators[task_id] = validators_of(bytes(opened), options[task_id])
        return validators

    def _execute(self, connection: Connection, name: str, /, **parameters: object) -> list[Row]:
        return self._statements.execute(connection, name, parameters)


def _firings(
    held: Iterable[StoredSchedule], now: dt.datetime
) -> tuple[list[_Firing], dict[str, str]]:
    """Return the firings that one statement can store, and errors by name of the others."""
    firings: list[_Firing] = []
    refused: dict[str, str] = {}
    count, size_bytes = 0, 0
    for schedule in held:
        size = len(bytes(schedule.definition.template.payload)) + 1
        maximum = min(
            MAX_TIMES_PER_STEP, MAX_BATCH_ITEMS - count, (MAX_BATCH_BYTES - size_bytes) // size
        )
        if firings and maximum < 1:
            break
        try:
            firing = _Firing(schedule, _due(schedule, now, maximum=max(1, maximum)))
        except Exception as error:  # noqa: BLE001 - a zone that this node does not know, say
            refused[schedule.definition.name] = repr(error)
            continue
        firings.append(firing)
        count += len(firing.due.times)
        size_bytes += len(firing.due.times) * size
    return firings, refused


def _due(schedule: StoredSchedule, now: dt.datetime, *, maximum: int) -> Due:
    """Return the times of a schedule; raise if it would be due for ever."""
    found = compute_due(schedule, now, limit=maximum)
    if not found.times and found.next_run_at is not None and found.next_run_at <= now:
        raise ValueError(f"its next time is {found.next_run_at}, which is over")
    return found


def _sum(one: Changes, other: Changes) -> Changes:
    fired = Fired(
        one.fired.schedules + other.fired.schedules,
        one.fired.tasks + other.fired.tasks,
        one.fired.skipped + other.fired.skipped,
        {**one.fired.refused, **other.fired.refused},
    )
    return Changes(fired, one.tasks + other.tasks, one.canceled + other.canceled)


def _moved_on(firing: _Firing, tasks: Iterable[Task], now: dt.datetime) -> StoredSchedule:
    moved = msgspec.structs.replace(firing.schedule, next_run_at=firing.due.next_run_at)
    for task in tasks:
        moved = moved.with_task(task.id, now)
    return moved


def _portions(tasks: Iterable[Row]) -> Iterator[list[uuid.UUID]]:
    """Yield ids of tasks whose results are read together."""
    portion: list[uuid.UUID] = []
    room_bytes = MAX_BATCH_BYTES
    for task_id, _, _, size_bytes in tasks:
        if portion and size_bytes > room_bytes:
            yield portion
            portion, room_bytes = [], MAX_BATCH_BYTES
        portion.append(task_id)
        room_bytes -= size_bytes
    if portion:
        yield portion
