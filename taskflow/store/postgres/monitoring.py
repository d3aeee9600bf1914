"""Nodes, hosts and throughput in PostgreSQL."""

from __future__ import annotations

from typing import Final

import msgspec

from taskflow.model.monitoring import (
    HISTORY_MINUTES,
    LISTED_TASKS,
    SAMPLED_TASKS,
    FetchedTask,
    HostRecord,
    Minute,
    NodeRecord,
    RunningTask,
    RunningTasks,
    hosts_of,
    minutes_of,
)
from taskflow.model.queue_limits import HostHold
from taskflow.model.task import TaskStatus
from taskflow.store.base.monitoring import MAX_RUNNING_SCANNED, MonitoringStore
from taskflow.store.postgres.parts import Statements
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row

_RUNNING_TASK: Final = msgspec.json.Decoder(RunningTask)


class PostgresMonitoring(MonitoringStore):
    """The part of ``PostgresStore`` that operators read."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def nodes(self, limit: int) -> list[NodeRecord]:
        bounds = {"limit": limit, "tasks": LISTED_TASKS}
        return [
            _node_of(row) for row in await self._statements.run_slow_read("list_nodes", **bounds)
        ]

    async def hosts(self, limit: int) -> list[HostRecord]:
        def work(connection: Connection) -> list[HostRecord]:
            execute = self._statements.on(connection)
            fetched = execute("newest_fetched", {"limit": SAMPLED_TASKS})
            running = execute("running_by_host", {"limit": MAX_RUNNING_SCANNED})
            held = execute("hosts_held", {"limit": limit})
            return hosts_of(
                [FetchedTask(host, failed, ms / 1000) for host, failed, ms in fetched],
                {host: RunningTasks(*row) for host, *row in running},
                {host: HostHold(*row) for host, *row in held},
                limit=limit,
            )

        return await self._statements.database.run_slow_read(work)

    async def history(self, queue: str | None = None) -> list[Minute]:
        bounds = {"queue": queue, "minutes": HISTORY_MINUTES}
        rows = await self._statements.run_slow_read("finished_by_minute", **bounds)
        counts = {(at, TaskStatus(status)): count for _, at, status, count in rows if at}
        return minutes_of(counts, rows[0][0])


def _node_of(row: Row) -> NodeRecord:
    node_id, name, version, workers, started, renewed, expires, is_alive, running, texts, tz = row
    longest = [_RUNNING_TASK.decode(text) for text in texts]
    return NodeRecord(
        id=node_id,
        name=name,
        version=version,
        workers=workers,
        tz_version=tz,
        started_at=started,
        renewed_at=renewed,
        expires_at=expires,
        alive=is_alive,
        running=running,
        longest_running_seconds=longest[0].running_seconds if longest else None,
        longest_running=longest,
    )
