"""The list of tasks with its filters, and actions on all tasks that match."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import (
    actor_of_request,
    scope_of_request,
    store_of_request,
)
from taskflow.api.access.sessions import PATH
from taskflow.api.bulk_actions import BulkAction, BulkResult, bulk_actions_of, run_bulk_action
from taskflow.api.dashboard.forms import read_form
from taskflow.api.dashboard.live_region import refreshed
from taskflow.api.dashboard.pages import page, viewer
from taskflow.api.dashboard.task_columns import (
    COLUMNS,
    TaskColumn,
    finished_ids,
    row_of,
    shown_columns,
    without_empty,
)
from taskflow.api.dashboard.task_tabs import count_tabs, shown_tabs
from taskflow.api.dashboard.views import saved_views
from taskflow.api.live.feed import Feed
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.model.errors import TaskNotFound, Unprocessable
from taskflow.model.filter import PageOrder, TaskFilter, tag_text
from taskflow.model.outcome import ErrorType
from taskflow.model.task import Task
from taskflow.model.time_text import time_of
from taskflow.schema.filters import BulkSelection
from taskflow.schema.query import PAGE_QUERY, PageRequest, cursor_of
from taskflow.store.base.store import TaskStore

LIMIT: Final = 50
MAX_SUGGESTED: Final = 100
_OTHER_PARAMETERS: Final = frozenset({"cursor", "limit", "fields", "columns", "order"})
_SEVERAL: Final = ("status", "state")
_TIMES: Final = ("created_after", "created_before", "finished_after", "finished_before")
# The form shows these at once, and the tabs the first two.
_MAIN_FILTERS: Final = frozenset({*_SEVERAL, "queue", "url_contains", "host", "created_after"})
_PARTICIPLES: Final = {"cancel": "canceled", "retry": "retried", "delete": "deleted"}


class Suggestions(NamedTuple):
    """Values that the fields of the form suggest."""

    queue: Sequence[str] = ()
    host: Sequence[str] = ()
    tag: Sequence[str] = ()


NO_SUGGESTIONS: Final = Suggestions()


def add_routes(routes: Blueprint, store: TaskStore, feed: Feed) -> None:
    """Add the list, its stream and the pages of the actions."""

    @routes.get(f"{PATH}/tasks")
    async def tasks() -> Response:
        query, mine = given_parameters(), store_of_request(store)
        try:
            wanted = _page_request(query)
            shown = shown_columns(query.get("columns", []))
        except Unprocessable as error:
            empty = {
                "tasks": [],
                "chosen": shown_columns([]),
                "suggestions": NO_SUGGESTIONS,
                "views": (),
            }
            tabs = shown_tabs(_filters(query), None)
            return await page(
                "tasks.html", status=422, **_form(query), **empty, tabs=tabs, error=str(error)
            )
        loaded = await _load(mine, query, wanted)
        return await page(
            "tasks.html",
            **_form(query),
            **loaded,
            chosen=shown,
            columns=_columns_of(query, loaded),
            suggestions=await _suggestions(mine, loaded["tasks"]),
            views=await saved_views(mine),
            may_save=scope_of_request() is None,
        )

    @routes.get(f"{PATH}/tasks/live")
    async def tasks_live() -> Response:
        query, user, mine = given_parameters(), viewer(), store_of_request(store)
        shown_columns(query.get("columns", []))  # validates them
        _page_request(query)

        async def load() -> dict[str, Any]:
            # Each time anew: "2h" moves on.
            loaded = await _load(mine, query, _page_request(query))
            columns = _columns_of(query, loaded)
            return {**_form(query), **loaded, "columns": columns, "viewer": user}

        return refreshed(feed, "tasks_region.html", load)

    @routes.get(f"{PATH}/many/<string:name>")
    async def count_many(name: str) -> Response:
        counted = await _run(store_of_request(store), name, is_dry_run=True)
        return await page("many.html", **_bulk_context(name), counted=counted)

    @routes.post(f"{PATH}/many/<string:name>")
    async def do_many(name: str) -> Response:
        _check_is_meant(await read_form(await read_body()))
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
    several = {name: [",".join(given[name])] for name in _SEVERAL if name in given}
    asked = {name: texts for name, texts in given.items() if name != "columns"}
    return PAGE_QUERY.read_query({"limit": [str(LIMIT)], **asked, **several, **_times_of(given)})


def _times_of(given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the parameters that are times, as they are at this moment."""
    return {name: [_time_text(name, given[name])] for name in _TIMES if name in given}


def _time_text(name: str, texts: list[str]) -> str:
    """Return a time as ``GET /tasks`` reads it.

    Raises:
        Unprocessable: It is no time.
    """
    try:
        return time_of(" ".join(texts), dt.datetime.now(dt.UTC)).isoformat()
    except ValueError as error:
        raise Unprocessable(f"{name} must be {error}") from None


