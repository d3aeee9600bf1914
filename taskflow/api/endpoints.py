"""The routes of the endpoints of a topic. No response shows a signing secret that was stored."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from quart import Response, request

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.document.common_parts import location, next_page_link
from taskflow.api.document.examples import DELIVERED, ENDPOINT
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_json
from taskflow.api.reading.paths import endpoint_name_of, new_endpoint_name_of, topic_name_of
from taskflow.api.reading.topic import (
    EndpointReading,
)
from taskflow.api.responses import as_json, no_content
from taskflow.api.route import Parameter, Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.topics import found_topic, link_to
from taskflow.checkpoints import Checkpoints
from taskflow.model.errors import (
    EndpointNotFound,
)
from taskflow.model.filter import TaskFilter
from taskflow.model.masking import Masking
from taskflow.model.task import Task
from taskflow.model.topics import (
    Endpoint,
    EndpointName,
    StoredEndpoint,
    TopicName,
)
from taskflow.schema.known_credentials import KnownCredentials
from taskflow.schema.query import (
    DELIVERIES_QUERY,
    ENDPOINTS_QUERY,
    DeliveriesRequest,
    EndpointsRequest,
    cursor_of,
)
from taskflow.schema.topics import EndpointRequest
from taskflow.store.base.store import TaskStore

T = TypeVar("T")

_ENDPOINT: Final = RouteResponse("The endpoint.", Endpoint, ENDPOINT)
_TOPIC_PARAMETER: Final = Parameter("topic", "The name of the topic.", TopicName, ENDPOINT.topic)
ONE_ENDPOINT: Final[dict[str, Any]] = {
    "group": "topics",
    "path_parameters": (
        _TOPIC_PARAMETER,
        Parameter("name", "The name of the endpoint.", EndpointName, ENDPOINT.name),
    ),
}
_PATH: Final = f"/topics/{ENDPOINT.topic}/endpoints/{ENDPOINT.name}"


@Route(
    "PUT",
    "/topics/{topic}/endpoints/{name}",
    responses=(
        _ENDPOINT,
        RouteResponse(
            "The endpoint, which is new.",
            Endpoint,
            ENDPOINT,
            HTTPStatus.CREATED,
            headers=(location(_PATH, "The path of the endpoint."),),
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND,),
    body=EndpointRequest,
    body_examples={
        "all events": {"url": "https://example.com/webhooks"},
        "some events": {
            "url": "https://example.com/webhooks",
            "event_types": ["invoice.*", "customer.created"],
            "headers": {"X-Tenant": "42"},
            "timeout_seconds": 15,
        },
    },
    **ONE_ENDPOINT,
)
async def put_endpoint(services: Services, topic: str, name: str) -> Response:
    """Create or replace an endpoint.

    Replaces everything except ``enabled`` and ``signing_secret``, which stay as they are if they
    are absent. An endpoint can be sent as it was shown: a masked value (``***``) stays as it is if
    its URL keeps the scheme, host and port. The secret is encrypted with the first key of
    ``TASKFLOW_ENCRYPTION_KEYS``. Later events, and deliveries that are recovered, use the new
    values; enabling an endpoint ends its time of failures.
    """
    topic, name = topic_name_of(topic), new_endpoint_name_of(name)
    credentials = await services.submissions.credentials.read()
    reading = endpoint_reading(topic, name, services, credentials)
    change = reading.change_of(await read_json())
    with store_timeout():
        endpoint, is_new = found_topic(
            await services.store.topics.change_endpoint(topic, name, change, by=actor_of_request())
        )
    shown = endpoint.shown(services.masking)
    if not is_new:
        return as_json(shown)
    path = f"/topics/{topic}/endpoints/{name}"
    return as_json(shown, status=HTTPStatus.CREATED, location=path)


def endpoint_reading(
    topic: str, name: str, services: Services, credentials: KnownCredentials
) -> EndpointReading:
    """Return what an endpoint is read with."""
    return EndpointReading(
        topic,
        name,
        services.settings.max_attempts,
        services.settings.has_webhook_secrets,
        services.masking,
        credentials,
        services.keyring,
    )


@Route(
    "GET",
    "/topics/{topic}/endpoints",
    "topics",
    (
        RouteResponse(
            "A page of endpoints.",
            list[Endpoint],
            [ENDPOINT],
            headers=(
                next_page_link(f"/topics/{ENDPOINT.topic}/endpoints?limit=20&cursor=billing"),
            ),
        ),
    ),
    (HTTPStatus.NOT_FOUND,),
    path_parameters=(_TOPIC_PARAMETER,),
    query=EndpointsRequest,
)
async def list_endpoints(services: Services, topic: str) -> Response:
    """List the endpoints of a topic by name.

    Returns pages. ``Link`` is present if there is a next page.
    """
    query = ENDPOINTS_QUERY.read_query(dict(request.args.lists()))
    topic, topics = topic_name_of(topic), services.store.topics
    with store_timeout():
        page = await topics.endpoints(topic, limit=query.limit, after=query.cursor)
        if not page.endpoints:
            found_topic(await topics.get(topic))
    link = link_to(f"/topics/{topic}/endpoints", query.limit, page.next_after)
    return as_json(await shown_endpoints(page.endpoints, services.masking), link=link)


@Route(
    "GET",
    "/topics/{topic}/endpoints/{name}",
    responses=(_ENDPOINT,),
    problems=(HTTPStatus.NOT_FOUND,),
    **ONE_ENDPOINT,
)
async def show_endpoint(services: Services, topic: str, name: str) -> Response:
    """Get an endpoint.

    With since when it has failed, and why it is disabled.
    """
    return as_json((await endpoint_of(services.store, topic, name)).shown(services.masking))


@Route(
    "DELETE",
    "/topics/{topic}/endpoints/{name}",
    responses=(RouteResponse("The endpoint was deleted.", status=HTTPStatus.NO_CONTENT),),
    problems=(HTTPStatus.NOT_FOUND,),
    **ONE_ENDPOINT,
)
async def delete_endpoint(services: Services, topic: str, name: str) -> Response:
    """Delete an endpoint.

    Its deliveries that have not been sent fail as ``endpoint_disabled``.
    """
    place = topic_name_of(topic), endpoint_name_of(name)
    with store_timeout():
        deleted = await services.store.topics.delete_endpoint(*place, by=actor_of_request())
    found_endpoint(deleted or None)
    return no_content()


@Route(
    "GET",
    "/topics/{topic}/endpoints/{name}/deliveries",
    responses=(
        RouteResponse(
            "A page of deliveries.",
            list[Task],
            [DELIVERED],
            headers=(next_page_link(f"{_PATH}/deliveries?limit=20&cursor=AZq1kQ0AcACAAAAAAAAAAQ"),),
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND,),
    query=DeliveriesRequest,
    **ONE_ENDPOINT,
)
async def list_deliveries(services: Services, topic: str, name: str) -> Response:
    """List the deliveries of an endpoint, the newest first.

    They are tasks: ``GET /tasks/{id}/attempts`` has their attempts. Returns pages. ``Link`` is
    present if there is a next page.
    """
    query = DELIVERIES_QUERY.read_query(dict(request.args.lists()))
    endpoint = await endpoint_of(services.store, topic, name)
    statuses = () if query.status is None else (query.status,)
    wanted = TaskFilter(endpoint=endpoint.id, statuses=statuses)
    with store_timeout():
        page = await services.store.page(limit=query.limit, before=query.before, filter=wanted)
    given = {} if query.status is None else {"status": query.status.value}
    following = None if page.next_before is None else cursor_of(page.next_before)
    path = f"/topics/{topic}/endpoints/{name}/deliveries"
    return as_json(page.tasks, link=link_to(path, query.limit, following, **given))


async def shown_endpoints(endpoints: Iterable[StoredEndpoint], masking: Masking) -> list[Endpoint]:
    """Return endpoints as the API shows them: masking takes milliseconds for long headers."""
    shown, checkpoints = [], Checkpoints()
    for endpoint in endpoints:
        shown.append(endpoint.shown(masking))
        await checkpoints.after(len(bytes(endpoint.definition.template.payload)))
    return shown


async def endpoint_of(store: TaskStore, topic: str, name: str) -> StoredEndpoint:
    """Return an endpoint.

    Raises:
        EndpointNotFound: There is none.
        StoreUnavailable: The store does not answer in time.
    """
    place = topic_name_of(topic), endpoint_name_of(name)
    with store_timeout():
        return found_endpoint(await store.topics.endpoint(*place))


def found_endpoint(one: T | None) -> T:
    """Return what was found.

    Raises:
        EndpointNotFound: Nothing was.
    """
    if one is None:
        raise EndpointNotFound
    return one


ROUTES: Final = (
    put_endpoint,
    list_endpoints,
    show_endpoint,
    delete_endpoint,
    list_deliveries,
)
