"""The base of the parts of the store: what they share, and reading of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

import msgspec

from taskflow.model.encryption import NO_ENCRYPTION, Encryption
from taskflow.model.graphs import with_parents
from taskflow.model.masking import Masking
from taskflow.model.order_keys import behind
from taskflow.model.queue_limits import Limiter, QueueHost
from taskflow.model.task import Task, TaskStatus
from taskflow.store.base.claims import Cancellations, DirectClaims
from taskflow.store.postgres.claim_position import Announcements
from taskflow.store.postgres.claim_scan import state_of
from taskflow.store.postgres.database import Database
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute, Row, load_queries, task_of
from taskflow.store.postgres.scoped_statements import scoped_variants


class Statements:
    """The named statements on one database: a name and parameters in, rows out."""

    def __init__(self, database: Database) -> None:
        self.database: Final = database
        queries = load_queries()
        self.sql: Final = {**queries, **scoped_variants(queries)}

    async def run(self, name: str, /, **parameters: object) -> list[Row]:
        """Execute one statement in a thread, in a transaction of its own."""
        return await self.database.run(
            lambda connection: self.execute(connection, name, parameters)
        )

    async def run_slow_read(self, name: str, /, **parameters: object) -> list[Row]:
        """Execute a query that may take long, on the connections for these."""
        return await self.database.run_slow_read(
            lambda connection: self.execute(connection, name, parameters)
        )

    def execute(
        self, connection: Connection, name: str, parameters: Mapping[str, object] | None = None
    ) -> list[Row]:
        """Execute one statement on a connection, in this thread."""
        cursor = connection.execute(self.sql[name], parameters or {})
        return cursor.fetchall() if cursor.description else []

    def on(self, connection: Connection) -> Execute:
        """Return a function that executes statements on this connection."""
        return lambda name, parameters: self.execute(connection, name, parameters)


def missing_from(rows: Sequence[Row], ids: Iterable[UUID]) -> list[UUID]:
    """Return the ids that are in the first column of no row."""
    found = {row[0] for row in rows}
    return [task_id for task_id in ids if task_id not in found]


class StoreContext(msgspec.Struct, frozen=True):
    """What the parts of a store share.

    Attributes:
        statements: On the connections for everything but heartbeats.
        heartbeats: On a connection that is never busy with anything else.
        masking: What is masked in tasks that are shown.
        max_per_host: Maximum number of running tasks per host.
        has_notifications: False behind a pooler, where LISTEN does not work.
        announcements: Of claimable tasks.
        cancellations: Of running tasks of the nodes of this process.
        direct_claims: Of new tasks, by nodes that wait for work.
        encryption: Decrypts the results that conditional fetches are compared with.
    """

    statements: Statements
    heartbeats: Statements
    masking: Masking
    max_per_host: int | None
    has_notifications: bool
    announcements: Announcements
    cancellations: Cancellations
    direct_claims: DirectClaims
    encryption: Encryption = NO_ENCRYPTION


class ClaimWrite(Protocol):
    """What is written where a claim is still held."""

    @property
    def task_id(self) -> UUID:
        """The task."""

    @property
    def token(self) -> UUID:
        """The claim's token."""

    @property
    def makes_room(self) -> bool:
        """True if other tasks may wait for this write."""


