"""The routes under ``/topics``, except the routes of endpoints."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from quart import Response, request

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.access.roles import CALLER, Caller
from taskflow.api.document.common_parts import location, next_page_link
from taskflow.api.document.examples import PUBLISHED, TOPIC
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_json
from taskflow.api.reading.paths import new_topic_name_of, topic_name_of
from taskflow.api.reading.request_headers import IdempotencyKeyText, idempotency_key_of
from taskflow.api.reading.topic import event_of, topic_change_of
from taskflow.api.request_spans import submission_trace
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.model.errors import IdempotencyKeyReused, TaskGone, TopicNotFound
from taskflow.model.task import IdempotencyKey
from taskflow.model.topic_events import NewEvent, PublishedEvent
from taskflow.model.topics import Topic, TopicName
from taskflow.schema.query import TOPICS_QUERY, TopicsRequest
from taskflow.schema.topics import EventRequest, TopicRequest
from taskflow.store.base.topics import AddedEvent

T = TypeVar("T")

_TOPIC: Final = RouteResponse("The topic.", Topic, TOPIC)
_ONE_TOPIC: Final[dict[str, Any]] = {
    "group": "topics",
    "path_parameters": (Parameter("name", "The name of the topic.", TopicName, TOPIC.name),),
}


@Route(
    "PUT",
    "/topics/{name}",
    responses=(
        _TOPIC,
        RouteResponse(
            "The topic, which is new.",
            Topic,
            TOPIC,
            HTTPStatus.CREATED,
            headers=(location(f"/topics/{TOPIC.name}", "The path of the topic."),),
        ),
    ),
    body=TopicRequest,
    body_examples={"default": {}, "queue": {"queue": "webhooks"}},
    **_ONE_TOPIC,
)
async def put_topic(services: Services, name: str) -> Response:
    """Create or change a topic.

    An event that is published to it is sent to each of its endpoints that matches. The topic
    ``taskflow`` gets the operational events of TaskFlow itself, if it exists.
    """
    name = new_topic_name_of(name)
    change = topic_change_of(await read_json(), name)
    with store_timeout():
        topic, is_new = await services.store.topics.put(name, change, by=actor_of_request())
    if not is_new:
        return as_json(topic)
    return as_json(topic, status=HTTPStatus.CREATED, location=f"/topics/{name}")


@Route(
    "GET",
    "/topics",
    "topics",
    (
        RouteResponse(
            "A page of topics.",
            list[Topic],
            [TOPIC],
            headers=(next_page_link(f"/topics?limit=20&cursor={TOPIC.name}"),),
        ),
    ),
    query=TopicsRequest,
)
async def list_topics(services: Services) -> Response:
    """List topics by name.

    Returns pages. ``Link`` is present if there is a next page.
    """
    query = TOPICS_QUERY.read_query(dict(request.args.lists()))
    with store_timeout():
        page = await services.store.topics.page(limit=query.limit, after=query.cursor)
    return as_json(page.topics, link=link_to("/topics", query.limit, page.next_after))


@Route("GET", "/topics/{name}", responses=(_TOPIC,), problems=(HTTPStatus.NOT_FOUND,), **_ONE_TOPIC)
async def show_topic(services: Services, name: str) -> Response:
    """Get a topic.

    With the number of its endpoints.
    """
    with store_timeout():
        return as_json(found_topic(await services.store.topics.get(topic_name_of(name))))


@Route(
    "DELETE",
    "/topics/{name}",
    responses=(RouteResponse("The topic was deleted.", status=HTTPStatus.NO_CONTENT),),
    problems=(HTTPStatus.NOT_FOUND,),
    **_ONE_TOPIC,
)
async def delete_topic(services: Services, name: str) -> Response:
    """Delete a topic and its endpoints.

    Deliveries that have not been sent fail as ``endpoint_disabled``.
    """
    topics = services.store.topics
    with store_timeout():
        found_topic(await topics.delete(topic_name_of(name), by=actor_of_request()) or None)
    return no_content()


@Route(
    "POST",
    "/topics/{name}/events",
    responses=(
        RouteResponse(
            "The event, and the ids of its deliveries.",
            PublishedEvent,
            PUBLISHED,
            HTTPStatus.CREATED,
        ),
        RouteResponse(
            "The event of an earlier request with the same Idempotency-Key.",
            PublishedEvent,
            PUBLISHED,
            headers=(
                Parameter(
                    "Idempotent-Replayed",
                    "Present if an earlier request had the same Idempotency-Key.",
                    Literal["true"],
                    "true",
                ),
            ),
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    headers=(
        Parameter(
            "Idempotency-Key",
            "Makes the request safe to repeat: the same request with the same key returns the "
            "event of the first one.",
            IdempotencyKeyText,
            "8e03978e-40d5-43dd-bc93-6894a57f9324",
        ),
    ),
    body=EventRequest,
    body_examples={"event": {"type": PUBLISHED.type, "data": {"invoice": 4711}}},
    **_ONE_TOPIC,
)
async def publish_event(services: Services, name: str) -> Response:
    """Publish an event.

    Stores one delivery for each enabled endpoint whose event types match, all or nothing: a task
    that sends ``{"type": ..., "timestamp": ..., "data": ...}`` by ``POST``, signed as the Standard
    Webhooks specify. Its ``webhook-id`` is the id of the event, also when it is sent again.
    """
    body = await read_json()
    name = topic_name_of(name)
    key = _key_of(body, name, services.settings.idempotency_seconds)
    with submission_trace() as trace:
        added = await publish(services, event_of(body, name, trace.fields), key)
    return published_response(added)


async def publish(
    services: Services, event: NewEvent, key: IdempotencyKey | None = None
) -> AddedEvent:
    """Publish an event, or return the one of an earlier request.

    Raises:
        TooManyRequests: The backlog limit is reached.
        TopicNotFound: There is no such topic.
        IdempotencyKeyReused: Another request had the key.
        TaskGone: The event of the earlier request was deleted.
        BodyTooLarge: Its deliveries are too large.
        StoreUnavailable: The store does not answer in time.
    """
    with store_timeout():
        await services.submissions.backlog.admit(1)
        added = found_topic(await services.store.topics.publish(event, key=key))
    if not added.is_same:
        raise IdempotencyKeyReused
    if added.event is None:
        raise TaskGone("the event of this Idempotency-Key was deleted; use a new key")
    if not added.is_replay:
        services.metrics.accepted(len(added.event.tasks))
    return added


def published_response(added: AddedEvent) -> Response:
    """Return the response to a published event."""
    if not added.is_replay:
        return as_json(added.event, status=HTTPStatus.CREATED)
    response = as_json(added.event)
    response.headers["Idempotent-Replayed"] = "true"
    return response


def found_topic(one: T | None) -> T:
    """Return what was found.

    Raises:
        TopicNotFound: Nothing was.
    """
    if one is None:
        raise TopicNotFound
    return one


def link_to(path: str, limit: int, after: str | None, **given: str) -> str | None:
    """Return the ``Link`` to the next page, if there is one."""
    if after is None:
        return None
    return f'<{path}?{urlencode({"limit": limit, **given, "cursor": after})}>; rel="next"'


def _key_of(body: bytes, topic: str, seconds: float) -> IdempotencyKey | None:
    """Return the idempotency key, in a name space of the topic."""
    caller: Caller | None = cast("dict[str, Any]", request.scope).get(CALLER)
    key = idempotency_key_of(
        request.headers.getlist("Idempotency-Key"),
        caller=caller.name if caller else None,
        body=body,
        seconds=seconds,
    )
    return key and msgspec.structs.replace(key, text=f"topic {topic}\n{key.text}")


ROUTES: Final = (put_topic, list_topics, show_topic, delete_topic, publish_event)
