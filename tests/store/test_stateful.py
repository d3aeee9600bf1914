"""Random sequences of moves on both stores at once, held against the lifecycle table.

A model of the law, made from the table alone, says what each verb must do. Both stores get
the same calls; any difference between them, or from the model, fails with the shortest
sequence that shows it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import operator
import queue
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import psycopg
import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from taskflow.model import lifecycle
from taskflow.model.audit import Action, NewEntry
from taskflow.model.cell_map import BUCKETS, new_map
from taskflow.model.completion import FOR_COMPLETION
from taskflow.model.errors import (
    GroupClosed,
    IllegalMove,
    LeaseLost,
    NotUnique,
    ScheduleOverlap,
    Unprocessable,
)
from taskflow.model.groups import (
    MAX_FIRST_FAILURES,
    Group,
    GroupCounts,
    GroupStatus,
    NewGroup,
    OnMemberFailure,
)
from taskflow.model.lifecycle import Move
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import OnFailure
from taskflow.model.outcome import ErrorType
from taskflow.model.parents import OnParentFailure
from taskflow.model.queues import RecentCounts
from taskflow.model.schedule import Overlap, ScheduleDefinition, Timing
from taskflow.model.task import AttemptStatus, ClaimKey, NewTask, Task, TaskStatus
from taskflow.model.topic_events import NewEvent
from taskflow.model.topics import EndpointDefinition
from taskflow.model.uniqueness import ALWAYS_UNIQUE, Debounce, Existing, OnConflict, Unique
from taskflow.settings import Settings
from taskflow.store.base.claims import Release, Retry, Settlement
from taskflow.store.base.parking import Parking
from taskflow.store.base.store import TaskStore
from taskflow.store.cells.cell import Cell, Cells
from taskflow.store.cells.store import CellStore
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres.store import PostgresStore, open_postgres
from tests.store.audit_contract import ADA

LATER_SECONDS = 3600.0
# Sequences of an ordinary run, of one that checks that sequences get everywhere, and of a long one.
SHORT_EXAMPLES, EXAMPLES, LONG_EXAMPLES = 25, 110, 2000
MAX_GROUPS = 3
QUEUES = ("default", "mail", "Z")
EXPECTED = (GroupClosed, IllegalMove, LeaseLost, NotUnique, ScheduleOverlap, Unprocessable)
OVERLAPS = (Overlap.SKIP, Overlap.CANCEL_PREVIOUS)
KEY = "a"
PARKED = -1  # in place of a node
# Overdue now or later; not polled, polled at once, or polled later.
PARKINGS = [
    Parking(*(uuid.UUID(int=0),) * 2, within, poll_url=url, poll_delay_seconds=delay)
    for within in (0.0, LATER_SECONDS)
    for url, delay in (
        (None, 0.0),
        ("http://x.example/", 0.0),
        ("http://x.example/", LATER_SECONDS),
    )
]
COMPLETION = NewTask(msgspec.Raw(b'{"url":"1"}'), max_attempts=3, delay_seconds=LATER_SECONDS)
NOW = dt.datetime.now(dt.UTC)
OVER = NOW - dt.timedelta(hours=1)
LATER = NOW + dt.timedelta(days=1)


class Stores:
    """Both stores, in a Trio run of its own thread; ``call`` asks both for the same."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=[self._run])

    def __enter__(self) -> Stores:
        self._thread.start()
        self._token, self._stop, self.postgres = self._ready.get(timeout=30)
        self.connection = psycopg.connect(self._url, autocommit=True)
        self.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()

    def clear(self) -> None:
        self.connection.execute(
            "TRUNCATE taskflow_tasks, taskflow_nodes, taskflow_endings, "
            "taskflow_idempotency_keys, taskflow_audit, taskflow_schedules, "
            "taskflow_schedule_tasks, taskflow_topics CASCADE"
        )
        self.memory = self._in_trio(_made, MemoryStore)

    def call(self, verb: str, *arguments: dict[str, object]) -> list[object]:
        """What memory and PostgreSQL answer, exceptions as values."""
        stores = (self.memory, self.postgres)
        return [
            self._in_trio(_answer, store, verb, one)
            for store, one in zip(stores, arguments, strict=True)
        ]

    def kill(self, memory_node: uuid.UUID, postgres_node: uuid.UUID) -> None:
        """Let the lease of a node be over."""
        if memory_node in self.memory._nodes:
            self.memory._nodes[memory_node].expires_at = float("-inf")
        self.connection.execute(
            "UPDATE taskflow_nodes SET expires_at = now() - interval '1 second' WHERE id = %s",
            [postgres_node],
        )

    def let_expire(self, in_memory: uuid.UUID, in_postgres: uuid.UUID) -> None:
        """Let the time of a task that has one be over."""
        task = msgspec.structs.replace(self.memory._tasks[in_memory], expires_at=OVER)
        self.memory._put(task)
        self.connection.execute(
            "UPDATE taskflow_tasks SET expires_at = %s WHERE id = %s", [OVER, in_postgres]
        )

    def _in_trio(self, work, *args):
        return trio.from_thread.run(work, *args, trio_token=self._token)

    async def _run(self) -> None:
        stop = trio.Event()
        async with open_postgres(self._url, Settings()) as postgres:
            postgres.archive_slack_seconds = 0.0  # it deletes as it does without an archive
            self._ready.put((trio.lowlevel.current_trio_token(), stop, postgres))
            await stop.wait()


async def _made(make):
    return make()


async def _answer(store: TaskStore, verb: str, arguments: dict[str, object]) -> object:
    try:
        return await operator.attrgetter(verb)(store)(**arguments)
    except EXPECTED as error:
        return type(error)


class Key(NamedTuple):
    """A unique or debounce key of the default queue."""

    name: str
    is_debounce: bool = False


@dataclass
class KnownParked:
    """What the model knows of a parked attempt: by the clock of the stores, it is now or later."""

    is_overdue: bool
    is_polled: bool = False
    is_due: bool = False


@dataclass
class Known:
    """What the model knows of a task."""

    number: int
    priority: int
    is_due: bool
    turn: int
    queue: str
    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    rescues: int = 0
    error_type: str | None = None
    expires_at: dt.datetime | None = None
    retention_seconds: float | None = None
    is_deleted: bool = False
    schedule: str | None = None
    is_delivery: bool = False
    order_key: str | None = None
    on_failure: OnFailure | None = None
    is_waiting: bool = False  # for its turn, or for its parents
    parents: tuple[int, ...] = ()
    open_parents: set[int] = field(default_factory=set)
    on_parent_failure: OnParentFailure | None = None
    group: int | None = None
    key: Key | None = None
    statuses: tuple[TaskStatus, ...] = ()
    has_started: bool = False
    debounced: int = 0
    hold: tuple[int, int] | None = None  # which claim, of which node
    parked: KnownParked | None = None
    attempts: list[tuple[int, str]] = field(default_factory=list)
    ends: list[TaskStatus] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.expires_at == OVER

    @property
    def holds_key(self) -> bool:
        return self.status is TaskStatus.FAILED and self.on_failure is OnFailure.HOLD

    @property
    def is_in_line(self) -> bool:
        return not self.is_deleted and (not self.status.is_final or self.holds_key)

    @property
    def is_started(self) -> bool:
        return self.is_in_line and not self.status.is_final and not self.is_waiting

    @property
    def has_key(self) -> bool:
        """Whether no other task can have its key."""
        if self.is_deleted or self.key is None:
            return False
        is_new = self.status is TaskStatus.PENDING and not self.has_started
        return is_new if self.key.is_debounce else self.status in self.statuses

    def move(self, move: Move) -> None:
        self.status = lifecycle.target_of(self.status, move, holds_key=self.holds_key)
        if self.status is not TaskStatus.RUNNING:
            self.hold = self.parked = None
        if self.status.is_final:
            self.is_waiting = False
            self.ends.append(self.status)

    def give_back(self, move: Move, ended: str | None) -> None:
        if ended:
            self.attempts.append((self.attempt, ended))
        self.attempt -= 1
        self.move(move)


