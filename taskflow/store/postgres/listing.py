"""Reading of tasks and their counts, of nodes, hosts and throughput, in PostgreSQL.

``search`` finds the tasks of a page.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from taskflow.model.filter import NO_FILTER, PageOrder, TaskFilter
from taskflow.model.monitoring import (
    HISTORY_MINUTES,
    LISTED_TASKS,
    MAX_WAITING_COUNTED,
    MAX_WAITING_QUEUES,
    SAMPLED_TASKS,
    FetchedTask,
    HostDetail,
    HostRecord,
    HostWaiting,
    Minute,
    NodeRecord,
    RunningTask,
    RunningTasks,
    host_detail_of,
    hosts_of,
    minutes_of,
)
from taskflow.model.parents import is_id
from taskflow.model.queue_limits import HostHold
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import Line, TaskStatistics, queue_of, total_of
from taskflow.model.task import AttemptRecord, Task, TaskStatus
from taskflow.model.task_states import MAX_COUNTED, StateCounts
from taskflow.store.base.listing import (
    LARGE_FIELDS,
    MAX_RESPONSES,
    MAX_RUNNING_SCANNED,
    PAGE_BUDGET_BYTES,
    ListingStore,
    MonitoringStore,
    Page,
    ParentResult,
)
from taskflow.store.postgres.claim_scan import held_now
from taskflow.store.postgres.folding import Folding
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Row, attempt_of, line_of, task_of
from taskflow.store.postgres.scoped_statements import in_scope
from taskflow.store.postgres.search import SETTINGS, Search, find
from taskflow.store.postgres.state_counts import count_states
from taskflow.store.postgres.statements import Statements, StorePart

_NO_BUDGET_BYTES: Final = 2**62
_SETTINGS: Final = msgspec.json.Decoder(dict[str, str])
_RUNNING_TASK: Final = msgspec.json.Decoder(RunningTask)


class PostgresListing(StorePart, ListingStore):
    """Reads tasks."""

    _folding: Folding

    async def get(self, task_id: uuid.UUID) -> Task | None:
        database = self._statements.database
        return await database.run(lambda connection: self._read_one(connection, task_id))

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        def work(connection: Connection) -> list[Task]:
            rows = self._rows_of(connection, "read", [task_id])
            return self._with_parents(connection, [task_of(row) for row in rows])

        return next(iter(await self._statements.database.run(work)), None)

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        ids = list(task_ids)
        return await self._statements.database.run(lambda connection: self._read(connection, ids))

    async def queues_of(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        ids = list(task_ids)
        database = self._statements.database
        rows = await database.run(lambda connection: self._rows_of(connection, "lanes_of", ids))
        return {task_id: queue for task_id, queue, _ in rows}

    async def status_codes(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, int]:
        ids = list(task_ids)
        rows = await self._statements.database.run(
            lambda connection: self._rows_of(connection, "status_codes", ids)
        )
        return {task_id: code for task_id, code in rows if code is not None}

    async def parent_result(
        self, task_id: uuid.UUID, parent: str, *, max_bytes: int
    ) -> ParentResult | None:
        parent_id = uuid.UUID(parent) if is_id(parent) else None
        bounds = {"parent": parent, "parent_id": parent_id, "max_bytes": max_bytes}
        for known, result, size in await self._statements.run(
            "parent_result", id=task_id, **bounds
        ):
            document = None if result is None else str(result).encode()
            return ParentResult(known, document, is_too_large=(size or 0) > max_bytes)
        return None

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        def work(connection: Connection) -> list[AttemptRecord] | None:
            parameters = {"id": task_id, "max_responses": MAX_RESPONSES}
            rows = self._statements.execute(connection, "attempts", parameters)
            # Without attempts it may be archived, or there may be no task at all.
            rows = rows or self._statements.execute(connection, "attempts_anywhere", parameters)
            is_known = bool(rows) or self._read_one(connection, task_id) is not None
            return [attempt_of(row) for row in rows] if is_known else None

        return await self._statements.database.run(work)

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
        order: PageOrder = PageOrder.NEWEST,
    ) -> Page:
        read = {"has_" + name: name not in without for name in LARGE_FIELDS}
        budget_bytes = PAGE_BUDGET_BYTES if any(read.values()) else _NO_BUDGET_BYTES
        search = Search(filter, limit, before, budget_bytes, self._context.masking, order=order)

        def work(connection: Connection) -> Page:
            found = find(connection, self._statements.sql, self._with_held(connection, search))
            rows = self._rows_of(connection, "read_some", found.ids, **read)
            if order is PageOrder.OLDEST:
                rows = rows[::-1]
            tasks = self._explained(connection, [task_of(row) for row in rows])
            return Page(self._masked(tasks), next_before=found.next_before)

        # The first page of all tasks, or of those with one status, is read from an index.
        is_plain = filter == TaskFilter(statuses=filter.statuses[:1])
        is_quick = before is None and is_plain and order is PageOrder.NEWEST
        database = self._statements.database
        return await (database.run if is_quick else database.run_slow_read)(work)

    def _with_held(self, connection: Connection, search: Search) -> Search:
        if not search.wanted.depends_on_limits:
            return search
        held = held_now(self._statements.on(connection), self._context.max_per_host)
        return msgspec.structs.replace(search, held=held)

    async def count_pending(self, *, limit: int) -> int:
        [(count,)] = await self._statements.run("count_pending", limit=limit)
        assert isinstance(count, int)
        return count

    async def count(
        self,
        *,
        limit: int,
        queue: str | None = None,
        is_after_write: bool = False,
        scope: QueueScope | None = None,
    ) -> TaskStatistics:
        database = self._statements.database
        run = database.run if is_after_write else database.run_slow_read
        return await run(lambda connection: self._count(connection, limit, queue, scope))

    async def fold_counts(self, *, limit: int) -> int:
        return await self._folding.fold(limit=limit)

    def _count(
        self, connection: Connection, limit: int, queue: str | None, scope: QueueScope | None
    ) -> TaskStatistics:
        execute = self._statements.on(connection)
        lines: dict[str | None, list[Line]] = {} if queue is None else {queue: []}
        name_of_count, queues = in_scope("count", scope)
        for row in execute(name_of_count, {"limit": limit, "queue": queue, **queues}):
            lines.setdefault(row[0], []).append(line_of(row))
        total = lines.pop(None, [])
        names = [name for name in lines if name is not None]
        waiting = [
            name
            for name in names[:limit]
            if any(line.status is TaskStatus.PENDING for line in lines[name])
        ]
        oldest: dict[str | None, float | None]
        # The first task of all belongs to the only queue with tasks.
        is_only_one = queue is None and len(names) <= limit and len(waiting) == 1
        if scope is not None:
            everywhere = [name for (name,) in execute(*in_scope("counted_queues", scope))]
            oldest = dict(execute("oldest_waiting", {"queues": everywhere}))
            oldest[None] = max((oldest[name] or 0.0 for name in oldest if name), default=None)
        elif is_only_one:
            oldest = dict(execute("oldest_waiting", {"queues": []}))
            oldest[waiting[0]] = oldest[None]
        else:
            oldest = dict(execute("oldest_waiting", {"queues": waiting}))
        return TaskStatistics(
            queues=[queue_of(name, lines[name], oldest.get(name)) for name in names[:limit]],
            total=total_of(total, oldest[None]),
            complete=len(names) <= limit,
        )


class PostgresMonitoring(MonitoringStore):
    """The part of ``PostgresStore`` that operators read."""

    def __init__(self, statements: Statements, *, max_per_host: int | None = None) -> None:
        self._statements = statements
        self._max_per_host = max_per_host

    async def states(
        self,
        *,
        limit: int = MAX_COUNTED,
        queue: str | None = None,
        is_after_write: bool = False,
        scope: QueueScope | None = None,
    ) -> StateCounts:
        def work(connection: Connection) -> StateCounts:
            with connection.transaction():
                connection.execute(SETTINGS)
                return count_states(
                    self._statements.on(connection),
                    limit=limit,
                    queue=queue,
                    scope=scope,
                    max_per_host=self._max_per_host,
                )

        database = self._statements.database
        return await (database.run if is_after_write else database.run_slow_read)(work)

    async def nodes(self, limit: int, *, tasks: int = LISTED_TASKS) -> list[NodeRecord]:
        bounds = {"limit": limit, "tasks": tasks}
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
                [_fetched_of(row) for row in fetched],
                {host: RunningTasks(*row) for host, *row in running},
                {host: HostHold(*row) for host, *row in held},
                limit=limit,
            )

        return await self._statements.database.run_slow_read(work)

    async def host(self, host: str) -> HostDetail:
        def work(connection: Connection) -> HostDetail:
            execute = self._statements.on(connection)
            fetched = execute("newest_fetched", {"limit": SAMPLED_TASKS})
            running = execute("running_by_host", {"limit": MAX_RUNNING_SCANNED})
            held = execute("host_held", {"host": host})
            bounds = {"queues": MAX_WAITING_QUEUES, "limit": MAX_WAITING_COUNTED}
            waiting = execute("waiting_for_host", {"host": host, **bounds})
            return host_detail_of(
                host,
                map(_fetched_of, fetched),
                {one: RunningTasks(*row) for one, *row in running},
                HostHold(*held[0]) if held else None,
                [HostWaiting(*row) for row in waiting],
            )

        return await self._statements.database.run_slow_read(work)

    async def history(
        self, queue: str | None = None, scope: QueueScope | None = None
    ) -> list[Minute]:
        name, queues = in_scope("finished_by_minute", scope)
        rows = await self._statements.run_slow_read(
            name, queue=queue, minutes=HISTORY_MINUTES, **queues
        )
        counts = {(at, TaskStatus(status)): count for _, at, status, count in rows if at}
        return minutes_of(counts, rows[0][0])


def _fetched_of(row: Row) -> FetchedTask:
    host, has_failed, elapsed_ms, error_type = row
    return FetchedTask(host, has_failed, elapsed_ms / 1000, error_type)


def _node_of(row: Row) -> NodeRecord:
    node_id, name, version, workers, started, renewed, expires, is_alive, running, texts, *more = (
        row
    )
    tz_version, settings = more
    longest = [_RUNNING_TASK.decode(text) for text in texts]
    return NodeRecord(
        id=node_id,
        name=name,
        version=version,
        workers=workers,
        tz_version=tz_version,
        started_at=started,
        renewed_at=renewed,
        expires_at=expires,
        alive=is_alive,
        running=running,
        longest_running_seconds=longest[0].running_seconds if longest else None,
        longest_running=longest,
        settings=_settings_of(settings),
    )


def _settings_of(text: str | None) -> dict[str, str] | None:
    """Return the settings of a node; ``None`` if no version of TaskFlow reports such ones."""
    try:
        return None if text is None else _SETTINGS.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
