"""The state of a task that has not finished: what it waits for, or that it runs.

A state is derived from the row of a task, the limits, and the time; it is stored nowhere. So it
changes without a write, such as when a task becomes due, and tasks pay nothing for it.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from taskflow.model.order_keys import WaitReason
from taskflow.model.queue_limits import Limiter, LimiterState, Moment, QueueHost
from taskflow.model.task import Task, TaskStatus

MAX_COUNTED: Final = 2000
"""Tasks of a state are counted up to this number; each takes about ten microseconds."""


class TaskState(enum.StrEnum):
    """The state of a task that is PENDING or RUNNING."""

    DUE = "due"
    """It starts as soon as a worker is idle."""
    SCHEDULED = "scheduled"
    """It is due later, and no attempt has started."""
    RETRYING = "retrying"
    """It is due later, after an attempt that failed or was postponed."""
    HELD = "held"
    """It is due, but a paused queue, a limit or a circuit breaker holds it."""
    WAITING_FOR_PARENTS = "waiting_for_parents"
    """Its parents have not finished."""
    WAITING_FOR_ORDER = "waiting_for_order"
    """Tasks with the same order key come first."""
    RUNNING = "running"
    """A node runs it."""
    PARKED = "parked"
    """It is RUNNING: its target has accepted the work, and its outcome is not known yet."""

    @property
    def status(self) -> TaskStatus:
        """The status of tasks in this state."""
        is_running = self in (TaskState.RUNNING, TaskState.PARKED)
        return TaskStatus.RUNNING if is_running else TaskStatus.PENDING

    @property
    def depends_on_limits(self) -> bool:
        """True if limits and circuit breakers decide between this state and another one."""
        return self in (TaskState.DUE, TaskState.HELD)


_WAITS: Final[Mapping[WaitReason, TaskState]] = {
    WaitReason.PARENTS: TaskState.WAITING_FOR_PARENTS,
    WaitReason.ORDER_KEY: TaskState.WAITING_FOR_ORDER,
}


def state_of(task: Task, now: dt.datetime, *, is_held: bool) -> TaskState | None:
    """Return the state of a task; ``None`` if it is finished.

    Args:
        task: The task.
        now: The time by the clock of the store.
        is_held: Whether it is held, if it is due.
    """
    if task.status is TaskStatus.RUNNING:
        return TaskState.RUNNING if task.waiting_for is None else TaskState.PARKED
    if task.status is not TaskStatus.PENDING:
        return None
    if task.waiting_for is not None:
        return _WAITS.get(task.waiting_for.reason, TaskState.WAITING_FOR_PARENTS)
    if task.run_at is not None and task.run_at > now:
        return TaskState.RETRYING if has_been_tried(task) else TaskState.SCHEDULED
    return TaskState.HELD if is_held else TaskState.DUE


def has_been_tried(task: Task) -> bool:
    """Return whether an attempt has started; a postponed one does not count, but has an error."""
    return task.attempt > 0 or task.error_type is not None


class HeldLanes(NamedTuple):
    """What holds tasks that are due.

    Attributes:
        queues: All tasks of these queues are held.
        hosts: All tasks for these hosts (with port) are held.
        lanes: All tasks of these queues for these hosts are held.
    """

    queues: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    lanes: frozenset[QueueHost] = frozenset()

    def holds(self, lane: QueueHost) -> bool:
        """Return whether tasks of a queue for a host are held."""
        return lane.queue in self.queues or lane.host in self.hosts or lane in self.lanes


NOTHING_HELD: Final = HeldLanes()


def held_lanes(state: LimiterState, *, max_per_host: int | None) -> HeldLanes:
    """Return what is held, given all limits, circuit breakers, rates and running tasks."""
    limiter = Limiter(state, max_per_host=max_per_host)
    running = {lane.host for lane in state.running if lane.host}
    rates = (key.partition(" ") for key in state.next_starts)
    lanes = {QueueHost(queue, host) for queue, _, host in rates} | set(state.running)
    return HeldLanes(
        queues=frozenset(name for name in state.queues if limiter.hold_of(QueueHost(name, ""))),
        # Without a queue, nothing but what holds a host in all queues is found.
        hosts=frozenset(
            host for host in state.hosts.keys() | running if limiter.hold_of(QueueHost("", host))
        ),
        lanes=frozenset(lane for lane in lanes if lane.host and limiter.hold_of(lane)),
    )


class StateCount(msgspec.Struct, frozen=True):
    """The number of tasks in a state.

    Attributes:
        count: The number of tasks, or a lower bound of it.
        is_exact: Whether it is the number. Otherwise there are too many tasks to count, and there
            are at least ``count`` in this state.
    """

    count: int = 0
    is_exact: bool = True


def number_text(number: StateCount) -> str:
    """Return a number of tasks as text, with thousands separators; ``+`` for a lower bound."""
    return f"{number.count:,}{'' if number.is_exact else '+'}"


StateNumbers: TypeAlias = Mapping[TaskState, StateCount]


def number_in(numbers: StateNumbers, *states: TaskState) -> StateCount:
    """Return the number of tasks in any of these states."""
    parts = [numbers[state] for state in states]
    return StateCount(sum(one.count for one in parts), all(one.is_exact for one in parts))


class StateCounts(msgspec.Struct, frozen=True):
    """The tasks in each state.

    Attributes:
        at: The time by the clock of the store.
        total: The tasks of all queues.
        queues: The tasks by queue; of a queue that is absent, ``rest``.
        rest: The tasks of each other queue: none, if all were counted.
    """

    at: Moment
    total: StateNumbers
    queues: Mapping[str, StateNumbers]
    rest: StateNumbers

    def of(self, queue: str) -> StateNumbers:
        """Return the tasks of a queue."""
        return self.queues.get(queue, self.rest)


class Counted(NamedTuple):
    """Some tasks that were counted: their queue, their state, and their number."""

    queue: str
    state: TaskState
    tasks: int


def counts_of(
    at: dt.datetime,
    counted: Iterable[Counted],
    incomplete: Iterable[TaskState] = (),
    incomplete_by_queue: Mapping[str, frozenset[TaskState]] | None = None,
) -> StateCounts:
    """Return the counts.

    Args:
        at: The time by the clock of the store.
        counted: The tasks that were counted.
        incomplete: States of which not all tasks were counted.
        incomplete_by_queue: The same for single queues; absent if it depends on no queue.
    """
    unknown = frozenset(incomplete)
    totals: dict[TaskState, int] = {}
    queues: dict[str, dict[TaskState, int]] = {}
    for one in counted:
        totals[one.state] = totals.get(one.state, 0) + one.tasks
        of_queue = queues.setdefault(one.queue, {})
        of_queue[one.state] = of_queue.get(one.state, 0) + one.tasks
    by_queue = incomplete_by_queue or {}
    rest = unknown if incomplete_by_queue is None else frozenset[TaskState]()
    return StateCounts(
        at,
        _numbers(totals, unknown),
        {name: _numbers(one, by_queue.get(name, rest)) for name, one in queues.items()},
        _numbers({}, rest),
    )


def merged_counts(parts: Iterable[StateCounts]) -> StateCounts:
    """Return the counts of several stores as one."""
    parts = list(parts)
    names = {name for part in parts for name in part.queues}
    return StateCounts(
        parts[0].at,
        _sum_of([part.total for part in parts]),
        {name: _sum_of([part.of(name) for part in parts]) for name in names},
        _sum_of([part.rest for part in parts]),
    )


def _numbers(counts: Mapping[TaskState, int], unknown: frozenset[TaskState]) -> StateNumbers:
    return {state: StateCount(counts.get(state, 0), state not in unknown) for state in TaskState}


def _sum_of(parts: list[StateNumbers]) -> StateNumbers:
    return {
        state: StateCount(
            sum(part[state].count for part in parts), all(part[state].is_exact for part in parts)
        )
        for state in TaskState
    }
