"""Scheduling: when schedules are due, their tasks are made.

Each node sleeps until the next time of all schedules, or until one is changed; meanwhile nothing
is looked for. All nodes wake up at the same moment and share what is due: each passes over what
another one has in hand, and the store sees to it that no time is fired twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import trio

from taskflow.engine.outage import Outage
from taskflow.model.errors import StoreUnavailable
from taskflow.store.base.schedules import ScheduleStore
from taskflow.store.base.tasks import TaskStore
from taskflow.telemetry import Event, emit

BATCH: Final = 1000
# That the database's clock was put forward, or that a change was told to nobody, is seen after so
# long.
LONGEST_SLEEP_SECONDS: Final = 30.0
# What is due but in another node's hands is looked at again, should that node die ...
_SHORTEST_SLEEP_SECONDS: Final = 0.05
# ... and what this node can make nothing of, less often.
_REFUSED_SLEEP_SECONDS: Final = 1.0
# Sleep ends by another clock than the store's: not just before a time, to find nothing due.
_MARGIN_SECONDS: Final = 0.001


async def fire_schedules(*, store: TaskStore, outage: Outage, poll_seconds: float) -> None:
    """Make the tasks of schedules when they are due, until cancelled.

    Args:
        store: Where they are.
        outage: Told whether the store can be reached.
        poll_seconds: How long to leave it alone if it cannot.
    """
    schedules = store.schedules
    told: Mapping[str, str] = {}
    while True:
        try:
            refused = await _fire_all_due(schedules)
            seconds = await schedules.seconds_to_next()
        except StoreUnavailable as error:
            outage.began(error)
            await trio.sleep(poll_seconds)
            continue
        for name in refused.keys() - told.keys():
            emit(Event.SCHEDULE_ERROR, schedule=name, reason=refused[name])
        told = refused
        with trio.move_on_after(_sleep_seconds(seconds, is_refused=bool(refused))):
            await schedules.wait_for_change()


async def _fire_all_due(schedules: ScheduleStore) -> Mapping[str, str]:
    """Fire until nothing is due but what others have in hand, and what is refused: that is told."""
    while True:
        fired = await schedules.fire_due(limit=BATCH)
        if fired.tasks:
            emit(Event.SCHEDULES_FIRED, schedules=fired.schedules, tasks=fired.tasks)
        if fired.refused or not fired.schedules:
            return fired.refused


def _sleep_seconds(seconds: float | None, *, is_refused: bool) -> float:
    shortest = _REFUSED_SLEEP_SECONDS if is_refused else _SHORTEST_SLEEP_SECONDS
    ahead = math.inf if seconds is None else seconds
    return min(ahead + _MARGIN_SECONDS if ahead > 0 else shortest, LONGEST_SLEEP_SECONDS)
