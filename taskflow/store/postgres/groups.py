"""Groups in PostgreSQL. Triggers complete them (migration 0027)."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Sequence
from typing import Final, Protocol

import msgspec
import psycopg
import trio

from taskflow.model import graphs
from taskflow.model.audit import Action, Actor
from taskflow.model.audit_entries import entry_of
from taskflow.model.errors import KeyIsBusy, StatementRejected, StoreUnavailable
from taskflow.model.graphs import is_graph, parent_ids
from taskflow.model.groups import (
    ALL_GROUPS,
    MAX_ERROR_CHARACTERS,
    MAX_FIRST_FAILURES,
    Group,
    GroupFilter,
    GroupStatus,
    NewGroup,
    check_cancelable,
    check_closable,
    check_retryable,
)
from taskflow.model.masking import Masking
from taskflow.model.parents import MAX_CHILDREN
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.store.base.groups import MAX_RETRIED_MEMBERS, AddedGroup, GroupPage, GroupStore
from taskflow.store.base.task_actions import MAX_PER_ACTION
from taskflow.store.postgres.archive import RETRYABLE, restore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.claim_position import Announcements
from taskflow.store.postgres.group_rows import columns_of, group_of
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute, Row
from taskflow.store.postgres.statements import Statements

# Maximum delay of the cancellation of members, if the process that began it died.
SWEEP_SECONDS: Final = 2.0
MAX_CANCELED_GROUPS: Final = 100
# How long an action waits for transactions that add tasks to the group. A little longer, no other
# one begins.
LOCK_WAIT_MILLISECONDS: Final = 1000
CLOSING_SECONDS: Final = 2.0

_MIN_ID: Final = uuid.UUID(int=0)
_MAX_ID: Final = uuid.UUID(int=2**128 - 1)
_SHOWN: Final = {"error_characters": MAX_ERROR_CHARACTERS, "failures": MAX_FIRST_FAILURES}


class GroupTasks(Protocol):
    """The verbs for tasks, some of them in a transaction of the caller."""

    def insert(self, connection: Connection, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks."""

    def announce_added(self, tasks: Sequence[Task]) -> None:
        """Announce them, once they are committed."""

    async def cancel_many(self, task_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Cancel tasks."""

    def retry_held(self, connection: Connection, task_ids: Sequence[uuid.UUID]) -> list[Row]:
        """Retry tasks."""

    def announce_retried(self, rows: list[Row]) -> None:
        """Announce them, once they are committed."""


class PostgresGroups(GroupStore):
    """Groups beside the tasks of a PostgreSQL store.

    Args:
        statements: The statements.
        tasks: The tasks.
        announcements: Notify of groups whose members are to be canceled.
        audit: The audit log.
        masking: What is masked in groups that are shown.
    """

    def __init__(
        self,
        statements: Statements,
        tasks: GroupTasks,
        announcements: Announcements,
        audit: PostgresAudit,
        masking: Masking,
    ) -> None:
        self._statements = statements
        self._tasks = tasks
        self._announcements = announcements
        self._audit = audit
        self._masking = masking

    async def run(self) -> None:
        """Cancel members of groups that are to be canceled, until cancelled."""
        while True:
            try:
                await self.cancel_rest()
            except StoreUnavailable:
                await trio.sleep(SWEEP_SECONDS)  # others report it
            with trio.move_on_after(SWEEP_SECONDS):
                await self._announcements.group_cancellations.wait()

    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        def work(connection: Connection) -> tuple[AddedGroup, list[Task]]:
            execute = self._statements.on(connection)
            with connection.transaction():
                [(group_id,)] = execute("new_id", {})
                if key is not None and not execute("remember_group_if_new", _known(key, group_id)):
                    return self._known(execute, key), []
                execute("add_group", columns_of(new, group_id))
                self._check_parents(execute, tasks)
                members = [msgspec.structs.replace(task, group=group_id) for task in tasks]
                added = self._tasks.insert(connection, members) if members else []
                if not new.is_open:
                    execute("close_held_group", {"id": group_id})
                    execute("complete_held_group", {"id": group_id})
                return AddedGroup(self._read(execute, group_id)), added

        group, added = await self._statements.database.run(work)
        self._tasks.announce_added(added)
        return group

    async def get(self, group_id: uuid.UUID) -> Group | None:
        rows = await self._statements.run("read_group", id=group_id, **_SHOWN)
        return self._shown(rows[0]) if rows else None

    async def queues_of(self, group_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
        return dict(await self._statements.run("queues_of_groups", ids=list(group_ids)))

    async def page(
        self, *, limit: int, before: uuid.UUID | None = None, filter: GroupFilter = ALL_GROUPS
    ) -> GroupPage:
        name, queues = "page_of_groups", {}
        if filter.scope is not None:
            name, queues = "scoped_page_of_groups", dict(filter.scope.parameters())
        rows = await self._statements.run_slow_read(
            name,
            limit=limit,
            before=before or _MAX_ID,
            status=filter.status and filter.status.value,
            queue=filter.queue,
            name=filter.name,
            **_SHOWN,
            **queues,
        )
        groups = [self._shown(row) for row in rows[:limit]]
        return GroupPage(groups, groups[-1].id if len(rows) > limit else None)

    async def close(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        def work(connection: Connection, execute: Execute, status: GroupStatus) -> None:
            check_closable(status)
            if status is GroupStatus.OPEN:
                execute("close_held_group", {"id": group_id})
                execute("complete_held_group", {"id": group_id})
                self._audit.add(connection, entry_of(Action.GROUP_CLOSE, by, str(group_id)))

        return await self._held(group_id, work)

    async def cancel(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        def work(connection: Connection, execute: Execute, status: GroupStatus) -> None:
            check_cancelable(status)
            if status is not GroupStatus.CANCELED:
                execute("cancel_held_group", {"id": group_id})
                self._audit.add(connection, entry_of(Action.GROUP_CANCEL, by, str(group_id)))

        if await self._held(group_id, work) is None:
            return None
        await self._cancel_members(group_id)
        return await self.get(group_id)

    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        def work(connection: Connection) -> tuple[Group | None, list[Row]]:
            execute, rows = self._statements.on(connection), []
            with connection.transaction():
                known = self._read(execute, group_id)
                if known is None:
                    return None, []
                check_retryable(known.status)
                bounds = {"id": group_id, "limit": MAX_RETRIED_MEMBERS}
                ids = [task_id for (task_id,) in execute("hold_failed_members", bounds)]
                archived = [task_id for (task_id,) in execute("archived_failed_members", bounds)]
                room = MAX_RETRIED_MEMBERS - len(ids)
                ids += restore(execute, archived[:room], RETRYABLE)
                for begin in range(0, len(ids), MAX_PER_ACTION):
                    portion = ids[begin : begin + MAX_PER_ACTION]
                    rows += self._tasks.retry_held(connection, portion)
                entry = entry_of(Action.GROUP_RETRY, by, str(group_id))
                if rows and entry is not None:
                    self._audit.add(connection, entry.counted(len(rows)))
                return self._read(execute, group_id), rows

        group, rows = await self._statements.database.run(work)
        self._tasks.announce_retried(rows)
        return group

    async def cancel_rest(self) -> int:
        rows = await self._statements.run("groups_to_cancel", limit=MAX_CANCELED_GROUPS)
        return sum([await self._cancel_members(group_id) for (group_id,) in rows])

    async def fold_counts(self, *, limit: int) -> int:
        [(folded,)] = await self._statements.run("fold_group_changes", limit=limit)
        return int(folded)

    async def delete_finished(self, *, age_seconds: float, limit: int) -> int:
        bounds = {"age_seconds": age_seconds, "limit": limit}
        [(deleted,)] = await self._statements.run("delete_groups_if_finished_before", **bounds)
        return int(deleted)

    def _check_parents(self, execute: Execute, tasks: Sequence[NewTask]) -> None:
        """Check that the parents of the first tasks exist that are given by their ids.

        Raises:
            Unprocessable: One does not, or cannot have more children.
        """
        if not is_graph(tasks):
            return
        rows = execute("children_of", {"ids": parent_ids(tasks), "limit": MAX_CHILDREN})
        children: dict[uuid.UUID, int] = dict(rows)
        if (refusal := graphs.refusal_of(tasks, children, under="/tasks")) is not None:
            raise refusal

    async def _held(self, group_id: uuid.UUID, work: _HeldWork) -> Group | None:
        """Act on a group that is locked, and return it; ``None`` if there is none."""

        def locked(connection: Connection) -> Group | None:
            execute = self._statements.on(connection)
            execute("announce_closing", {"id": group_id, "seconds": CLOSING_SECONDS})
            try:
                with connection.transaction():
                    wait = {"id": group_id, "wait_ms": LOCK_WAIT_MILLISECONDS}
                    rows = execute("hold_group", wait)
                    if not rows:
                        return None
                    work(connection, execute, GroupStatus(rows[0][0]))
                    return self._read(execute, group_id)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                raise KeyIsBusy(
                    "a transaction that adds tasks to the group is still open; try again shortly"
                ) from None

        group = await self._statements.database.run(locked)
        self._announcements.work.notify()  # it may have completed
        return group

    async def _cancel_members(self, group_id: uuid.UUID) -> int:
        """Cancel the open members of a group, and return their number."""
        canceled, after = 0, _MIN_ID
        bounds = {"id": group_id, "limit": MAX_PER_ACTION}
        while rows := await self._statements.run("members_to_cancel", after=after, **bounds):
            ids = [task_id for (task_id,) in rows]
            portion = await self._cancel_tasks(ids)
            if not portion:  # another node does it, or their rows are from no version
                break
            canceled, after = canceled + portion, ids[-1]
        await self._statements.run("note_group_canceled", id=group_id)
        return canceled

    async def _cancel_tasks(self, ids: Sequence[uuid.UUID]) -> int:
        """Cancel tasks, and return their number; one that cannot be canceled stops no others."""
        try:
            return len(await self._tasks.cancel_many(ids))
        except StatementRejected:  # which does not say by which task
            pass
        canceled = 0
        for task_id in ids:
            with contextlib.suppress(StatementRejected):
                canceled += len(await self._tasks.cancel_many([task_id]))
        return canceled

    def _known(self, execute: Execute, key: IdempotencyKey) -> AddedGroup:
        for _, fingerprint, ids in execute("known_keys", {"keys": [key.text]}):
            if fingerprint != key.fingerprint:
                return AddedGroup(None, is_replay=True, is_same=False)
            return AddedGroup(self._read(execute, ids[0]) if ids else None, is_replay=True)
        raise StoreUnavailable  # it was deleted at this moment

    def _read(self, execute: Execute, group_id: uuid.UUID) -> Group | None:
        rows = execute("read_group", {"id": group_id, **_SHOWN})
        return self._shown(rows[0]) if rows else None

    def _shown(self, row: Row) -> Group:
        return self._masking.group(group_of(row))


class _HeldWork(Protocol):
    def __call__(self, connection: Connection, execute: Execute, status: GroupStatus) -> None: ...


def _known(key: IdempotencyKey, group_id: uuid.UUID) -> dict[str, object]:
    return {
        "key": key.text,
        "fingerprint": key.fingerprint,
        "seconds": key.seconds,
        "id": group_id,
    }
