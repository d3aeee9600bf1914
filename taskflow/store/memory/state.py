"""What the store in memory holds, and the one function that moves a task to its next status."""

from __future__ import annotations

import bisect
import datetime as dt
import secrets
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model import lifecycle
from taskflow.model.callback import callback_of
from taskflow.model.claim_selection import Candidate
from taskflow.model.completion import FOR_COMPLETION
from taskflow.model.event import TaskEvent
from taskflow.model.lifecycle import Move
from taskflow.model.masking import Masking
from taskflow.model.order_keys import behind
from taskflow.model.outcome import ErrorType
from taskflow.model.parents import OnParentFailure, failure_of
from taskflow.model.queue_limits import Limiter, QueueHost
from taskflow.model.task import (
    AttemptRecord,
    AttemptStatus,
    Claim,
    ClaimKey,
    NewTask,
    Task,
    TaskStatus,
)
from taskflow.store.base.claims import Cancellations, DirectClaims
from taskflow.store.memory.audit import MemoryAudit
from taskflow.store.memory.graphs import GraphBook, GraphTasks
from taskflow.store.memory.group_book import GroupBook
from taskflow.store.memory.grouped_failures import MemoryFailures
from taskflow.store.memory.queues import FinishedCounts, MemoryQueues
from taskflow.store.memory.rollups import MemoryRollups
from taskflow.wakeup import WakeUp

MAX_EVENTS: Final = 100_000
# The due time of tasks that wait for others: these have none.
NEVER: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
# From this number on, new tasks are merged with the pending ones, and not inserted.
MANY_TASKS: Final = 100
_NO_TASK: Final = uuid.UUID(int=0)


class MemoryNode(msgspec.Struct):
    """A node; ``expires_at`` is on Trio's clock, in seconds."""

    name: str
    lease_seconds: float
    expires_at: float
    started_at: dt.datetime
    version: str
    workers: int
    tz_version: str | None = None
    settings: Mapping[str, str] | None = None


class Hold(msgspec.Struct, frozen=True):
    """The claim of a running task: its node, and its token."""

    node_id: uuid.UUID
    node: str
    token: uuid.UUID


class ParkedAttempt(msgspec.Struct, frozen=True):
    """When a parked attempt has to be looked after, and the URL that it is polled at."""

    token: uuid.UUID
    due_at: dt.datetime
    overdue_at: dt.datetime
    poll_url: str | None


class KnownKey(msgspec.Struct, frozen=True):
    """What a request with an idempotency key made; times are on Trio's clock."""

    fingerprint: bytes
    task_ids: list[uuid.UUID]
    expires_at: float


class TaskKey(NamedTuple):
    """The unique or debounce key of a task, within its queue."""

    queue: str
    key: str
    is_debounce: bool


