"""Scheduling: creates the tasks of schedules when they are due.

Each node sleeps until the next time of any schedule, or until a schedule is changed; it does not
poll. All nodes wake up at the same moment and share the work: each skips the schedules that
another node has locked, and the store ensures that no time fires twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from taskflow.store.base.schedules import ScheduleStore
from taskflow.telemetry import Event, emit

FIRE_BATCH: Final = 1000
# Maximum sleep, in case the database's clock is changed or a notification is lost.
MAX_SLEEP_SECONDS: Final = 30.0
# Pause while another node has a due schedule locked; that node may die.
LOCKED_PAUSE_SECONDS: Final = 0.05
# Pause while this node cannot compute the times of a due schedule.
REFUSED_PAUSE_SECONDS: Final = 1.0
# The sleep is measured by another clock than the store's; it must not end too early.
MARGIN_SECONDS: Final = 0.001


class ScheduleFiring:
    """The housekeeping job that fires schedules."""

    def __init__(self, schedules: ScheduleStore) -> None:
        self._schedules = schedules
        self._refused: Mapping[str, str] = {}

    async def step(self) -> float:
        """Fire a batch of due schedules, and return the seconds until the next batch."""
        fired = await self._schedules.fire_due(limit=FIRE_BATCH)
        if fired.tasks:
            emit(Event.SCHEDULES_FIRED, schedules=fired.schedules, tasks=fired.tasks)
        if fired.schedules and not fired.refused:
            return 0.0
        seconds = await self._schedules.seconds_to_next()
        self._report_refused(fired.refused)
        return _delay_seconds(seconds, is_refused=bool(fired.refused))

    def _report_refused(self, refused: Mapping[str, str]) -> None:
        for name in refused.keys() - self._refused.keys():
            emit(Event.SCHEDULE_ERROR, schedule=name, reason=refused[name])
        self._refused = refused


def _delay_seconds(seconds_to_next: float | None, *, is_refused: bool) -> float:
    seconds = math.inf if seconds_to_next is None else seconds_to_next
    if seconds > 0:
        return min(seconds + MARGIN_SECONDS, MAX_SLEEP_SECONDS)
    return REFUSED_PAUSE_SECONDS if is_refused else LOCKED_PAUSE_SECONDS
