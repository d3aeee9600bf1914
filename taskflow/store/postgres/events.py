"""Events of tasks in PostgreSQL, recorded by triggers while someone watches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Final

import msgspec
import psycopg
import trio

from taskflow.model.event import ALL_EVENTS, EventFilter
from taskflow.store.base.events import EVENTS_KEPT_SECONDS, RECORDED_SECONDS, EventPage, EventStore
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import event_of
from taskflow.store.postgres.scoped_statements import in_scope
from taskflow.store.postgres.statements import StoreContext, StorePart
from taskflow.wakeup import WakeUp

# Interval of polling where notifications do not work.
POLL_SECONDS: Final = 0.25
_WRITERS_WAIT_MILLISECONDS: Final = 200
_MAX_EVENT_ID: Final = 2**63 - 1


class PostgresEvents(StorePart, EventStore):
    """Records what happens to tasks, and returns it in order.

    Attributes:
        new_events: Notified when there may be new events.
    """

    def __init__(self, context: StoreContext) -> None:
        super().__init__(context)
        self.new_events: Final = WakeUp()
        self._poll_seconds = math.inf if context.has_notifications else POLL_SECONDS

    async def record_events(self) -> int:
        def work(connection: Connection) -> int:
            bounds = {"seconds": RECORDED_SECONDS}
            execute = self._statements.on(connection)
            [(is_on, is_on_for_long)] = execute("are_events_recorded", bounds)
            if not is_on:
                self._wait_for_writers_and_record(connection, bounds)
            elif not is_on_for_long:
                execute("record_events", bounds)
            [(position,)] = execute("last_event", {})
            assert isinstance(position, int)
            return position

        return await self._statements.database.run(work)

    async def events_after(
        self,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        wanted: EventFilter = ALL_EVENTS,
    ) -> EventPage:
        name = "events_after" if wanted == ALL_EVENTS else "wanted_events_after"
        name, queues = in_scope(name, wanted.scope)
        parameters = {
            "position": position,
            "until": _MAX_EVENT_ID if until is None else until,
            "limit": limit,
            "task_id": wanted.task_id,
            "group": wanted.group,
            "queue": wanted.queue,
            "tags": msgspec.json.encode(wanted.tags).decode(),
            **queues,
        }

        def work(connection: Connection) -> EventPage:
            execute = self._statements.on(connection)
            rows = execute(name, parameters)
            # Afterwards: events that were deleted in between have been read.
            [(complete_after,)] = execute("events_complete_after", {})
            return EventPage([event_of(row) for row in rows], position >= complete_after)

        # The feed of a node, and the watchers of one task or group, read little; others catch up.
        plain = EventFilter(task_id=wanted.task_id, group=wanted.group, scope=wanted.scope)
        is_quick = until is None and wanted == plain
        database = self._statements.database
        return await (database.run if is_quick else database.run_slow_read)(work)

    async def wait_for_events(self) -> None:
        with trio.move_on_after(self._poll_seconds):
            await self.new_events.wait()

    async def delete_old_events(self, *, limit: int) -> int:
        bounds = {"limit": limit, "age_seconds": EVENTS_KEPT_SECONDS}
        [(count,)] = await self._statements.run("delete_old_events", **bounds)
        assert isinstance(count, int)
        return count

    def _wait_for_writers_and_record(
        self, connection: Connection, bounds: Mapping[str, object]
    ) -> None:
        execute = self._statements.on(connection)
        with contextlib.suppress(psycopg.errors.LockNotAvailable), connection.transaction():
            execute("bound_lock_waits", {"milliseconds": _WRITERS_WAIT_MILLISECONDS})
            execute("wait_for_writers", {})
            execute("record_events", bounds)
            return
        execute("record_events", bounds)
