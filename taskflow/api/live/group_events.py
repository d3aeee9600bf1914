"""``/groups/{id}/events``: the events of the tasks of a group, until it has finished."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from quart import Response, request

from taskflow.api.groups import ONE_GROUP
from taskflow.api.live.events import (
    EVENTS,
    LAST_EVENT_ID,
    EventStream,
    events_of,
    is_nothing_missed,
    position_in,
    special,
)
from taskflow.api.problems import store_timeout
from taskflow.api.reading.events import refuse_unknown_of_task
from taskflow.api.reading.paths import group_id_of
from taskflow.api.responses import as_events, no_content
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import GroupNotFound
from taskflow.model.event import EventFilter, TaskEvent
from taskflow.model.groups import Group
from taskflow.schema.query import TaskEventsRequest

# After the end of a member: the group is read when no event has come for this time.
PAUSE_SECONDS: Final = 0.25


@Route(
    "GET",
    "/groups/{id}/events",
    responses=(
        EVENTS,
        RouteResponse(
            "The group has finished and no event was missed: do not reconnect.",
            status=HTTPStatus.NO_CONTENT,
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND,),
    headers=(LAST_EVENT_ID,),
    query=TaskEventsRequest,
    **ONE_GROUP,
)
async def watch_group(services: Services, group_id: str) -> Response:
    """Watch a group.

    Server-sent events of its tasks, from now on. When the group is COMPLETED or CANCELED and its
    tasks have finished, an event of the type ``group`` has the group as JSON, and the stream ends.
    """
    query = dict(request.args.lists())
    refuse_unknown_of_task(query)
    wanted, after = EventFilter(group=group_id_of(group_id)), position_in(services, query)
    with store_timeout():
        group = await services.store.groups.get(group_id_of(group_id))
        if group is None:
            raise GroupNotFound
        if _has_finished(group) and await is_nothing_missed(services.store, wanted, after):
            return no_content()
    store, feed, kind = services.store, services.feed, GroupEventStream
    return as_events(events_of(store, feed, wanted, after, services.positions, kind=kind))


class GroupEventStream(EventStream):
    """The parts of a stream; the last one is the group."""

    # Whether a task has finished since the group was read.
    _may_be_over = False

    def _encode(self, event: TaskEvent) -> bytes:
        self._may_be_over |= event.status.is_final
        return super()._encode(event)

    def _silence_seconds(self) -> float:
        return PAUSE_SECONDS if self._may_be_over else super()._silence_seconds()

    async def _current(self, position: int, *, is_known: bool = False) -> bytes:  # noqa: ARG002 - of tasks
        """Return the group and end the stream, if it has finished and all events were sent."""
        assert self._wanted.group is not None
        with store_timeout():
            group = await self._store.groups.get(self._wanted.group)
            self.is_over = group is None  # deleted
            if group is None or not _has_finished(group):
                self._may_be_over = False
                return b""
            later = await self._store.events_after(position, limit=1, wanted=self._wanted)
        self.is_over = not later.events
        return b"" if later.events else special("group", group)


def _has_finished(group: Group) -> bool:
    """Return whether no task of a group is open; the tasks of a canceled group finish after it."""
    return group.status.is_final and not group.counts.open


ROUTES: Final = (watch_group,)
