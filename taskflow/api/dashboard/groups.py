"""The pages of groups: the list, and one group with its progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from quart import Blueprint, Response

from taskflow.api.access.request_caller import actor_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.listing import given_parameters, query_of
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.reading.paths import group_id_of
from taskflow.model.errors import GroupNotFound
from taskflow.model.groups import Group, GroupStatus
from taskflow.schema.query import GROUPS_QUERY, cursor_of
from taskflow.store.base.store import TaskStore

GROUPS_PAGE: Final = f"{PATH}/groups"
LIMIT: Final = 50

_Act = Callable[..., Awaitable[Group | None]]


def add_routes(routes: Blueprint, store: TaskStore) -> None:
    """Add the pages and their actions."""

    @routes.get(GROUPS_PAGE)
    async def groups() -> Response:
        given = given_parameters()
        query = GROUPS_QUERY.read_query({"limit": [str(LIMIT)], **given})
        with store_timeout():
            found = await store_of_request(store).groups.page(
                limit=query.limit, before=query.before, filter=query.filter
            )
        next_query = None
        if found.next_before is not None:
            next_query = query_of({**given, "cursor": [cursor_of(found.next_before)]})
        return await page(
            "groups.html",
            groups=found.groups,
            next_query=next_query,
            is_first=query.cursor is None,
            is_filtered=bool(given.keys() - {"cursor", "limit"}),
        )

    @routes.get(f"{GROUPS_PAGE}/<group_id>")
    async def group(group_id: str) -> Response:
        with store_timeout():
            found = _found(await store_of_request(store).groups.get(group_id_of(group_id)))
        status = found.status
        return await page(
            "group.html",
            group=found,
            may_close=status is GroupStatus.OPEN,
            may_cancel=status in (GroupStatus.OPEN, GroupStatus.CLOSED),
            may_retry=status is not GroupStatus.CANCELED and found.counts.FAILED > 0,
        )

    @routes.post(f"{GROUPS_PAGE}/<group_id>/close")
    async def close_group(group_id: str) -> Response:
        return await _acted(group_id, store_of_request(store).groups.close)

    @routes.post(f"{GROUPS_PAGE}/<group_id>/cancel")
    async def cancel_group(group_id: str) -> Response:
        return await _acted(group_id, store_of_request(store).groups.cancel)

    @routes.post(f"{GROUPS_PAGE}/<group_id>/retry")
    async def retry_group(group_id: str) -> Response:
        return await _acted(group_id, store_of_request(store).groups.retry)


async def _acted(group_id: str, act: _Act) -> Response:
    await read_body()
    with store_timeout():
        acted = _found(await act(group_id_of(group_id), by=actor_of_request()))
    return redirect_to(f"{GROUPS_PAGE}/{acted.id}")


def _found(group: Group | None) -> Group:
    if group is None:
        raise GroupNotFound
    return group
