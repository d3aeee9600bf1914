"""Counts of the tasks in each state, at a cost that does not depend on the number of tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from taskflow.model.queue_limits import QueueHost
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task_states import Counted, HeldLanes, StateCounts, TaskState, counts_of
from taskflow.store.postgres.claim_scan import held_now
from taskflow.store.postgres.rows import Execute, Row
from taskflow.store.postgres.scoped_statements import in_scope

# The states that are counted together: if there are too many tasks, none of these counts is exact.
_DUE: Final = (TaskState.DUE, TaskState.HELD)
_LATER: Final = (TaskState.SCHEDULED, TaskState.RETRYING)
_WAITING: Final = (TaskState.WAITING_FOR_PARENTS, TaskState.WAITING_FOR_ORDER)
_RANGES: Final = (_DUE, _LATER, _WAITING, (TaskState.RUNNING,), (TaskState.PARKED,))
_RANGES_OF_QUEUE: Final = ((*_DUE, *_LATER, *_WAITING), (TaskState.RUNNING,), (TaskState.PARKED,))
_STATE_OF: Final[Mapping[str, TaskState]] = {
    **{state.value: state for state in TaskState},
    "parents": TaskState.WAITING_FOR_PARENTS,
    "order_key": TaskState.WAITING_FOR_ORDER,
}
_MIN_SHARE: Final = 100


def count_states(
    execute: Execute,
    *,
    limit: int,
    queue: str | None,
    scope: QueueScope | None,
    max_per_host: int | None,
) -> StateCounts:
    """Count the tasks in each state, within a transaction.

    Args:
        execute: Executes statements in the transaction.
        limit: Maximum number of tasks of a state that are counted.
        queue: Only this queue.
        scope: Only these queues.
        max_per_host: Maximum number of running tasks per host.
    """
    [(at,)] = execute("now_of_states", {})
    held = held_now(execute, max_per_host)
    queues = _queues_of(execute, queue, scope)
    if queues is None:
        rows = execute("count_states", {"limit": limit, "queues": None})
        incomplete = _over(((_state_of(kind), count) for kind, _, _, count in rows), _RANGES, limit)
        return counts_of(at, _counted(rows, held), incomplete)
    share = max(_MIN_SHARE, limit // max(1, len(queues)))
    rows = execute("count_states_of_queues", {"limit": share, "queues": queues})
    by_queue = {name: _over_in(rows, name, share) for name in queues}
    all_of_them = frozenset[TaskState]().union(*by_queue.values())
    return counts_of(at, _counted(rows, held), all_of_them, by_queue)


def _queues_of(execute: Execute, queue: str | None, scope: QueueScope | None) -> list[str] | None:
    """Return the names of the queues; ``None`` for all."""
    if queue is not None:
        return [queue] if scope is None or scope.allows(queue) else []
    if scope is None:
        return None
    return [name for (name,) in execute(*in_scope("counted_queues", scope))]


def _state_of(kind: str) -> TaskState:
    """Return the state of a kind of tasks; no version of TaskFlow writes another kind."""
    return _STATE_OF.get(kind, TaskState.SCHEDULED)


def _counted(rows: Iterable[Row], held: HeldLanes) -> Iterator[Counted]:
    for kind, queue, host, count in rows:
        state = _state_of(kind)
        is_held = state is TaskState.DUE and held.holds(QueueHost(queue, host))
        yield Counted(queue, TaskState.HELD if is_held else state, count)


def _over_in(rows: Iterable[Row], queue: str, limit: int) -> frozenset[TaskState]:
    counts = ((_state_of(kind), count) for kind, name, _, count in rows if name == queue)
    return _over(counts, _RANGES_OF_QUEUE, limit)


def _over(
    counts: Iterable[tuple[TaskState, int]],
    ranges: Iterable[tuple[TaskState, ...]],
    limit: int,
) -> frozenset[TaskState]:
    """Return the states of the ranges that have more tasks than the limit."""
    sums = Counter[TaskState]()
    for state, count in counts:
        sums[state] += count
    over = [states for states in ranges if sum(sums[state] for state in states) > limit]
    return frozenset(state for states in over for state in states)
