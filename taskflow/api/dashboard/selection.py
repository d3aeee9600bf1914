"""Actions on the selected tasks of the list, and the page that finds a task by its id."""

from __future__ import annotations

import uuid
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from quart import Blueprint, Response, request

from taskflow.api.access.request_caller import actor_of_request, store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.bulk_actions import bulk_actions_of
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.model.audit import NewEntry
from taskflow.model.errors import BadRequest, TaskNotFound, Unprocessable
from taskflow.schema.query import PAGE_QUERY
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.base.store import TaskStore

MAX_SELECTED: Final = 100
_MAX_QUERY_CHARACTERS: Final = 16 * 2**10
# Ids, the address to go back to, and the confirmation.
_MAX_FIELDS: Final = MAX_SELECTED + 3
_PARTICIPLES: Final = {"cancel": "canceled", "retry": "retried", "delete": "deleted"}
_CONFIRMED: Final = frozenset({"cancel", "delete"})


def add_routes(routes: Blueprint, store: TaskStore) -> None:
    """Add the pages."""

    @routes.post(f"{PATH}/selected/<string:name>")
    async def do_selected(name: str) -> Response:
        if name not in _PARTICIPLES:
            raise TaskNotFound("there is no action with this name")
        form = _form_of(await read_body())
        ids = _ids_of(form.get("id", []))
        context: dict[str, Any] = {
            "action": name,
            "participle": _PARTICIPLES[name],
            "ids": ids,
            "back": _query_of(form.get("back", [""])[0]),
        }
        if not ids or (name in _CONFIRMED and "confirmed" not in form):
            return await page("selected.html", **context, count=None)
        count = await _act(store_of_request(store), name, ids)
        return await page("selected.html", **context, count=count)

    @routes.get(f"{PATH}/jump")
    async def jump() -> Response:
        return redirect_to(await _address_of(store_of_request(store), request.args.get("id", "")))


async def _act(store: TaskStore, name: str, ids: list[uuid.UUID]) -> int:
    """Act on the tasks whose status allows it; return their number."""
    action = bulk_actions_of(store)[name]
    entry = NewEntry(
        action=action.action,
        actor=actor_of_request(),
        detail={"tasks": [str(one) for one in ids]},
        batch=uuid.uuid4(),
    )
    with store_timeout():
        return len(await action.move(ids, entry=entry))


async def _address_of(store: TaskStore, text: str) -> str:
    """Return the address of the only task with an id, or of the list of those with this prefix.

    Raises:
        Unprocessable: It is not the beginning of an id.
    """
    prefix = text.strip()
    wanted = PAGE_QUERY.read_query({"id_prefix": [prefix], "limit": ["2"]}).filter
    with store_timeout():
        found = await store.page(limit=2, filter=wanted, without=LARGE_FIELDS)
    if len(found.tasks) == 1 and found.next_before is None:
        return f"{PATH}/tasks/{found.tasks[0].id}"
    return f"{PATH}/tasks?{urlencode({'id_prefix': prefix})}"


def _form_of(body: bytes) -> dict[str, list[str]]:
    """Parse a form whose fields may be repeated.

    Raises:
        BadRequest: It has too many fields.
    """
    try:
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise BadRequest(f"at most {MAX_SELECTED} tasks can be selected") from None


def _ids_of(texts: list[str]) -> list[uuid.UUID]:
    try:
        return list(dict.fromkeys(map(uuid.UUID, texts)))
    except ValueError:
        raise Unprocessable("id must be the id of a task, a UUID") from None


def _query_of(text: str) -> str:
    """Return a query as it is written by this service, so that it is nothing but a query."""
    parsed: dict[str, Any] = parse_qs(text[:_MAX_QUERY_CHARACTERS])
    return urlencode(parsed, doseq=True)
