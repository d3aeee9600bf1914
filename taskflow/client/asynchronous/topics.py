"""Topics: their endpoints, and the events that are sent to these."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from taskflow.client import calls
from taskflow.client.arguments import json_of, whole_number
from taskflow.client.asynchronous.streams import EndpointStream, TaskStream, TopicStream
from taskflow.client.asynchronous.transport import Transport
from taskflow.model.options import Backoff
from taskflow.model.task import TaskStatus
from taskflow.model.topic_events import PublishedEvent
from taskflow.model.topics import Endpoint, Recovered, RotatedSecret, Topic

_PAGE: Final = 100


class Topics:
    """The topics of a service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def iter(self, *, page: int = _PAGE) -> TopicStream:
        """Return all topics by name, ``page`` per request."""
        query = [("limit", str(whole_number("page", page, minimum=1)))]
        return TopicStream(self._transport, calls.Call("GET", "/topics", query=query))

    async def get(self, name: str) -> Topic:
        """Return a topic.

        Raises:
            NotFound: There is no topic with this name.
        """
        return (await self._transport.ask(calls.of_topic("GET", (name,)))).read(Topic)

    async def put(self, name: str, *, queue: str | None = None) -> Topic:
        """Create or change a topic.

        Args:
            name: The name of the topic.
            queue: The queue of its deliveries; ``None`` leaves it unchanged.
        """
        body = json_of({} if queue is None else {"queue": queue})
        return (await self._transport.ask(calls.of_topic("PUT", (name,), body=body))).read(Topic)

    async def delete(self, name: str) -> None:
        """Delete a topic and its endpoints.

        Raises:
            NotFound: There is no topic with this name.
        """
        await self._transport.ask(calls.of_topic("DELETE", (name,), is_repeatable=False))

    async def publish(
        self, topic: str, event_type: str, data: Any, *, idempotency_key: str | None = None
    ) -> PublishedEvent:
        """Publish an event to all endpoints of a topic whose event types match.

        Args:
            topic: The name of the topic.
            event_type: The type of the event, such as ``invoice.paid``.
            data: Its data, as JSON.
            idempotency_key: Calls with the same key publish one event. Default: a new key for
                each call.

        Raises:
            NotFound: There is no topic with this name.
            Unprocessable: The event is invalid; ``errors`` has all reasons.
            TooLarge: Its deliveries are too large together.
        """
        call = calls.new_event(topic, json_of({"type": event_type, "data": data}), idempotency_key)
        return (await self._transport.ask(call)).read(PublishedEvent)

    def endpoints(self, topic: str, *, page: int = _PAGE) -> EndpointStream:
        """Return the endpoints of a topic by name, ``page`` per request."""
        query = [("limit", str(whole_number("page", page, minimum=1)))]
        call = calls.of_topic("GET", (topic,), "/endpoints", query=query)
        return EndpointStream(self._transport, call)

    async def endpoint(self, topic: str, name: str) -> Endpoint:
        """Return an endpoint.

        Raises:
            NotFound: The topic has no endpoint with this name.
        """
        return (await self._transport.ask(calls.of_topic("GET", (topic, name)))).read(Endpoint)

    async def put_endpoint(  # noqa: PLR0913 - each is a word of its own
        self,
        topic: str,
        name: str,
        url: str,
        *,
        event_types: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        queue: str | None = None,
        credential: str | None = None,
        backoff: Backoff | Sequence[float] | Literal["webhook"] | None = None,
        max_attempts: int | None = None,
        enabled: bool | None = None,
        signing_secret: str | None = None,
    ) -> Endpoint:
        """Create or replace an endpoint.

        Args:
            topic: The name of the topic.
            name: The name of the endpoint.
            url: The URL that receives its events.
            event_types: The event types that it receives: types, or beginnings such as
                ``invoice.*``. Default: all.
            headers: Additional headers of its requests.
            timeout_seconds: Timeout of an attempt.
            queue: The queue of its deliveries. Default: the queue of the topic.
            credential: The name of the credential of its requests.
            backoff: Waits between attempts. Default: ``webhook``.
            max_attempts: Maximum number of attempts.
            enabled: Whether it receives events; ``None`` leaves that unchanged.
            signing_secret: Its signing secret; ``None`` leaves that unchanged.

        Raises:
            NotFound: There is no such topic.
            Unprocessable: The endpoint is invalid; ``errors`` has all reasons.
        """
        fields = {
            "url": url,
            "event_types": event_types,
            "headers": headers,
            "timeout_seconds": timeout_seconds,
            "queue": queue,
            "credential": credential,
            "backoff": backoff,
            "max_attempts": max_attempts,
            "enabled": enabled,
            "signing_secret": signing_secret,
        }
        body = json_of({key: value for key, value in fields.items() if value is not None})
        call = calls.of_topic("PUT", (topic, name), body=body)
        return (await self._transport.ask(call)).read(Endpoint)

    async def delete_endpoint(self, topic: str, name: str) -> None:
        """Delete an endpoint.

        Raises:
            NotFound: The topic has no endpoint with this name.
        """
        await self._transport.ask(calls.of_topic("DELETE", (topic, name), is_repeatable=False))

    def deliveries(
        self,
        topic: str,
        name: str,
        *,
        status: TaskStatus | str | None = None,
        page: int = _PAGE,
    ) -> TaskStream:
        """Return the deliveries of an endpoint, newest first, ``page`` per request."""
        query = [("limit", str(whole_number("page", page, minimum=1)))]
        query += [] if status is None else [("status", str(status))]
        call = calls.of_topic("GET", (topic, name), "/deliveries", query=query)
        return TaskStream(self._transport, call)

    async def test_endpoint(self, topic: str, name: str) -> PublishedEvent:
        """Send a test event to an endpoint.

        Raises:
            NotFound: The topic has no endpoint with this name.
            Conflict: It is disabled.
        """
        call = calls.of_topic("POST", (topic, name), "/test", is_repeatable=False)
        return (await self._transport.ask(call)).read(PublishedEvent)

    async def rotate_secret(
        self,
        topic: str,
        name: str,
        *,
        signing_secret: str | None = None,
        overlap_seconds: float | None = None,
    ) -> RotatedSecret:
        """Rotate the signing secret of an endpoint, and return the new one.

        Args:
            topic: The name of the topic.
            name: The name of the endpoint.
            signing_secret: The new secret; ``None`` lets the service make one.
            overlap_seconds: How long the former secret signs, too. Default: a day.

        Raises:
            NotFound: The topic has no endpoint with this name.
        """
        fields = {"signing_secret": signing_secret, "overlap_seconds": overlap_seconds}
        body = json_of({key: value for key, value in fields.items() if value is not None})
        call = calls.of_topic("POST", (topic, name), "/rotate", body=body, is_repeatable=False)
        return (await self._transport.ask(call)).read(RotatedSecret)

    async def recover(self, topic: str, name: str, since: dt.datetime) -> Recovered:
        """Send FAILED deliveries of events since a time again.

        Raises:
            NotFound: The topic has no endpoint with this name.
            Conflict: It is disabled.
        """
        body = json_of({"since": since})
        call = calls.of_topic("POST", (topic, name), "/recover", body=body)
        return (await self._transport.ask(call)).read(Recovered)