@dataclass
class KnownGroup:
    """What the model knows of a group."""

    number: int
    on_failure: OnMemberFailure
    has_completion: bool
    status: GroupStatus = GroupStatus.OPEN
    is_canceling: bool = False
    is_deleted: bool = False
    completions: int = 0
    completion: int | None = None  # the task of the last one
    # The status of each member when the group was last brought up to date.
    seen: dict[int, TaskStatus] = field(default_factory=dict)

    @property
    def is_joinable(self) -> bool:
        return self.status is GroupStatus.OPEN and not self.is_canceling


class Law(RuleBasedStateMachine):
    """The model beside the stores."""

    stores: Stores
    seen: set[str]
    nodes = Bundle("nodes")
    tasks = Bundle("tasks")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.stores.clear()
        self.known: list[Known] = []
        self.known_groups: list[KnownGroup] = []
        self.group_ids: list[tuple[uuid.UUID, uuid.UUID]] = []
        self.checked_groups: list[tuple] = []
        self.ids: list[tuple[uuid.UUID, uuid.UUID]] = []
        self.alive: dict[int, bool] = {PARKED: True}
        self.node_ids: list[tuple[uuid.UUID, uuid.UUID]] = []
        self.made_claims: list[tuple[int, int, object, object]] = []
        self.turns = itertools.count()
        # What the audit log must have: action, task and count.
        self.audited: list[tuple[str, int | None, int]] = []

    def both(self, verb: str, memory: dict, postgres: dict | None = None) -> list[object]:
        return self.stores.call(verb, memory, memory if postgres is None else postgres)

    def by_id(self, verb: str, task: int, **rest: object) -> list[object]:
        memory_id, postgres_id = self.ids[task]
        return self.both(verb, {"task_id": memory_id, **rest}, {"task_id": postgres_id, **rest})

    def by_node(self, verb: str, node: int, memory=(), postgres=()) -> list[object]:
        memory_id, postgres_id = self.node_ids[node]
        return self.both(
            verb, {"node_id": memory_id, **dict(memory)}, {"node_id": postgres_id, **dict(postgres)}
        )

    def numbers(self, answers: list[object]) -> list[set[int]]:
        return [
            {[ids[side] for ids in self.ids].index(task_id) for task_id in answer}
            for side, answer in enumerate(answers)
        ]

    @initialize(target=tasks, priorities=st.lists(st.integers(-2, 2), min_size=4, max_size=4))
    def begin_with_tasks(self, priorities):
        first = len(self.known)
        return multiple(
            *[
                self.add_one(priority, is_due=True, expires_at=LATER, retention_seconds=0.0)
                for priority in priorities
            ],
            # Few other steps lead to a task that holds the key, and to one that its parents start.
            self.add_in_line(OnFailure.HOLD, OVER),
            self.add_child({first}, OnParentFailure.RUN, None),
            self.add_delivery(),
        )

    @initialize(target=nodes)
    def begin_with_nodes(self):
        return multiple(*[self.add_node() for _ in range(3)])

    @initialize(target=claims, parking=st.none() | st.sampled_from(PARKINGS))
    def begin_with_a_claim(self, parking):
        """Few other steps lead to one that is parked."""
        self.add_one(2, is_due=True)
        self.a_line_goes_on()  # nothing is locked after that
        return self.claim(self.add_node(), 1, 0, parking)

    @initialize(target=tasks, on_failure=st.none() | st.none() | st.sampled_from(OnMemberFailure))
    def begin_with_a_group(self, on_failure):
        """Few other steps lead to one that has completed, and completes again."""
        if on_failure is None:
            return multiple()
        number = self.complete_again(self.add_group(on_failure))
        self.a_line_goes_on()
        return number

    # Groups

    @rule(
        target=tasks,
        number=st.integers(0, MAX_GROUPS - 1),
        on_failure=st.sampled_from(OnMemberFailure),
        expires_at=st.sampled_from([None, OVER]),
    )
    def join(self, number, on_failure, expires_at):
        if number >= len(self.known_groups):
            number = self.add_group(on_failure)
        return self.add_member(self.known_groups[number], expires_at)

    @rule(
        target=tasks,
        number=st.integers(0, MAX_GROUPS - 1),
        verb=st.sampled_from(["close", "cancel", "retry", None]),
    )
    def act_on_group(self, number, verb):
        if number >= len(self.known_groups):
            return multiple()
        if verb is None and self.known_groups[number].is_joinable:
            return self.complete_again(number)
        self.acted_on_group(self.known_groups[number], verb or "close")
        return multiple()

    def add_group(self, on_failure: OnMemberFailure) -> int:
        """The first one has a completion task: of several that complete at once, one at most."""
        has_completion = not self.known_groups
        new = NewGroup(
            on_complete=msgspec.Raw(b"{}") if has_completion else None,
            completion=COMPLETION if has_completion else None,
            on_failure=on_failure,
        )
        found = self.both("groups.add", {"new": new})
        self.group_ids.append(tuple(one.group.id for one in found))
        self.known_groups.append(KnownGroup(len(self.known_groups), on_failure, has_completion))
        return len(self.known_groups) - 1

    def add_member(self, group: KnownGroup, expires_at: dt.datetime | None):
        new = [
            NewTask(msgspec.Raw(b"1"), max_attempts=3, group=one, expires_at=expires_at)
            for one in self.ids_of(group)
        ]
        found = self.both("add", *({"tasks": [one]} for one in new))
        if not group.is_joinable:
            expected = Unprocessable if group.is_deleted else GroupClosed
            assert found == [expected] * 2
            self.seen.add("not joined")
            return multiple()
        self.ids.append(tuple(one.id for [one] in found))
        member = Known(len(self.known), 0, True, next(self.turns), QUEUES[0], group=group.number)
        member.expires_at = expires_at
        self.known.append(member)
        return member.number

    def complete_again(self, number: int) -> int:
        """A member fails, and runs again after the group has completed: seldom otherwise."""
        group = self.known_groups[number]
        failing, other = self.add_member(group, OVER), self.add_member(group, None)
        self.expire()
        self.groups_go_on()
        self.acted_on_group(group, "close")
        if not self.known[other].status.is_final:
            self.cancel(other, is_running=False)
            self.groups_go_on()
        self.acted_on_group(group, "retry")
        self.cancel(failing, is_running=False)
        return other

    def acted_on_group(self, group: KnownGroup, verb: str) -> None:
        status = group.status
        refused = {"cancel": GroupStatus.COMPLETED}.get(verb, GroupStatus.CANCELED)
        asked = ({"group_id": one, "by": ADA} for one in self.ids_of(group))
        found = self.both(f"groups.{verb}", *asked)
        if group.is_deleted:
            assert found == [None, None]
            return
        for answer in found:
            assert (answer is IllegalMove) == (status is refused)
            assert answer is not None
        if status is not refused:
            getattr(self, f"{verb}_group")(group)
            self.groups_go_on()

    def close_group(self, group: KnownGroup) -> None:
        if group.status is GroupStatus.OPEN:
            group.status = GroupStatus.CLOSED
            self.audited.append((Action.GROUP_CLOSE, None, 1))

    def cancel_group(self, group: KnownGroup) -> None:
        if group.status is not GroupStatus.CANCELED:
            group.status = GroupStatus.CANCELED
            self.audited.append((Action.GROUP_CANCEL, None, 1))
            self.cancel_open_members(group)

    def retry_group(self, group: KnownGroup) -> None:
        failed = [
            task
            for task in self.members_of(group)
            if task.status is TaskStatus.FAILED and not task.is_deleted
        ]
        self.retried(failed)
        if failed:
            self.audited.append((Action.GROUP_RETRY, None, len(failed)))

    def delete_old_groups(self) -> None:
        """In PostgreSQL this takes several steps."""
        if any(group.status.is_final and not group.is_deleted for group in self.known_groups):
            while any(self.both("groups.delete_finished", {"age_seconds": -1.0, "limit": 1000})):
                pass
        for group in self.known_groups:
            group.is_deleted |= group.status.is_final

    def ids_of(self, group: KnownGroup) -> tuple[uuid.UUID, uuid.UUID]:
        return self.group_ids[group.number]

    def members_of(self, group: KnownGroup) -> list[Known]:
        return [task for task in self.known if task.group == group.number]

    def groups_go_on(self) -> None:
        """Bring the groups up to date: what the changes of their members do to them."""
        for group in self.known_groups:
            if group.is_deleted:
                continue
            before = group.seen
            group.seen = {task.number: task.status for task in self.members_of(group)}
            changed = [
                (before.get(number, TaskStatus.PENDING), status)
                for number, status in group.seen.items()
                if before.get(number, TaskStatus.PENDING) is not status
            ]
            self.members_changed(group, changed)

    def members_changed(
        self, group: KnownGroup, changed: list[tuple[TaskStatus, TaskStatus]]
    ) -> None:
        if group.status is GroupStatus.COMPLETED and any(
            then.is_final and not now.is_final for then, now in changed
        ):
            group.status, group.is_canceling = GroupStatus.CLOSED, False
        has_failed = any(now is TaskStatus.FAILED for _, now in changed)
        cancels = group.on_failure is OnMemberFailure.CANCEL_REST and not group.status.is_final
        if has_failed and cancels:
            group.is_canceling = True
            self.cancel_open_members(group)
            self.both("groups.cancel_rest", {})
            self.seen.add("rest canceled")
        if group.status is GroupStatus.CLOSED and all(one.is_final for one in group.seen.values()):
            group.status = GroupStatus.COMPLETED
            group.completions += 1
            self.seen.add("completed again" if group.completions > 1 else "completed")
            if group.has_completion:
                self.note_completion(group)

    def cancel_open_members(self, group: KnownGroup) -> None:
        for task in self.members_of(group):
            if not task.status.is_final:
                self.canceled(task)
        group.seen = {task.number: task.status for task in self.members_of(group)}

    def note_completion(self, group: KnownGroup) -> None:
        """Note the completion task; it is not due yet."""
        asked = ({"group_id": one} for one in self.ids_of(group))
        self.ids.append(tuple(one.completion_task_id for one in self.both("groups.get", *asked)))
        group.completion = len(self.known)
        self.known.append(Known(group.completion, 0, False, next(self.turns), QUEUES[0]))

    def check_groups(self) -> None:
        """Compare the groups of both stores with the model, if something has changed."""
        kept = [group for group in self.known_groups if not group.is_deleted]
        members = {group.number: self.members_of(group) for group in kept}
        now = [
            (group.status, group.completions, [(one.status, one.is_deleted) for one in some])
            for group, some in zip(kept, members.values(), strict=True)
        ]
        if now == self.checked_groups:
            return
        self.checked_groups = now
        for side, page in enumerate(self.both("groups.page", {"limit": 100})):
            for group, shown in zip(reversed(kept), page.groups, strict=True):
                self.check_group(group, members[group.number], shown, side)

    def check_group(self, group: KnownGroup, members: list[Known], shown: Group, side: int) -> None:
        assert (shown.status, shown.completions) == (group.status, group.completions)
        counts = Counter(task.status.value for task in members)
        assert shown.counts == GroupCounts(**counts)
        assert [failed.task_id for failed in shown.first_failures] == [
            self.ids[task.number][side]
            for task in members
            if task.status is TaskStatus.FAILED and not task.is_deleted
        ][:MAX_FIRST_FAILURES]
        completion = None if group.completion is None else self.ids[group.completion][side]
        assert shown.completion_task_id == completion

    # Order keys

    @invariant()
    def a_line_goes_on(self):
        """Start the first task of the line, as both stores do; this is the first invariant."""
        self.groups_go_on()
        line = self.line()
        if line and line[0].is_waiting and not any(task.is_started for task in line):
            line[0].is_waiting, line[0].is_due = False, True
            line[0].turn = next(self.turns)
            self.seen.add("promoted")
        while any(self.follow(task) for task in self.kept()):
            pass
        self.both("promote", {})

    def follow(self, task: Known) -> bool:
        """Count the parents of a task that have finished; say whether there were some."""
        others = [self.known[number] for number in sorted(task.open_parents)]
        ended = [other for other in others if other.is_deleted or other.status.is_final]
        for other in ended:
            task.open_parents.discard(other.number)
            if not task.is_waiting:
                continue
            has_failed = other.status is not TaskStatus.COMPLETED
            if has_failed and task.on_parent_failure is not OnParentFailure.RUN:
                fails = task.on_parent_failure is OnParentFailure.FAIL
                task.move(Move.PARENT_FAILED if fails else Move.CANCEL)
                task.error_type = "parent_failed"
                self.seen.add("ended by a parent")
            elif not task.open_parents:
                task.is_waiting = False
                self.seen.add("started by parents")
        return bool(ended)

    def check_parents(self, task: Known, shown: Task, side: int) -> None:
        assert shown.on_parent_failure == task.on_parent_failure
        parents = sorted(self.ids[number][side] for number in task.parents)
        assert list(shown.after or ()) == parents
        assert (shown.waiting_for is not None) == task.is_waiting
        if shown.waiting_for is not None:
            is_open = {self.ids[number][side] for number in task.open_parents}
            assert (shown.run_at, shown.waiting_for.task_id) == (None, min(is_open))

    def line(self) -> list[Known]:
        """The tasks in line, of the only order key."""
        return [task for task in self.known if task.order_key is not None and task.is_in_line]

    def check_line(self, task: Known, shown: Task, side: int) -> None:
        assert (shown.order_key, shown.on_failure) == (task.order_key, task.on_failure)
        if task.parked is not None:
            assert shown.waiting_for == FOR_COMPLETION
            shown = msgspec.structs.replace(shown, waiting_for=None)
        if task.parents:
            self.check_parents(task, shown, side)
            return
        assert (shown.waiting_for is not None) == task.is_waiting
        if shown.waiting_for is not None:
            line = self.line()
            before = [other for other in line[: line.index(task)] if not other.is_started]
            ahead = before[-1:] or [other for other in line if other.is_started]
            assert shown.run_at is None
            assert shown.waiting_for.task_id == self.ids[ahead[0].number][side]

    @rule(number=tasks, is_first=st.booleans())
    def skip(self, number, is_first):
        if is_first and self.line():
            number = self.line()[0].number  # few other tasks hold the key
        task = self.known[number]
        if self.moved_by_hand("skip", number, lambda task: task.holds_key):
            task.on_failure = OnFailure.CONTINUE
            self.seen.add("skipped")

    # Submission

    @rule(
        target=tasks,
        on_failure=st.sampled_from(OnFailure),
        expires_at=st.sampled_from([None, LATER, OVER]),
    )
    def add_in_order(self, on_failure, expires_at):
        """All of one queue, so that one at most starts in a step."""
        return self.add_in_line(on_failure, expires_at)

    def add_in_line(self, on_failure: OnFailure, expires_at: dt.datetime | None) -> int:
        return self.add_one(
            0,
            is_due=True,
            queue=QUEUES[1],
            expires_at=expires_at,
            order_key=KEY,
            on_failure=on_failure,
        )

    @rule(
        target=tasks,
        priority=st.integers(-2, 2),
        is_due=st.booleans(),
        queue=st.sampled_from(QUEUES),
        expires_at=st.sampled_from([None, LATER, OVER]),
        retention_seconds=st.sampled_from([None, 0.0, LATER_SECONDS]),
    )
    def add(self, priority, is_due, queue, expires_at, retention_seconds):
        return self.add_one(
            priority,
            is_due=is_due,
            queue=queue,
            expires_at=expires_at,
            retention_seconds=retention_seconds,
        )

    def add_one(
        self,
        priority: int,
        *,
        is_due: bool,
        queue: str = QUEUES[0],
        expires_at: dt.datetime | None = None,
        retention_seconds: float | None = None,
        order_key: str | None = None,
        on_failure: OnFailure | None = None,
    ) -> int:
        new = NewTask(
            msgspec.Raw(b"1"),
            queue=queue,
            priority=priority,
            delay_seconds=0.0 if is_due else LATER_SECONDS,
            max_attempts=3,
            expires_at=expires_at,
            retention_seconds=retention_seconds,
            order_key=order_key,
            on_failure=on_failure,
        )
        [[in_memory], [in_postgres]] = self.both("add", {"tasks": [new]})
        number = len(self.known)
        self.ids.append((in_memory.id, in_postgres.id))
        known = Known(number, priority, is_due, next(self.turns), queue)
        known.expires_at, known.retention_seconds = expires_at, retention_seconds
        known.order_key, known.on_failure = order_key, on_failure
        if order_key is not None:
            known.is_waiting, known.is_due = True, False
        self.known.append(known)
        return number

    @rule(
        target=tasks,
        numbers=st.sets(tasks, min_size=1, max_size=2),
        on_parent_failure=st.sampled_from(OnParentFailure),
        expires_at=st.sampled_from([None, LATER, OVER]),
    )
    def add_child(self, numbers, on_parent_failure, expires_at):
        """With a delay, so that several that start at once are not claimed in some order."""
        # What is canceled and retried in one step is no parent: it may end in between, or not.
        parents = [task for task in map(self.known.__getitem__, numbers) if task.key is None]
        if any(task.is_deleted for task in parents) or not parents:
            return multiple()
        new = [
            NewTask(
                msgspec.Raw(b"3"),
                delay_seconds=LATER_SECONDS,
                max_attempts=3,
                expires_at=expires_at,
                after=tuple(str(self.ids[task.number][side]) for task in parents),
                options=TaskOptions(
                    on_parent_failure=on_parent_failure, delay_after_parents=LATER_SECONDS
                ),
            )
            for side in (0, 1)
        ]
        [[in_memory], [in_postgres]] = self.both("add", {"tasks": [new[0]]}, {"tasks": [new[1]]})
        known = Known(len(self.known), 0, False, next(self.turns), QUEUES[0])
        known.parents = tuple(task.number for task in parents)
        known.open_parents, known.is_waiting = set(known.parents), True
        known.on_parent_failure, known.expires_at = on_parent_failure, expires_at
        self.ids.append((in_memory.id, in_postgres.id))
        self.known.append(known)
        return known.number

    @rule(
        target=tasks,
        key=st.sampled_from([Key("a"), Key("b"), Key("a", is_debounce=True)]),
        on_conflict=st.sampled_from(OnConflict),
        kept=st.sampled_from([(), (TaskStatus.FAILED,), (TaskStatus.COMPLETED,)]),
        priority=st.integers(-2, 2),
        is_due=st.booleans(),
    )
    def add_keyed(self, key, on_conflict, kept, priority, is_due):
        """Another task that has the key is returned, replaced or debounced, or none is stored."""
        statuses = (*ALWAYS_UNIQUE, *kept)
        if key.is_debounce:
            options = TaskOptions(debounce=Debounce(key.name, LATER_SECONDS))
            delay_seconds, is_due = 0.0, False
        else:
            options = TaskOptions(unique=Unique(key.name, statuses, on_conflict))
            delay_seconds = 0.0 if is_due else LATER_SECONDS
        new = NewTask(
            msgspec.Raw(b"2"),
            priority=priority,
            delay_seconds=delay_seconds,
            max_attempts=3,
            options=options,
        )
        found = self.both("add", {"tasks": [new]})
        holder = self.holder(key)
        if holder is None:
            number = len(self.known)
            self.ids.append(tuple(one.id for [one] in found))
            task = Known(number, priority, is_due, next(self.turns), QUEUES[0], key=key)
            task.statuses = statuses
            self.known.append(task)
            return number
        done = self.met(holder, on_conflict)
        if done is None:
            assert found == [NotUnique] * 2
            self.seen.add("rejected")
            return multiple()
        self.seen.add(done)
        assert [[one.existing for one in tasks] for tasks in found] == [[done]] * 2
        assert self.numbers([[one.id for one in tasks] for tasks in found]) == [{holder.number}] * 2
        if done is not Existing.RETURNED:
            holder.priority, holder.is_due, holder.turn = priority, is_due, next(self.turns)
            holder.expires_at = holder.retention_seconds = None
            holder.statuses = statuses
            holder.debounced += done is Existing.DEBOUNCED
        return multiple()

    def holder(self, key: Key) -> Known | None:
        return next((task for task in self.known if task.key == key and task.has_key), None)

    @rule(target=tasks, key=st.sampled_from([Key("a"), Key("b")]))
    def displace(self, key):
        """Another task gets the unique key of a canceled one, which other steps seldom lead to."""
        holder = self.holder(key)
        if holder is None or holder.status.is_final:
            return multiple()
        self.cancel(holder.number, is_running=False)
        number = self.add_keyed(key, OnConflict.REJECT, (), 0, is_due=True)
        self.retry(holder.number)
        for on_conflict in OnConflict:
            self.add_keyed(key, on_conflict, (), 0, is_due=True)
        for _ in range(2):  # so that one is debounced
            self.add_keyed(Key("a", is_debounce=True), OnConflict.RETURN, (), 0, is_due=False)
        return number

    def met(self, holder: Known, on_conflict: OnConflict) -> Existing | None:
        """What a submission does to the task that has its key; nothing if it is rejected."""
        if holder.key.is_debounce:
            return Existing.DEBOUNCED
        if on_conflict is OnConflict.REJECT:
            return None
        is_new = holder.status is TaskStatus.PENDING and not holder.has_started
        is_replaced = on_conflict is OnConflict.REPLACE and is_new
        return Existing.REPLACED if is_replaced else Existing.RETURNED

    @initialize()
    def begin_with_schedules(self):
        for overlap in OVERLAPS:
            payload = msgspec.Raw(b"1")
            definition = ScheduleDefinition(
                name=overlap,
                timing=Timing(every_seconds=LATER_SECONDS),
                task=payload,
                template=NewTask(payload, max_attempts=3),
                overlap=overlap,
            )
            self.both("schedules.put", {"definition": definition})

    @rule(target=tasks, overlap=st.sampled_from(OVERLAPS))
    def run_schedule(self, overlap):
        """An earlier task that is open, also one that was retried, is what ``overlap`` is about."""
        found = self.both("schedules.run_now", {"name": overlap})
        earlier = [
            task for task in self.kept() if task.schedule == overlap and not task.status.is_final
        ]
        if overlap is Overlap.SKIP and earlier:
            assert found == [ScheduleOverlap] * 2
            self.seen.add("overlap")
            return multiple()
        for task in earlier:
            self.canceled(task)
        number = len(self.known)
        self.ids.append(tuple(one.id for one in found))
        self.known.append(Known(number, 0, True, next(self.turns), QUEUES[0], schedule=overlap))
        return number

    # Topics

    def add_delivery(self) -> int:
        """Publish an event to a topic with one endpoint."""
        template = NewTask(msgspec.Raw(b'{"url":"x:"}'), max_attempts=3)
        definition = EndpointDefinition(topic="t", name="e", template=template)
        place = {"topic": "t", "name": "e", "change": lambda _: definition}
        self.both("topics.put", {"name": "t", "change": lambda _: QUEUES[0]})
        self.both("topics.change_endpoint", place)
        event = NewEvent(topic="t", type="x", data=msgspec.Raw(b"1"))
        found = [one.event.tasks for one in self.both("topics.publish", {"event": event})]
        number = len(self.known)
        self.ids.append(tuple(task_id for [task_id] in found))
        task = Known(number, 0, True, next(self.turns), QUEUES[0], is_delivery=True)
        self.known.append(task)
        return number

    def redeliver(self, task: Known) -> None:
        """Start a delivery again with another request; only if it FAILED."""
        new = NewTask(msgspec.Raw(b'{"url":"y:","body":1}'), max_attempts=3)
        sides = [{self.ids[task.number][side]: new} for side in (0, 1)]
        answers = self.both("topics.redeliver", *({"deliveries": one} for one in sides))
        is_failed = task.status is TaskStatus.FAILED and not task.is_deleted
        assert self.numbers(answers) == [{task.number} if is_failed else set()] * 2
        if is_failed:
            self.retried([task])

    @rule(target=tasks)
    def overlap(self):
        """A schedule runs while its last task is open, which few other steps lead to."""
        number = self.run_schedule(Overlap.SKIP)
        self.run_schedule(Overlap.SKIP)
        return number

    # Nodes

    @rule(target=nodes)
    def register(self):
        return self.add_node()

    def add_node(self) -> int:
        ids = self.both("register", {"name": "node", "lease_seconds": 1000.0})
        self.node_ids.append(tuple(ids))
        self.alive[len(self.node_ids) - 1] = True
        return len(self.node_ids) - 1

    @rule(node=nodes)
    def renew(self, node):
        for answer in self.by_node("renew", node):
            assert (answer is LeaseLost) == (not self.alive[node])

    @rule(node=nodes, max_rescues=st.none() | st.integers(1, 3))
    def die(self, node, max_rescues):
        self.stores.kill(*self.node_ids[node])
        self.alive[node] = False
        if max_rescues:
            self.rescue_all(max_rescues)

    @rule(chosen=claims, max_rescues=st.integers(1, 3), is_held=st.booleans())
    def die_at_work(self, chosen, max_rescues, is_held):
        """The node that holds this claim dies, which other steps seldom lead to."""
        chosen = self.held_or(chosen, is_held)
        hold = self.known[self.made_claims[chosen][0]].hold
        if hold is None or hold[0] != chosen or hold[1] == PARKED:
            # Then another one: of all claims few are held.
            hold = next((one.hold for one in self.known if one.hold and not one.parked), None)
        if hold is not None:
            self.die(hold[1], max_rescues)

    @rule(node=consumes(nodes))
    def retire(self, node):
        self.by_node("retire", node)
        self.alive[node] = False
        for task in self.known:
            if task.hold and task.hold[1] == node:
                task.give_back(Move.RELEASE, "INTERRUPTED")

    @rule(max_rescues=st.integers(1, 3))
    def rescue(self, max_rescues):
        self.rescue_all(max_rescues)

    def rescue_all(self, max_rescues: int) -> None:
        answers = self.both("rescue", {"limit": 1000, "max_rescues": max_rescues})
        pending, poisoned = set(), set()
        for task in self.known:
            if task.hold and not self.alive[task.hold[1]]:
                task.rescues += 1
                is_poison = task.rescues >= max_rescues
                task.give_back(Move.POISON if is_poison else Move.RESCUE, "LOST")
                task.error_type = "poison" if is_poison else task.error_type
                (poisoned if is_poison else pending).add(task.number)
        assert self.numbers([one.pending for one in answers]) == [pending] * 2
        assert self.numbers([one.poisoned for one in answers]) == [poisoned] * 2

    @rule(node=nodes, kept=st.sets(claims))
    def reconcile(self, node, kept):
        renewed = self.by_node("renew", node)
        if not self.alive[node]:
            return
        tokens = [[self.made_claims[one][side].token for one in kept] for side in (2, 3)]
        answers = self.by_node(
            "reconcile",
            node,
            {"tokens": tokens[0], "before": renewed[0]},
            {"tokens": tokens[1], "before": renewed[1]},
        )
        # One call's claims share a token, so what is kept is kept for all of them.
        kept_calls = {self.made_claims[one][1] for one in kept}
        lost = [
            task
            for task in self.known
            if task.hold
            and task.hold[1] == node
            and self.made_claims[task.hold[0]][1] not in kept_calls
        ]
        for task in lost:
            task.give_back(Move.RELEASE, None)
        assert answers == [len(lost)] * 2

    # Claims

    @rule(
        target=claims,
        node=nodes,
        limit=st.integers(1, 4),
        by_age=st.integers(0, 2),
        parking=st.none() | st.sampled_from(PARKINGS),
    )
    def claim(self, node, limit, by_age, parking):
        arguments = {"limit": limit, "by_age": by_age}
        found = self.by_node("claim", node, arguments, arguments)
        expected = self.expected_claims(limit, by_age) if self.alive[node] else []
        for side, claims in enumerate(found):
            in_order = [[ids[side] for ids in self.ids].index(one.task_id) for one in claims]
            assert in_order == [task.number for task in expected]
        call, made = len(self.made_claims), []
        for task, in_memory, in_postgres in zip(expected, *found, strict=True):
            made.append(len(self.made_claims))
            self.made_claims.append((task.number, call, in_memory, in_postgres))
            task.attempt += 1
            task.has_started = True
            task.move(Move.CLAIM)
            task.hold = (made[-1], node)
            assert in_memory.attempt == in_postgres.attempt == task.attempt
        if made and parking is not None:
            self.park(made[-1], parking)
        return multiple(*made)

    def expected_claims(self, limit: int, by_age: int) -> list[Known]:
        due = [
            task
            for task in self.known
            if task.is_due and task.status is TaskStatus.PENDING and not task.is_over
        ]
        oldest = sorted(due, key=lambda task: task.turn)[: min(by_age, limit)]
        rest = sorted(
            (task for task in due if task not in oldest),
            key=lambda task: (-task.priority, task.turn),
        )
        taken = oldest + rest[: limit - len(oldest)]
        return sorted(taken, key=lambda task: (-task.priority, task.turn))

    # Outcomes of claims, also of claims that are over

    def write(self, verb: str, name: str, chosen: int, make) -> Known | None:
        """Make the write on both stores; the task if the claim is still held."""
        number, _, in_memory, in_postgres = self.made_claims[chosen]
        answers = self.both(verb, {name: [make(in_memory)]}, {name: [make(in_postgres)]})
        task = self.known[number]
        is_held = task.hold is not None and task.hold[0] == chosen
        assert self.numbers(answers) == [{number} if is_held else set()] * 2
        return task if is_held else None

    def held_or(self, chosen: int, is_held: bool) -> int:
        """A claim that is held, if one is to be chosen: of all claims few are."""
        held = (task.hold[0] for task in self.known if task.hold)
        return next(held, chosen) if is_held else chosen

    @rule(chosen=claims, went_well=st.booleans(), is_held=st.sampled_from([True, True, False]))
    def settle(self, chosen, went_well, is_held):
        chosen = self.held_or(chosen, is_held)

        def ending(claim):
            if went_well:
                return Settlement(claim.task_id, claim.token, TaskStatus.COMPLETED, result=b"1")
            return Settlement(
                claim.task_id,
                claim.token,
                TaskStatus.FAILED,
                error="e",
                error_type=ErrorType.TIMEOUT,
            )

        if task := self.write("settle", "settlements", chosen, ending):
            task.move(Move.COMPLETE if went_well else Move.FAIL)
            task.error_type = None if went_well else "timeout"
            task.attempts.append((task.attempt, task.status.value))
            self.check_attempts(task)  # before it may be deleted

    @rule(chosen=claims, is_due=st.booleans(), is_held=st.booleans())
    def schedule_retry(self, chosen, is_due, is_held):
        chosen = self.held_or(chosen, is_held)
        delay = 0.0 if is_due else LATER_SECONDS

        def retrial(claim):
            return Retry(claim.task_id, claim.token, delay, "e", ErrorType.DNS)

        if task := self.write("schedule_retries", "retries", chosen, retrial):
            task.attempts.append((task.attempt, "FAILED"))
            task.move(Move.RETRY)
            task.is_due, task.turn, task.error_type = is_due, next(self.turns), "dns"

    @rule(chosen=claims, has_started=st.booleans(), is_held=st.booleans())
    def release(self, chosen, has_started, is_held):
        chosen = self.held_or(chosen, is_held)

        def give_back(claim):
            return Release(claim.task_id, claim.token, 1.0 if has_started else None)

        if task := self.write("release", "releases", chosen, give_back):
            task.give_back(Move.RELEASE, "INTERRUPTED" if has_started else None)

    # Parked attempts. Part of other rules: with more rules, sequences get to fewer places

    def park(self, chosen: int, parking: Parking) -> None:
        def parking_of(claim):
            ids = {"task_id": claim.task_id, "token": claim.token}
            return msgspec.structs.replace(parking, **ids)

        if task := self.write("parking.park", "parkings", chosen, parking_of):
            is_overdue = parking.within_seconds == 0.0
            is_polled = parking.poll_url is not None
            task.hold = (chosen, PARKED)
            task.parked = task.parked or KnownParked(is_overdue)
            task.parked.is_polled = is_polled
            is_poll_due = is_polled and parking.poll_delay_seconds == 0.0
            task.parked.is_due = task.parked.is_overdue or is_poll_due

    def extend(self, chosen: int, *, is_overdue: bool) -> None:
        number, _, *made = self.made_claims[chosen]
        within = {"within_seconds": 0.0 if is_overdue else LATER_SECONDS}
        keys = [ClaimKey(one.task_id, one.token) for one in made]
        answers = self.both("parking.extend", *({"key": key, **within} for key in keys))
        task = self.known[number]
        held = task.hold is not None and task.hold[0] == chosen
        assert [answer is not None for answer in answers] == [held] * 2
        if held and task.parked is not None:
            task.parked.is_overdue = is_overdue
            task.parked.is_due = is_overdue or (task.parked.is_polled and task.parked.is_due)
            self.seen.add("extended")

    def take_due(self, take_seconds: float) -> None:
        parked = {task.number: task.parked for task in self.known if task.parked}
        due = {number: one.is_overdue for number, one in parked.items() if one.is_due}
        for seconds in self.both("parking.seconds_to_next", {}):
            assert (seconds is None) == (not parked)
            assert seconds is None or (seconds == 0.0) == bool(due)
        taken = self.both("parking.take_due", {"limit": 1000, "take_seconds": take_seconds})
        for side, some in enumerate(taken):
            numbers = [[ids[side] for ids in self.ids].index(one.claim.task_id) for one in some]
            assert dict(zip(numbers, (one.is_overdue for one in some), strict=True)) == due
            for number, one in zip(numbers, some, strict=True):
                self.check_found(number, side, one)
                assert (one.poll_url is not None) == parked[number].is_polled
        for number, is_overdue in due.items():
            parked[number].is_due = take_seconds == 0.0
            self.seen.add("overdue" if is_overdue else "polled")

    def find_attempt(self, number: int) -> None:
        for side, found in enumerate(self.by_id("parking.find", number)):
            assert (found is not None) == (self.known[number].hold is not None)
            if found is not None:
                self.check_found(number, side, found)

    def check_found(self, number: int, side: int, found) -> None:
        claim = self.made_claims[self.known[number].hold[0]][2 + side]
        assert (found.claim.token, found.claim.attempt) == (claim.token, claim.attempt)
        assert found.claim.payload == claim.payload

    # Actions of clients

    @rule(number=tasks, is_running=st.booleans())
    def cancel(self, number, is_running):
        if is_running:  # of all tasks few are
            number = next((task.number for task in self.known if task.hold), number)
        if self.moved_by_hand("cancel", number, self.can_be_canceled):
            self.canceled(self.known[number])

    @rule(numbers=st.sets(tasks, max_size=3))
    def cancel_many(self, numbers):
        for task in self.many_moved_by_hand("cancel_many", numbers, self.is_not_finished):
            self.canceled(task)

    @rule(number=tasks)
    def retry(self, number):
        if self.known[number].is_delivery:
            self.redeliver(self.known[number])
        elif self.is_displaced(self.known[number]):
            assert self.by_id("retry", number, by=ADA) == [NotUnique] * 2
            self.seen.add("displaced")
        elif self.moved_by_hand("retry", number, self.can_be_retried):
            self.retried([self.known[number]])

    @rule(numbers=st.sets(tasks, max_size=3))
    def retry_many(self, numbers):
        # One that starts in its turn and one that starts at once do so in no known order.
        if any(self.known[number].order_key for number in numbers):
            numbers = {number for number in numbers if self.known[number].order_key}
        elif any(self.known[number].parents for number in numbers):
            numbers = {number for number in numbers if self.known[number].parents}
        is_legal = self.retried_together(numbers)
        self.retried(self.many_moved_by_hand("retry_many", numbers, is_legal))

    @rule(number=tasks)
    def delete(self, number):
        self.check_attempts(self.known[number])
        if self.moved_by_hand("delete", number, self.can_be_deleted):
            self.deleted(self.known[number])

    @rule(numbers=st.sets(tasks, max_size=3))
    def delete_many(self, numbers):
        for task in self.many_moved_by_hand("delete_many", numbers, self.can_be_deleted):
            self.deleted(task)

    def can_be_canceled(self, task: Known) -> bool:
        return lifecycle.allows(task.status, Move.CANCEL, holds_key=task.holds_key)

    def is_not_finished(self, task: Known) -> bool:
        return not task.status.is_final

    def can_be_retried(self, task: Known) -> bool:
        return lifecycle.allows(task.status, Move.MANUAL_RETRY)

    def is_displaced(self, task: Known) -> bool:
        """Whether a task is not retried because another one has its unique key."""
        if task.is_deleted or task.key is None or task.key.is_debounce:
            return False
        others = (one for one in self.known if one is not task and one.key == task.key)
        return self.can_be_retried(task) and any(one.has_key for one in others)

    def retried_together(self, numbers: set[int]) -> Callable[[Known], bool]:
        """Which of several tasks are retried: of those with one unique key the oldest."""
        taken: set[Key] = set()
        chosen = set()
        for task in (self.known[number] for number in sorted(numbers)):
            if task.is_deleted or not self.can_be_retried(task) or self.is_displaced(task):
                continue
            if task.key is not None and not task.key.is_debounce:
                if task.key in taken:
                    continue
                taken.add(task.key)
            chosen.add(task.number)
        return lambda task: task.number in chosen

    def can_be_deleted(self, task: Known) -> bool:
        return task.status.is_final

    def moved_by_hand(self, verb: str, number: int, is_legal) -> bool:
        """Ask both stores, and say whether the move was made."""
        task = self.known[number]
        answers = self.by_id(verb, number, by=ADA)
        if task.is_deleted:
            assert [bool(answer) for answer in answers] == [False, False]
            return False
        for answer in answers:
            assert (answer is IllegalMove) == (not is_legal(task))
            assert answer
        if is_legal(task):
            self.audited.append((f"task.{verb}", number, 1))
        return is_legal(task)

    def many_moved_by_hand(self, verb: str, numbers: set[int], is_legal) -> list[Known]:
        action = Action(f"tasks.{verb.removesuffix('_many')}")
        entry = NewEntry(action=action, actor=ADA, batch=uuid.uuid4())
        requested = [
            {"task_ids": [self.ids[number][side] for number in numbers], "entry": entry}
            for side in (0, 1)
        ]
        expected = {
            number
            for number in numbers
            if is_legal(self.known[number]) and not self.known[number].is_deleted
        }
        assert self.numbers(self.both(verb, *requested)) == [expected] * 2
        if expected:
            self.audited.append((action, None, len(expected)))
        return [self.known[number] for number in sorted(expected)]

    def canceled(self, task: Known) -> None:
        if task.status is TaskStatus.RUNNING:
            task.attempts.append((task.attempt, "CANCELED"))
        task.move(Move.CANCEL)

    def deleted(self, task: Known) -> None:
        task.is_deleted = True
        self.check_attempts(task)

    def retried(self, tasks: list[Known]) -> None:
        # In the memory store, and in PostgreSQL, all of them become due in the same moment: then
        # the older one goes first.
        for task in tasks:
            task.move(Move.MANUAL_RETRY)
            task.attempt = task.rescues = 0
            task.error_type, task.is_due, task.turn = None, True, next(self.turns)
            task.expires_at, task.has_started = None, False
            if task.key is not None and task.key.is_debounce:
                task.key = None
            if task.order_key is not None:
                task.is_waiting, task.is_due = True, False
            if task.parents:
                others = [self.known[number] for number in task.parents]
                task.open_parents = {
                    other.number
                    for other in others
                    if not other.is_deleted and not other.status.is_final
                }
                task.is_waiting, task.is_due = bool(task.open_parents), not task.open_parents

    # By the clock

    @rule(number=tasks)
    def time_passes(self, number):
        task = self.known[number]
        if task.expires_at == LATER and not task.is_deleted:
            self.stores.let_expire(*self.ids[number])
            task.expires_at = OVER

    @rule()
    def expire(self):
        over = [task for task in self.waiting() if task.is_over]
        assert self.both("expire", {"limit": 1000}) == [len(over)] * 2
        for task in over:
            task.move(Move.EXPIRE)
            task.error_type = "expired"
            self.seen.add("expired")

    @rule(
        number=tasks,
        is_running=st.booleans(),
        take_seconds=st.sampled_from([0.0, LATER_SECONDS]),
        is_overdue=st.none() | st.booleans(),
        parking=st.none() | st.sampled_from(PARKINGS),
    )
    def look_after_parked(self, number, is_running, take_seconds, is_overdue, parking):
        """And ask for the next expiry."""
        self.ask_for_the_next_expiry()
        self.take_due(take_seconds)
        if is_running:
            number = next((task.number for task in self.known if task.hold), number)
        self.find_attempt(number)
        claims = [one for one, made in enumerate(self.made_claims) if made[0] == number]
        for chosen in claims[-2:]:  # of which one may be over
            if is_overdue is not None:
                self.extend(chosen, is_overdue=is_overdue)
            if parking is not None:
                self.park(chosen, parking)

    def ask_for_the_next_expiry(self) -> None:
        moments = [task.expires_at for task in self.waiting() if task.expires_at]
        for seconds in self.both("seconds_to_expiry", {}):
            assert (seconds is None) == (not moments)
            assert seconds is None or (seconds > 0) == (min(moments) == LATER)

    def waiting(self) -> list[Known]:
        return [task for task in self.known if task.status is TaskStatus.PENDING]

    @rule(age_seconds=st.sampled_from([None, -1.0]))
    def delete_finished(self, age_seconds):
        # A negative age: also what ended within this millisecond.
        is_old = {0.0: True, None: age_seconds is not None, LATER_SECONDS: False}
        old = [
            task
            for task in self.kept()
            if task.status.is_final and not task.holds_key and is_old[task.retention_seconds]
            if not any(task.number in one.parents for one in self.kept() if not one.status.is_final)
        ]
        answers = self.both("delete_finished", {"age_seconds": age_seconds, "limit": 1000})
        assert answers == [len(old)] * 2
        for task in old:
            task.is_deleted = True
            self.seen.add("deleted")
        if age_seconds is not None:
            self.delete_old_groups()

    # The counts

    @rule(limit=st.sampled_from([1, 2, 1000]))
    def fold_counts(self, limit):
        """And archive: no verb makes a difference between archived tasks and others."""
        self.both("fold_counts", {"limit": limit})
        while (step := self.both("archive", {"age_seconds": -1.0, "limit": limit})[1]).has_more:
            if step.moved:
                self.seen.add("archived")

    @invariant()
    def counts_are_right(self):
        for reported in self.both("count", {"limit": 1000}):
            seen = {task.queue for task in self.known if task.ends or not task.is_deleted}
            assert [one.queue for one in reported.queues] == sorted(seen)
            for one in reported.queues:
                self.check_counts(one, [task for task in self.known if task.queue == one.queue])
            self.check_counts(reported.total, self.known)
            assert reported.complete

    def check_counts(self, told, tasks: list[Known]) -> None:
        state = Counter(task.status for task in tasks if not task.is_deleted)
        assert told.counts == {status: state[status] for status in TaskStatus}
        ended = Counter(itertools.chain.from_iterable(task.ends for task in tasks))
        # Each sequence takes less than a second, so that all of it lies within each window.
        assert told.finished == {
            status: RecentCounts(*[ended[status]] * 3) for status in TaskStatus if status.is_final
        }
        waiting = [task for task in tasks if task.status is TaskStatus.PENDING]
        is_waiting = any(task.is_due for task in waiting)
        assert (told.oldest_waiting_seconds is not None) == is_waiting

    # What must hold after every step, and at the end

    def kept(self) -> list[Known]:
        return [task for task in self.known if not task.is_deleted]

    @invariant()
    def stores_agree_with_the_law(self):
        for side, page in enumerate(self.both("page", {"limit": 1000})):
            for task, shown in zip(reversed(self.kept()), page.tasks, strict=True):
                assert (shown.status, shown.attempt, shown.rescues, shown.error_type) == (
                    task.status,
                    task.attempt,
                    task.rescues,
                    task.error_type,
                )
                assert (shown.expires_at, shown.retention_seconds, shown.priority) == (
                    task.expires_at,
                    task.retention_seconds,
                    task.priority,
                )
                assert shown.debounced == task.debounced
                assert (shown.finished_at is not None) == task.status.is_final
                assert (shown.result is not None) == (task.status is TaskStatus.COMPLETED)
                group = None if task.group is None else self.group_ids[task.group][side]
                assert shown.group == group
                self.check_line(task, shown, side)
        self.check_groups()

    def teardown(self):
        for task in self.known:
            self.check_attempts(task)
        self.check_audit_log()

    def check_audit_log(self) -> None:
        for side, page in enumerate(self.both("audit.page", {"limit": 1000})):
            numbers = {str(ids[side]): number for number, ids in enumerate(self.ids)}
            found = [(one.action, numbers.get(one.target), one.count) for one in page.entries]
            assert found[::-1] == self.audited
        if self.audited:
            self.seen.add("audited")

    def check_attempts(self, task: Known) -> None:
        answers = self.by_id("attempts", task.number)
        if task.is_deleted:
            assert answers == [None, None]
            return
        running = [(task.attempt, "RUNNING")] if task.hold else []
        for attempts in answers:
            made = [(one.number, one.status.value) for one in attempts]
            assert made == task.attempts + running
            self.seen.update(status for _, status in made)


