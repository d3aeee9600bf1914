"""The routes under ``/groups``."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, Literal, cast
from urllib.parse import urlencode

import msgspec
from quart import Response, request

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.document.common_parts import location, next_page_link
from taskflow.api.document.examples import GROUP, GROUP_ID, URL
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body, read_json
from taskflow.api.reading.paths import group_id_of
from taskflow.api.reading.request_headers import IdempotencyKeyText, idempotency_key_of
from taskflow.api.request_spans import submission_trace
from taskflow.api.responses import as_json
from taskflow.api.route import Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.audit import Actor
from taskflow.model.errors import GroupNotFound
from taskflow.model.groups import Group
from taskflow.model.task import IdempotencyKey
from taskflow.schema.groups import GroupRequest
from taskflow.schema.query import GROUPS_QUERY, GroupsRequest, cursor_of

_Act = Callable[..., Awaitable[Group | None]]

_GROUP: Final = RouteResponse("The group.", Group, GROUP)
ONE_GROUP: Final[dict[str, Any]] = {
    "group": "groups",
    "path_parameters": (Parameter("id", "The id of the group.", uuid.UUID, GROUP_ID),),
}
_LOCATION: Final = location(f"/groups/{GROUP_ID}", "The path of the group.")


@Route(
    "POST",
    "/groups",
    "groups",
    (
        RouteResponse("The group.", Group, GROUP, HTTPStatus.CREATED, headers=(_LOCATION,)),
        RouteResponse(
            "The group of an earlier request with the same Idempotency-Key.",
            Group,
            GROUP,
            headers=(
                Parameter(
                    "Idempotent-Replayed",
                    "Present if an earlier request had the same Idempotency-Key.",
                    Literal["true"],
                    "true",
                ),
                _LOCATION,
            ),
        ),
    ),
    (HTTPStatus.NOT_FOUND,),
    headers=(
        Parameter(
            "Idempotency-Key",
            "Makes the request safe to repeat: the same request with the same key returns the "
            "group of the first one.",
            IdempotencyKeyText,
            "8e03978e-40d5-43dd-bc93-6894a57f9324",
        ),
    ),
    body=GroupRequest,
    body_examples={
        "open": {"name": "import 7", "on_complete": {"payload": URL}},
        "tasks": {
            "on_complete": {"payload": {"url": URL, "method": "PUT"}, "max_attempts": 3},
            "on_failure": "cancel_rest",
            "tasks": [{"payload": URL}, {"payload": f"{URL}?page=2"}],
        },
    },
)
async def add_group(services: Services) -> Response:
    """Create a group.

    Tasks join it by their field ``group`` until it is closed; or it is created with ``tasks``, and
    closed at once. When it is closed and its last task has finished, it is COMPLETED, and the task
    ``on_complete`` is created in the same transaction: exactly once for each completion.
    """
    body = await read_json()
    key = _key_of(body, services.settings.idempotency_seconds)
    submissions = services.submissions
    with submission_trace() as trace:
        new, tasks = await submissions.read_group(body, trace.fields)
        added = await submissions.add_group(new, tasks, key=key)
    group = added.group
    assert group is not None
    status = HTTPStatus.OK if added.is_replay else HTTPStatus.CREATED
    response = as_json(group, status=status, location=f"/groups/{group.id}")
    if added.is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return response


@Route(
    "GET",
    "/groups",
    "groups",
    (
        RouteResponse(
            "A page of groups.",
            list[Group],
            [GROUP],
            headers=(next_page_link(f"/groups?limit=20&cursor={cursor_of(GROUP_ID)}"),),
        ),
    ),
    query=GroupsRequest,
)
async def list_groups(services: Services) -> Response:
    """List groups, the newest first.

    Returns pages. ``Link`` is present if there is a next page.
    """
    query = GROUPS_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        page = await services.store.groups.page(
            limit=query.limit, before=query.before, filter=query.filter
        )
    following = page.next_before
    return as_json(page.groups, link=None if following is None else _link(query, following))


@Route("GET", "/groups/{id}", responses=(_GROUP,), problems=(HTTPStatus.NOT_FOUND,), **ONE_GROUP)
async def show_group(services: Services, group_id: str) -> Response:
    """Get a group.

    With the number of its tasks by status, and its first failures.
    """
    with store_timeout():
        return as_json(_found(await services.store.groups.get(group_id_of(group_id))))


@Route(
    "POST",
    "/groups/{id}/close",
    responses=(_GROUP,),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    **ONE_GROUP,
)
async def close_group(services: Services, group_id: str) -> Response:
    """Close a group: no more tasks can join it.

    It completes when its last task has finished; at once, if all have. A group that is closed
    stays as it is.
    """
    return await _acted(services.store.groups.close, group_id)


@Route(
    "POST",
    "/groups/{id}/cancel",
    responses=(_GROUP,),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    **ONE_GROUP,
)
async def cancel_group(services: Services, group_id: str) -> Response:
    """Cancel a group and all of its tasks that have not finished.

    It creates no completion task, and stays CANCELED.
    """
    return await _acted(services.store.groups.cancel, group_id)


@Route(
    "POST",
    "/groups/{id}/retry",
    responses=(_GROUP,),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    **ONE_GROUP,
)
async def retry_group(services: Services, group_id: str) -> Response:
    """Retry the FAILED tasks of a group.

    At most 10,000 of them, the oldest first. A COMPLETED group is CLOSED again. It completes once
    more when these have finished, and creates another completion task. So does a group of which a
    single task is retried.
    """
    return await _acted(services.store.groups.retry, group_id)


async def _acted(act: _Act, group_id: str) -> Response:
    await read_body()
    by: Actor | None = actor_of_request()
    with store_timeout():
        return as_json(_found(await act(group_id_of(group_id), by=by)))


def _found(group: Group | None) -> Group:
    if group is None:
        raise GroupNotFound
    return group


def _key_of(body: bytes, seconds: float) -> IdempotencyKey | None:
    """Return the idempotency key, in a name space of its own."""
    caller: Caller | None = cast("dict[str, Any]", request.scope).get(CALLER)
    key = idempotency_key_of(
        request.headers.getlist("Idempotency-Key"),
        caller=caller.name if caller else None,
        body=body,
        seconds=seconds,
    )
    return key and msgspec.structs.replace(key, text=f"group\n{key.text}")


def _link(query: GroupsRequest, before: uuid.UUID) -> str:
    following = query.going_on(before)
    given = {"limit": following.limit, "status": following.status, "queue": following.queue}
    given |= {"name": following.name, "cursor": following.cursor}
    parameters = urlencode({name: value for name, value in given.items() if value is not None})
    return f'</groups?{parameters}>; rel="next"'


ROUTES: Final = (add_group, list_groups, show_group, close_group, cancel_group, retry_group)
