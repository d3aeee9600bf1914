"""Reading of tasks, counts, nodes and hosts of all cells."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from taskflow.model.filter import NO_FILTER, PageOrder, TaskFilter
from taskflow.model.monitoring import (
    LISTED_TASKS,
    MAX_WAITING_COUNTED,
    MAX_WAITING_QUEUES,
    HostDetail,
    HostRecord,
    HostWaiting,
    Minute,
    NodeRecord,
    hosts_in_order,
)
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import (
    QueueStatistics,
    RecentCounts,
    TaskStatistics,
    TotalStatistics,
)
from taskflow.model.task import AttemptRecord, Task, TaskStatus
from taskflow.model.task_states import MAX_COUNTED, StateCounts, merged_counts
from taskflow.store.base.listing import ListingStore, MonitoringStore, Page, ParentResult
from taskflow.store.cells.cell import Cells


class _HasId(Protocol):
    @property
    def id(self) -> uuid.UUID: ...


Item = TypeVar("Item", bound=_HasId)


class CellListing(ListingStore):
    """Reads tasks of all cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def get(self, task_id: uuid.UUID) -> Task | None:
        return await self._cells.find(task_id, lambda store: store.get(task_id))

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        return await self._cells.find(task_id, lambda store: store.get_unmasked(task_id))

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        parts = await self._cells.by_ids(
            task_ids,
            lambda store, ids: store.get_many(ids),
            lambda tasks: {one.id for one in tasks},
            may_leave_out=True,
        )
        return [task for part in parts for task in part]

    async def queues_of(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, str]:
        parts = await self._cells.by_ids(
            task_ids, lambda store, ids: store.queues_of(ids), lambda queues: queues.keys()
        )
        return {task_id: queue for part in parts for task_id, queue in part.items()}

    async def status_codes(self, task_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, int]:
        parts = await self._cells.by_ids(
            task_ids,
            lambda store, ids: store.status_codes(ids),
            lambda codes: codes.keys(),
            may_leave_out=True,
        )
        return {task_id: code for part in parts for task_id, code in part.items()}

    async def parent_result(
        self, task_id: uuid.UUID, parent: str, *, max_bytes: int
    ) -> ParentResult | None:
        return await self._cells.find(
            task_id, lambda store: store.parent_result(task_id, parent, max_bytes=max_bytes)
        )

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        found = await self._cells.find(task_id, lambda store: _wrapped(store.attempts(task_id)))
        return None if found is None else found[0]

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
        order: PageOrder = PageOrder.NEWEST,
    ) -> Page:
        pages = await self._cells.read(
            lambda store: store.page(
                limit=limit, before=before, filter=filter, without=without, order=order
            )
        )
        tasks, next_before = merged_page(
            [(one.result.tasks, one.result.next_before) for one in pages], limit, order
        )
        return Page(tasks, next_before)

    async def count_pending(self, *, limit: int) -> int:
        found = await self._cells.read(lambda store: store.count_pending(limit=limit))
        return min(limit, sum(one.result for one in found))

    async def count(
        self,
        *,
        limit: int,
        queue: str | None = None,
        is_after_write: bool = False,
        scope: QueueScope | None = None,
    ) -> TaskStatistics:
        found = await self._cells.read(
            lambda store: store.count(
                limit=limit, queue=queue, is_after_write=is_after_write, scope=scope
            )
        )
        return merged_statistics([one.result for one in found], limit)

    async def fold_counts(self, *, limit: int) -> int:
        return await self._cells.total(lambda store: store.fold_counts(limit=limit))


async def _wrapped(
    call: Awaitable[list[AttemptRecord] | None],
) -> tuple[list[AttemptRecord]] | None:
    """Return a result that is true even if the list is empty."""
    found = await call
    return None if found is None else (found,)


def merged_page(
    pages: Iterable[tuple[Sequence[Item], uuid.UUID | None]],
    limit: int,
    order: PageOrder = PageOrder.NEWEST,
) -> tuple[list[Item], uuid.UUID | None]:
    """Return one page of several, and the id that the next page continues from.

    A page that has a next one is known up to that id only, so nothing beyond it is returned.
    """
    pages, is_oldest_first = list(pages), order is PageOrder.OLDEST
    bounds = [bound for _, bound in pages if bound is not None]
    bound = min(bounds, default=None) if is_oldest_first else max(bounds, default=None)
    items = sorted(
        (one for items, _ in pages for one in items),
        key=lambda one: one.id,
        reverse=not is_oldest_first,
    )
    known = [
        one
        for one in items
        if bound is None or one.id == bound or (one.id < bound) == is_oldest_first
    ]
    if len(known) > limit or (len(known) == limit and len(known) < len(items)):
        return known[:limit], known[limit - 1].id
    return known, bound