class StorePart:
    """A part of ``PostgresStore``, which implements the verbs of one subject."""

    # Size of the finished tasks that one statement copies into their callbacks.
    copied_budget_bytes = 8 * 2**20

    def __init__(self, context: StoreContext) -> None:
        self._context: Final = context
        self._statements: Final = context.statements
        self._heartbeats: Final = context.heartbeats
        self._announcements: Final = context.announcements

    def _noted(self, rows: list[Row]) -> list[Row]:
        """Return rows of a statement after which other tasks may have to be started.

        The second column says which: as in ``Announcements.note_freed``.
        """
        for row in rows:
            self._announcements.note_freed(row[1])
        return rows

    async def _write_held(
        self, name: str, writes: Sequence[ClaimWrite], **columns: object
    ) -> list[Row]:
        """Write where claims are still held, and announce it if held tasks may start now."""
        columns |= {"ids": [one.task_id for one in writes], "tokens": [one.token for one in writes]}
        if not any(one.makes_room for one in writes):
            return await self._statements.run(name, **columns)

        def work(connection: Connection) -> list[Row]:
            with connection.transaction():
                rows = self._statements.execute(connection, name, columns)
                sender = {"sender": self._announcements.sender}
                self._statements.execute(connection, "make_room", sender)
            return rows

        rows = await self._statements.database.run(work)
        self._announcements.work.notify()
        return rows

    def _read_one(self, connection: Connection, task_id: UUID) -> Task | None:
        return next(iter(self._read(connection, [task_id])), None)

    def _read(self, connection: Connection, ids: Sequence[UUID]) -> list[Task]:
        rows = self._rows_of(connection, "read", ids)
        return self._masked(self._explained(connection, [task_of(row) for row in rows]))

    def _rows_of(
        self, connection: Connection, name: str, ids: Sequence[UUID], **parameters: object
    ) -> list[Row]:
        """Execute a statement for tasks, and once more for tasks that may be archived.

        The second statement reads both tables in one snapshot: a task may be moved between the two.
        """
        rows = self._statements.execute(connection, name, {"ids": ids, **parameters})
        missing = missing_from(rows, ids)
        if not missing:
            return rows
        others = self._statements.execute(
            connection, f"{name}_anywhere", {"ids": missing, **parameters}
        )
        if not others:
            return rows
        return sorted(rows + others, key=lambda row: row[0], reverse=True)

    def _masked(self, tasks: Iterable[Task]) -> list[Task]:
        return [self._context.masking.task(task) for task in tasks]

    def _explained(self, connection: Connection, tasks: list[Task]) -> list[Task]:
        """Add to the tasks why they are held, their parents, or which task they wait for."""
        with_parents = self._with_parents(connection, tasks)
        return self._with_holds(connection, self._with_tasks_ahead(connection, with_parents))

    def _with_parents(self, connection: Connection, tasks: list[Task]) -> list[Task]:
        ids = [task.id for task in tasks if task.after is not None]
        if not ids:
            return tasks
        rows = self._statements.execute(connection, "parents_of", {"ids": ids})
        known = {task_id: parents for task_id, *parents in rows}
        return [with_parents(task, *known[task.id]) if task.id in known else task for task in tasks]

    def _with_tasks_ahead(self, connection: Connection, tasks: list[Task]) -> list[Task]:
        ids = [
            task.id
            for task in tasks
            if task.status is TaskStatus.PENDING and task.waiting_for is not None and task.order_key
        ]
        if not ids:
            return tasks
        rows = self._statements.execute(connection, "ahead_in_line", {"ids": ids})
        waiting = {
            task_id: behind(ahead, is_holding=status == TaskStatus.FAILED)
            for task_id, ahead, status in rows
            if ahead is not None and status is not None
        }
        return [
            msgspec.structs.replace(task, waiting_for=waiting[task.id])
            if task.id in waiting
            else task
            for task in tasks
        ]

    def _with_holds(self, connection: Connection, tasks: list[Task]) -> list[Task]:
        ids = [task.id for task in tasks if task.status is TaskStatus.PENDING and task.run_at]
        execute = self._statements.on(connection)
        max_per_host = self._context.max_per_host
        if not ids or not (max_per_host or execute("are_there_limits", {})[0][0]):
            return tasks
        lanes = {
            task_id: QueueHost(queue, host)
            for task_id, queue, host in execute("lanes_of", {"ids": ids})
        }
        state = state_of(execute, set(lanes.values()), max_per_host)
        limiter = Limiter(state, max_per_host=max_per_host)
        return [
            task.with_hold(limiter, lanes[task.id], state.now) if task.id in lanes else task
            for task in tasks
        ]
