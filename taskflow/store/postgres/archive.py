"""The archive: finished tasks are moved to it, and moved back to be retried (migration 0033)."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Final

import psycopg

from taskflow.model.task import TaskStatus
from taskflow.store.base.archive import ArchiveStep, ArchiveStore
from taskflow.store.base.listing import PAGE_BUDGET_BYTES
from taskflow.store.postgres.archive_periods import (
    LOCK_WAIT_MILLISECONDS,
    Period,
    add_period,
    drop_detached,
    drop_if_expired,
)
from taskflow.store.postgres.database import REFUSED, one_line
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute, Row
from taskflow.store.postgres.statements import StorePart

FINAL: Final = tuple(status.value for status in TaskStatus if status.is_final)
RETRYABLE: Final = (TaskStatus.FAILED.value, TaskStatus.CANCELED.value)
_FIRST_ID: Final = uuid.UUID(int=0)
_FOLD_BATCH: Final = 10_000
_DAY_SECONDS: Final = 86_400.0
_OLD_NODES: Final = "nodes of an earlier version, which cannot read the archive, are running"
_NOT_OWNER: Final = "the role cannot create partitions: it must own the table taskflow_archive"
# Maximum number of weeks that one call drops, because its time is limited.
_MAX_DROPS: Final = 5


def restore(
    execute: Execute, task_ids: Sequence[uuid.UUID], statuses: Collection[str]
) -> list[uuid.UUID]:
    """Move archived tasks back in the transaction that is open, and return their ids."""
    if not task_ids or not (rows := execute("find_archived", {"ids": list(task_ids)})):
        return []
    execute("begin_move", {"state": "on"})
    restored = execute("restore_tasks", {"statuses": list(statuses), **_bounded(rows)})
    execute("begin_move", {"state": ""})
    return [task_id for (task_id,) in restored]


def delete_archived(execute: Execute, task_ids: Sequence[uuid.UUID]) -> list[Row]:
    """Delete archived tasks in the transaction that is open, and return rows with their ids."""
    if not task_ids or not (rows := execute("find_archived", {"ids": list(task_ids)})):
        return []
    return execute("delete_archived", _bounded(rows))


def _bounded(rows: Sequence[Row]) -> dict[str, object]:
    """Return the ids of rows as parameters, with the first one and the last one."""
    ids = [task_id for task_id, *_ in rows]
    return {"ids": ids, "first": min(ids), "last": max(ids)}


def _move(connection: Connection, execute: Execute, window: dict[str, object]) -> Row:
    """Move the tasks of a window; return their number, its last id, and whether it is the last."""
    with connection.transaction():
        # The partition may be about to be detached.
        execute("bound_lock_waits", {"milliseconds": LOCK_WAIT_MILLISECONDS})
        execute("begin_move", {"state": "on"})
        return execute("archive_if_finished_before", window)[0]


class PostgresArchive(StorePart, ArchiveStore):
    """Moves tasks between their table and the archive, and deletes archived tasks."""

    # With a retention for all tasks, a week of archived tasks is deleted at once. Tasks that are
    # older than the retention by more than this are deleted before their week.
    archive_slack_seconds = 8 * _DAY_SECONDS
    # The next task to check: the number of its status, and the id of the one before it.
    _archive_position: tuple[int, uuid.UUID] = (0, _FIRST_ID)

    async def archive(self, *, age_seconds: float, limit: int) -> ArchiveStep:
        bounds: dict[str, object] = {
            "age_seconds": age_seconds,
            "limit": limit,
            "budget_bytes": PAGE_BUDGET_BYTES,
        }
        return await self._statements.database.run(
            lambda connection: self._archive(connection, bounds)
        )

    async def _delete_archived(self, *, age_seconds: float | None, limit: int) -> int:
        """Delete archived tasks that were kept long enough; return their number."""
        if not await self._statements.run("any_period"):
            return 0
        deleted = await self._statements.database.run(
            lambda connection: self._delete_periods(connection, age_seconds, limit)
        )
        if deleted is None:
            return 0
        deleted += await self._delete_some("archived_kept_long_enough", limit)
        if age_seconds is not None:
            late_seconds = age_seconds + self.archive_slack_seconds
            for status in FINAL:
                deleted += await self._delete_some(
                    "archived_finished_before", limit, status=status, age_seconds=late_seconds
                )
        return deleted

    async def _delete_some(self, name: str, limit: int, **parameters: object) -> int:
        """Delete the tasks that a statement finds, and return their number.

        A task that was found can only be moved back before it is deleted.
        """
        bounds = {"limit": limit, "budget_bytes": PAGE_BUDGET_BYTES, **parameters}

        def work(connection: Connection) -> int:
            execute = self._statements.on(connection)
            rows = execute(name, bounds)
            return len(execute("delete_archived", _bounded(rows))) if rows else 0

        return await self._statements.database.run(work)

    def _archive(self, connection: Connection, bounds: dict[str, object]) -> ArchiveStep:
        execute = self._statements.on(connection)
        [(may_archive,)] = execute("may_archive", {})
        if not may_archive:
            return ArchiveStep(0, has_more=False, obstacle=_OLD_NODES)
        number, after = self._archive_position
        window = {"status": FINAL[number], "after": after, **bounds}
        try:
            for row in execute("missing_periods", window):
                add_period(connection, execute, Period(*row))
            moved, last, is_last = _move(connection, execute, window)
        except psycopg.errors.LockNotAvailable:
            return ArchiveStep(0, has_more=True)
        except psycopg.errors.InsufficientPrivilege:
            return ArchiveStep(0, has_more=False, obstacle=_NOT_OWNER)
        except REFUSED as error:  # such as a table or a row that no version wrote
            [(last, is_last)] = execute("end_of_window", window)
            step = self._moved_on(execute, 0, None if is_last else last)
            return step._replace(obstacle=one_line(error))
        return self._moved_on(execute, moved, None if is_last else last)

    def _moved_on(self, execute: Execute, moved: int, last: uuid.UUID | None) -> ArchiveStep:
        number, _ = self._archive_position
        if last is not None:
            self._archive_position = (number, last)
            return ArchiveStep(moved, has_more=True)
        number = (number + 1) % len(FINAL)
        self._archive_position = (number, _FIRST_ID)
        if number == 0:
            execute("fold_archive_counts", {"limit": _FOLD_BATCH})
        return ArchiveStep(moved, has_more=number != 0)

    def _delete_periods(
        self, connection: Connection, age_seconds: float | None, limit: int
    ) -> int | None:
        """Drop the partitions of expired periods, or delete some of the tasks that prevent that.

        Returns:
            The number of deleted tasks; ``None`` if a partition is in use, to be tried again: its
            tasks should not be deleted one by one.
        """
        execute = self._statements.on(connection)
        deleted = drops = 0
        try:
            drop_detached(connection, execute)
            for row in execute("expired_periods", {"age_seconds": age_seconds}):
                period = Period(*row)
                linked = execute("archived_linked", {"limit": limit, **period._asdict()})
                if linked:
                    return deleted + len(execute("delete_archived", _bounded(linked)))
                deleted += drop_if_expired(connection, execute, period, age_seconds)
                drops += drop_detached(connection, execute)
                if drops >= _MAX_DROPS:
                    break
        except psycopg.errors.LockNotAvailable:
            return deleted or None
        except REFUSED:  # the role does not own the tables, or someone has dropped one
            return deleted
        return deleted