class CellMonitoring(MonitoringStore):
    """What operators read, of all cells."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells

    async def states(
        self,
        *,
        limit: int = MAX_COUNTED,
        queue: str | None = None,
        is_after_write: bool = False,
        scope: QueueScope | None = None,
    ) -> StateCounts:
        found = await self._cells.read(
            lambda store: store.monitoring.states(
                limit=limit, queue=queue, is_after_write=is_after_write, scope=scope
            )
        )
        return merged_counts([one.result for one in found])

    async def nodes(self, limit: int, *, tasks: int = LISTED_TASKS) -> list[NodeRecord]:
        found = await self._cells.read(lambda store: store.monitoring.nodes(limit, tasks=tasks))
        by_name: dict[str, list[NodeRecord]] = {}
        for one in found:
            for record in one.result:
                by_name.setdefault(record.name, []).append(record)
        return [_one_node(records, tasks) for _, records in sorted(by_name.items())][:limit]

    async def hosts(self, limit: int) -> list[HostRecord]:
        found = await self._cells.read(lambda store: store.monitoring.hosts(limit))
        by_host: dict[str, list[HostRecord]] = {}
        for one in found:
            for record in one.result:
                by_host.setdefault(record.host, []).append(record)
        return hosts_in_order([_one_host(records) for records in by_host.values()])[:limit]

    async def host(self, host: str) -> HostDetail:
        found = await self._cells.read(lambda store: store.monitoring.host(host))
        details = [one.result for one in found]
        errors: Counter[str] = Counter()
        waiting: dict[str, HostWaiting] = {}
        for one in details:
            errors.update(one.errors)
            for part in one.waiting:
                waiting[part.queue] = _both_waiting(waiting.get(part.queue), part)
        return HostDetail(
            record=_one_host([one.record for one in details]),
            errors=dict(errors.most_common()),
            waiting=[waiting[queue] for queue in sorted(waiting)][:MAX_WAITING_QUEUES],
        )

    async def history(
        self, queue: str | None = None, scope: QueueScope | None = None
    ) -> list[Minute]:
        found = await self._cells.read(lambda store: store.monitoring.history(queue, scope))
        sums: dict[object, Counter[TaskStatus]] = {}
        for one in found:
            for minute in one.result:
                sums.setdefault(minute.at, Counter()).update(minute.finished)
        # Clocks differ: the minutes of the first cell are shown.
        return [Minute(at=minute.at, finished=dict(sums[minute.at])) for minute in found[0].result]


def _one_node(records: Sequence[NodeRecord], tasks: int) -> NodeRecord:
    """Return a node that is registered in several cells: its workers and claims in all of them."""
    latest = max(records, key=lambda one: one.renewed_at)
    workers = [one.workers for one in records if one.workers is not None]
    running = sorted(
        (task for one in records for task in one.longest_running),
        key=lambda task: -task.running_seconds,
    )
    return msgspec.structs.replace(
        latest,
        id=records[0].id,
        workers=sum(workers) if workers else None,
        running=sum(one.running for one in records),
        longest_running_seconds=_greatest(one.longest_running_seconds for one in records),
        longest_running=running[:tasks],
    )


def _both_waiting(one: HostWaiting | None, other: HostWaiting) -> HostWaiting:
    """Return the pending tasks of a host in a queue that are in two cells."""
    if one is None:
        return other
    due = [at for at in (one.oldest_run_at, other.oldest_run_at) if at is not None]
    count = min(one.count + other.count, MAX_WAITING_COUNTED)
    return HostWaiting(one.queue, count, min(due, default=None))


def _one_host(records: Sequence[HostRecord]) -> HostRecord:
    """Return the statistics of a host in all cells; the median is of the largest sample."""
    largest = max(records, key=lambda one: one.fetched)
    return HostRecord(
        host=largest.host,
        fetched=sum(one.fetched for one in records),
        failed=sum(one.failed for one in records),
        median_seconds=largest.median_seconds,
        slowest_seconds=_greatest(one.slowest_seconds for one in records),
        running=sum(one.running for one in records),
        longest_running_seconds=_greatest(one.longest_running_seconds for one in records),
        held=next((one.held for one in records if one.held), None),
        open_since=min((one.open_since for one in records if one.open_since), default=None),
    )


def _greatest(values: Iterable[float | None]) -> float | None:
    return max((one for one in values if one is not None), default=None)


def merged_statistics(parts: Sequence[TaskStatistics], limit: int) -> TaskStatistics:
    """Return the statistics of several stores as one."""
    by_queue: dict[str, list[QueueStatistics]] = {}
    for part in parts:
        for one in part.queues:
            by_queue.setdefault(one.queue, []).append(one)
    queues = [
        QueueStatistics(queue=name, **_summed(lines)) for name, lines in sorted(by_queue.items())
    ]
    return TaskStatistics(
        queues=queues[:limit],
        total=TotalStatistics(**_summed([part.total for part in parts])),
        complete=all(part.complete for part in parts) and len(queues) <= limit,
    )


class _Summed(Protocol):
    @property
    def counts(self) -> Mapping[TaskStatus, int]: ...
    @property
    def oldest_waiting_seconds(self) -> float | None: ...
    @property
    def finished(self) -> Mapping[TaskStatus, RecentCounts]: ...


def _summed(lines: Sequence[_Summed]) -> dict[str, Any]:
    return {
        "counts": {
            status: sum(line.counts.get(status, 0) for line in lines) for status in TaskStatus
        },
        "oldest_waiting_seconds": _greatest(line.oldest_waiting_seconds for line in lines),
        "finished": {
            status: RecentCounts(
                sum(line.finished[status].last_minute for line in lines),
                sum(line.finished[status].last_5_minutes for line in lines),
                sum(line.finished[status].last_hour for line in lines),
            )
            for status in TaskStatus
            if status.is_final
        },
    }
