"""The states of tasks as conditions on their rows, the same as ``state_of`` in the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from taskflow.model.completion import PARKED_NODE
from taskflow.model.task_states import HeldLanes, TaskState

_NOT_WAITING: Final = "t.status = 'PENDING' AND t.waiting_for IS NULL"
_IS_LATER: Final = f"{_NOT_WAITING} AND t.run_at > now()"
_IS_DUE: Final = f"{_NOT_WAITING} AND t.run_at <= now()"
_WAS_TRIED: Final = "(t.attempt > 0 OR t.error_type IS NOT NULL)"
_IS_HELD: Final = """(
    t.queue = ANY (%(held_queues)b::text[]) OR t.authority = ANY (%(held_hosts)b::text[])
    OR (t.queue || ' ' || t.authority) COLLATE "C" = ANY (%(held_lanes)b::text[])
)"""
_CONDITIONS: Final = {
    TaskState.DUE: f"{_IS_DUE} AND NOT {_IS_HELD}",
    TaskState.HELD: f"{_IS_DUE} AND {_IS_HELD}",
    TaskState.SCHEDULED: f"{_IS_LATER} AND NOT {_WAS_TRIED}",
    TaskState.RETRYING: f"{_IS_LATER} AND {_WAS_TRIED}",
    TaskState.WAITING_FOR_PARENTS: "t.status = 'PENDING' AND t.waiting_for = 'parents'",
    TaskState.WAITING_FOR_ORDER: "t.status = 'PENDING' AND t.waiting_for = 'order_key'",
    TaskState.RUNNING: "t.status = 'RUNNING' AND t.node_id <> %(parked_node)s",
    TaskState.PARKED: "t.status = 'RUNNING' AND t.node_id = %(parked_node)s",
}


def in_states(states: Iterable[TaskState]) -> str:
    """Return the condition that a task ``t`` is in one of the states."""
    return f"({' OR '.join(f'({_CONDITIONS[state]})' for state in states)})"


def parameters_of_states(held: HeldLanes) -> dict[str, Any]:
    """Return the parameters of these conditions.

    Args:
        held: What limits and circuit breakers hold.
    """
    return {
        "held_queues": list(held.queues),
        "held_hosts": list(held.hosts),
        "held_lanes": [f"{queue} {host}" for queue, host in held.lanes],
        "parked_node": PARKED_NODE,
    }
