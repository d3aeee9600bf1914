"""What is told to those who keep TaskFlow running, by PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
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
from taskflow.store.postgres.database import Connection, Database
from taskflow.store.postgres.rows import Row

_RUNNING_TASK: Final = msgspec.json.Decoder(RunningTask)


class PostgresMonitoring(MonitoringStore):
    """A part of ``PostgresStore``.

    Args:
        database: Where.
        sql: The statements of ``queries``.
    """

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    async def nodes(self, limit: int) -> list[NodeRecord]:
        rows = await self._database.run_slow_read(
            lambda connection: self._execute(
                connection, "list_nodes", {"limit": limit, "tasks": LISTED_TASKS}
            )
        )
        return [_node_of(row) for row in rows]

    async def hosts(self, limit: int) -> list[HostRecord]:
        def work(connection: Connection) -> list[HostRecord]:
            sampled = {"limit": SAMPLED_TASKS}
            return hosts_of(
                [FetchedTask(*row) for row in self._execute(connection, "newest_fetched", sampled)],
                {
                    host: RunningTasks(*running)
                    for host, *running in self._execute(
                        connection, "running_by_host", {"limit": MAX_RUNNING_SCANNED}
                    )
                },
                {
                    host: HostHold(*held)
                    for host, *held in self._execute(connection, "hosts_held", {"limit": limit})
                },
                limit=limit,
            )

        return await self._database.run_slow_read(work)

    async def history(self, queue: str | None = None) -> list[Minute]:
        asked = {"queue": queue, "minutes": HISTORY_MINUTES}
        rows = await self._database.run_slow_read(
            lambda connection: self._execute(connection, "endings_by_minute", asked)
        )
        counts = {(at, TaskStatus(status)): count for _, at, status, count in rows if at}
        return minutes_of(counts, rows[0][0])

    def _execute(
        self, connection: Connection, query: str, parameters: Mapping[str, object]
    ) -> list[Row]:
        return connection.execute(self._sql[query], parameters).fetchall()


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
        longest_running_seconds=longest[0].seconds if longest else None,
        longest_running=longest,
    )