async def _load(
    store: TaskStore, given: Mapping[str, list[str]], wanted: PageRequest
) -> dict[str, Any]:
    # One after the other: in parallel, every open page would take several connections of the pool.
    with store_timeout():
        found = await store.page(
            limit=wanted.limit,
            before=wanted.before,
            filter=wanted.filter,
            without={"result"},
            order=wanted.order,
        )
        codes = await store.status_codes(finished_ids(found.tasks))
        counts = await count_tabs(store, _filters(given))
    now = dt.datetime.now(dt.UTC) if counts is None else counts.at
    next_query = None
    if found.next_before is not None:
        next_query = query_of({**given, "cursor": [cursor_of(found.next_before)]})
    return {
        "tasks": found.tasks,
        "rows": {task.id: row_of(task, now, codes.get(task.id)) for task in found.tasks},
        "now": now,
        "tabs": shown_tabs(_kept(given), counts),
        "next_query": next_query,
        "is_first": wanted.cursor is None,
    }


def _columns_of(
    given: Mapping[str, list[str]], loaded: Mapping[str, Any]
) -> tuple[TaskColumn, ...]:
    """Return the columns that the user has chosen, or the default ones that are not empty."""
    if chosen := given.get("columns"):
        return shown_columns(chosen)
    return without_empty(shown_columns([]), loaded["tasks"], loaded["rows"])


async def _suggestions(store: TaskStore, tasks: Sequence[Task]) -> Suggestions:
    """Return values for the fields of the form; hosts are of all queues, so a scope hides them."""
    with store_timeout():
        settings = await store.queues.first(MAX_SUGGESTED)
        counted = await store.count(limit=MAX_SUGGESTED)
        hosts = [] if scope_of_request() else await store.monitoring.hosts(MAX_SUGGESTED)
    tags = {f"{name}:{tag_text(value)}" for task in tasks for name, value in task.tags.items()}
    return Suggestions(
        queue=sorted(settings.keys() | {one.queue for one in counted.queues})[:MAX_SUGGESTED],
        # Filters are for hosts without their port.
        host=sorted({_without_port(one.host) for one in hosts}),
        tag=sorted(tags)[:MAX_SUGGESTED],
    )


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


def _form(given: Mapping[str, list[str]]) -> dict[str, Any]:
    filters, is_oldest_first = _filters(given), given.get("order") == [PageOrder.OLDEST]
    return {
        "given": {name: ", ".join(texts) for name, texts in given.items()},
        "given_columns": given.get("columns", []),
        "all_columns": COLUMNS,
        "error_types": list(ErrorType),
        "query": query_of(filters),
        "full_query": query_of(_kept(given)),
        "query_of": query_of,
        "is_oldest_first": is_oldest_first,
        "other_order": query_of(
            {**_kept(given), "order": [PageOrder.NEWEST if is_oldest_first else PageOrder.OLDEST]}
        ),
        "is_filtered": bool(filters),
        "has_more": bool(filters.keys() - _MAIN_FILTERS),
    }


def _filters(given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: texts for name, texts in given.items() if name not in _OTHER_PARAMETERS}


def _kept(given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the parameters that links keep: the filters and the columns."""
    return {name: texts for name, texts in given.items() if name not in ("cursor", "limit")}


def query_of(given: Mapping[str, list[str]]) -> str:
    """Return the query string of a link with these parameters."""
    return urlencode([(name, text) for name, texts in given.items() for text in texts])


def _action_of(actions: Mapping[str, BulkAction], name: str) -> BulkAction:
    if name not in actions:
        raise TaskNotFound("there is no action with this name")
    return actions[name]


def _check_is_meant(form: Mapping[str, str]) -> None:
    """Reject an action on all tasks whose filter was lost rather than left out.

    Args:
        form: The form of the confirmation, which has ``all=1`` if it was shown without a filter.

    Raises:
        Unprocessable: A filter is empty, or there is none and the form does not say so.
    """
    if empty := [name for name, text in request.args.items(multi=True) if not text.strip()]:
        raise Unprocessable(f"{', '.join(empty)} must not be empty; no task was changed")
    wanted = _page_request(_filters(given_parameters())).filter
    if wanted == TaskFilter() and form.get("all") != "1":
        raise Unprocessable(
            "there is no filter, and the form does not say all=1; no task was changed"
        )


def _bulk_context(name: str) -> dict[str, Any]:
    given = _filters(given_parameters())
    # What is confirmed is what was counted: "2h" must not move on in between.
    filters = {**given, **_times_of(given)}
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
