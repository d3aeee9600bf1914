"""The actions on an endpoint of a topic: test it, rotate its secret, and recover what failed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec
import trio
from quart import Response

from taskflow.api.access.request_caller import actor_of_request
from taskflow.api.document.examples import PUBLISHED
from taskflow.api.endpoints import ONE_ENDPOINT, endpoint_of, found_endpoint
from taskflow.api.problems import store_timeout
from taskflow.api.reading.bodies import read_body, read_json
from taskflow.api.reading.paths import endpoint_name_of, topic_name_of
from taskflow.api.reading.topic import NO_KEYS_FOR_SECRETS, recovery_of, rotation_of
from taskflow.api.request_spans import submission_trace
from taskflow.api.responses import as_json
from taskflow.api.route import Route, RouteResponse
from taskflow.api.services import Services
from taskflow.api.topics import publish, published_response
from taskflow.checkpoints import Checkpoints
from taskflow.model.audit import Action, NewEntry
from taskflow.model.delivery import Delivery
from taskflow.model.endpoint_secrets import seal_secret
from taskflow.model.errors import IllegalMove, PartlyDone, StoreUnavailable, Unprocessable
from taskflow.model.filter import TaskFilter
from taskflow.model.signature import new_secret, secret_of, secret_text
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.model.topic_events import TEST_TYPE, NewEvent, PublishedEvent, redelivery_of
from taskflow.model.topics import (
    DEFAULT_OVERLAP_SECONDS,
    Recovered,
    RotatedSecret,
    StoredEndpoint,
)
from taskflow.schema.topics import RecoverRequest, RotationRequest
from taskflow.store.base.store import TaskStore

RECOVER_BATCH: Final = 100
# After that a request returns how far it came, and the same request again does the rest.
MAX_SECONDS: Final = 10.0
TEST_DATA: Final = msgspec.Raw(b'{"message":"This is a test event of TaskFlow."}')


@Route(
    "POST",
    "/topics/{topic}/endpoints/{name}/test",
    responses=(
        RouteResponse(
            "The event, and the id of its delivery.",
            PublishedEvent,
            msgspec.structs.replace(PUBLISHED, type=TEST_TYPE),
            HTTPStatus.CREATED,
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    **ONE_ENDPOINT,
)
async def test_endpoint(services: Services, topic: str, name: str) -> Response:
    """Send a test event to an endpoint.

    An event of the type ``endpoint.test``, whatever event types the endpoint receives.
    """
    await read_body()
    check_enabled(await endpoint_of(services.store, topic, name))
    with submission_trace() as trace:
        event = NewEvent(
            topic=topic, type=TEST_TYPE, data=TEST_DATA, endpoint=name, trace=trace.fields
        )
        return published_response(await publish(services, event))


@Route(
    "POST",
    "/topics/{topic}/endpoints/{name}/rotate",
    responses=(
        RouteResponse(
            "The new secret, which no other response shows.",
            RotatedSecret,
            RotatedSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", None),
        ),
    ),
    problems=(HTTPStatus.NOT_FOUND,),
    body=RotationRequest,
    body_examples={"generated": {}, "overlap": {"overlap_seconds": 3600}},
    **ONE_ENDPOINT,
)
async def rotate_endpoint(services: Services, topic: str, name: str) -> Response:
    """Rotate the signing secret of an endpoint.

    For ``overlap_seconds``, the former secret of the endpoint signs, too, so that its receiver can
    change to the new one meanwhile.
    """
    place = topic_name_of(topic), endpoint_name_of(name)
    given, overlap_seconds = rotation_of(await read_json())
    if not services.keyring:
        raise Unprocessable(NO_KEYS_FOR_SECRETS)
    secret = given or secret_of(new_secret())
    sealed = seal_secret(secret, "/".join(place), services.keyring)
    overlap = DEFAULT_OVERLAP_SECONDS if overlap_seconds is None else overlap_seconds
    with store_timeout():
        rotated = found_endpoint(
            await services.store.topics.rotate_secret(
                *place, sealed, overlap_seconds=overlap, by=actor_of_request()
            )
        )
    return as_json(RotatedSecret(secret_text(secret), rotated.former_secret_until))


@Route(
    "POST",
    "/topics/{topic}/endpoints/{name}/recover",
    responses=(
        RouteResponse("The number of deliveries.", Recovered, Recovered(120, complete=True)),
    ),
    problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    body=RecoverRequest,
    body_examples={"since": {"since": "2026-11-24T06:57:50Z"}},
    **ONE_ENDPOINT,
)
async def recover_endpoint(services: Services, topic: str, name: str) -> Response:
    """Send again what an endpoint failed to receive.

    FAILED deliveries of events since a time start again, with all their attempts: to the URL and
    with the headers that the endpoint has now, with the same body and ``webhook-id``. After 10
    seconds the response says how many there were; the same request again does the rest.
    """
    wanted = recovery_of(await read_json())
    endpoint = await endpoint_of(services.store, topic, name)
    check_enabled(endpoint)
    entry = NewEntry(
        action=Action.ENDPOINT_RECOVER,
        actor=actor_of_request(),
        target=endpoint.definition.full_name,
        detail={"since": wanted.since.isoformat()},
        batch=uuid.uuid4(),
    )
    return as_json(await recover(services.store, endpoint, wanted.since, entry))


async def recover(
    store: TaskStore, endpoint: StoredEndpoint, since: dt.datetime, entry: NewEntry
) -> Recovered:
    """Send FAILED deliveries of an endpoint again, batch by batch.

    Raises:
        StoreUnavailable: The store is unavailable, and nothing was done.
        PartlyDone: The store became unavailable after the first batches.
    """
    deadline = trio.current_time() + MAX_SECONDS
    wanted = TaskFilter(endpoint=endpoint.id, statuses=(TaskStatus.FAILED,), created_after=since)
    count, before = 0, None
    try:
        while True:
            with store_timeout():
                page = await store.page(limit=RECOVER_BATCH, before=before, filter=wanted)
                again = await _redeliveries(page.tasks, endpoint)
                count += len(await store.topics.redeliver(again, entry=entry)) if again else 0
            before = page.next_before
            if before is None or trio.current_time() >= deadline:
                return Recovered(count, complete=before is None)
    except StoreUnavailable:
        if not count:
            raise
        raise PartlyDone from None


async def _redeliveries(
    tasks: Iterable[Task], endpoint: StoredEndpoint
) -> dict[uuid.UUID, NewTask]:
    found, checkpoints = {}, Checkpoints()
    for task in tasks:
        await checkpoints.after(task.size_bytes)
        if isinstance(task.delivery, Delivery):
            again = redelivery_of(task.payload, task.delivery, endpoint, task.queue)
            if again is not None:
                found[task.id] = again
    return found


def check_enabled(endpoint: StoredEndpoint) -> None:
    """Check that an endpoint receives events.

    Raises:
        IllegalMove: It is disabled.
    """
    if not endpoint.definition.is_enabled:
        raise IllegalMove("the endpoint is disabled; enable it first")


ROUTES: Final = (test_endpoint, rotate_endpoint, recover_endpoint)
