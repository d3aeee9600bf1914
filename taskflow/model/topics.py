"""Topics and their endpoints: each event of a topic is sent to all endpoints that match its type.

An endpoint is the template of its deliveries (``model/topic_events.py``).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import uuid
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from taskflow.model.masking import Masking
from taskflow.model.options import BackoffOption
from taskflow.model.request import StoredPayload
from taskflow.model.task import DEFAULT_QUEUE, Moment, NewTask, QueueName

MAX_ENDPOINTS: Final = 1_000
"""Number of endpoints that a topic can have."""

MAX_ENDPOINT_BYTES: Final = 16 * 2**10
"""Maximum size of the URL and the headers of an endpoint."""

MAX_EVENT_TYPES: Final = 100
MAX_EVENT_TYPE_CHARACTERS: Final = 128
ALL_TYPES: Final = "*"
DEFAULT_OVERLAP_SECONDS: Final = 86_400.0
MAX_OVERLAP_SECONDS: Final = 604_800.0

TopicName: TypeAlias = QueueName
EndpointName: TypeAlias = QueueName
_TYPE: Final = r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
EventType: TypeAlias = Annotated[
    str,
    Meta(
        pattern=f"^{_TYPE}$(?!\n)",
        min_length=1,
        max_length=MAX_EVENT_TYPE_CHARACTERS,
        extra={
            "expected": "words of letters, digits, underscores and hyphens with dots between "
            f"them, such as invoice.paid, of up to {MAX_EVENT_TYPE_CHARACTERS} characters"
        },
    ),
]
EventPattern: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^({_TYPE}(\.\*)?|\*)$(?!\n)",
        min_length=1,
        max_length=MAX_EVENT_TYPE_CHARACTERS + 2,
    ),
]
EventPatterns: TypeAlias = Annotated[
    tuple[EventPattern, ...],
    Meta(
        min_length=1,
        max_length=MAX_EVENT_TYPES,
        extra={
            "expected": f"a list of 1 to {MAX_EVENT_TYPES} event types such as invoice.paid, "
            "beginnings of types such as invoice.*, or * for all types"
        },
    ),
]
_PAYLOAD: Final = msgspec.json.Decoder(StoredPayload)


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as the API shows it; the field order is the order of the JSON.

    Attributes:
        name: Its name.
        queue: The queue of its deliveries, unless an endpoint has another one. A key that is
            limited to some queues sees the topic if it may use this queue.
        endpoints: The number of its endpoints.
        created_at: When it was created.
        updated_at: When it was last changed.
    """

    name: str
    queue: str = DEFAULT_QUEUE
    endpoints: int = 0
    created_at: Moment
    updated_at: Moment


TopicChange: TypeAlias = Callable[[Topic | None], str]
"""Returns the queue of a topic that is created or changed; raises to change nothing."""


class EndpointSigning(enum.StrEnum):
    """The secrets that sign the deliveries of an endpoint."""

    OWN = "own"
    """A secret of its own; after a rotation the former one, too, for some time."""
    SHARED = "shared"
    """The secrets of the service, ``TASKFLOW_WEBHOOK_SECRETS``."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as the API shows it; the field order is the order of the JSON.

    Attributes:
        topic: The name of its topic.
        name: Its name, unique within the topic.
        id: Its id; an endpoint of the same name that is created later has another one.
        url: The URL that receives its events; credentials are masked.
        event_types: The event types, or beginnings of types, that it receives.
        headers: Additional headers of its requests; credentials are masked.
        timeout_seconds: Time for each attempt; ``None`` for the setting.
        queue: The queue of its deliveries; ``None`` for the queue of the topic.
        credential: The name of the credential of its requests.
        backoff: Waits between attempts.
        max_attempts: Maximum number of attempts of a delivery.
        enabled: Whether it receives events.
        disabled_reason: Why it does not.
        failing_since: When attempts began to fail, if none has succeeded since.
        signing: The secrets that sign its deliveries.
        former_secret_until: Until when the secret before the last rotation signs, too.
        created_at: When it was created.
        updated_at: When it was last changed.
    """

    topic: str
    name: str
    id: uuid.UUID
    url: str
    event_types: tuple[str, ...]
    headers: dict[str, str] = {}
    timeout_seconds: float | None = None
    queue: str | None = None
    credential: str | None = None
    backoff: BackoffOption | None = None
    max_attempts: int
    enabled: bool = True
    disabled_reason: str | None = None
    failing_since: Moment | None = None
    signing: EndpointSigning = EndpointSigning.SHARED
    former_secret_until: Moment | None = None
    created_at: Moment
    updated_at: Moment


class EndpointDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says about an endpoint.

    Attributes:
        topic: The name of its topic.
        name: Its name.
        event_types: The event types, or beginnings of types, that it receives.
        queue: The queue of its deliveries; ``None`` for the queue of the topic.
        template: A delivery; its payload is an object without a body, possibly encrypted.
        is_enabled: Whether it receives events.
        secret: Its signing secret, encrypted (``model/endpoint_secrets.py``).
    """

    topic: str
    name: str
    event_types: tuple[str, ...] = (ALL_TYPES,)
    queue: str | None = None
    template: NewTask
    is_enabled: bool = True
    secret: bytes | None = None

    @property
    def full_name(self) -> str:
        """The names of the topic and the endpoint."""
        return f"{self.topic}/{self.name}"


class StoredEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as a store keeps it.

    Attributes:
        id: Its id.
        definition: What a client said about it.
        created_at: When it was created.
        updated_at: When a client last changed it.
        disabled_reason: Why it is not enabled.
        failing_since: When attempts began to fail, if none has succeeded since.
        former_secret: The signing secret before the last rotation, encrypted.
        former_secret_until: Until when that secret signs, too.
    """

    id: uuid.UUID
    definition: EndpointDefinition
    created_at: dt.datetime
    updated_at: dt.datetime
    disabled_reason: str | None = None
    failing_since: dt.datetime | None = None
    former_secret: bytes | None = None
    former_secret_until: dt.datetime | None = None

    def with_payload(self, payload: msgspec.Raw) -> StoredEndpoint:
        """Return the endpoint with another payload of its template."""
        template = msgspec.structs.replace(self.definition.template, payload=payload)
        definition = msgspec.structs.replace(self.definition, template=template)
        return msgspec.structs.replace(self, definition=definition)

    def shown(self, masking: Masking) -> Endpoint:
        """Return the endpoint as the API shows it; without a URL if it cannot be read."""
        definition, template = self.definition, self.definition.template
        request = StoredPayload(url="")
        # It is encrypted with another key, or no version wrote it.
        with contextlib.suppress(ValueError, RecursionError):
            request = _PAYLOAD.decode(template.payload)
        return Endpoint(
            topic=definition.topic,
            name=definition.name,
            id=self.id,
            url=masking.url(request.url),
            event_types=definition.event_types,
            headers=masking.headers(request.headers or {}),
            timeout_seconds=request.timeout_seconds,
            queue=definition.queue,
            credential=template.options.credential,
            backoff=template.options.shown_backoff,
            max_attempts=template.max_attempts,
            enabled=definition.is_enabled,
            disabled_reason=self.disabled_reason,
            failing_since=self.failing_since,
            signing=EndpointSigning.OWN if definition.secret else EndpointSigning.SHARED,
            former_secret_until=self.former_secret_until,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


EndpointChange: TypeAlias = Callable[[StoredEndpoint | None], EndpointDefinition]
"""Returns what an endpoint is to be; raises to change nothing."""


BY_REQUEST: Final = "by request"
"""Why an endpoint is disabled that a client disabled."""


def endpoint_after(
    definition: EndpointDefinition,
    before: StoredEndpoint | None,
    *,
    now: dt.datetime,
    new_id: uuid.UUID,
) -> StoredEndpoint:
    """Return an endpoint that a client created or changed.

    Args:
        definition: What it is to be.
        before: What it was.
        now: The current time, by the store's clock.
        new_id: Its id, if it is new.
    """
    if before is None:
        return StoredEndpoint(
            id=new_id,
            definition=definition,
            created_at=now,
            updated_at=now,
            disabled_reason=None if definition.is_enabled else BY_REQUEST,
        )
    keeps_secret = definition.secret == before.definition.secret
    is_enabled_now = definition.is_enabled and not before.definition.is_enabled
    reason = before.disabled_reason or BY_REQUEST
    return msgspec.structs.replace(
        before,
        definition=definition,
        updated_at=now,
        disabled_reason=None if definition.is_enabled else reason,
        failing_since=None if is_enabled_now else before.failing_since,
        former_secret=before.former_secret if keeps_secret else None,
        former_secret_until=before.former_secret_until if keeps_secret else None,
    )


class EndpointSecrets(msgspec.Struct, frozen=True):
    """What an attempt needs to know about its endpoint.

    Attributes:
        full_name: The names of its topic and of the endpoint.
        is_enabled: Whether it receives anything.
        sealed: Its signing secrets, encrypted: the current one, and the former one while it
            signs, too. None if the shared ones sign.
        failing_seconds: How long its attempts have failed; ``None`` if the last one succeeded.
    """

    full_name: str
    is_enabled: bool
    sealed: tuple[bytes, ...]
    failing_seconds: float | None


class RotatedSecret(msgspec.Struct, frozen=True):
    """The result of a rotation.

    Attributes:
        signing_secret: The new secret. No other response shows it.
        former_secret_until: Until when the former secret of the endpoint signs, too; ``None`` if
            it had none.
    """

    signing_secret: str
    former_secret_until: Moment | None


class Recovered(msgspec.Struct, frozen=True):
    """The result of a recovery.

    Attributes:
        count: The number of deliveries that are sent again.
        complete: Whether these are all. If not, the same request again does the rest.
    """

    count: int
    complete: bool
