"""The rows of topics, endpoints and events as values of the model."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

import msgspec

from taskflow.model.task import NewTask
from taskflow.model.topic_events import PublishedEvent
from taskflow.model.topics import EndpointDefinition, StoredEndpoint, Topic
from taskflow.store.postgres.rows import UNREADABLE, Row

UNREADABLE_ROW: Final = "its row in the database cannot be read; put it again"
"""Why an endpoint is disabled that no version of TaskFlow wrote."""

_TEMPLATE: Final = msgspec.json.Decoder(NewTask)
_NO_TEMPLATE: Final = NewTask(msgspec.Raw(b"{}"))


def published_event_of(row: Row) -> PublishedEvent:
    """Return the event of a row of ``read_event``."""
    event_id, topic, event_type, created_at, task_ids = row
    return PublishedEvent(
        id=event_id, topic=topic, type=event_type, created_at=created_at, tasks=tuple(task_ids)
    )


def topic_of(row: Row) -> Topic:
    """Return the topic of a row of ``read_topic``."""
    name, queue, endpoints, created_at, updated_at = row
    return Topic(
        name=name, queue=queue, endpoints=endpoints, created_at=created_at, updated_at=updated_at
    )


def endpoint_of(row: Row) -> StoredEndpoint:
    """Return the endpoint of a row of ``read_endpoint``; one that cannot be read is disabled."""
    topic, name, endpoint_id, event_types, queue, text, is_enabled, *state = row
    reason, failing_since, secret, former_secret, former_until, created_at, updated_at = state
    template = _template_of(text)
    if template is None:
        template, is_enabled, reason = _NO_TEMPLATE, False, UNREADABLE_ROW
    definition = EndpointDefinition(
        topic=topic,
        name=name,
        event_types=tuple(one for one in event_types if isinstance(one, str)),
        queue=queue,
        template=template,
        is_enabled=is_enabled,
        secret=None if secret is None else bytes(secret),
    )
    return StoredEndpoint(
        id=endpoint_id,
        definition=definition,
        created_at=created_at,
        updated_at=updated_at,
        disabled_reason=reason,
        failing_since=failing_since,
        former_secret=None if former_secret is None else bytes(former_secret),
        former_secret_until=former_until,
    )


def _template_of(text: str) -> NewTask | None:
    try:
        template = _TEMPLATE.decode(text)
    except UNREADABLE:
        return None
    return template if bytes(template.payload).startswith(b"{") else None


def columns_of(endpoint: StoredEndpoint) -> dict[str, object]:
    """Return the parameters of ``put_endpoint``."""
    definition = endpoint.definition
    return {
        "topic": definition.topic,
        "name": definition.name,
        "id": endpoint.id,
        "event_types": list(definition.event_types),
        "queue": definition.queue,
        "template": msgspec.json.encode(definition.template).decode(),
        "credential": definition.template.options.credential,
        "is_enabled": definition.is_enabled,
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": endpoint.failing_since,
        "secret": definition.secret,
        "former_secret": endpoint.former_secret,
        "former_secret_until": endpoint.former_secret_until,
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
    }


def requests_of(deliveries: Mapping[uuid.UUID, NewTask]) -> dict[str, object]:
    """Return the parameters of ``replace_requests_if_failed``."""
    tasks = list(deliveries.values())
    return {
        "ids": list(deliveries),
        "payloads": [bytes(task.payload).decode() for task in tasks],
        "hosts": [task.host for task in tasks],
        "authorities": [task.authority for task in tasks],
        "options": [msgspec.json.encode(task.options).decode() for task in tasks],
        "max_attempts": [task.max_attempts for task in tasks],
    }
