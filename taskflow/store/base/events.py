"""Events of tasks, for clients that wait and watch: the store interface."""

from __future__ import annotations

import abc
from typing import Final

import msgspec

from taskflow.model.event import ALL_EVENTS, EventFilter, TaskEvent

# Events are recorded for this long after the last request for them, and kept for this long.
RECORDED_SECONDS: Final = 600.0
EVENTS_KEPT_SECONDS: Final = 330.0


class EventPage(msgspec.Struct, frozen=True):
    """Some events in order; ``is_complete`` is false if older ones were deleted."""

    events: list[TaskEvent]
    is_complete: bool = True


class EventStore(abc.ABC):
    """Records what happens to tasks, and returns it in order; a part of ``TaskStore``."""

    @abc.abstractmethod
    async def record_events(self) -> int:
        """Record events for at least the next ``RECORDED_SECONDS``.

        Returns:
            A position in the order of events: all later events are after it.
        """

    @abc.abstractmethod
    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        """Return the events after a position, in order.

        Events are kept for at least ``EVENTS_KEPT_SECONDS``.

        Args:
            position: Events up to this one are skipped.
            limit: Maximum number of events.
            until: Events after this one are skipped.
            wanted: Only events that match.
        """

    @abc.abstractmethod
    async def wait_for_events(self) -> None:
        """Return when there may be new events.

        Returns at once if there were any since the last call. One task at a time may wait. It is a
        hint, like ``wait_for_work``.
        """

    @abc.abstractmethod
    async def delete_old_events(self, *, limit: int) -> int:
        """Delete some events that were kept long enough, and return their number."""
