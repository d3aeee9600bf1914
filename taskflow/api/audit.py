"""The route ``/audit``: the audit log."""

from __future__ import annotations

from functools import partial
from typing import Final

from quart import Response, request

from taskflow.api.access.roles import AccessPolicy
from taskflow.api.document.common_parts import X_ACCEL_BUFFERING, next_page_link
from taskflow.api.document.examples import AUDIT_ENTRY
from taskflow.api.listing import StreamError, StreamPart, as_lines, first_part_of, next_link
from taskflow.api.problems import store_timeout
from taskflow.api.reading.request_headers import LINES, wants_lines
from taskflow.api.responses import as_json
from taskflow.api.route import Content, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.audit import AuditEntry
from taskflow.schema.query import AUDIT_QUERY, AUDIT_STREAM_QUERY, AuditRequest, cursor_of
from taskflow.store.base.audit import AuditPage
from taskflow.store.base.store import TaskStore


@Route(
    "GET",
    "/audit",
    "audit",
    (
        RouteResponse(
            "A page of entries; or a stream. If a stream breaks off, its last line is an object "
            "with a problem as its `error`.",
            list[AuditEntry],
            [AUDIT_ENTRY],
            also=(
                Content(
                    LINES,
                    (AuditEntry, StreamError),
                    f'{{"id":"{AUDIT_ENTRY.id}","action":"{AUDIT_ENTRY.action}"}}\n',
                ),
            ),
            headers=(
                next_page_link(f"/audit?limit=20&cursor={cursor_of(AUDIT_ENTRY.id)}"),
                X_ACCEL_BUFFERING,
            ),
        ),
    ),
    query=AuditRequest,
    access=AccessPolicy.ADMIN_KEY,
    has_whole_view=True,
)
async def list_audit_entries(services: Services) -> Response:
    """List the audit log, the newest entry first.

    Who did what to what, and when. Returns pages; with ``Accept: application/x-ndjson``, a stream
    of all entries that match. An entry must match all filters. A page can have fewer entries than
    ``limit``, even none, although others follow: ``Link`` is present as long as there is a next
    page. The entry of a bulk action appears with its first tasks, and its ``count`` grows until the
    action ends.
    """
    is_stream = wants_lines(request.headers.getlist("Accept"))
    reader = AUDIT_STREAM_QUERY if is_stream else AUDIT_QUERY
    query = reader.read_query(dict(request.args.lists()))
    if is_stream:
        return await as_lines(partial(_stream_of, services.store, query))
    found = await find_entries(services.store, query)
    return as_json(found.entries, link=next_link("/audit", query.limit, found.next_before))


async def find_entries(store: TaskStore, query: AuditRequest) -> AuditPage:
    """Return a page of entries.

    Raises:
        StoreUnavailable: The store does not answer in time.
    """
    with store_timeout():
        return await store.audit.page(limit=query.limit, before=query.before, filter=query.filter)


async def _stream_of(store: TaskStore, query: AuditRequest) -> StreamPart:
    page = await find_entries(store, first_part_of(query))
    left = query.limit - len(page.entries)
    return StreamPart(
        page.entries,
        None
        if page.next_before is None or not left
        else partial(_stream_of, store, query.going_on(page.next_before, limit=left)),
    )


ROUTES: Final = (list_audit_entries,)
