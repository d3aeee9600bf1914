"""The page of an endpoint, with its deliveries, and its actions."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final

import msgspec
from quart import Blueprint, Response

from taskflow.api.access.request_caller import actor_of_request, store_of_request
from taskflow.api.dashboard.listing import given_parameters, query_of
from taskflow.api.dashboard.pages import page, redirect_to
from taskflow.api.dashboard.topics import LIMIT, TOPICS_PAGE
from taskflow.api.endpoint_actions import TEST_DATA, check_enabled, recover
from taskflow.api.endpoints import endpoint_of
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body
from taskflow.api.topics import found_topic
from taskflow.model.audit import Action, NewEntry
from taskflow.model.errors import EndpointNotFound
from taskflow.model.filter import TaskFilter
from taskflow.model.masking import Masking
from taskflow.model.topic_events import TEST_TYPE, NewEvent
from taskflow.model.topics import EndpointDefinition, StoredEndpoint
from taskflow.schema.query import DELIVERIES_QUERY, cursor_of
from taskflow.store.base.listing import LARGE_FIELDS
from taskflow.store.base.store import TaskStore

_ALWAYS: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def add_routes(routes: Blueprint, store: TaskStore, masking: Masking) -> None:
    """Add the page and its actions."""

    @routes.get(f"{TOPICS_PAGE}/<topic>/endpoints/<name>")
    async def endpoint(topic: str, name: str) -> Response:
        given, mine = given_parameters(), store_of_request(store)
        query = DELIVERIES_QUERY.read_query({"limit": [str(LIMIT)], **given})
        shown = await endpoint_of(mine, topic, name)
        statuses = () if query.status is None else (query.status,)
        with store_timeout():
            found = await mine.page(
                limit=query.limit,
                before=query.before,
                filter=TaskFilter(endpoint=shown.id, statuses=statuses),
                without=LARGE_FIELDS,
            )
        next_query = None
        if found.next_before is not None:
            next_query = query_of({**given, "cursor": [cursor_of(found.next_before)]})
        return await page(
            "endpoint.html",
            endpoint=shown.shown(masking),
            deliveries=found.tasks,
            next_query=next_query,
            is_first=query.cursor is None,
            is_filtered=query.status is not None,
        )

    @routes.post(f"{TOPICS_PAGE}/<topic>/endpoints/<name>/test")
    async def test_endpoint(topic: str, name: str) -> Response:
        await read_body()
        mine = store_of_request(store)
        check_enabled(await endpoint_of(mine, topic, name))
        event = NewEvent(topic=topic, type=TEST_TYPE, data=TEST_DATA, endpoint=name)
        with store_timeout():
            found_topic(await mine.topics.publish(event))
        return _to_endpoint(topic, name)

    @routes.post(f"{TOPICS_PAGE}/<topic>/endpoints/<name>/recover")
    async def recover_endpoint(topic: str, name: str) -> Response:
        await read_body()
        mine = store_of_request(store)
        known = await endpoint_of(mine, topic, name)
        check_enabled(known)
        entry = NewEntry(
            action=Action.ENDPOINT_RECOVER,
            actor=actor_of_request(),
            target=known.definition.full_name,
            batch=uuid.uuid4(),
        )
        await recover(mine, known, _ALWAYS, entry)
        return _to_endpoint(topic, name)

    @routes.post(f"{TOPICS_PAGE}/<topic>/endpoints/<name>/enable")
    async def enable_endpoint(topic: str, name: str) -> Response:
        return await _set_enabled(topic, name, is_enabled=True)

    @routes.post(f"{TOPICS_PAGE}/<topic>/endpoints/<name>/disable")
    async def disable_endpoint(topic: str, name: str) -> Response:
        return await _set_enabled(topic, name, is_enabled=False)

    async def _set_enabled(topic: str, name: str, *, is_enabled: bool) -> Response:
        await read_body()
        mine = store_of_request(store)
        await endpoint_of(mine, topic, name)

        def change(before: StoredEndpoint | None) -> EndpointDefinition:
            if before is None:
                raise EndpointNotFound
            return msgspec.structs.replace(before.definition, is_enabled=is_enabled)

        with store_timeout():
            found_topic(
                await mine.topics.change_endpoint(topic, name, change, by=actor_of_request())
            )
        return _to_endpoint(topic, name)


def _to_endpoint(topic: str, name: str) -> Response:
    return redirect_to(f"{TOPICS_PAGE}/{topic}/endpoints/{name}")
