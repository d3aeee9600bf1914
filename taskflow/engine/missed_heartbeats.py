"""The housekeeping job that notices missed pings of heartbeats (``model/heartbeat_states.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taskflow.model.heartbeat_monitors import HeartbeatState
from taskflow.store.base.heartbeat_monitors import CHECK_SECONDS, HeartbeatMonitorStore
from taskflow.telemetry import Event, emit

CHECK_BATCH: Final = 100
# Pause while another node is checking, or while a due heartbeat is locked by a ping.
LOCKED_PAUSE_SECONDS: Final = 0.1
# The sleep is measured by another clock than the store's; it must not end too early.
MARGIN_SECONDS: Final = 0.001


class HeartbeatChecks:
    """The housekeeping job that checks heartbeats.

    All nodes check, each at least every ``CHECK_SECONDS``, which also proves that pings could be
    received. The store ensures that each missed ping is noticed once.

    Args:
        monitors: Has the heartbeats.
        idle_seconds: The pause while there are no heartbeats, if it is longer than that.
    """

    def __init__(self, monitors: HeartbeatMonitorStore, idle_seconds: float = 0.0) -> None:
        self._monitors = monitors
        self._idle_seconds = max(CHECK_SECONDS, idle_seconds)
        self._reported: set[str] = set()

    async def step(self) -> float:
        """Check a batch of heartbeats, and return the seconds until the next check."""
        checked = await self._monitors.check_due(limit=CHECK_BATCH)
        if checked.outage_seconds is not None:
            emit(Event.HEARTBEAT_OUTAGE, seconds=round(checked.outage_seconds, 3))
        for one in checked.transitions:
            if one.transition.state is HeartbeatState.DOWN:
                emit(Event.HEARTBEAT_DOWN, heartbeat=one.name, reason=one.transition.reason.value)
        self._report_errors(checked.errors)
        if len(checked.transitions) >= CHECK_BATCH:
            return 0.0
        seconds = await self._monitors.seconds_to_next()
        if seconds is None:
            return self._idle_seconds
        return min(max(seconds + MARGIN_SECONDS, LOCKED_PAUSE_SECONDS), CHECK_SECONDS)

    def _report_errors(self, errors: Mapping[str, str]) -> None:
        for name in errors.keys() - self._reported:
            emit(Event.HEARTBEAT_ERROR, heartbeat=name, reason=errors[name])
        self._reported.update(errors)
