"""The declarations of topics, endpoints and events."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from taskflow.model.options import BackoffChoice
from taskflow.model.request import Headers, Timeout
from taskflow.model.signature import SECRET_SHAPE
from taskflow.model.task import MAX_ATTEMPTS, CredentialName, Moment, QueueName
from taskflow.model.topics import MAX_OVERLAP_SECONDS, Endpoint, EventPatterns, EventType, Topic
from taskflow.schema.tasks import CallbackUrl

_SECRET: Final = {"expected": SECRET_SHAPE}
_EXAMPLE_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105 - an example


class TopicRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A topic to create or change."""

    queue: Annotated[
        QueueName | None,
        Meta(
            description="The queue of its deliveries, unless an endpoint has another one. Keys "
            "that may use it see the topic. Default: `default`.",
            examples=["webhooks"],
        ),
    ] = None


class EndpointRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An endpoint to create or replace.

    Fields that only TaskFlow sets are ignored, so that an endpoint can be sent again as it was
    shown.
    """

    url: Annotated[
        CallbackUrl,
        Meta(
            description="The URL that receives its events, by `POST`.",
            examples=["https://example.com/webhooks"],
        ),
    ]
    event_types: Annotated[
        EventPatterns | None,
        Meta(
            description="The event types that it receives: a type, the beginning of types such as "
            "`invoice.*`, or `*` for all. Default: all.",
            examples=[["invoice.*", "customer.created"]],
        ),
    ] = None
    headers: Annotated[
        Headers | None,
        Meta(
            description="Additional headers of its requests.",
            examples=[{"X-Tenant": "42"}],
        ),
    ] = None
    timeout_seconds: Annotated[
        Timeout | None,
        Meta(
            description="Timeout of an attempt. Default: the setting "
            "`TASKFLOW_FETCH_TIMEOUT_SECONDS`.",
            examples=[15],
        ),
    ] = None
    queue: Annotated[
        QueueName | None,
        Meta(
            description="The queue of its deliveries. Default: the queue of the topic.",
            examples=["webhooks"],
        ),
    ] = None
    credential: Annotated[
        CredentialName | None,
        Meta(
            description="The name of the credential that TaskFlow adds to each request.",
            examples=["billing"],
        ),
    ] = None
    backoff: Annotated[
        BackoffChoice | None,
        Meta(
            description="Waits between attempts, as for tasks. Default: `webhook`.",
            examples=["webhook"],
        ),
    ] = None
    max_attempts: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] | None,
        Meta(
            description="Number of failed attempts after which a delivery fails. Default: 10 for "
            "the backoff `webhook`, otherwise the setting `TASKFLOW_MAX_ATTEMPTS`.",
            examples=[10],
        ),
    ] = None
    enabled: Annotated[
        bool | None,
        Meta(
            description="Whether it receives events. If it is not given, it stays as it is; a new "
            "endpoint is enabled.",
            examples=[True],
        ),
    ] = None
    signing_secret: Annotated[
        str | None,
        Meta(
            description="Its signing secret, as `taskflow secret new` prints it; never shown "
            "again. If it is not given, it stays as it is; a new endpoint gets the signatures of "
            "`TASKFLOW_WEBHOOK_SECRETS`. `POST .../rotate` changes it without a gap.",
            examples=[_EXAMPLE_SECRET],
            extra=_SECRET,
        ),
    ] = None


class EventRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An event to publish."""

    type: Annotated[
        EventType,
        Meta(description="The type of the event.", examples=["invoice.paid"]),
    ]
    data: Annotated[
        msgspec.Raw,
        Meta(
            description="The data of the event: any JSON, sent byte for byte.",
            examples=[{"invoice": 4711}],
            extra_json_schema={"type": ["string", "number", "boolean", "object", "array", "null"]},
        ),
    ]


class RotationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A rotation of the signing secret of an endpoint."""

    signing_secret: Annotated[
        str | None,
        Meta(
            description="The new secret. Default: TaskFlow makes one, which only this response "
            "shows.",
            examples=[_EXAMPLE_SECRET],
            extra=_SECRET,
        ),
    ] = None
    overlap_seconds: Annotated[
        Annotated[float, Meta(ge=0, le=MAX_OVERLAP_SECONDS, extra={"unit": "seconds"})] | None,
        Meta(
            description="How long the former secret of the endpoint signs, too. Default: a day.",
            examples=[86400],
        ),
    ] = None


class RecoverRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which deliveries of an endpoint are to be sent again."""

    since: Annotated[
        Moment,
        Meta(
            description="FAILED deliveries of events from this time on are sent again.",
            examples=["2026-11-24T06:57:50Z"],
        ),
    ]


TOPIC_ONLY_SHOWN: Final = frozenset(Topic.__struct_fields__) - set(TopicRequest.__struct_fields__)
"""Fields that only TaskFlow sets; they are ignored in a ``TopicRequest``."""

ENDPOINT_ONLY_SHOWN: Final = frozenset(Endpoint.__struct_fields__) - set(
    EndpointRequest.__struct_fields__
)
"""Fields that only TaskFlow sets; they are ignored in an ``EndpointRequest``."""
