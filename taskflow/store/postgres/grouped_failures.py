"""Failures, which group FAILED tasks by their cause, in PostgreSQL."""

from __future__ import annotations

import contextlib
import uuid
from typing import Final

from taskflow.model.errors import StatementRejected
from taskflow.model.grouped_failures import (
    MAX_EXAMPLES,
    OPEN_FAILURES,
    RESOLVED_KEPT_SECONDS,
    Cause,
    Failure,
    FailureFilter,
    FailureState,
    Occurrences,
)
from taskflow.store.base.grouped_failures import FailureStore
from taskflow.store.postgres.failure_rows import counts_by_hour
from taskflow.store.postgres.folding import Folding
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row
from taskflow.store.postgres.statements import Statements

FOLDED_BEFORE_READING: Final = 5000
_NO_SCOPE: Final[dict[str, list[str]]] = {"scope_names": [], "scope_prefixes": []}
_MIN_ID: Final = uuid.UUID(int=0)


class PostgresFailures(FailureStore):
    """The part of ``PostgresStore`` that keeps failures.

    Args:
        statements: The statements.
        folding: Adds tasks to the failures.
    """

    def __init__(self, statements: Statements, folding: Folding) -> None:
        self._statements = statements
        self._folding = folding
        self._checked = _MIN_ID

    async def first(self, limit: int, filter: FailureFilter = OPEN_FAILURES) -> list[Failure]:
        await self._fold()
        return await self._read(limit, filter)

    async def get(self, failure_id: uuid.UUID) -> Failure | None:
        await self._fold()
        found = await self._read(1, FailureFilter(FailureState.ALL), failure_id)
        return found[0] if found else None

    async def _fold(self) -> None:
        """Add what has changed, unless a row that no version wrote makes that impossible."""
        with contextlib.suppress(StatementRejected):
            await self._folding.fold(limit=FOLDED_BEFORE_READING)

    async def check_tasks(self, *, limit: int) -> int:
        return await self._statements.database.run(
            lambda connection: self._check_tasks(connection, limit)
        )

    async def delete_resolved(self, *, limit: int) -> int:
        rows = await self._statements.run(
            "delete_resolved_failures", limit=limit, kept_seconds=RESOLVED_KEPT_SECONDS
        )
        return len(rows)

    def _check_tasks(self, connection: Connection, limit: int) -> int:
        execute = self._statements.on(connection)
        with connection.transaction():
            if not execute("hold_rollups", {})[0][0]:
                return 0
            bounds = {"after": self._checked, "limit": limit}
            ids = [task_id for (task_id,) in execute("failed_tasks_after", bounds)]
            self._checked = ids[-1] if len(ids) == limit else _MIN_ID
            if not ids:
                return 0
            kept = {row[0] for row in execute("read_failed", {"ids": ids, "max_characters": 0})}
            gone = [task_id for task_id in ids if task_id not in kept]
            self._folding.failures.update(execute, [], gone)
        return len(gone)

    async def _read(
        self, limit: int, wanted: FailureFilter, failure_id: uuid.UUID | None = None
    ) -> list[Failure]:
        is_any = wanted.state is FailureState.ALL
        scope = wanted.scope
        rows = await self._statements.run_slow_read(
            "first_failures",
            failure_id=failure_id,
            is_open=None if is_any else wanted.state is FailureState.OPEN,
            queue=wanted.queue,
            host=wanted.host,
            error_type=wanted.error_type and wanted.error_type.value,
            since=wanted.since,
            is_scoped=scope is not None,
            limit=limit,
            examples=MAX_EXAMPLES,
            **(_NO_SCOPE if scope is None else scope.parameters()),
        )
        return [_failure_of(row) for row in rows]


def _failure_of(row: Row) -> Failure:
    _, *cause, failing, count, first_at, last_at, hours, per_hour, now, example_ids = row
    occurrences = Occurrences(count, first_at, last_at, counts_by_hour(hours, per_hour))
    return Cause(*cause).as_failure(occurrences, failed=failing, example_ids=example_ids, now=now)
