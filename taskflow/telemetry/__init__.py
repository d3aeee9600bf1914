"""The log: ``log_events`` declares all events, and ``log`` writes them to standard error."""

from taskflow.telemetry.log import (
    bind_task,
    configure,
    emit,
    emit_throttled,
    muted_log,
    node_name,
    report_repeats,
)
from taskflow.telemetry.log_events import Event

__all__ = [
    "Event",
    "bind_task",
    "configure",
    "emit",
    "emit_throttled",
    "muted_log",
    "node_name",
    "report_repeats",
]
