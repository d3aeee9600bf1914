"""Tasks in memory: gone at exit. For trying out, and the model the tests compare with.

Its clock is Trio's, so that tests on a virtual clock see time pass.
"""

from __future__ import annotations

import bisect
import datetime as dt
import heapq
import itertools
import secrets
import uuid
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
import trio
from msgspec import UNSET

from taskflow.model import lifecycle
from taskflow.model.callback import callback_of
from taskflow.model.claim_selection import Candidate, ClaimSelector, HostShares
from taskflow.model.errors import LeaseLost
from taskflow.model.event import ALL_EVENTS, EventFilter, TaskEvent
from taskflow.model.filter import NO_FILTER, TaskFilter, matches
from taskflow.model.lifecycle import Move
from taskflow.model.masking import MASKING, Masking
from taskflow.model.monitoring import FetchedTask
from taskflow.model.outcome import ErrorType, response_of
from taskflow.model.queue_limits import Limiter, QueueHost
from taskflow.model.queues import TaskStatistics, queue_of, total_of
from taskflow.model.task import (
    AttemptRecord,
    AttemptStatus,
    Claim,
    ClaimKey,
    IdempotencyKey,
    NewTask,
    Task,
    TaskStatus,
)
from taskflow.store.base.cancellations import Cancellations
from taskflow.store.base.claims import DirectClaims, IdleNode, Release, Retry, Settlement
from taskflow.store.base.events import EVENTS_KEPT_SECONDS, EventPage
from taskflow.store.base.housekeeping import EXPIRED
from taskflow.store.base.leases import Rescued
from taskflow.store.base.listing import MAX_RESPONSES, MAX_SCANNED, PAGE_BUDGET_BYTES, Page
from taskflow.store.base.submission import AddedOnce
from taskflow.store.base.tasks import SECRET_BYTES, StoreStatistics, TaskStore
from taskflow.store.memory.counts import Tally, summed
from taskflow.store.memory.monitoring import InHand, MemoryMonitoring, MemoryNode
from taskflow.store.memory.queues import MemoryQueues
from taskflow.store.memory.schedules import MemorySchedules
from taskflow.wakeup import WakeUp
from taskflow.yielding import Checkpoints

MAX_EVENTS: Final = 100_000
WALKED_AT_ONCE: Final = 1000
MAX_DROPPED: Final = 8
"""How many entries that are out of date a move drops; it makes one at most."""

_Write = TypeVar("_Write", Settlement, Retry, Release)
_SETTLING_MOVES: Final = {TaskStatus.COMPLETED: Move.COMPLETE, TaskStatus.FAILED: Move.FAIL}


# By its negative priority, and when it is due.
_Entry: TypeAlias = tuple[int, dt.datetime, uuid.UUID]
# The first one of a lane.
_Head: TypeAlias = tuple[_Entry, QueueHost]


class _Hold(msgspec.Struct, frozen=True):
    """Who runs a task, and by which token."""

    node_id: uuid.UUID
    node: str
    token: uuid.UUID


class _Addition(msgspec.Struct, frozen=True):
    """New tasks that are ready to be stored in one step.

    Attributes:
        tasks: Their ids are one after the other in the order of ids.
        submitted: What each was made from.
        shown: Each as it is shown.
    """

    tasks: Sequence[Task]
    submitted: Sequence[NewTask]
    shown: list[Task]


class _KnownKey(msgspec.Struct, frozen=True):
    """What a request with an idempotency key made."""

    fingerprint: bytes
    task_ids: list[uuid.UUID]
    expires_at: float


