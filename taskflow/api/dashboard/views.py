"""Saved views: named addresses of the list of tasks, which all users of the dashboard see."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.pages import redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.model.errors import StoreUnavailable, TaskNotFound, Unprocessable
from taskflow.model.views import (
    MAX_NAME_CHARACTERS,
    MAX_QUERY_CHARACTERS,
    MAX_VIEWS,
    View,
    is_view_name,
)
from taskflow.schema.query import PageRequest
from taskflow.store.base.store import TaskStore

_KEPT: Final = {*PageRequest.__struct_fields__, "columns"} - {"cursor", "limit", "fields"}
_MAX_FIELDS: Final = 50


def add_routes(routes: Blueprint, store: TaskStore) -> None:
    """Add the actions."""

    @routes.post(f"{PATH}/views")
    async def save_view() -> Response:
        form = await read_form(await read_body())
        view = _view_of(form.get("name", ""), form.get("query", ""))
        with store_timeout():
            is_kept = await store_of_request(store).views.put(view, by=actor_of_request())
        if not is_kept:
            raise Unprocessable(f"there are {MAX_VIEWS} views already; delete one first")
        return redirect_to(f"{PATH}/tasks?{view.query}")

    @routes.post(f"{PATH}/views/delete")
    async def delete_view() -> Response:
        await read_body()
        with store_timeout():
            deleted = await store_of_request(store).views.delete(
                request.args.get("name", ""), by=actor_of_request()
            )
        if not deleted:
            raise TaskNotFound("there is no view with this name")
        return redirect_to(f"{PATH}/tasks")


async def saved_views(store: TaskStore) -> Sequence[View]:
    """Return all views; none while the store does not return them, since the list needs none."""
    with contextlib.suppress(StoreUnavailable), store_timeout():
        return await store.views.all()
    return ()


def _view_of(name: str, query: str) -> View:
    """Return the view of a form, with nothing in its query but parameters of the list.

    Raises:
        Unprocessable: Its name or its query is invalid.
    """
    name = " ".join(name.split())
    if not is_view_name(name):
        raise Unprocessable(f"name must be text of 1 to {MAX_NAME_CHARACTERS} characters")
    try:
        pairs = parse_qsl(query, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Unprocessable(f"query must have at most {_MAX_FIELDS} parameters") from None
    kept = urlencode([pair for pair in pairs if pair[0] in _KEPT])
    if len(kept) > MAX_QUERY_CHARACTERS:
        raise Unprocessable(f"query must be at most {MAX_QUERY_CHARACTERS} characters")
    return View(name, kept)
