"""Events of tasks in memory: always recorded, up to a maximum number."""

from __future__ import annotations

import datetime as dt
import itertools

import trio

from taskflow.checkpoints import Checkpoints
from taskflow.model.event import ALL_EVENTS, EventFilter, TaskEvent
from taskflow.store.base.events import EVENTS_KEPT_SECONDS, EventPage, EventStore
from taskflow.store.memory.state import MemoryState


class MemoryEvents(MemoryState, EventStore):
    """Returns what happened to tasks, in order."""

    async def record_events(self) -> int:
        await trio.lowlevel.checkpoint()
        return self._last_event

    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        await trio.lowlevel.checkpoint()
        deleted = self._last_event - len(self._events)
        last = self._last_event if until is None else until
        later = list(itertools.islice(self._events, max(0, position - deleted), None))
        found: list[TaskEvent] = []
        checkpoints = Checkpoints()
        for event in later:
            if len(found) == limit or event.id > last:
                break
            if wanted.accepts(event):
                found.append(event)
            await checkpoints.after(0)
        return EventPage(found, position >= deleted)

    async def wait_for_events(self) -> None:
        await self._new_events.wait()

    async def delete_old_events(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        horizon = self._now() - dt.timedelta(seconds=EVENTS_KEPT_SECONDS)
        count = 0
        while count < limit and self._events and self._events[0].at < horizon:
            self._events.popleft()
            count += 1
        return count
