"""Deliveries: tasks that send an event of a topic to one of its endpoints."""

from __future__ import annotations

import uuid

import msgspec


class Delivery(msgspec.Struct, frozen=True):
    """What a task delivers, and to which endpoint.

    Attributes:
        topic: The name of the topic.
        endpoint: The name of the endpoint.
        endpoint_id: The id of the endpoint; another one may have its name later.
        event_id: The id of the event, which is the ``webhook-id`` of each request.
        event_type: The type of the event.
    """

    topic: str
    endpoint: str
    endpoint_id: uuid.UUID
    event_id: uuid.UUID
    event_type: str
