"""Events of topics, and the deliveries that they make.

An event makes one delivery for each endpoint that matches: a task of its own, whose body is the
event, in the format of the Standard Webhooks.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from taskflow.model.delivery import Delivery
from taskflow.model.errors import BodyTooLarge, KeyMissing
from taskflow.model.keyring import key_id_in
from taskflow.model.options import TaskOptions
from taskflow.model.sealed_document import data_of, is_sealed
from taskflow.model.task import Moment, NewTask
from taskflow.model.topics import ALL_TYPES, StoredEndpoint

MAX_DELIVERY_BYTES: Final = 16 * 2**20
"""Maximum size of all deliveries of an event together: one statement stores them."""

TEST_TYPE: Final = "endpoint.test"
DISABLED_TYPE: Final = "endpoint.disabled"
OPERATIONS_TOPIC: Final = "taskflow"
"""The topic that TaskFlow itself sends operational events to, if it exists."""

_BODY: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to publish.

    Attributes:
        topic: The name of the topic.
        type: Its type.
        data: Its data, as JSON text.
        endpoint: The only endpoint that gets it, whatever its event types; ``None`` for all
            endpoints of the topic that match.
        trace: The fields of the W3C Trace Context of the request.
    """

    topic: str
    type: str
    data: msgspec.Raw
    endpoint: str | None = None
    trace: Mapping[str, str] = {}


class PublishedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the API shows it; the field order is the order of the JSON.

    Attributes:
        id: Its id, which is the ``webhook-id`` of its deliveries.
        topic: The name of the topic.
        type: Its type.
        created_at: When it was published, which is the ``timestamp`` in its deliveries.
        tasks: The ids of its deliveries, one for each endpoint that matched.
    """

    id: uuid.UUID
    topic: str
    type: str
    created_at: Moment
    tasks: tuple[uuid.UUID, ...] = ()


class _Message(msgspec.Struct, frozen=True):
    """The body of a delivery: the payload structure that the Standard Webhooks recommend."""

    type: str
    timestamp: dt.datetime
    data: msgspec.Raw


Deliver: TypeAlias = Callable[
    [NewEvent, PublishedEvent, str, Sequence[StoredEndpoint]], list[NewTask]
]
"""Returns the deliveries of an event; see ``deliveries_of``."""


def patterns_of(event_type: str) -> list[str]:
    """Return the patterns that match an event type: itself, its beginnings, and all types."""
    words = event_type.split(".")
    beginnings = (".".join(words[:count]) for count in range(1, len(words)))
    return [ALL_TYPES, *(f"{beginning}.*" for beginning in beginnings), event_type]


def is_wanted(event: NewEvent, endpoint: StoredEndpoint) -> bool:
    """Return whether an endpoint of the topic gets an event."""
    definition = endpoint.definition
    if not definition.is_enabled:
        return False
    if event.endpoint is not None:
        return definition.name == event.endpoint
    return not set(definition.event_types).isdisjoint(patterns_of(event.type))


def deliveries_of(
    new: NewEvent, event: PublishedEvent, queue: str, endpoints: Sequence[StoredEndpoint]
) -> list[NewTask]:
    """Return the tasks that send an event to these endpoints, in their order.

    Args:
        new: The event, with its data.
        event: Its id and its time.
        queue: The queue of the topic.
        endpoints: The endpoints that match.

    Raises:
        BodyTooLarge: Together they are too large.
        KeyMissing: The template of an endpoint could not be decrypted.
    """
    body = msgspec.json.encode(_Message(event.type, event.created_at, new.data))
    templates = [endpoint.definition.template for endpoint in endpoints]
    size = sum(len(bytes(template.payload)) + len(body) for template in templates)
    if size > MAX_DELIVERY_BYTES and len(endpoints) > 1:
        raise BodyTooLarge(
            f"the event is too large for {len(endpoints)} endpoints: its deliveries have {size} "
            f"bytes together, of at most {MAX_DELIVERY_BYTES}; send a link to the data instead"
        )
    return [
        _delivery(
            one,
            queue,
            body,
            msgspec.structs.replace(
                one.definition.template.options,
                delivery=Delivery(event.topic, one.definition.name, one.id, event.id, event.type),
                traceparent=new.trace.get("traceparent"),
                tracestate=new.trace.get("tracestate"),
            ),
        )
        for one in endpoints
    ]


def redelivery_of(
    payload: msgspec.Raw, delivery: Delivery, endpoint: StoredEndpoint, queue: str
) -> NewTask | None:
    """Return a delivery that sends the same body again, as its endpoint says now.

    Args:
        payload: The payload of the delivery, decrypted; its body is never masked.
        delivery: What it delivers.
        endpoint: Its endpoint.
        queue: The queue of the task, which stays the same.

    Returns:
        The task; ``None`` if the payload has no body, as it cannot be decrypted.
    """
    text = bytes(payload)
    body = b"" if is_sealed(text) else bytes(_BODY.decode(text).get("body", b""))
    if not body:
        return None
    options = msgspec.structs.replace(endpoint.definition.template.options, delivery=delivery)
    task = _delivery(endpoint, queue, body, options)
    return msgspec.structs.replace(task, queue=queue)


def _delivery(endpoint: StoredEndpoint, queue: str, body: bytes, options: TaskOptions) -> NewTask:
    template = endpoint.definition.template
    if is_sealed(bytes(template.payload)):
        raise KeyMissing(key_id_in(data_of(bytes(template.payload))))
    payload = b'%b,"body":%b}' % (bytes(template.payload)[:-1], body)
    return msgspec.structs.replace(
        template,
        payload=msgspec.Raw(payload),
        queue=endpoint.definition.queue or queue,
        options=options,
    )


def disabled_data(endpoint: StoredEndpoint) -> msgspec.Raw:
    """Return the data of the event that an endpoint was disabled."""
    data = {
        "topic": endpoint.definition.topic,
        "endpoint": endpoint.definition.name,
        "endpoint_id": endpoint.id,
        "reason": endpoint.disabled_reason,
        "failing_since": endpoint.failing_since,
    }
    return msgspec.Raw(msgspec.json.encode(data))
