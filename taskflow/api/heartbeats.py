"""The routes under ``/heartbeats``; ``pings.py`` has the routes for jobs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from quart import Response, request

from taskflow.api.access.api_keys import Role
from taskflow.api.access.request_caller import actor_of_request, role_of_request
from taskflow.api.document.common_parts import location, next_page_link
from taskflow.api.document.examples import HEARTBEAT, HEARTBEAT_HISTORY
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body, read_json
from taskflow.api.reading.heartbeat import heartbeat_patch_of, heartbeat_replacement_of
from taskflow.api.reading.paths import heartbeat_name_of, new_heartbeat_name_of
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import MERGE_PATCH, Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import HeartbeatNotFound
from taskflow.model.heartbeat_monitors import (
    Heartbeat,
    HeartbeatHistory,
    MonitorName,
    Ping,
    StoredPing,
)
from taskflow.model.heartbeat_states import shown
from taskflow.schema.heartbeats import HeartbeatPatch, HeartbeatRequest
from taskflow.schema.query import HEARTBEATS_QUERY, HeartbeatsRequest
from taskflow.store.base.heartbeat_monitors import MonitorHistory, ObservedMonitor

T = TypeVar("T")

_HEARTBEAT: Final = RouteResponse("The heartbeat.", Heartbeat, HEARTBEAT)
_ALL: Final[dict[str, Any]] = {"group": "heartbeats", "has_whole_view": True}
_ONE: Final[dict[str, Any]] = {
    **_ALL,
    "path_parameters": (
        Parameter("name", "The name of the heartbeat.", MonitorName, HEARTBEAT.name),
    ),
}


@Route(
    "PUT",
    "/heartbeats/{name}",
    responses=(
        _HEARTBEAT,
        RouteResponse(
            "The heartbeat, which is new.",
            Heartbeat,
            HEARTBEAT,
            HTTPStatus.CREATED,
            headers=(location(f"/heartbeats/{HEARTBEAT.name}", "The path of the heartbeat."),),
        ),
    ),
    body=HeartbeatRequest,
    body_examples={
        "every_seconds": {"every_seconds": 3600, "grace_seconds": 600},
        "cron": {
            "cron": HEARTBEAT.cron,
            "timezone": HEARTBEAT.timezone,
            "grace_seconds": 1800,
            "max_run_seconds": 7200,
            "description": HEARTBEAT.description,
        },
    },
    **_ONE,
)
async def put_heartbeat(services: Services, name: str) -> Response:
    """Create or replace a heartbeat.

    A job elsewhere requests its `ping_url` each time that it has run. If no ping is received
    before the end of the grace time, the heartbeat is `down`. Replaces everything except
    ``paused``, which stays as it is if it is absent; the URL and the history stay. If the times are
    other ones than before, the next ping is expected as if one had been received now.
    """
    name = new_heartbeat_name_of(name)
    change = heartbeat_replacement_of(await read_json(), name)
    with store_timeout():
        observed, is_new = await services.store.heartbeat_monitors.change(
            name, change, by=actor_of_request()
        )
        heartbeat = await _shown(services, observed)
    if not is_new:
        return as_json(heartbeat)
    return as_json(heartbeat, status=HTTPStatus.CREATED, location=f"/heartbeats/{name}")


@Route(
    "PATCH",
    "/heartbeats/{name}",
    responses=(_HEARTBEAT,),
    problems=(HTTPStatus.NOT_FOUND,),
    body=HeartbeatPatch,
    body_type=MERGE_PATCH,
    body_examples={
        "grace time": {"grace_seconds": 1800},
        "from cron to every": {"cron": None, "every_seconds": 300},
        "paused": {"paused": True},
    },
    **_ONE,
)
async def patch_heartbeat(services: Services, name: str) -> Response:
    """Change some fields of a heartbeat."""
    name = heartbeat_name_of(name)
    change = heartbeat_patch_of(await read_json(), name)
    with store_timeout():
        observed, _ = await services.store.heartbeat_monitors.change(
            name, change, by=actor_of_request()
        )
        return as_json(await _shown(services, observed))


@Route(
    "GET",
    "/heartbeats",
    responses=(
        RouteResponse(
            "A page of heartbeats.",
            list[Heartbeat],
            [HEARTBEAT],
            headers=(next_page_link(f"/heartbeats?limit=20&cursor={HEARTBEAT.name}"),),
        ),
    ),
    query=HeartbeatsRequest,
    **_ALL,
)
async def list_heartbeats(services: Services) -> Response:
    """List heartbeats by name.

    Returns pages. ``Link`` is present if there is a next page.
    """
    query = HEARTBEATS_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        page = await services.store.heartbeat_monitors.page(limit=query.limit, after=query.cursor)
        heartbeats = [await _shown(services, one) for one in page.monitors]
    link = None
    if page.next_after is not None:
        parameters = urlencode({"limit": query.limit, "cursor": page.next_after})
        link = f'</heartbeats?{parameters}>; rel="next"'
    return as_json(heartbeats, link=link)


@Route(
    "GET",
    "/heartbeats/{name}",
    responses=(_HEARTBEAT,),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE,
)
async def show_heartbeat(services: Services, name: str) -> Response:
    """Get a heartbeat.

    With its state, its last ping and the time of the next one.
    """
    with store_timeout():
        found = _found(await services.store.heartbeat_monitors.get(heartbeat_name_of(name)))
        return as_json(await _shown(services, found))


@Route(
    "GET",
    "/heartbeats/{name}/history",
    responses=(RouteResponse("The history.", HeartbeatHistory, HEARTBEAT_HISTORY),),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE,
)
async def show_heartbeat_history(services: Services, name: str) -> Response:
    """Get the history of a heartbeat.

    The last 100 pings with their notes, and the last 100 changes of its state.
    """
    name = heartbeat_name_of(name)
    with store_timeout():
        history = _found(await services.store.heartbeat_monitors.history(name))
    return as_json(history_of(name, history))


@Route(
    "DELETE",
    "/heartbeats/{name}",
    responses=(RouteResponse("The heartbeat was deleted.", status=HTTPStatus.NO_CONTENT),),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE,
)
async def delete_heartbeat(services: Services, name: str) -> Response:
    """Delete a heartbeat.

    With its history. Its ping URL returns 404.
    """
    monitors = services.store.heartbeat_monitors
    with store_timeout():
        _found(await monitors.delete(heartbeat_name_of(name), by=actor_of_request()) or None)
    return no_content()


@Route(
    "POST",
    "/heartbeats/{name}/rotate",
    responses=(_HEARTBEAT,),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE,
)
async def rotate_heartbeat(services: Services, name: str) -> Response:
    """Replace the ping URL of a heartbeat.

    If the URL has become known to others. The old one returns 404 from now on.
    """
    await read_body()
    monitors = services.store.heartbeat_monitors
    with store_timeout():
        rotated = _found(await monitors.rotate(heartbeat_name_of(name), by=actor_of_request()))
        return as_json(await _shown(services, rotated))


def history_of(name: str, history: MonitorHistory) -> HeartbeatHistory:
    """Return a history as the API shows it."""
    return HeartbeatHistory(
        name=name,
        pings=[_ping_of(one) for one in history.pings],
        transitions=list(history.transitions),
    )


def _ping_of(stored: StoredPing) -> Ping:
    note = stored.ping.note
    return Ping(
        number=stored.number,
        at=stored.at,
        signal=stored.ping.signal,
        exit_code=stored.ping.exit_code,
        duration_seconds=stored.duration_seconds,
        address=stored.ping.address,
        note=None if note is None else note.decode(errors="replace"),
    )


async def _shown(services: Services, observed: ObservedMonitor) -> Heartbeat:
    role, url = role_of_request(), None
    if role is None or role >= Role.WRITE:
        url = await services.ping_urls.url_of(observed.monitor.ping_id, request.url_root)
    return shown(observed.monitor, observed.at, url)


def _found(one: T | None) -> T:
    if one is None:
        raise HeartbeatNotFound
    return one


ROUTES: Final = (
    *(put_heartbeat, patch_heartbeat, list_heartbeats, show_heartbeat, show_heartbeat_history),
    *(rotate_heartbeat, delete_heartbeat),
)