@pytest.fixture
def stores(database_url: str) -> Iterator[Stores]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(Stores(database_url))


def test_both_stores_keep_the_law(stores: Stores, is_long: bool) -> None:
    """No sequence of verbs makes the stores differ from each other or from the table."""
    assert isinstance(stores.postgres, PostgresStore)
    check_law(stores, LONG_EXAMPLES if is_long else SHORT_EXAMPLES)


class CellStores(Stores):
    """A store in memory, and three of them as cells.

    What is claimed in one order is in one cell. The ids do not name it, so each verb has to find
    it, and the ids of no cell are mistaken for those of another.
    """

    def __enter__(self) -> CellStores:
        self._thread.start()
        self._token, self._stop = self._ready.get(timeout=30)
        self.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()

    def clear(self) -> None:
        self.memory = self._in_trio(_made, MemoryStore)
        self.cells = [self._in_trio(_made, MemoryStore) for _ in range(3)]
        names = ("a", "b", "c")
        cells = [Cell(number, names[number], one) for number, one in enumerate(self.cells)]
        made = msgspec.structs.replace(new_map(names), buckets=(1,) * BUCKETS)
        self.postgres = CellStore(Cells(cells, made))

    def kill(self, memory_node: uuid.UUID, cells_node: uuid.UUID) -> None:
        ids = self.postgres.node_ids
        own = [ids.own_id(cells_node, cell) for cell in self.postgres.cells]
        for store, node_id in zip((self.memory, *self.cells), (memory_node, *own), strict=True):
            if node_id in store._nodes:
                store._nodes[node_id].expires_at = float("-inf")

    def let_expire(self, in_memory: uuid.UUID, in_cells: uuid.UUID) -> None:
        for store, task_id in ((self.memory, in_memory), (self.cells[1], in_cells)):
            store._put(msgspec.structs.replace(store._tasks[task_id], expires_at=OVER))

    async def _run(self) -> None:
        stop = trio.Event()
        self._ready.put((trio.lowlevel.current_trio_token(), stop))
        await stop.wait()


@pytest.mark.long  # the cells are the store of the other test
def test_cells_keep_the_law() -> None:
    """No sequence of verbs makes cells differ from one store."""
    with CellStores("") as stores:
        check_law(stores, EXAMPLES, unseen={"archived"})  # there is no archive in memory


def check_law(stores: Stores, max_examples: int, unseen: Collection[str] = ()) -> None:
    """Run random sequences, and check that they got everywhere they can."""
    seen: set[str] = set()
    machine = type("LawOnBothStores", (Law,), {"stores": stores, "seen": seen})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=40,
            # The same sequences each time: whether they get everywhere must not be luck.
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    if max_examples < EXAMPLES:
        return
    # The sequences got everywhere, or the test would prove little.
    places = ("expired", "deleted", "archived", "audited", "overlap", "promoted", "skipped")
    of_parents = ("ended by a parent", "started by parents")
    of_groups = ("not joined", "rest canceled", "completed", "completed again")
    others = ("rejected", "displaced", "overdue", "polled", "extended")
    expected: set[str] = {*AttemptStatus, *places, *of_parents, *of_groups, *Existing, *others}
    assert seen == expected.difference(unseen)
