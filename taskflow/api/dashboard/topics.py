"""The pages of topics: the list, and a topic with its endpoints."""

from __future__ import annotations

from typing import Final

from quart import Blueprint, Response

from taskflow.api.access.request_caller import store_of_request
from taskflow.api.access.sessions import PATH
from taskflow.api.dashboard.listing import given_parameters, query_of
from taskflow.api.dashboard.pages import page
from taskflow.api.endpoints import shown_endpoints
from taskflow.api.problems import store_timeout
from taskflow.api.reading.paths import topic_name_of
from taskflow.api.topics import found_topic
from taskflow.model.masking import Masking
from taskflow.schema.query import ENDPOINTS_QUERY, TOPICS_QUERY
from taskflow.store.base.store import TaskStore

TOPICS_PAGE: Final = f"{PATH}/topics"
LIMIT: Final = 50


def add_routes(routes: Blueprint, store: TaskStore, masking: Masking) -> None:
    """Add the pages."""

    @routes.get(TOPICS_PAGE)
    async def topics() -> Response:
        query = TOPICS_QUERY.read_query({"limit": [str(LIMIT)], **given_parameters()})
        with store_timeout():
            found = await store_of_request(store).topics.page(limit=query.limit, after=query.cursor)
        return await page(
            "topics.html",
            topics=found.topics,
            next_query=_next_query(found.next_after),
            is_first=query.cursor is None,
        )

    @routes.get(f"{TOPICS_PAGE}/<topic>")
    async def topic(topic: str) -> Response:
        query = ENDPOINTS_QUERY.read_query({"limit": [str(LIMIT)], **given_parameters()})
        known = store_of_request(store).topics
        with store_timeout():
            shown = found_topic(await known.get(topic_name_of(topic)))
            found = await known.endpoints(shown.name, limit=query.limit, after=query.cursor)
        return await page(
            "topic.html",
            topic=shown,
            endpoints=await shown_endpoints(found.endpoints, masking),
            next_query=_next_query(found.next_after),
            is_first=query.cursor is None,
        )


def _next_query(after: str | None) -> str | None:
    return None if after is None else query_of({"cursor": [after]})
