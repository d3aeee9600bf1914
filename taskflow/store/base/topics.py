"""Topics and their endpoints, which are stored beside the tasks: the store interface."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Mapping
from typing import Final

import msgspec

from taskflow.model.audit import Actor, NewEntry
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import IdempotencyKey, NewTask
from taskflow.model.topic_events import Deliver, NewEvent, PublishedEvent, deliveries_of
from taskflow.model.topics import (
    EndpointChange,
    EndpointSecrets,
    StoredEndpoint,
    Topic,
    TopicChange,
)
from taskflow.store.base.changes import Changes

KEPT_SECONDS: Final = 5.0
"""Maximum age of endpoints in the memory of a process."""


class AddedEvent(msgspec.Struct, frozen=True):
    """Result of publishing an event.

    Attributes:
        event: The event; ``None`` if it was deleted, or the request is another one.
        is_replay: True if an earlier request had the same key.
        is_same: False if that request had another fingerprint.
    """

    event: PublishedEvent | None
    is_replay: bool = False
    is_same: bool = True


class TopicPage(msgspec.Struct, frozen=True):
    """Some topics by name, and the name that the next page is after (``None`` at the end)."""

    topics: list[Topic]
    next_after: str | None


class EndpointPage(msgspec.Struct, frozen=True):
    """Some endpoints by name, and the name that the next page is after (``None`` at the end)."""

    endpoints: list[StoredEndpoint]
    next_after: str | None


class TopicStore(Changes, abc.ABC):
    """Stores topics and endpoints, and makes deliveries; a part of ``TaskStore``.

    ``by`` is the actor, for the audit log; ``None`` records nothing.
    """

    @abc.abstractmethod
    async def put(
        self, name: str, change: TopicChange, *, by: Actor | None = None
    ) -> tuple[Topic, bool]:
        """Create or change a topic; return it, and whether it is new.

        Args:
            name: The topic.
            change: A pure function; if it raises, nothing is changed. May run in another thread,
                and more than once.
            by: Who changes it.
        """

    @abc.abstractmethod
    async def get(self, name: str) -> Topic | None:
        """Return a topic; ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def page(
        self, *, limit: int, after: str | None = None, scope: QueueScope | None = None
    ) -> TopicPage:
        """Return a page of topics by name: those whose queue is in the scope."""

    @abc.abstractmethod
    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        """Delete a topic and its endpoints; false if there is none with this name."""

    @abc.abstractmethod
    async def change_endpoint(
        self, topic: str, name: str, change: EndpointChange, *, by: Actor | None = None
    ) -> tuple[StoredEndpoint, bool] | None:
        """Create or change an endpoint; return it, and whether it is new.

        Args:
            topic: The topic.
            name: The endpoint.
            change: A pure function; if it raises, nothing is changed. May run in another thread.
            by: Who changes it.

        Returns:
            ``None`` if there is no such topic.

        Raises:
            TooManyEndpoints: The topic has ``MAX_ENDPOINTS`` others.
        """

    @abc.abstractmethod
    async def rotate_secret(
        self,
        topic: str,
        name: str,
        secret: bytes,
        *,
        overlap_seconds: float,
        by: Actor | None = None,
    ) -> StoredEndpoint | None:
        """Replace the signing secret of an endpoint; ``None`` if there is no such endpoint.

        Args:
            topic: The topic.
            name: The endpoint.
            secret: The new secret, encrypted.
            overlap_seconds: How long the former secret of its own signs, too.
            by: Who changes it.
        """

    @abc.abstractmethod
    async def endpoint(self, topic: str, name: str) -> StoredEndpoint | None:
        """Return an endpoint; ``None`` if there is none with this name."""

    @abc.abstractmethod
    async def endpoints(self, topic: str, *, limit: int, after: str | None = None) -> EndpointPage:
        """Return a page of the endpoints of a topic by name."""

    @abc.abstractmethod
    async def delete_endpoint(self, topic: str, name: str, *, by: Actor | None = None) -> bool:
        """Delete an endpoint; false if there is none with this name."""

    @abc.abstractmethod
    async def publish(
        self,
        event: NewEvent,
        *,
        key: IdempotencyKey | None = None,
        deliver: Deliver = deliveries_of,
    ) -> AddedEvent | None:
        """Store one delivery of an event for each endpoint that matches, all or nothing.

        Args:
            event: The event.
            key: Of concurrent requests with one key, exactly one publishes an event.
            deliver: Makes the deliveries.

        Returns:
            ``None`` if there is no such topic.

        Raises:
            BodyTooLarge: The deliveries are too large.
        """

    @abc.abstractmethod
    async def redeliver(
        self, deliveries: Mapping[uuid.UUID, NewTask], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        """Retry FAILED deliveries with the requests of these tasks; return their ids."""

    @abc.abstractmethod
    async def secrets(self, endpoint_id: uuid.UUID) -> EndpointSecrets | None:
        """Return what attempts need to know; ``None`` if the endpoint was deleted."""

    @abc.abstractmethod
    async def note_success(self, endpoint_id: uuid.UUID) -> None:
        """Record that an attempt succeeded: the endpoint is not failing."""

    @abc.abstractmethod
    async def note_failure(
        self,
        endpoint_id: uuid.UUID,
        *,
        disable_after_seconds: float,
        reason: str,
        deliver: Deliver = deliveries_of,
    ) -> str | None:
        """Record that an attempt failed; disable the endpoint if it has failed for this time.

        Then the event ``endpoint.disabled`` is published to the topic ``taskflow`` in the same
        transaction, if that topic exists.

        Args:
            endpoint_id: The endpoint.
            disable_after_seconds: Time from its first failure; 0 disables it now.
            reason: Why it is disabled then.
            deliver: Makes the deliveries of the event.

        Returns:
            The names of its topic and of the endpoint, if this disabled it.
        """

    @abc.abstractmethod
    async def delete_old_events(self, *, age_seconds: float, limit: int) -> int:
        """Delete events that were published before this time; their deliveries stay."""
