"""The list of tasks with its filters, and actions on all tasks that match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.bulk_actions import BulkAction, BulkResult, bulk_actions_of, run_bulk_action
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, viewer
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.model.errors import TaskNotFound, Unprocessable
from taskflow.model.outcome import ErrorType
from taskflow.model.task import TaskStatus
from taskflow.schema.filters import BulkSelection
from taskflow.schema.query import PAGE_QUERY, PageRequest, cursor_of
from taskflow.store.base.store import TaskStore

LIMIT: Final = 50
_OTHER_PARAMETERS: Final = frozenset({"cursor", "limit", "fields"})
_PARTICIPLES: Final = {"cancel": "canceled", "retry": "retried", "delete": "deleted"}


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the list, its stream and the pages of the actions."""

    @routes.get(f"{PATH}/tasks")
    async def tasks() -> Response:
        query = given_parameters()
        try:
            wanted = _page_request(query)
        except Unprocessable as error:
            return await page("tasks.html", status=422, **_form(query), error=str(error), tasks=[])
        return await page(
            "tasks.html", **_form(query), **await _load(store_of_request(store), query, wanted)
        )

    @routes.get(f"{PATH}/tasks/live")
    async def tasks_live() -> Response:
        query, user, mine = given_parameters(), viewer(), store_of_request(store)
        wanted = _page_request(query)

        async def load() -> dict[str, Any]:
            return {**_form(query), **await _load(mine, query, wanted), "viewer": user}

        return refreshed(feed, "tasks_region.html", load)

    @routes.get(f"{PATH}/many/<string:name>")
    async def count_many(name: str) -> Response:
        counted = await _run(store_of_request(store), name, is_dry_run=True)
        return await page("many.html", **_bulk_context(name), counted=counted)

    @routes.post(f"{PATH}/many/<string:name>")
    async def do_many(name: str) -> Response:
        await read_body()
        result = await _run(store_of_request(store), name, is_dry_run=False)
        return await page("many.html", **_bulk_context(name), result=result)


def given_parameters() -> dict[str, list[str]]:
    """Return the query parameters that are not empty; a form also sends its empty fields."""
    filled = {
        name: [text.strip() for text in texts if text.strip()]
        for name, texts in request.args.lists()
    }
    return {name: texts for name, texts in filled.items() if texts}


def _page_request(given: Mapping[str, list[str]]) -> PageRequest:
    """Validate query parameters as ``GET /tasks`` does.

    Raises:
        Unprocessable: A parameter is invalid.
    """
    several = {**given, "status": [",".join(given["status"])]} if "status" in given else given
    return PAGE_QUERY.read_query({"limit": [str(LIMIT)], **several})


async def _load(
    store: TaskStore, given: Mapping[str, list[str]], wanted: PageRequest
) -> dict[str, Any]:
    with store_timeout():
        found = await store.page(
            limit=wanted.limit, before=wanted.before, filter=wanted.filter, without={"result"}
        )
    next_query = None
    if found.next_before is not None:
        next_query = query_of({**given, "cursor": [cursor_of(found.next_before)]})
    return {"tasks": found.tasks, "next_query": next_query, "is_first": wanted.cursor is None}


def _form(given: Mapping[str, list[str]]) -> dict[str, Any]:
    filters = _filters(given)
    return {
        "given": {name: ", ".join(texts) for name, texts in given.items()},
        "statuses": list(TaskStatus),
        "error_types": list(ErrorType),
        "query": query_of(filters),
        "is_filtered": bool(filters),
        "has_more": bool(filters.keys() - {"status", "queue", "url_contains"}),
    }


def _filters(given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: texts for name, texts in given.items() if name not in _OTHER_PARAMETERS}


def query_of(given: Mapping[str, list[str]]) -> str:
    """Return the query string of a link with these parameters."""
    return urlencode([(name, text) for name, texts in given.items() for text in texts])


def _action_of(actions: Mapping[str, BulkAction], name: str) -> BulkAction:
    if name not in actions:
        raise TaskNotFound("there is no action with this name")
    return actions[name]


def _bulk_context(name: str) -> dict[str, Any]:
    filters = _filters(given_parameters())
    return {
        "action": name,
        "participle": _PARTICIPLES[name],
        "filters": [(key, text) for key, texts in filters.items() for text in texts],
        "query": query_of(filters),
    }


async def _run(store: TaskStore, name: str, *, is_dry_run: bool) -> BulkResult:
    action = _action_of(bulk_actions_of(store), name)
    wanted = _page_request(_filters(given_parameters())).filter
    selection = BulkSelection(wanted, is_dry_run=is_dry_run)
    return await run_bulk_action(store, action, selection, actor_of_request())
