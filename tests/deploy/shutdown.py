"""How long TaskFlow takes to end, at most, with the settings as they are (docs/design.md)."""

from __future__ import annotations

from taskflow.settings import Settings

OVERHEAD_SECONDS = 2
ROOM_SECONDS = 5
"""More would only make others wait for a process that hangs."""


def fits(seconds: float, *, before: float = 0, settings: Settings | None = None) -> bool:
    """Whether a deployment gives it that, after what it waits before, and not much more."""
    needed = before + (settings or Settings()).drain_deadline_seconds + OVERHEAD_SECONDS
    return needed < seconds <= needed + ROOM_SECONDS