class MemoryState:
    """The base of the parts of the store: dicts by task id, and the moves of the lifecycle.

    Its clock is Trio's, so that tests on a virtual clock see time pass.
    """

    def __init__(self, max_per_host: int | None, masking: Masking) -> None:
        self._max_per_host = max_per_host
        self._masking: Final = masking
        self._epoch: Final = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=trio.current_time())
        self._last_stamp = 0
        # In the order of creation, and so of ids.
        self._tasks: dict[uuid.UUID, Task] = {}
        self._submitted: dict[uuid.UUID, NewTask] = {}
        self._attempts: dict[uuid.UUID, list[AttemptRecord]] = {}
        # The RUNNING tasks.
        self._holds: dict[uuid.UUID, Hold] = {}
        # The parked ones among them: their node is ``PARKED_NODE``.
        self._parked: dict[uuid.UUID, ParkedAttempt] = {}
        # Open tasks of the schedules that limit overlaps, and finished ones until that is seen.
        self._schedule_tasks: dict[str, set[uuid.UUID]] = {}
        # The PENDING tasks, due or not, sorted in the order of claims.
        self._pending: list[Candidate] = []
        # The expiry times of PENDING tasks that have one.
        self._expiries: dict[uuid.UUID, dt.datetime] = {}
        # The finished tasks, in the order of their ends; those with a retention of their own apart.
        self._ended: dict[uuid.UUID, None] = {}
        self._ended_apart: dict[uuid.UUID, None] = {}
        # By queue and order key the tasks in line, sorted by id.
        self._lines: dict[tuple[str, str], list[uuid.UUID]] = {}
        # The one of them that was started and has not finished, if there is one.
        self._started: dict[tuple[str, str], uuid.UUID] = {}
        self._groups: Final = GroupBook(self._now, self._enter_one)
        self._graphs: Final = GraphBook(
            GraphTasks(
                find=self._find_one,
                start=self._start_child,
                restart=self._start_after,
                end=self._end_child,
            )
        )
        self._nodes: dict[uuid.UUID, MemoryNode] = {}
        self._keys: dict[str, KnownKey] = {}
        # The last task with each unique or debounce key of a queue.
        self._keyed: dict[TaskKey, uuid.UUID] = {}
        # When debounced tasks are due at the latest, if that is limited.
        self._debounced_until: dict[uuid.UUID, dt.datetime] = {}
        self._finished: Final = FinishedCounts()
        self._rollups: Final = MemoryRollups(self._now, self._due_by_queue)
        self._failures: Final = MemoryFailures(self._now, masking)
        # The last ones, without a gap.
        self._events: deque[TaskEvent] = deque(maxlen=MAX_EVENTS)
        self._last_event = 0
        self._work = WakeUp()
        self._new_events = WakeUp()
        self._audit: Final = MemoryAudit(self._now, self._new_id, masking)
        self._queues: Final = MemoryQueues(self._now, self._work.notify, self._audit)
        self._direct_claims = DirectClaims()
        self._cancellations = Cancellations()

    # Clock and ids

    def _now(self) -> dt.datetime:
        return self._epoch + dt.timedelta(seconds=trio.current_time())

    def _new_id(self) -> uuid.UUID:
        """Return a UUIDv7 (RFC 9562) greater than all before: milliseconds, and a counter."""
        self._last_stamp = max(int(self._now().timestamp() * 1000) << 12, self._last_stamp + 1)
        milliseconds, counter = divmod(self._last_stamp, 1 << 12)
        number = milliseconds << 80 | 7 << 76 | counter << 64 | 2 << 62 | secrets.randbits(62)
        return uuid.UUID(int=number)

    # Reading

    def _find(self, task_ids: Iterable[uuid.UUID]) -> list[Task]:
        return [self._tasks[task_id] for task_id in task_ids if task_id in self._tasks]

    def _key_of(self, new: NewTask) -> TaskKey | None:
        key = new.options.unique or new.options.debounce
        if key is None:
            return None
        return TaskKey(new.queue, key.key, is_debounce=new.options.unique is None)

    def _holder(self, key: TaskKey) -> Task | None:
        """Return the task that has a unique key, or that a debounced submission would replace."""
        task = self._tasks.get(self._keyed.get(key, _NO_TASK))
        if task is None:
            return None
        if key.is_debounce:
            return task if has_not_started(task) else None
        return task if task.unique and task.status in task.unique.statuses else None

    def _find_one(self, task_id: uuid.UUID) -> Task | None:
        return self._tasks.get(task_id)

    def _find_submitted(self, task_id: uuid.UUID) -> tuple[Task, NewTask] | None:
        """Return a task, and how it was submitted."""
        task = self._tasks.get(task_id)
        return None if task is None else (task, self._submitted[task_id])

    def _queue_host(self, task: Task) -> QueueHost:
        return QueueHost(task.queue, self._submitted[task.id].authority)

    def _candidate(self, task: Task) -> Candidate:
        return Candidate(task.priority, task.run_at or NEVER, task.id, self._queue_host(task))

    def _limiter(self) -> Limiter:
        running = Counter(self._place_of_running(self._tasks[task_id]) for task_id in self._holds)
        return Limiter(self._queues.state(running), max_per_host=self._max_per_host)

    def _place_of_running(self, task: Task) -> QueueHost:
        """Return what a running task counts for; a parked one does not count for its host."""
        return QueueHost(task.queue, "") if task.id in self._parked else self._queue_host(task)

    async def _shown(self, tasks: Iterable[Task], *, are_new: bool = False) -> list[Task]:
        """Return tasks as they are shown: masked, and with why they do not start.

        Of new tasks that wait, the task ahead is not looked up.
        """
        now, checkpoints, shown = self._now(), Checkpoints(), []
        limiter = None if self._is_unlimited() else self._limiter()
        for task in tasks:
            await checkpoints.after(task.size_bytes)
            held = task if limiter is None else self._with_hold(task, limiter, now)
            shown.append(self._masking.task(held if are_new else self._explained(held)))
        return shown

    def _explained(self, task: Task) -> Task:
        """Return the task with the tasks that it waits for."""
        return self._graphs.shown(self._with_task_ahead(task))

    def _with_task_ahead(self, task: Task) -> Task:
        """Return the task with the one directly ahead in line, if it waits for one."""
        if task.waiting_for in (None, FOR_COMPLETION) or task.order_key is None:
            return task
        key = (task.queue, task.order_key)
        line = self._lines.get(key, [])
        index = bisect.bisect_left(line, task.id)
        started = self._started.get(key)
        ahead = next((one for one in reversed(line[:index]) if one != started), started)
        if ahead is None:
            return task
        waiting_for = behind(ahead, is_holding=self._tasks[ahead].holds_key)
        return msgspec.structs.replace(task, waiting_for=waiting_for)

    def _with_hold(self, task: Task, limiter: Limiter, now: dt.datetime) -> Task:
        is_kept = task.id in self._submitted  # it may have been deleted meanwhile
        return task.with_hold(limiter, self._queue_host(task), now) if is_kept else task

    def _is_unlimited(self) -> bool:
        return self._max_per_host is None and self._queues.state({}).is_unlimited

    def _is_alive(self, node_id: uuid.UUID) -> bool:
        node = self._nodes.get(node_id)
        return node is not None and node.expires_at > trio.current_time()

    # Writing

    async def _add(self, new_tasks: Sequence[NewTask]) -> list[Task]:
        """Store new tasks in one step, which is short: they are made before."""
        return self._link_and_enter(await self._made_each(new_tasks), new_tasks)

    async def _made_each(self, new_tasks: Sequence[NewTask]) -> list[Task]:
        now, tasks, checkpoints = self._now(), [], Checkpoints()
        for new in new_tasks:
            tasks.append(self._made(new, now))
            await checkpoints.after(0)
        return tasks

    def _add_at_once(self, new_tasks: Sequence[NewTask]) -> list[Task]:
        """Store a few new tasks."""
        now = self._now()
        return self._link_and_enter([self._made(new, now) for new in new_tasks], new_tasks)

    def _link_and_enter(self, made: Sequence[Task], new_tasks: Sequence[NewTask]) -> list[Task]:
        tasks = self._graphs.linked(made, new_tasks)
        self._enter_new(tasks, new_tasks)
        return tasks

    def _made(self, new: NewTask, now: dt.datetime) -> Task:
        run_at = None if new.waits else _due_at(new, now)
        return new.as_task(self._new_id(), created_at=now, run_at=run_at)

    def _enter_new(self, tasks: Sequence[Task], new_tasks: Sequence[NewTask]) -> None:
        """Store new tasks; an idle node may claim them at once."""
        self._groups.check(new_tasks)
        self._graphs.check(new_tasks)
        with self._direct_claims.reserved(new_tasks) as (reservation, indexes):
            self._enter(tasks, new_tasks)
            direct = [tasks[index] for index in indexes if self._is_alive(reservation.node_id)]
            direct = [task for task in direct if self._queues.is_free(self._queue_host(task))]
            if direct:
                claims = self._hold(direct, reservation.node_id, reservation.token, None)
                reservation.deliver(claims)
            if len(direct) < len(tasks):
                self._work.notify()

    def _enter(self, tasks: Sequence[Task], submitted: Sequence[NewTask]) -> None:
        last_id = next(reversed(self._tasks), None)
        self._submitted.update((task.id, new) for task, new in zip(tasks, submitted, strict=True))
        if len(tasks) < MANY_TASKS:
            for task in tasks:
                self._put(task)
        else:
            self._pending.extend(map(self._candidate, tasks))
            self._pending.sort(key=lambda one: one.order)
            self._tasks.update((task.id, task) for task in tasks)
            self._expiries.update((task.id, task.expires_at) for task in tasks if task.expires_at)
        if last_id is not None and tasks and last_id > tasks[0].id:
            # Others were added while these were made.
            self._tasks = dict(sorted(self._tasks.items(), key=lambda one: one[0].int))
        self._record_events(tasks)
        for task in tasks:
            self._line_up(task)
            self._groups.note(task)
            self._graphs.join(task)

    def _enter_one(self, new: NewTask) -> uuid.UUID:
        """Store a task that no client submitted, and return its id."""
        task = self._made(new, self._now())
        self._enter([task], [new])
        self._work.notify()
        return task.id

    def _put(self, task: Task) -> None:
        """Store a task in place of what it was before, if it was."""
        before = self._tasks.get(task.id)
        if before is not None and before.status is TaskStatus.PENDING:
            del self._pending[self._index(before)]
            self._expiries.pop(task.id, None)
        if task.status is TaskStatus.PENDING:
            self._pending.insert(self._index(task), self._candidate(task))
            if task.expires_at is not None:
                self._expiries[task.id] = task.expires_at
        self._tasks[task.id] = task
        ended = self._ended if task.retention_seconds is None else self._ended_apart
        if task.status.is_final:
            ended.setdefault(task.id)
        else:
            ended.pop(task.id, None)

    def _index(self, task: Task) -> int:
        order = self._candidate(task).order
        if not self._pending or order > self._pending[-1].order:
            return len(self._pending)
        return bisect.bisect_left(self._pending, order, key=lambda one: one.order)

    def _delete(self, task_id: uuid.UUID) -> None:
        self._forget_key(task_id)
        task = self._tasks.pop(task_id)
        del self._submitted[task_id]
        self._attempts.pop(task_id, None)
        self._ended.pop(task_id, None)
        self._ended_apart.pop(task_id, None)
        self._debounced_until.pop(task_id, None)
        self._failures.forget(task_id)
        self._leave_line(task)
        self._graphs.forget(task_id)

    def _forget_key(self, task_id: uuid.UUID) -> None:
        key = self._key_of(self._submitted[task_id])
        if key is not None and self._keyed.get(key) == task_id:
            del self._keyed[key]

    # Order keys

    def _line_up(self, task: Task) -> None:
        """Put a task that is not finished, or holds its key, in its line; others leave it."""
        if task.order_key is None:
            return
        key = (task.queue, task.order_key)
        line = self._lines.setdefault(key, [])
        index = bisect.bisect_left(line, task.id)
        is_in_line = line[index : index + 1] == [task.id]
        if task.status.is_final and self._started.get(key) == task.id:
            del self._started[key]
        if task.status.is_final and not task.holds_key:
            del line[index : index + is_in_line]
        elif not is_in_line:
            line.insert(index, task.id)
        self._promote(key)

    def _leave_line(self, task: Task) -> None:
        """Remove a deleted task from its line, if it held its key."""
        if task.holds_key:
            self._line_up(msgspec.structs.replace(task, on_failure=None))

    def _promote(self, key: tuple[str, str]) -> None:
        """Start the first task in line, unless another one is started, or the first one FAILED."""
        line = self._lines[key]
        if not line:
            del self._lines[key]
            return
        first = self._tasks[line[0]]
        if first.waiting_for is not None and key not in self._started:
            self._started[key] = first.id
            self._put(msgspec.structs.replace(first, waiting_for=None, run_at=self._now()))
            self._work.notify()

    def _move(self, task_id: uuid.UUID, move: Move, *, counted: int = 0, **changes: object) -> Task:
        """Make a move of the lifecycle; ``counted`` is added to the attempts."""
        task = self._tasks[task_id]
        status = lifecycle.target_of(task.status, move, holds_key=task.holds_key)
        if status is not TaskStatus.RUNNING:
            self._holds.pop(task_id, None)
            self._parked.pop(task_id, None)
        changes = {
            "status": status,
            "attempt": task.attempt + counted,
            "finished_at": self._now() if status.is_final else None,
            "waiting_for": None,
            **changes,
        }
        moved = msgspec.structs.replace(task, **changes)
        if status.is_final:
            if not task.status.is_final:
                moved = self._with_callback(moved)
            self._finished.record(moved.queue, status, self._now().timestamp())
            self._note_in_rollups(moved)
        self._note_in_failures(moved)
        self._put(moved)
        if status is TaskStatus.PENDING:
            self._work.notify()
        self._record_events([moved])
        self._line_up(moved)
        self._groups.note(moved)
        self._graphs.note(moved)
        return moved

    # Roll-ups and failures

    def _note_in_rollups(self, task: Task) -> None:
        attempts = self._attempts.get(task.id)
        elapsed_seconds = attempts[-1].elapsed_seconds if attempts else None
        self._rollups.note(task, self._submitted[task.id].authority, elapsed_seconds)

    def _note_in_failures(self, task: Task) -> None:
        attempts = self._attempts.get(task.id)
        status_code = attempts[-1].status_code if attempts else None
        self._failures.note(task, self._submitted[task.id].authority, status_code)

    def _due_by_queue(self) -> Counter[str]:
        now = self._now()
        return Counter(one.queue_host.queue for one in self._pending if one.run_at <= now)

    # Parents

    def _start_child(self, task: Task) -> None:
        """Start a task whose parents have finished; its delay counts from their end."""
        self._start_after(task, self._submitted[task.id].delay_seconds)

    def _start_after(self, task: Task, delay_seconds: float = 0.0) -> None:
        run_at = self._now() + dt.timedelta(seconds=delay_seconds)
        self._put(msgspec.structs.replace(task, waiting_for=None, run_at=run_at))
        self._work.notify()

    def _end_child(self, task: Task, parent: Task) -> None:
        """Cancel a task or let it fail, because a parent did not complete."""
        fails = task.on_parent_failure is OnParentFailure.FAIL
        self._move(
            task.id,
            Move.PARENT_FAILED if fails else Move.CANCEL,
            error=failure_of(parent.id, parent.status),
            error_type=ErrorType.PARENT_FAILED,
        )

    def _cancel_rest(self) -> int:
        """Cancel the open members of groups that are to be canceled, and return their number."""
        with self._graphs.together():
            return len([self._cancel(task_id) for task_id in self._groups.open_to_cancel()])

    def _cancel(self, task_id: uuid.UUID) -> Task:
        hold = self._holds.get(task_id)
        if hold is not None:
            self._record_attempt(task_id, AttemptStatus.CANCELED)
            self._cancellations.notify(hold.node_id, ClaimKey(task_id, hold.token))
            self._work.notify()  # there is room where it ran
        return self._move(task_id, Move.CANCEL)

    def _with_callback(self, finished: Task) -> Task:
        """Add the callback task of a finished task, if it has a ``callback_url``."""
        options = self._submitted[finished.id].options
        if options.callback_url is None:
            return finished
        callback_id, now = self._new_id(), self._now()
        finished = msgspec.structs.replace(finished, callback_id=callback_id)
        new_task = callback_of(finished, options.callback_url, options)
        self._enter([new_task.as_task(callback_id, created_at=now, run_at=now)], [new_task])
        self._work.notify()
        return finished

    def _hold(
        self, tasks: Iterable[Task], node_id: uuid.UUID, token: uuid.UUID, limiter: Limiter | None
    ) -> list[Claim]:
        """Claim tasks for a node; without a limiter none of them is limited."""
        hold = Hold(node_id, self._nodes[node_id].name, token)
        claims = []
        for task in tasks:
            self._holds[task.id] = hold
            moved = self._move(task.id, Move.CLAIM, started_at=self._now(), counted=1)
            claims.append(self._claim_of(moved, token, limiter))
        return claims

    def _claim_of(self, task: Task, token: uuid.UUID, limiter: Limiter | None) -> Claim:
        assert task.run_at is not None
        assert task.started_at is not None
        submitted, queue_host = self._submitted[task.id], self._queue_host(task)
        of_queue = self._queues.settings_of(task.queue)
        return Claim(
            task.id,
            token,
            task.payload,
            task.attempt,
            task.max_attempts,
            submitted.options.with_queue_defaults(
                sign=of_queue.sign, credential=of_queue.credential
            ),
            of_queue.egress_proxy,
            submitted.authority,
            is_limited=limiter is not None and limiter.is_limited(queue_host),
            is_probe=limiter is not None and limiter.is_probe(queue_host),
            waited_seconds=(task.started_at - task.run_at).total_seconds(),
            queue=task.queue,
        )

    def _is_held(self, key: ClaimKey) -> bool:
        hold = self._holds.get(key.task_id)
        return hold is not None and hold.token == key.token

    def _record_attempt(
        self, task_id: uuid.UUID, status: AttemptStatus, **known: object
    ) -> dt.datetime:
        """Record that the attempt is over, and return when that was."""
        now = self._now()
        record = self._attempt(self._tasks[task_id], status, finished_at=now, **known)
        self._attempts.setdefault(task_id, []).append(record)
        return now

    def _attempt(self, task: Task, status: AttemptStatus, **known: Any) -> AttemptRecord:
        assert task.started_at is not None
        return AttemptRecord(
            number=task.attempt,
            status=status,
            node=self._holds[task.id].node,
            started_at=task.started_at,
            **known,
        )

    def _record_events(self, tasks: Sequence[Task]) -> None:
        now = self._now()
        for task in tasks:
            self._last_event += 1
            event = TaskEvent(
                id=self._last_event,
                task_id=task.id,
                status=task.status,
                queue=task.queue,
                attempt=task.attempt,
                at=now,
                error=task.error,
                error_type=task.error_type,
                tags=task.tags,
                group=task.group,
            )
            self._events.append(event)
        self._new_events.notify()


def has_not_started(task: Task) -> bool:
    """Return whether no attempt of a task has begun."""
    return task.status is TaskStatus.PENDING and task.attempt == 0 and task.started_at is None


def _due_at(task: NewTask, now: dt.datetime) -> dt.datetime:
    if task.options.debounce is not None:
        return now + dt.timedelta(seconds=task.options.debounce.delay_seconds)
    if task.run_at is not None:
        return max(task.run_at, now)
    return now + dt.timedelta(seconds=task.delay_seconds)
