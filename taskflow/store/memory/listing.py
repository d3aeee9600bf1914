"""Reading of tasks and their counts, of nodes, hosts and throughput, in memory."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec
import trio
from msgspec import UNSET

from taskflow.checkpoints import Checkpoints
from taskflow.model.claim_selection import Candidate
from taskflow.model.filter import NO_FILTER, PageOrder, TaskFilter, matches
from taskflow.model.monitoring import (
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
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.queues import TaskStatistics, queue_of, total_of
from taskflow.model.task import AttemptRecord, AttemptStatus, Task, TaskStatus
from taskflow.model.task_states import (
    MAX_COUNTED,
    NOTHING_HELD,
    Counted,
    HeldLanes,
    StateCounts,
    TaskState,
    counts_of,
    held_lanes,
    state_of,
)
from taskflow.store.base.listing import (
    MAX_RESPONSES,
    MAX_SCANNED,
    PAGE_BUDGET_BYTES,
    ListingStore,
    MonitoringStore,
    Page,
    ParentResult,
)
from taskflow.store.memory.queues import FinishedCounts, Kind, MemoryQueues, lines_of, sum_of
from taskflow.store.memory.state import MemoryNode, MemoryState


class MemoryListing(MemoryState, ListingStore):
    """Reads tasks."""

    async def get(self, task_id: uuid.UUID) -> Task | None:
        return next(iter(await self.get_many([task_id])), None)

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._tasks.get(task_id)

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        await trio.lowlevel.checkpoint()
        return await self._shown(self._find(task_ids))

    async def queues_of(self, task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
        await trio.lowlevel.checkpoint()
        return {task.id: task.queue for task in self._find(task_ids)}

    async def status_codes(self, task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
        await trio.lowlevel.checkpoint()
        return {
            task.id: code
            for task in self._find(task_ids)
            if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED)
            and task.error_type not in (ErrorType.POISON, ErrorType.EXPIRED)
            and (attempts := self._attempts.get(task.id))
            and (code := attempts[-1].status_code) is not None
        }

    async def parent_result(
        self, task_id: uuid.UUID, parent: str, *, max_bytes: int
    ) -> ParentResult | None:
        await trio.lowlevel.checkpoint()
        known = self._tasks.get(self._graphs.parent(task_id, parent))
        if known is None:
            return None
        result = None if known.result is None else bytes(known.result)
        if result is not None and len(result) > max_bytes:
            return ParentResult(known.id, None, is_too_large=True)
        return ParentResult(known.id, result)

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return None
        attempts = list(self._attempts.get(task_id, []))
        if task.status is TaskStatus.RUNNING:
            attempts.append(self._attempt(task, AttemptStatus.RUNNING, finished_at=None))
        older, last = attempts[:-MAX_RESPONSES], attempts[-MAX_RESPONSES:]
        return [*(msgspec.structs.replace(one, response=UNSET) for one in older), *last]

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
        order: PageOrder = PageOrder.NEWEST,
    ) -> Page:
        await trio.lowlevel.checkpoint()
        ids, held = self._ids_in(filter.scope), self._held_lanes(filter)
        scanned, has_more = _window_of(ids, before, order)
        page: list[Task] = []
        size_bytes, checkpoints = 0, Checkpoints()
        for task_id in scanned:
            if self._matches(task_id, filter, held):
                if len(page) == limit or size_bytes >= PAGE_BUDGET_BYTES:
                    return Page(await self._shown(page), next_before=page[-1].id)
                page.append(self._tasks[task_id])
                size_bytes += _size_of(page[-1], without)
            await checkpoints.after(self._scanned_bytes(task_id, filter))
        return Page(await self._shown(page), next_before=scanned[-1] if has_more else None)

    def _ids_in(self, scope: QueueScope | None) -> list[uuid.UUID]:
        """Return the ids of all tasks in a scope, so that a page reveals no other ids."""
        if scope is None:
            return list(self._tasks)
        return [task_id for task_id, task in self._tasks.items() if scope.allows(task.queue)]

    def _held_lanes(self, filter: TaskFilter) -> HeldLanes:
        return self._held() if filter.depends_on_limits else NOTHING_HELD

    def _held(self) -> HeldLanes:
        running = Counter(self._place_of_running(self._tasks[task_id]) for task_id in self._holds)
        return held_lanes(self._queues.state(running), max_per_host=self._max_per_host)

    def _open_states(self) -> Iterable[tuple[str, TaskState]]:
        """Return the queue and the state of each task that has not finished."""
        held, now = self._held(), self._now()
        for task in list(self._tasks.values()):
            # One that was deleted meanwhile is left out.
            is_held = task.id in self._submitted and held.holds(self._queue_host(task))
            state = state_of(task, now, is_held=is_held)
            if state is not None and task.id in self._tasks:
                yield task.queue, state

    def _matches(self, task_id: uuid.UUID, filter: TaskFilter, held: HeldLanes) -> bool:
        task = self._tasks.get(task_id)
        if task is None:  # deleted meanwhile
            return False
        if filter.states:
            is_held = held.holds(self._queue_host(task))
            if state_of(task, self._now(), is_held=is_held) not in filter.states:
                return False
        shown = task if filter.url_contains is None else self._masking.task(task)
        host, failure = self._submitted[task_id].host, self._failures.failure_of(task_id)
        return matches(shown, host, filter, failure=failure)

    def _scanned_bytes(self, task_id: uuid.UUID, filter: TaskFilter) -> int:
        task = None if filter.url_contains is None else self._tasks.get(task_id)
        return 0 if task is None else len(bytes(task.payload))

    async def count_pending(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        return min(len(self._pending), limit)

    async def count(
        self,
        *,
        limit: int,
        queue: str | None = None,
        is_after_write: bool = False,  # noqa: ARG002 - nothing waits here
        scope: QueueScope | None = None,
    ) -> TaskStatistics:
        await trio.lowlevel.checkpoint()
        now, counts, checkpoints = self._now(), Counter[Kind](), Checkpoints()
        first: dict[str, dt.datetime] = {}
        finished = await self._finished.by_window(now.timestamp(), scope)
        for task in list(self._tasks.values()):
            if scope is not None and not scope.allows(task.queue):
                continue
            counts[task.queue, task.status] += 1
            is_pending = task.status is TaskStatus.PENDING
            if is_pending and task.run_at is not None and task.run_at <= now:
                first[task.queue] = min(first.get(task.queue, now), task.run_at)
            await checkpoints.after(0)
        lines = await lines_of(counts, finished)
        oldest = {name: (now - run_at).total_seconds() for name, run_at in first.items()}
        names = sorted(lines) if queue is None else [queue]
        return TaskStatistics(
            queues=[
                queue_of(name, lines.get(name, ()), oldest.get(name)) for name in names[:limit]
            ],
            total=total_of(
                await sum_of(itertools.chain.from_iterable(lines.values())),
                max(oldest.values(), default=None),
            ),
            complete=len(names) <= limit,
        )

    async def fold_counts(self, *, limit: int) -> int:  # noqa: ARG002 - there is nothing to fold
        await trio.lowlevel.checkpoint()
        self._finished.delete_old(self._now().timestamp())
        return 0


def _window_of(
    ids: list[uuid.UUID], before: uuid.UUID | None, order: PageOrder
) -> tuple[list[uuid.UUID], bool]:
    """Return the ids that a page may scan, in its order, and whether there are more."""
    if order is PageOrder.OLDEST:
        begin = 0 if before is None else bisect.bisect_right(ids, before)
        end = min(len(ids), begin + MAX_SCANNED)
        return ids[begin:end], end < len(ids)
    end = len(ids) if before is None else bisect.bisect_left(ids, before)
    begin = max(0, end - MAX_SCANNED)
    return ids[begin:end][::-1], begin > 0


def _size_of(task: Task, without: Collection[str]) -> int:
    """Return the size of the large fields of a task in bytes."""
    return sum(
        len(bytes(document))
        for name, document in (("payload", task.payload), ("result", task.result))
        if document is not None and name not in without
    )


class RunningHold(msgspec.Struct, frozen=True):
    """A running task: its node, its host, and since when it runs."""

    task_id: uuid.UUID
    node_id: uuid.UUID
    host: str
    started_at: dt.datetime

    def seconds_at(self, now: dt.datetime) -> float:
        """Return how long it has been running."""
        return round((now - self.started_at).total_seconds(), 3)


class MemoryMonitoring(MonitoringStore):
    """The part of ``MemoryStore`` that operators read.

    Args:
        nodes: All nodes.
        running: Returns the running tasks.
        fetched: Returns the fetched tasks, newest first.
        pending: Returns the pending tasks.
        queues: Has the circuits of hosts.
        finished: Numbers of finished tasks.
        now: The store's clock.
        states: Returns the queue and the state of each task that has not finished.
    """

    def __init__(  # noqa: PLR0913 - all that it reads
        self,
        *,
        nodes: Mapping[uuid.UUID, MemoryNode],
        running: Callable[[], Iterable[RunningHold]],
        fetched: Callable[[], Iterable[FetchedTask]],
        pending: Callable[[], Iterable[Candidate]],
        queues: MemoryQueues,
        finished: FinishedCounts,
        now: Callable[[], dt.datetime],
        states: Callable[[], Iterable[tuple[str, TaskState]]],
    ) -> None:
        self._nodes: Final = nodes
        self._running = running
        self._fetched = fetched
        self._pending = pending
        self._queues = queues
        self._finished = finished
        self._now = now
        self._states = states

    async def states(
        self,
        *,
        limit: int = MAX_COUNTED,
        queue: str | None = None,
        is_after_write: bool = False,  # noqa: ARG002 - nothing waits here
        scope: QueueScope | None = None,
    ) -> StateCounts:
        await trio.lowlevel.checkpoint()
        counts, checkpoints = Counter[tuple[str, TaskState]](), Checkpoints()
        for name, state in self._states():
            if queue in (None, name) and (scope is None or scope.allows(name)):
                counts[name, state] += 1
            await checkpoints.after(0)
        counted = [Counted(*place, count) for place, count in counts.items()]
        totals = Counter[TaskState]()
        for one in counted:
            totals[one.state] += one.tasks
        over = [state for state, count in totals.items() if count > limit]
        return counts_of(self._now(), counted, over)

    async def nodes(self, limit: int, *, tasks: int = LISTED_TASKS) -> list[NodeRecord]:
        await trio.lowlevel.checkpoint()
        by_name = sorted(self._nodes.items(), key=lambda one: (one[1].name, one[1].started_at))
        return [self._node_of(node_id, node, tasks) for node_id, node in by_name[:limit]]

    async def hosts(self, limit: int) -> list[HostRecord]:
        held = await self._queues.open_circuits(limit)
        fetched = itertools.islice(self._fetched(), SAMPLED_TASKS)
        return hosts_of(fetched, self._running_by_host(), held, limit=limit)

    async def host(self, host: str) -> HostDetail:
        held = await self._queues.open_circuits(sys.maxsize)
        fetched = itertools.islice(self._fetched(), SAMPLED_TASKS)
        waiting = await self._waiting(host)
        return host_detail_of(host, fetched, self._running_by_host(), held.get(host), waiting)

    def _running_by_host(self) -> dict[str, RunningTasks]:
        by_host: dict[str, list[RunningHold]] = {}
        for one in self._running():
            by_host.setdefault(one.host, []).append(one)
        now = self._now()
        return {
            host: RunningTasks(len(ones), max(one.seconds_at(now) for one in ones))
            for host, ones in by_host.items()
        }

    async def _waiting(self, host: str) -> list[HostWaiting]:
        found: dict[str, list[dt.datetime]] = {}
        checkpoints = Checkpoints()
        for one in list(self._pending()):
            if one.queue_host.host == host:
                found.setdefault(one.queue_host.queue, []).append(one.run_at)
            await checkpoints.after(0)
        return [
            HostWaiting(queue, min(len(run_ats), MAX_WAITING_COUNTED), min(run_ats))
            for queue, run_ats in sorted(found.items())
        ][:MAX_WAITING_QUEUES]

    async def history(
        self, queue: str | None = None, scope: QueueScope | None = None
    ) -> list[Minute]:
        await trio.lowlevel.checkpoint()
        return minutes_of(await self._finished.by_minute(queue, scope), self._now())

    def _node_of(self, node_id: uuid.UUID, node: MemoryNode, tasks: int) -> NodeRecord:
        seconds_left = node.expires_at - trio.current_time()
        now = self._now()
        expires_at = now + dt.timedelta(seconds=seconds_left)
        held = [one for one in self._running() if one.node_id == node_id]
        held.sort(key=lambda one: (one.started_at, one.task_id))
        longest = [
            RunningTask(
                id=one.task_id,
                host=one.host,
                running_seconds=one.seconds_at(now),
            )
            for one in held[:tasks]
        ]
        return NodeRecord(
            id=node_id,
            name=node.name,
            version=node.version or None,
            workers=node.workers or None,
            tz_version=node.tz_version,
            started_at=node.started_at,
            renewed_at=expires_at - dt.timedelta(seconds=node.lease_seconds),
            expires_at=expires_at,
            alive=seconds_left > 0,
            running=len(held),
            longest_running_seconds=longest[0].running_seconds if longest else None,
            longest_running=longest,
            settings=node.settings,
        )
