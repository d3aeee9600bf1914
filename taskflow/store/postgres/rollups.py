"""Roll-ups of finished tasks and of the backlog, in PostgreSQL.

``fold_counts`` of the listing adds finished tasks to them.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from taskflow.model.queue_scope import QueueScope
from taskflow.model.rollups import (
    FINAL_STATUSES,
    KEPT_SECONDS,
    MAX_QUEUES,
    RESOLUTIONS,
    RecordedSeries,
    Resolution,
    Rollup,
    Span,
    first_of,
)
from taskflow.store.base.rollups import RollupStore
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rollup_rows import add_rollups, histogram_of, keys_at, read_rollups
from taskflow.store.postgres.rows import Execute, Row
from taskflow.store.postgres.statements import Statements

MAX_DUE_COUNTED: Final = 20_000
"""Number of due tasks that a sample counts; of more, all PENDING tasks are counted instead."""


class PostgresRollups(RollupStore):
    """The part of ``PostgresStore`` that keeps roll-ups."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def read(
        self,
        span: Span,
        *,
        queue: str | None = None,
        host: str | None = None,
        scope: QueueScope | None = None,
    ) -> RecordedSeries:
        def work(connection: Connection) -> RecordedSeries:
            execute = self._statements.on(connection)
            [(now,)] = execute("rollup_clock", {})
            resolution, since = RESOLUTIONS[span], first_of(span, now)
            queues = _queues_of(execute, queue, scope, resolution, since)
            wanted = {**resolution._asdict(), "since": since, "queues": queues, "host": host}
            return RecordedSeries(
                now, dict(_point_of(row, resolution) for row in execute("series", wanted))
            )

        return await self._statements.database.run_slow_read(work)

    async def sample_backlog(self) -> bool:
        [(is_sampled,)] = await self._statements.run("is_backlog_sampled")
        if is_sampled:
            return False
        due = await self._statements.run("due_by_queue", limit=MAX_DUE_COUNTED)
        if sum(count for _, count in due) >= MAX_DUE_COUNTED:
            due = await self._statements.run("pending_by_queue")
        backlogs: dict[str, int] = dict(due)
        return await self._statements.database.run(
            lambda connection: self._add_sample(connection, backlogs)
        )

    async def delete_old(self, *, limit: int) -> int:
        deleted = 0
        for period_seconds, kept_seconds in KEPT_SECONDS.items():
            bounds = {"period_seconds": period_seconds, "kept_seconds": kept_seconds}
            rows = await self._statements.run("delete_old_rollups", limit=limit, **bounds)
            deleted += len(rows)
        return deleted

    def _add_sample(self, connection: Connection, backlogs: dict[str, int]) -> bool:
        """Add a sample, unless another node has a moment ago."""
        execute = self._statements.on(connection)
        with connection.transaction():
            if not execute("hold_rollups", {})[0][0]:
                return False
            [(now,)] = execute("rollup_clock", {})
            second = int(now.timestamp())
            minute, _ = keys_at(second)
            stored = read_rollups(execute, [minute]).get(minute)
            if stored is not None and stored.backlog is not None:
                return False
            samples = {"": sum(backlogs.values()), **backlogs}
            add_rollups(
                execute,
                {
                    key: Rollup(backlog=backlog)
                    for queue, backlog in samples.items()
                    for key in keys_at(second, queue=queue)
                },
            )
        return True


def _queues_of(
    execute: Execute,
    queue: str | None,
    scope: QueueScope | None,
    resolution: Resolution,
    since: dt.datetime,
) -> list[str]:
    """Return the queues whose rows are added up; the empty one has the tasks of all."""
    if scope is None:
        return ["" if queue is None else queue]
    if queue is not None:
        return [queue] if scope.allows(queue) else []
    period = {"period_seconds": resolution.period_seconds, "since": since, "limit": MAX_QUEUES}
    return [name for (name,) in execute("rolled_up_queues", {**period, **scope.parameters()})]


def _point_of(row: Row, resolution: Resolution) -> tuple[dt.datetime, Rollup]:
    point, completed, failed, canceled, *histograms, backlog = row
    counts: Any = zip(FINAL_STATUSES, (completed, failed, canceled), strict=True)
    rollup = Rollup(backlog=None if backlog is None else int(backlog))
    rollup.finished.update({status: int(count or 0) for status, count in counts})
    rollup.wait, rollup.run = histogram_of(*histograms[:2]), histogram_of(*histograms[2:])
    return dt.datetime.fromtimestamp(point * resolution.bucket_seconds, dt.UTC), rollup
