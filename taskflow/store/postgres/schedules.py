"""Schedules in PostgreSQL; ``schedule_firing`` makes their tasks."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

import msgspec
import trio

from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of, run_entry, schedule_entry
from taskflow.model.encryption import Encryption
from taskflow.model.errors import ScheduleNotFound
from taskflow.model.masking import Masking
from taskflow.model.schedule import Schedule, ScheduleChange, ScheduleRun, StoredSchedule
from taskflow.model.schedule_times import apply_definition
from taskflow.model.task import Task, TaskStatus
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.base.schedules import (
    FIRINGS_KEPT_SECONDS,
    MAX_JUDGED_FIRINGS,
    MAX_JUDGED_TIMES,
    FailingSchedule,
    Fired,
    OverdueSchedule,
    SchedulePage,
    ScheduleStore,
)
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.database import REFUSED, one_line
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.schedule_firing import Changes, ScheduleFiring, TaskWriter
from taskflow.store.postgres.schedule_overlap import ScheduleOverlaps
from taskflow.store.postgres.schedule_rows import (
    schedule_of,
    stored_of,
    stored_or_none,
    unreadable_message,
)
from taskflow.store.postgres.schedule_runs import run_of
from taskflow.store.postgres.statements import Statements
from taskflow.wakeup import WakeUp

SCHEDULES_CHANNEL: Final = "taskflow_schedules"
# Interval of polling where notifications do not work.
POLL_SECONDS: Final = 2.0


class PostgresSchedules(ScheduleStore):
    """Schedules beside the tasks of a PostgreSQL store.

    Args:
        statements: On the database.
        tasks: Stores their tasks.
        has_notifications: False behind a pooler, where LISTEN does not work.
        masking: What is masked in schedules that are shown.
        audit: The audit log.
        encryption: Decrypts the results that conditional fetches are compared with.

    Attributes:
        changed: Notified when a schedule may be due earlier.
    """

    def __init__(
        self,
        statements: Statements,
        tasks: TaskWriter,
        *,
        has_notifications: bool,
        masking: Masking,
        audit: PostgresAudit,
        encryption: Encryption,
    ) -> None:
        self._masking = masking
        self._audit = audit
        self._statements = statements
        self._tasks = tasks
        self._overlaps = ScheduleOverlaps(statements, tasks)
        self._firing = ScheduleFiring(statements, tasks, self._overlaps, encryption)
        self.changed: Final = WakeUp()
        self._poll_seconds = math.inf if has_notifications else POLL_SECONDS

    async def change(
        self, name: str, change: ScheduleChange, *, by: Actor | None = None
    ) -> tuple[Schedule, bool]:
        def work(connection: Connection) -> tuple[Schedule, bool]:
            kept = None
            while kept is None:  # again if another client created or deleted it at this moment
                kept, is_new = self._apply(connection, name, change, by)
            shown = kept.as_shown(self._last_status(connection, kept))
            return self._masking.schedule(shown), is_new

        return await self._statements.database.run(work)

    async def get(self, name: str) -> Schedule | None:
        rows = await self._statements.run("schedule", name=name)
        return self._masking.schedule(schedule_of(rows[0])) if rows else None

    async def get_stored(self, name: str) -> tuple[StoredSchedule, dt.datetime] | None:
        rows = await self._statements.run("schedule_and_clock", name=name)
        return (stored_of(rows[0][:-1]), rows[0][-1]) if rows else None

    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        bounds = {"limit": limit, "budget_bytes": PAGE_BUDGET_BYTES}
        rows = await self._statements.run_slow_read("schedules_after", after=after or "", **bounds)
        some = [self._masking.schedule(schedule_of(row[:-1])) for row in rows]
        has_more = bool(rows) and rows[0][-1] > len(rows)
        return SchedulePage(some, some[-1].name if has_more else None)

    async def runs(self, name: str, *, limit: int) -> list[ScheduleRun]:
        bounds = {"name": name, "limit": limit}
        return [run_of(row) for row in await self._statements.run("schedule_runs", **bounds)]

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        def work(connection: Connection) -> bool:
            with connection.transaction():
                rows = self._execute(connection, "delete_schedule", name=name)
                if rows:
                    self._audit.add(connection, entry_of(Action.SCHEDULE_DELETE, by, name))
            return bool(rows)

        return await self._statements.database.run(work)

    async def run_now(self, name: str, *, by: Actor | None = None) -> Task | None:
        def work(connection: Connection) -> Changes | None:
            try:
                with connection.transaction():
                    changes = self._firing.run_now(connection, name)
                    for task in changes.tasks if changes else ():
                        self._audit.add(connection, run_entry(by, name, task.id))
                    return changes
            except REFUSED as error:
                raise ScheduleNotFound(unreadable_message(name, one_line(error))) from error

        while (changes := await self._statements.database.run(work)) is not None:
            self._announce(changes)
            for task in changes.tasks:
                return self._masking.task(task)
        return None

    async def fire_due(self, *, limit: int) -> Fired:
        def work(connection: Connection) -> Changes:
            try:
                return self._firing.fire(connection, limit)
            except REFUSED:
                return self._firing.fire_apart(connection, limit)

        changes = await self._statements.database.run(work)
        self._announce(changes)
        return changes.fired

    async def seconds_to_next(self) -> float | None:
        rows = await self._statements.run("next_firing")
        return rows[0][0] if rows else None

    async def wait_for_change(self) -> None:
        with trio.move_on_after(self._poll_seconds):
            await self.changed.wait()

    async def failing(self, name: str | None, *, limit: int) -> list[FailingSchedule]:
        rows = await self._statements.run_slow_read(
            "failing_schedules", name=name, limit=limit, times=MAX_JUDGED_TIMES
        )
        return [FailingSchedule(*row) for row in rows]

    async def overdue(
        self, name: str | None, *, late_seconds: float, within_seconds: float, limit: int
    ) -> list[OverdueSchedule]:
        rows = await self._statements.run_slow_read(
            "overdue_schedules",
            name=name,
            late_seconds=late_seconds,
            within_seconds=within_seconds,
            firings=MAX_JUDGED_FIRINGS,
            limit=limit,
        )
        return [OverdueSchedule(*row) for row in rows]

    async def delete_old_firings(self, *, limit: int) -> int:
        bounds = {"limit": limit, "age_seconds": FIRINGS_KEPT_SECONDS}
        return len(await self._statements.run("delete_old_firings", **bounds))

    def _apply(
        self, connection: Connection, name: str, change: ScheduleChange, by: Actor | None
    ) -> tuple[StoredSchedule | None, bool]:
        with connection.transaction():
            [(now,)] = self._execute(connection, "clock")
            rows = self._execute(connection, "hold_schedule", name=name)
            before = stored_or_none(rows[0]) if rows else None
            kept = apply_definition(change(before.definition if before else None), before, now)
            written = self._execute(
                connection,
                "replace_schedule" if rows else "add_schedule_if_new",
                name=name,
                definition=msgspec.json.encode(kept.definition).decode(),
                anchor_at=kept.anchor_at,
                next_at=kept.next_run_at,
                created_at=kept.created_at,
                updated_at=kept.updated_at,
                compared=list(kept.compared),
                credential=kept.definition.credential,
                overlap=kept.definition.overlap.value if kept.definition.limits_overlap else None,
            )
            if written:
                self._overlaps.change(connection, before, kept)
                self._audit.add(connection, schedule_entry(by, before, kept))
            return kept if written else None, not rows

    def _announce(self, changes: Changes) -> None:
        """Announce in this process what was committed."""
        self._tasks.announce_added(changes.tasks)
        self._tasks.announce_canceled(changes.canceled)

    def _last_status(self, connection: Connection, kept: StoredSchedule) -> TaskStatus | None:
        rows = self._execute(connection, "last_tasks", ids=[kept.last_task_id])
        return TaskStatus(rows[0][1]) if rows else None

    def _execute(self, connection: Connection, name: str, /, **parameters: object) -> list[Row]:
        return self._statements.execute(connection, name, parameters)
