"""The page of the audit log, for users with the role admin."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from quart import Blueprint, Response

from taskflow.api.access.request_caller import require_all_queues
from taskflow.api.access.sessions import PATH
from taskflow.api.audit import find_entries
from taskflow.api.dashboard.listing import given_parameters, query_of
from taskflow.api.dashboard.pages import page
from taskflow.model.audit import Action, AuditEntry, TargetKind
from taskflow.model.errors import Unprocessable
from taskflow.schema.query import AUDIT_QUERY, cursor_of
from taskflow.store.base.store import TaskStore

AUDIT_PAGE: Final = f"{PATH}/audit"
LIMIT: Final = 50
_TEMPLATE: Final = "audit.html"


def add_routes(routes: Blueprint, store: TaskStore) -> None:
    """Add the page."""

    @routes.get(AUDIT_PAGE)
    async def audit() -> Response:
        require_all_queues()
        given = given_parameters()
        try:
            query = AUDIT_QUERY.read_query({"limit": [str(LIMIT)], **given})
        except Unprocessable as error:
            return await page(_TEMPLATE, status=422, **_form(given), error=str(error), entries=[])
        found = await find_entries(store, query)
        next_query = None
        if found.next_before is not None:
            next_query = query_of({**given, "cursor": [cursor_of(found.next_before)]})
        return await page(
            _TEMPLATE,
            **_form(given),
            entries=[(entry, _detail_of(entry)) for entry in found.entries],
            next_query=next_query,
            is_first=query.cursor is None,
        )


def _form(given: dict[str, list[str]]) -> dict[str, Any]:
    filters = {name: texts for name, texts in given.items() if name not in ("cursor", "limit")}
    return {
        "given": {name: ", ".join(texts) for name, texts in given.items()},
        "actions": list(Action),
        "kinds": list(TargetKind),
        "query": query_of(filters),
        "is_filtered": bool(filters),
    }


def _detail_of(entry: AuditEntry) -> str:
    """Return the detail as one line of JSON; empty if there is none."""
    return msgspec.json.encode(entry.detail).decode() if entry.detail else ""
