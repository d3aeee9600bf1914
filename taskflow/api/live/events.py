"""``/events`` and ``/tasks/{id}/events``: streams of server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import msgspec
import trio
from quart import Response, request

from taskflow.api.document.common_parts import X_ACCEL_BUFFERING
from taskflow.api.document.examples import ENDED_EVENT
from taskflow.api.live.feed import BATCH, Feed, Watcher
from taskflow.api.live.positions import PLAIN, Positions
from taskflow.api.problems import store_timeout
from taskflow.api.reading.events import filter_of, position_of, refuse_unknown_of_task
from taskflow.api.reading.paths import task_id_of
from taskflow.api.responses import as_events, no_content
from taskflow.api.route import Content, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.tasks import TASK_ID_IN_PATH
from taskflow.model.errors import StoreUnavailable, TaskNotFound
from taskflow.model.event import EventFilter, TaskEvent
from taskflow.model.task import Task, TaskStatus
from taskflow.schema.query import EventsRequest, LastEventId, TaskEventsRequest
from taskflow.store.base.store import TaskStore

HEARTBEAT_SECONDS: Final = 15.0
RECONNECT_MILLISECONDS: Final = 1000

_ENCODER: Final = msgspec.json.Encoder()
_RETRY: Final = f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
_HEARTBEAT: Final = b": heartbeat\n\n"
_BEHIND: Final = {
    "detail": "the stream was read too slowly; reconnect with Last-Event-ID to continue where this "
    "stream ends"
}
_GAP: Final = {
    "detail": "some of the events since Last-Event-ID are no longer stored; read the tasks for "
    "their current status"
}

LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    "The id of the last event received: the stream continues after it. Browsers send it when they "
    "reconnect.",
    LastEventId,
    "4711",
)
EVENTS: Final = RouteResponse(
    "Each event is a `TaskEvent` as JSON, with its id. `: heartbeat` is sent when there is nothing "
    "else to send. An event of the type `dropped` ends a stream that is read too slowly; `reset` "
    "means that some events before it are no longer stored.",
    also=(
        Content(
            "text/event-stream",
            (TaskEvent,),
            f"id: 7\ndata: {msgspec.json.encode(ENDED_EVENT).decode()}\n\n",
        ),
    ),
    headers=(msgspec.structs.replace(X_ACCEL_BUFFERING, is_required=True),),
)


@Route(
    "GET",
    "/tasks/{id}/events",
    "events",
    (
        EVENTS,
        RouteResponse(
            "The task is finished and no event was missed: do not reconnect.",
            status=HTTPStatus.NO_CONTENT,
        ),
    ),
    (HTTPStatus.NOT_FOUND,),
    (TASK_ID_IN_PATH,),
    (LAST_EVENT_ID,),
    query=TaskEventsRequest,
)
async def watch_task(services: Services, task_id: str) -> Response:
    """Watch a task.

    Server-sent events, from the current status of the task until it is finished.
    """
    query = dict(request.args.lists())
    refuse_unknown_of_task(query)
    wanted, after = EventFilter(task_id=task_id_of(task_id)), position_in(services, query)
    with store_timeout():
        task = await services.store.get(task_id_of(task_id))
        if task is None:
            raise TaskNotFound
        if task.status.is_final and await is_nothing_missed(services.store, wanted, after):
            return no_content()
    return as_events(events_of(services.store, services.feed, wanted, after, services.positions))


@Route(
    "GET",
    "/events",
    "events",
    (EVENTS,),
    headers=(LAST_EVENT_ID,),
    query=EventsRequest,
)
async def watch_tasks(services: Services) -> Response:
    """Watch all tasks.

    Server-sent events from all nodes, in one order that is the same on each of them. A client that
    reconnects with ``Last-Event-ID`` within 5 minutes misses none.
    """
    query = dict(request.args.lists())
    wanted, after = filter_of(query), position_in(services, query)
    return as_events(events_of(services.store, services.feed, wanted, after, services.positions))


def position_in(services: Services, query: dict[str, list[str]]) -> int | None:
    """Return the position after which the stream of the current request continues."""
    header = request.headers.get("Last-Event-ID", "")
    given = position_of(header, query, has_parts=services.has_parts)
    return None if given is None else services.positions.read(given)


async def is_nothing_missed(store: TaskStore, wanted: EventFilter, after: int | None) -> bool:
    """Return whether a client that reconnects has received all events so far."""
    if after is None:
        return False
    missed = await store.events_after(after, limit=1, wanted=wanted)
    return missed.is_complete and not missed.events


class EventStream:
    """The parts of one stream; for a single task from its current status until it is finished."""

    def __init__(
        self,
        store: TaskStore,
        watcher: Watcher,
        wanted: EventFilter,
        after: int | None,
        positions: Positions,
    ) -> None:
        self._store = store
        self._positions = positions
        self._watcher = watcher
        self._wanted = wanted
        self._until = watcher.start or 0
        self._after = self._until if after is None else after
        self._is_new = after is None
        self._last_sent: tuple[TaskStatus, int] | None = None
        self.is_over = False

    async def next_part(self) -> bytes:
        """Wait for the next part and return it."""
        if self._watcher.start is None:
            return self._last_part()
        if self._after != self._until:  # in some cells it may be ahead, in others behind
            return await self._missed()
        if self._is_new:
            self._is_new = False
            return await self._first_part()
        with trio.move_on_after(self._silence_seconds()) as waiting:
            events = await self._watcher.next_events()
        if waiting.cancelled_caught:
            return await self._heartbeat()
        return b"".join(map(self._encode, events)) if events else self._last_part()

    def _silence_seconds(self) -> float:
        """Return the time without events after which a heartbeat is sent."""
        return HEARTBEAT_SECONDS

    async def _missed(self) -> bytes:
        """Return events since the last one that the client received."""
        with store_timeout():
            page = await self._store.events_after(
                self._after, limit=BATCH, until=self._until, wanted=self._wanted
            )
        self._after = page.events[-1].id if len(page.events) == BATCH else self._until
        parts = [] if page.is_complete else [special("reset", _GAP)]
        self._is_new = self._is_new or not page.is_complete
        return b"".join([*parts, *map(self._encode, page.events)])

    async def _first_part(self) -> bytes:
        return self._position(self._until) + await self._current(self._until)

    async def _heartbeat(self) -> bytes:
        """Return a heartbeat, and the current status of the task if it was not sent."""
        position, status = self._watcher.position, b""
        with contextlib.suppress(StoreUnavailable):  # the connection stays open
            status = await self._current(position, is_known=self._last_sent is None)
        return self._position(position) + status

    async def _current(self, position: int, *, is_known: bool = False) -> bytes:
        """Return the current status of the single task, unless it was sent or is about to be.

        Args:
            position: The position up to which all events were sent.
            is_known: Whether the client knows the status at that position from another stream.
        """
        if self._wanted.task_id is None:
            return b""
        with store_timeout():
            task = await self._store.get(self._wanted.task_id)
            if task is None:  # deleted
                self.is_over = True
                return b""
            current = (task.status, task.attempt)
            if is_known and not task.status.is_final:
                self._last_sent = current
            if self._last_sent == current:
                return b""
            # Later events are sent in their order instead.
            later = await self._store.events_after(position, limit=1, wanted=self._wanted)
        return b"" if later.events else self._encode(_event_of(task, position))

    def _encode(self, event: TaskEvent) -> bytes:
        if self._wanted.task_id is not None:
            current = (event.status, event.attempt)
            if self.is_over or current == self._last_sent:
                return b""
            self._last_sent, self.is_over = current, event.status.is_final
        if self._positions is not PLAIN:
            event = msgspec.structs.replace(event, id=self._positions.of_event(event.id))
        return b"id: %d\ndata: %b\n\n" % (event.id, _ENCODER.encode(event))

    def _position(self, position: int) -> bytes:
        """Return a heartbeat with the position from which a client can resume."""
        return _HEARTBEAT[:-1] + b"id: %d\n\n" % self._positions.of_heartbeat(position)

    def _last_part(self) -> bytes:
        self.is_over = True
        if self._watcher.has_gap:
            return special("reset", _GAP)
        return special("dropped", _BEHIND) if self._watcher.is_behind else b": goodbye\n\n"


async def events_of(
    store: TaskStore,
    feed: Feed,
    wanted: EventFilter,
    after: int | None,
    positions: Positions = PLAIN,
    *,
    kind: type[EventStream] = EventStream,
) -> AsyncIterator[bytes]:
    """Yield the parts of a stream."""
    yield _RETRY
    with feed.watching(wanted) as watcher:
        while not await _has_started(watcher):
            yield _HEARTBEAT
        stream = kind(store, watcher, wanted, after, positions)
        with contextlib.suppress(StoreUnavailable):  # a client that reconnects gets what it missed
            while not stream.is_over:
                yield await stream.next_part()


async def _has_started(watcher: Watcher) -> bool:
    """Return whether the watcher starts before a heartbeat is due."""
    with trio.move_on_after(HEARTBEAT_SECONDS) as waiting:
        await watcher.started()
    return not waiting.cancelled_caught


def special(name: str, document: object) -> bytes:
    """Return an event that is not about a task."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _ENCODER.encode(document))


def _event_of(task: Task, position: int) -> TaskEvent:
    """Return the current status of a task as an event."""
    moments = {TaskStatus.PENDING: task.created_at, TaskStatus.RUNNING: task.started_at}
    return TaskEvent(
        id=position,
        task_id=task.id,
        status=task.status,
        queue=task.queue,
        attempt=task.attempt,
        at=moments.get(task.status) or task.finished_at or task.created_at,
        error=task.error,
        error_type=task.error_type,
        tags=task.tags,
    )


ROUTES: Final = (watch_task, watch_tasks)