class MemoryStore(TaskStore):
    """Tasks in memory. To be made and used inside one Trio run."""

    def __init__(self, *, max_per_host: int | None = None, masking: Masking = MASKING) -> None:
        self._masking: Final = masking
        self._max_per_host = max_per_host
        self._tasks: dict[uuid.UUID, Task] = {}
        self._ids: list[uuid.UUID] = []  # in order, for new ids are greater than all before
        self._handed_in: dict[uuid.UUID, NewTask] = {}
        self._keys: dict[str, _KnownKey] = {}
        self._secrets: dict[str, bytes] = {}
        self._ended_sessions: dict[str, float] = {}
        self._pending: set[uuid.UUID] = set()
        self._holds: dict[uuid.UUID, _Hold] = {}
        self._attempts: dict[uuid.UUID, list[AttemptRecord]] = {}
        self._nodes: dict[uuid.UUID, MemoryNode] = {}
        # Entries may be out of date: whoever takes one looks whether it still holds.
        self._due: dict[QueueHost, list[_Entry]] = {}
        self._due_by_age: list[tuple[dt.datetime, uuid.UUID]] = []
        self._later: list[tuple[dt.datetime, uuid.UUID]] = []
        self._expiring: list[tuple[dt.datetime, uuid.UUID]] = []
        self._waiting_in: dict[str, list[tuple[dt.datetime, uuid.UUID]]] = {}  # by queue
        self._tally: Final = Tally()
        self._work = WakeUp()
        self._queues: Final = MemoryQueues(self._now, self._work.notify)
        self._next_start: dt.datetime | None = None
        self._news = WakeUp()
        # The last ones, without a gap.
        self._events: deque[TaskEvent] = deque(maxlen=MAX_EVENTS)
        self._last_event = 0
        self._handover = DirectClaims()
        self._cancellations = Cancellations()
        self._last_stamp = 0
        self._epoch: Final = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=trio.current_time())
        self._schedules: Final = MemorySchedules(
            add=self._add, find=self._as_handed_in, now=self._now, masking=masking
        )
        self._monitoring: Final = MemoryMonitoring(
            nodes=self._nodes,
            in_hand=self._in_hand,
            fetched=self._fetched,
            queues=self._queues,
            tally=self._tally,
            now=self._now,
        )

    @property
    def schedules(self) -> MemorySchedules:
        return self._schedules

    @property
    def queues(self) -> MemoryQueues:
        return self._queues

    @property
    def monitoring(self) -> MemoryMonitoring:
        return self._monitoring

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        await trio.lowlevel.checkpoint()
        addition = await self._prepared(tasks)
        self._store(addition)
        return addition.shown

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        await trio.lowlevel.checkpoint()
        if (known := self._known(key)) is None:
            addition = await self._prepared(tasks)
            known = self._known(key)  # the same request may have come meanwhile
        if known is not None:
            return AddedOnce(await self._shown(known.tasks), known.is_replay, known.is_same)
        self._store(addition)
        self._keys[key.text] = _KnownKey(
            key.fingerprint,
            [task.id for task in addition.tasks],
            expires_at=trio.current_time() + key.seconds,
        )
        return AddedOnce(addition.shown)

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        await trio.lowlevel.checkpoint()
        if (known := self._known(key)) is None:
            return None
        return AddedOnce(await self._shown(known.tasks), known.is_replay, known.is_same)

    async def get(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return next(iter(await self._shown(self._found([task_id]))), None)

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._tasks.get(task_id)

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        await trio.lowlevel.checkpoint()
        return await self._shown(self._found(task_ids))

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return None
        running = []
        if task.status is TaskStatus.RUNNING:
            running = [self._record(task, AttemptStatus.RUNNING, finished_at=None)]
        made = [*self._attempts.get(task_id, []), *running]
        older, last = made[:-MAX_RESPONSES], made[-MAX_RESPONSES:]
        return [*(msgspec.structs.replace(one, response=UNSET) for one in older), *last]

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
    ) -> Page:
        await trio.lowlevel.checkpoint()
        page: list[Task] = []
        size_bytes, checkpoints, last = 0, Checkpoints(), None
        for task in self._newest_first(before, MAX_SCANNED):
            last = task.id
            shown = task if filter.url is None else self._masking.task(task)
            if matches(shown, self._handed_in[task.id].host, filter):
                if len(page) == limit or size_bytes >= PAGE_BUDGET_BYTES:
                    return Page(await self._shown(page), next_before=page[-1].id)
                page.append(task)
                size_bytes += _size_of(task, without)
            await checkpoints.after(0 if filter.url is None else len(bytes(task.payload)))
        has_more = last is not None and bisect.bisect_left(self._ids, last) > 0
        return Page(await self._shown(page), next_before=last if has_more else None)

    async def count_pending(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        return min(len(self._pending), limit)

    async def count(
        self,
        *,
        limit: int,
        queue: str | None = None,
        is_after_write: bool = False,  # noqa: ARG002 - nobody waits here
    ) -> TaskStatistics:
        await trio.lowlevel.checkpoint()
        first = await self._first_waiting()
        now = self._now()
        lines = self._tally.lines(now.timestamp())
        oldest = {
            name: (now - run_at).total_seconds() for name, run_at in first.items() if run_at <= now
        }
        names = sorted(lines) if queue is None else [queue]
        return TaskStatistics(
            queues=[
                queue_of(name, lines.get(name, ()), oldest.get(name)) for name in names[:limit]
            ],
            total=total_of(
                summed(itertools.chain.from_iterable(lines.values())),
                max(oldest.values(), default=None),
            ),
            is_complete=len(names) <= limit,
        )

    async def fold_counts(self, *, limit: int) -> int:  # noqa: ARG002 - nothing is left to fold
        await trio.lowlevel.checkpoint()
        return 0

    async def register(
        self,
        name: str,
        lease_seconds: float,
        *,
        version: str = "",
        workers: int = 1,
        tz_version: str | None = None,
    ) -> uuid.UUID:
        await trio.lowlevel.checkpoint()
        node_id = uuid.uuid4()
        expires_at = trio.current_time() + lease_seconds
        self._nodes[node_id] = MemoryNode(
            name, lease_seconds, expires_at, self._now(), version, workers, tz_version
        )
        self._cancellations.register(node_id)
        return node_id

    async def renew(self, node_id: uuid.UUID) -> dt.datetime:
        await trio.lowlevel.checkpoint()
        if not self._is_alive(node_id):
            raise LeaseLost
        node = self._nodes[node_id]
        node.expires_at = trio.current_time() + node.lease_seconds
        return self._now()

    async def reconcile(
        self, node_id: uuid.UUID, tokens: Collection[uuid.UUID], *, before: dt.datetime
    ) -> int:
        await trio.lowlevel.checkpoint()
        unknown = [
            task_id
            for task_id, hold in self._holds.items()
            if hold.node_id == node_id
            and hold.token not in tokens
            and (self._tasks[task_id].started_at or before) < before
        ]
        for task_id in unknown:
            self._move(task_id, Move.RELEASE, counted=-1)
        return len(unknown)

    async def retire(self, node_id: uuid.UUID) -> None:
        await trio.lowlevel.checkpoint()
        self._nodes.pop(node_id, None)
        self._cancellations.unregister(node_id)
        for task_id in [i for i, hold in self._holds.items() if hold.node_id == node_id]:
            self._keep_attempt(task_id, AttemptStatus.INTERRUPTED)
            self._move(task_id, Move.RELEASE, counted=-1)

    async def rescue(self, *, limit: int, max_rescues: int) -> Rescued:
        await trio.lowlevel.checkpoint()
        lost = [i for i, hold in self._holds.items() if not self._is_alive(hold.node_id)][:limit]
        rescued = Rescued(pending=[], poisoned=[])
        for task_id in lost:
            rescues = self._tasks[task_id].rescues + 1
            self._keep_attempt(task_id, AttemptStatus.LOST)
            if rescues < max_rescues:
                self._move(task_id, Move.RESCUE, rescues=rescues, counted=-1)
                rescued.pending.append(task_id)
            else:
                error = f"poison: its node died {rescues} times while running it"
                self._move(
                    task_id,
                    Move.POISON,
                    rescues=rescues,
                    counted=-1,
                    error=error,
                    error_type=ErrorType.POISON,
                )
                rescued.poisoned.append(task_id)
        return rescued

    async def claim(
        self,
        node_id: uuid.UUID,
        *,
        limit: int,
        by_age: int = 0,
        token: uuid.UUID | None = None,
        shares: HostShares | None = None,
    ) -> list[Claim]:
        await trio.lowlevel.checkpoint()
        await self._collect_due()
        if not self._is_alive(node_id):
            return []
        limiter = self._limiter()
        selector = ClaimSelector(limit, limiter, shares)
        self._offer_by_age(selector, by_age)
        self._offer_in_order(selector, limit)
        selector.fill()
        self._queues.keep_paces(limiter.next_starts)
        self._next_start = selector.next_start()
        token = token or uuid.uuid4()
        held = self._hold(
            [self._tasks[task_id] for task_id in selector.ordered_ids()], node_id, token
        )
        return self._claims(held, token, limiter)

    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        held = self._still_held(settlements)
        for settlement in held:
            ended_at = self._keep_attempt(
                settlement.task_id,
                AttemptStatus(settlement.status.value),
                error=settlement.error or "",
                error_type=settlement.error_type,
                status_code=settlement.status_code,
                elapsed_ms=settlement.elapsed_ms,
                response=response_of(settlement.response),
            )
            self._move(
                settlement.task_id,
                _SETTLING_MOVES[settlement.status],
                finished_at=ended_at,
                result=None if settlement.result is None else msgspec.Raw(settlement.result),
                error=settlement.error or "",
                error_type=settlement.error_type,
            )
        return {settlement.task_id for settlement in held}

    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        held = self._still_held(retries)
        for retry in held:
            self._keep_attempt(
                retry.task_id,
                AttemptStatus.FAILED,
                error=retry.error,
                error_type=retry.error_type,
                status_code=retry.status_code,
                elapsed_ms=retry.elapsed_ms,
                response=response_of(retry.response),
            )
            self._move(
                retry.task_id,
                Move.RETRY,
                run_at=self._now() + dt.timedelta(seconds=retry.delay_seconds),
                error=retry.error,
                error_type=retry.error_type,
            )
        return {retry.task_id for retry in held}

    async def release(self, releases: Sequence[Release]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        held = self._still_held(releases)
        for release in held:
            if release.elapsed_ms is not None:
                self._keep_attempt(
                    release.task_id, AttemptStatus.INTERRUPTED, elapsed_ms=release.elapsed_ms
                )
            self._move(release.task_id, Move.RELEASE, counted=-1)
        return {release.task_id for release in held}

    async def cancel(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._masking.task(self._cancel(task_id)) if task_id in self._tasks else None

    async def retry(self, task_id: uuid.UUID) -> Task | None:
        await trio.lowlevel.checkpoint()
        return self._masking.task(self._requeue(task_id)) if task_id in self._tasks else None

    async def delete(self, task_id: uuid.UUID) -> bool:
        await trio.lowlevel.checkpoint()
        task = self._tasks.get(task_id)
        if task is None:
            return False
        lifecycle.check_deletable(task.status)
        self._delete(task_id)
        return True

    async def cancel_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        allowed = self._allowed(Move.CANCEL, task_ids)
        for task_id in allowed:
            self._cancel(task_id)
        return allowed

    async def retry_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        allowed = self._allowed(Move.MANUAL_RETRY, task_ids)
        for task_id in sorted(allowed):  # the clock goes on: who came first is due first
            self._requeue(task_id)
        return allowed

    async def delete_many(self, task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        ended = {task.id for task in self._found(task_ids) if task.status.is_final}
        for task_id in ended:
            self._delete(task_id)
        return ended

    async def expire(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        count = 0
        while count < limit and self._expiring and self._expiring[0][0] <= self._now():
            expires_at, task_id = heapq.heappop(self._expiring)
            if self._waits_until(task_id, expires_at):
                self._move(task_id, Move.EXPIRE, error=EXPIRED, error_type=ErrorType.EXPIRED)
                count += 1
        return count

    async def seconds_to_expiry(self) -> float | None:
        await trio.lowlevel.checkpoint()
        while self._expiring:
            expires_at, task_id = self._expiring[0]
            if self._waits_until(task_id, expires_at):
                return (expires_at - self._now()).total_seconds()
            heapq.heappop(self._expiring)
        return None

    async def delete_finished(self, *, age_seconds: float | None, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = self._now()
        deleted, checkpoints = 0, Checkpoints()
        for task_id in tuple(self._ids):
            if (task := self._tasks.get(task_id)) and _is_over(task, age_seconds, now):
                self._delete(task_id)
                deleted += 1
            if deleted == limit:
                break
            await checkpoints.after(0)
        return deleted

    async def delete_expired_keys(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        old = [text for text, key in self._keys.items() if key.expires_at <= now][:limit]
        for text in old:
            del self._keys[text]
        return len(old)

    async def wait_for_work(self, taker: IdleNode | None = None) -> None:
        if self._work.is_pending:
            taker = None  # what waits already is not to be overtaken
        # What a claim found due stands there no more.
        next_due = self._later[0][0] if self._later else dt.datetime.max.replace(tzinfo=dt.UTC)
        next_due = min(next_due, self._next_start or next_due)
        with (
            self._handover.to(taker),
            trio.move_on_after(max(0.0, (next_due - self._now()).total_seconds())),
        ):
            await self._work.wait()

    async def wait_for_cancellations(self, node_id: uuid.UUID) -> set[ClaimKey]:
        return await self._cancellations.wait(node_id)

    async def lost_claims(self, claims: Collection[ClaimKey]) -> set[ClaimKey]:
        await trio.lowlevel.checkpoint()
        return {key for key in claims if not self._is_held(key)}

    async def record_events(self) -> int:
        await trio.lowlevel.checkpoint()
        return self._last_event

    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        await trio.lowlevel.checkpoint()
        forgotten = self._last_event - len(self._events)
        last = self._last_event if until is None else until
        # From the end, where most begin: in the middle a deque is slow.
        count = min(len(self._events), max(0, self._last_event - position))
        later = list(itertools.islice(reversed(self._events), count))
        found = (event for event in reversed(later) if event.id <= last and wanted.accepts(event))
        return EventPage(list(itertools.islice(found, limit)), position >= forgotten)

    async def wait_for_events(self) -> None:
        await self._news.wait()

    async def delete_old_events(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        horizon = self._now() - dt.timedelta(seconds=EVENTS_KEPT_SECONDS)
        count = 0
        while count < limit and self._events and self._events[0].at < horizon:
            self._events.popleft()
            count += 1
        return count

    async def shared_secret(self, name: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._secrets.setdefault(name, secrets.token_bytes(SECRET_BYTES))

    async def end_session(self, session_id: str, *, seconds: float) -> None:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        kept = {one: until for one, until in self._ended_sessions.items() if until > now}
        self._ended_sessions = {**kept, session_id: now + seconds}

    async def is_session_ended(self, session_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        return session_id in self._ended_sessions

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(kind="memory", place="this process")

    def _known(self, key: IdempotencyKey) -> AddedOnce | None:
        known = self._keys.get(key.text)
        if known is None or known.expires_at <= trio.current_time():
            return None
        if known.fingerprint != key.fingerprint:
            return AddedOnce([], is_replay=True, is_same=False)
        made = [self._tasks[task_id] for task_id in known.task_ids if task_id in self._tasks]
        return AddedOnce(made, is_replay=True)

    def _add(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store a few tasks at once."""
        now = self._now()
        ids = self._new_ids(len(tasks))
        added = [_task_of(task, task_id, now) for task, task_id in zip(tasks, ids, strict=True)]
        self._store(_Addition(added, tasks, added))
        return added

    async def _prepared(self, tasks: Sequence[NewTask]) -> _Addition:
        """Do all that can be done before the tasks are there, so that storing them is one step."""
        now, checkpoints = self._now(), Checkpoints()
        added, shown = [], []
        limiter = self._limiter_if_any()
        for task, task_id in zip(tasks, self._new_ids(len(tasks)), strict=True):
            await checkpoints.after(len(bytes(task.payload)))
            added.append(_task_of(task, task_id, now))
            shown.append(self._masking.task(added[-1]))
            if limiter is not None:
                lane = QueueHost(task.queue, task.authority)
                shown[-1] = shown[-1].with_hold(limiter, lane, now)
        return _Addition(added, tasks, shown)

    def _store(self, addition: _Addition) -> None:
        tasks, submitted = addition.tasks, addition.submitted
        with self._handover.reserved(submitted) as (reservation, places):
            claimed = {}
            if self._is_alive(reservation.node_id):
                claimed = {
                    tasks[place].id: tasks[place]
                    for place in places
                    if self._queues.is_free(
                        QueueHost(submitted[place].queue, submitted[place].authority)
                    )
                }
            self._enter(tasks, submitted)
            if waiting := [task for task in tasks if task.id not in claimed]:
                self._put_back(waiting)
            if claimed:
                first = sorted(
                    claimed.values(), key=lambda task: (-task.priority, task.run_at, task.id)
                )
                held = self._hold(first, reservation.node_id, reservation.token)
                reservation.deliver(self._claims(held, reservation.token, None))

    def _enter(self, tasks: Sequence[Task], submitted: Sequence[NewTask]) -> None:
        """Have new tasks, whose ids are one after the other."""
        ids = [task.id for task in tasks]
        place = bisect.bisect_left(self._ids, ids[0]) if ids else 0
        self._ids[place:place] = ids  # at the end, unless others came while these were prepared
        self._tasks.update(zip(ids, tasks, strict=True))
        self._handed_in.update(zip(ids, submitted, strict=True))
        self._record_events(tasks)
        self._tally.added(tasks)

    def _call_back(self, ended: Task) -> Task:
        """Tell of its end whoever wants to be told; the task as it stands then."""
        options = self._handed_in[ended.id].options
        if options.callback_url is None:
            return ended
        callback_id = self._new_id()
        ended = msgspec.structs.replace(ended, callback_id=callback_id)
        new_task = callback_of(ended, options.callback_url, options)
        now = self._now()
        callback = new_task.as_task(callback_id, created_at=now, run_at=now)
        self._enter([callback], [new_task])
        self._put_back([callback])
        return ended

    def _as_handed_in(self, task_id: uuid.UUID) -> tuple[Task, NewTask] | None:
        task = self._tasks.get(task_id)
        return None if task is None else (task, self._handed_in[task_id])

    def _found(self, task_ids: Iterable[uuid.UUID]) -> list[Task]:
        return [self._tasks[task_id] for task_id in task_ids if task_id in self._tasks]

    def _allowed(self, move: Move, task_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Those of the tasks that the move may be made with."""
        found = self._found(task_ids)
        return {task.id for task in found if lifecycle.allows(task.status, move)}

    def _cancel(self, task_id: uuid.UUID) -> Task:
        hold = self._holds.get(task_id)
        if hold is not None:
            self._keep_attempt(task_id, AttemptStatus.CANCELED)
            self._cancellations.notify(hold.node_id, ClaimKey(task_id, hold.token))
            self._work.notify()  # there is room where it ran
        return self._move(task_id, Move.CANCEL)

    def _requeue(self, task_id: uuid.UUID) -> Task:
        return self._move(
            task_id,
            Move.MANUAL_RETRY,
            run_at=self._now(),
            started_at=None,
            attempt=0,
            rescues=0,
            error="",
            error_type=None,
            expires_at=None,
        )

    def _delete(self, task_id: uuid.UUID) -> None:
        task = self._tasks.pop(task_id)
        del self._handed_in[task_id]
        self._tally.left(task.queue, task.status)
        del self._ids[bisect.bisect_left(self._ids, task_id)]
        self._attempts.pop(task_id, None)

    def _move(self, task_id: uuid.UUID, move: Move, *, counted: int = 0, **changes: object) -> Task:
        """Make a move of the lifecycle, with all that goes with it.

        Args:
            task_id: Whose.
            move: Which.
            counted: Added to the attempts.
            changes: Other fields.
        """
        task = self._tasks[task_id]
        status = lifecycle.target_of(task.status, move)
        if status is not TaskStatus.RUNNING:
            self._holds.pop(task_id, None)
        changes = {
            "status": status,
            "attempt": task.attempt + counted,
            "finished_at": self._now() if status.is_final else None,
            **changes,
        }
        moved = msgspec.structs.replace(task, **changes)
        if status.is_final:
            moved = self._call_back(moved)
        self._tally.left(task.queue, task.status)
        self._tally.entered(task.queue, status, self._now().timestamp())
        if status is TaskStatus.PENDING:
            self._put_back([moved])
        else:
            self._tasks[task_id] = moved
            self._pending.discard(task_id)
            self._drop_out_of_date(task.queue)
        self._record_events([moved])
        return moved

    def _record_events(self, tasks: Sequence[Task]) -> None:
        now, first = self._now(), self._last_event + 1
        self._events.extend(
            TaskEvent(
                id=event_id,
                task_id=task.id,
                status=task.status,
                queue=task.queue,
                attempt=task.attempt,
                at=now,
                error=task.error,
                error_type=task.error_type,
                tags=task.tags,
            )
            for event_id, task in enumerate(tasks, first)
        )
        self._last_event += len(tasks)
        self._news.notify()

    def _hold(self, tasks: Iterable[Task], node_id: uuid.UUID, token: uuid.UUID) -> list[Task]:
        hold = _Hold(node_id, self._nodes[node_id].name, token)
        held = []
        for task in tasks:  # each before the next one is looked for: it may stand there twice
            self._holds[task.id] = hold
            held.append(self._move(task.id, Move.CLAIM, started_at=self._now(), counted=1))
        return held

    def _claims(
        self, held: Iterable[Task], token: uuid.UUID, limiter: Limiter | None
    ) -> list[Claim]:
        claims = (
            Claim(
                task.id,
                token,
                task.payload,
                task.attempt,
                task.max_attempts,
                self._handed_in[task.id].options,
                self._handed_in[task.id].authority,
                is_limited=limiter is not None and limiter.is_limited(self._lane(task)),
                is_probe=limiter is not None and limiter.is_probe(self._lane(task)),
                waited_seconds=(self._now() - task.run_at).total_seconds(),
            )
            for task in held
        )
        return [self._masking.claim(claim) for claim in claims]

    def _keep_attempt(
        self, task_id: uuid.UUID, status: AttemptStatus, **known: object
    ) -> dt.datetime:
        """Record that the attempt is over, and return when that was."""
        now = self._now()
        record = self._record(self._tasks[task_id], status, finished_at=now, **known)
        self._attempts.setdefault(task_id, []).append(record)
        return now

    def _record(self, task: Task, status: AttemptStatus, **known: Any) -> AttemptRecord:
        assert task.started_at is not None
        return AttemptRecord(
            number=task.attempt,
            status=status,
            node=self._holds[task.id].node,
            started_at=task.started_at,
            **known,
        )

    def _put_back(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._tasks[task.id] = task
            self._pending.add(task.id)
            heapq.heappush(self._later, (task.run_at, task.id))
            if task.expires_at is not None:
                heapq.heappush(self._expiring, (task.expires_at, task.id))
            heapq.heappush(self._waiting_in.setdefault(task.queue, []), (task.run_at, task.id))
        self._work.notify()

    def _drop_out_of_date(self, queue: str) -> bool:
        """Drop some entries of a queue; return whether the first one is of a task that waits."""
        waiting = self._waiting_in.get(queue, [])
        for _ in range(MAX_DROPPED):
            if not waiting or self._waiting(waiting[0][1], waiting[0][0]):
                break
            heapq.heappop(waiting)
        if not waiting:
            self._waiting_in.pop(queue, None)
            return False
        return self._waiting(waiting[0][1], waiting[0][0]) is not None

    async def _first_waiting(self) -> dict[str, dt.datetime]:
        """When the first pending task of each queue became or becomes due."""
        first, checkpoints = {}, Checkpoints()
        for queue in tuple(self._waiting_in):
            while not self._drop_out_of_date(queue) and queue in self._waiting_in:
                await checkpoints.after(0)
            if waiting := self._waiting_in.get(queue):
                first[queue] = waiting[0][0]
        return first

    async def _collect_due(self) -> None:
        """Put in order what has become due, and drop from the front what waits no more."""
        now, checkpoints = self._now(), Checkpoints()
        while self._later and self._later[0][0] <= now:
            run_at, task_id = heapq.heappop(self._later)
            if task := self._waiting(task_id, run_at):
                waiting = self._due.setdefault(self._lane(task), [])
                heapq.heappush(waiting, (-task.priority, run_at, task_id))
                heapq.heappush(self._due_by_age, (run_at, task_id))
            await checkpoints.after(0)
        by_age = self._due_by_age
        while by_age and not self._waiting(by_age[0][1], by_age[0][0]):
            heapq.heappop(by_age)
            await checkpoints.after(0)
        for lane in tuple(self._due):
            while (due := self._due.get(lane)) and not self._waiting(due[0][2], due[0][1]):
                heapq.heappop(due)
                await checkpoints.after(0)
            await checkpoints.after(0)

    def _offer_by_age(self, selector: ClaimSelector, most: int) -> None:
        waiting: list[Candidate] = []
        while self._due_by_age and len(waiting) < 2 * most:
            run_at, task_id = heapq.heappop(self._due_by_age)
            if task := self._claimable(task_id, run_at):
                waiting.append(self._candidate(task))
        selector.offer(waiting, limit=most)
        for one in waiting:
            if one.task_id not in selector.selected:
                heapq.heappush(self._due_by_age, (one.run_at, one.task_id))

    def _offer_in_order(self, selector: ClaimSelector, limit: int) -> None:
        """From lane to lane, in the order of tasks; of each lane no more than could matter."""
        heads: list[_Head] = []
        for lane in tuple(self._due):
            self._push_head(heads, lane)
        offered = Counter[QueueHost]()
        not_chosen = []
        while heads and selector.remaining:
            entry, lane = heapq.heappop(heads)
            heapq.heappop(self._due[lane])
            candidate = self._candidate(self._tasks[entry[2]])
            selector.offer([candidate])
            if candidate.task_id not in selector.selected:
                not_chosen.append((lane, entry))
            offered[lane] += 1
            if offered[lane] < 2 * limit and not selector.is_held(lane):
                self._push_head(heads, lane)
        for lane, entry in not_chosen:
            heapq.heappush(self._due.setdefault(lane, []), entry)

    def _push_head(self, heads: list[_Head], lane: QueueHost) -> None:
        waiting = self._due[lane]
        while waiting and not self._claimable(waiting[0][2], waiting[0][1]):
            heapq.heappop(waiting)
        if waiting:
            heapq.heappush(heads, (waiting[0], lane))
        else:
            del self._due[lane]

    def _candidate(self, task: Task) -> Candidate:
        return Candidate(task.priority, task.run_at, task.id, self._lane(task))

    def _in_hand(self) -> Iterable[InHand]:
        for task_id, hold in self._holds.items():
            started_at = self._tasks[task_id].started_at
            assert started_at is not None
            yield InHand(task_id, hold.node_id, self._handed_in[task_id].authority, started_at)

    def _fetched(self) -> Iterable[FetchedTask]:
        for task_id in itertools.islice(reversed(self._ids), MAX_SCANNED):
            status = self._tasks[task_id].status
            if status in _SETTLING_MOVES and (attempts := self._attempts.get(task_id)):
                elapsed_ms = attempts[-1].elapsed_ms
                if elapsed_ms is not None:
                    host = self._handed_in[task_id].authority
                    yield FetchedTask(host, status is TaskStatus.FAILED, elapsed_ms)

    def _lane(self, task: Task) -> QueueHost:
        return QueueHost(task.queue, self._handed_in[task.id].authority)

    def _limiter_if_any(self) -> Limiter | None:
        """The limiter, if anything could keep a task that is due from starting."""
        is_free = self._max_per_host is None and self._queues.state({}).is_unlimited
        return None if is_free else self._limiter()

    def _limiter(self) -> Limiter:
        running = Counter(self._lane(self._tasks[task_id]) for task_id in self._holds)
        return Limiter(self._queues.state(running), max_per_host=self._max_per_host)

    async def _shown(self, tasks: Iterable[Task]) -> list[Task]:
        """As they are shown, with what keeps those from starting that could by themselves."""
        limiter, now, checkpoints = self._limiter_if_any(), self._now(), Checkpoints()
        shown = []
        for task in tasks:
            await checkpoints.after(_size_of(task))
            explained = task if limiter is None else task.with_hold(limiter, self._lane(task), now)
            shown.append(self._masking.task(explained))
        return shown

    def _claimable(self, task_id: uuid.UUID, run_at: dt.datetime) -> Task | None:
        task = self._waiting(task_id, run_at)
        is_over = task and task.expires_at and task.expires_at <= self._now()
        return None if is_over else task

    def _waiting(self, task_id: uuid.UUID, run_at: dt.datetime) -> Task | None:
        task = self._tasks.get(task_id)
        is_waiting = task and task.status is TaskStatus.PENDING and task.run_at == run_at
        return task if is_waiting else None

    def _waits_until(self, task_id: uuid.UUID, expires_at: dt.datetime) -> bool:
        task = self._tasks.get(task_id)
        return bool(task and task.status is TaskStatus.PENDING and task.expires_at == expires_at)

    def _is_alive(self, node_id: uuid.UUID) -> bool:
        node = self._nodes.get(node_id)
        return node is not None and node.expires_at > trio.current_time()

    def _still_held(self, writes: Iterable[_Write]) -> list[_Write]:
        writes = list(writes)
        if any(write.makes_room for write in writes):
            self._work.notify()
        return [write for write in writes if self._is_held(ClaimKey(write.task_id, write.token))]

    def _is_held(self, key: ClaimKey) -> bool:
        hold = self._holds.get(key.task_id)
        return hold is not None and hold.token == key.token

    def _now(self) -> dt.datetime:
        return self._epoch + dt.timedelta(seconds=trio.current_time())

    def _new_id(self) -> uuid.UUID:
        return next(self._new_ids(1))

    def _new_ids(self, count: int) -> Iterator[uuid.UUID]:
        """UUIDv7 (RFC 9562) greater than all before: milliseconds and a counter of 12 bits.

        No other id, then or later, is between them.
        """
        first = max(int(self._now().timestamp() * 1000) << 12, self._last_stamp + 1)
        self._last_stamp = first + count - 1
        return map(_id_of, range(first, first + count))

    def _newest_first(self, before: uuid.UUID | None, limit: int) -> Iterator[Task]:
        """Go over tasks, which may come and go between two steps."""
        left = limit
        while left:
            end = len(self._ids) if before is None else bisect.bisect_left(self._ids, before)
            ids = self._ids[max(end - min(left, WALKED_AT_ONCE), 0) : end]
            if not ids:
                return
            for task_id in reversed(ids):
                if (task := self._tasks.get(task_id)) is not None:
                    yield task
            before, left = ids[0], left - len(ids)


def _id_of(stamp: int) -> uuid.UUID:
    milliseconds, counter = divmod(stamp, 1 << 12)
    number = milliseconds << 80 | 7 << 76 | counter << 64 | 2 << 62 | secrets.randbits(62)
    return uuid.UUID(int=number)


def _size_of(task: Task, without: Collection[str] = ()) -> int:
    """How long the large fields of a task are together, in bytes."""
    return sum(
        len(bytes(document))
        for name, document in (("payload", task.payload), ("result", task.result))
        if document is not None and name not in without
    )


def _is_over(task: Task, age_seconds: float | None, now: dt.datetime) -> bool:
    """Return whether a task has been kept for long enough after its end."""
    seconds = age_seconds if task.retention is None else task.retention
    if task.finished_at is None or seconds is None:
        return False
    return task.finished_at + dt.timedelta(seconds=seconds) <= now


def _task_of(task: NewTask, task_id: uuid.UUID, now: dt.datetime) -> Task:
    return task.as_task(task_id, created_at=now, run_at=_due_at(task, now))


def _due_at(task: NewTask, now: dt.datetime) -> dt.datetime:
    if task.run_at is not None:
        return max(task.run_at, now)
    return now + dt.timedelta(seconds=task.delay_seconds)
