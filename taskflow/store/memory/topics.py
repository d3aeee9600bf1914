"""Topics and their endpoints in memory."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.audit_entries import endpoint_entry, entry_of, topic_entry
from taskflow.model.errors import TooManyEndpoints
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import IdempotencyKey, NewTask, Task
from taskflow.model.topic_events import (
    DISABLED_TYPE,
    OPERATIONS_TOPIC,
    Deliver,
    NewEvent,
    PublishedEvent,
    deliveries_of,
    disabled_data,
    is_wanted,
)
from taskflow.model.topics import (
    MAX_ENDPOINTS,
    EndpointChange,
    EndpointSecrets,
    StoredEndpoint,
    Topic,
    TopicChange,
    endpoint_after,
)
from taskflow.store.base.topics import AddedEvent, EndpointPage, TopicPage, TopicStore
from taskflow.store.memory.audit import MemoryAudit


class TopicTasks(msgspec.Struct, frozen=True):
    """The tasks beside the topics.

    Attributes:
        new_id: Returns an id that is greater than all before.
        add: Stores new tasks.
        redeliver: Retries a task with another request, if it is FAILED; returns whether it was.
    """

    new_id: Callable[[], uuid.UUID]
    add: Callable[[Sequence[NewTask]], list[Task]]
    redeliver: Callable[[uuid.UUID, NewTask], bool]


class MemoryTopics(TopicStore):
    """Topics beside the tasks of a store in memory.

    Args:
        tasks: The tasks.
        now: The store's clock.
        audit: The audit log.
    """

    def __init__(
        self, tasks: TopicTasks, *, now: Callable[[], dt.datetime], audit: MemoryAudit
    ) -> None:
        super().__init__()
        self._tasks = tasks
        self._now = now
        self._audit = audit
        self._topics: dict[str, Topic] = {}
        self._endpoints: dict[tuple[str, str], StoredEndpoint] = {}
        self._events: dict[uuid.UUID, PublishedEvent] = {}
        self._keys: dict[str, tuple[IdempotencyKey, float, uuid.UUID]] = {}

    async def put(
        self, name: str, change: TopicChange, *, by: Actor | None = None
    ) -> tuple[Topic, bool]:
        await trio.lowlevel.checkpoint()
        now, before = self._now(), self._topics.get(name)
        queue = change(before and self._shown(before))
        created_at = before.created_at if before else now
        topic = Topic(name=name, queue=queue, created_at=created_at, updated_at=now)
        self._topics[name] = topic
        self._audit.add(topic_entry(by, before, topic))
        return self._shown(topic), before is None

    async def get(self, name: str) -> Topic | None:
        await trio.lowlevel.checkpoint()
        topic = self._topics.get(name)
        return topic and self._shown(topic)

    async def page(
        self, *, limit: int, after: str | None = None, scope: QueueScope | None = None
    ) -> TopicPage:
        await trio.lowlevel.checkpoint()
        found = [
            self._shown(topic)
            for name, topic in sorted(self._topics.items())
            if name > (after or "") and (scope is None or scope.allows(topic.queue))
        ]
        topics = found[:limit]
        return TopicPage(topics, topics[-1].name if len(found) > limit else None)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if self._topics.pop(name, None) is None:
            return False
        for endpoint in self._of(name):
            del self._endpoints[name, endpoint.definition.name]
        self._audit.add(entry_of(Action.TOPIC_DELETE, by, name))
        self.note_change()
        return True

    async def change_endpoint(
        self, topic: str, name: str, change: EndpointChange, *, by: Actor | None = None
    ) -> tuple[StoredEndpoint, bool] | None:
        await trio.lowlevel.checkpoint()
        if topic not in self._topics:
            return None
        before = self._endpoints.get((topic, name))
        if before is None and len(self._of(topic)) >= MAX_ENDPOINTS:
            raise TooManyEndpoints
        new_id = self._tasks.new_id()
        after = endpoint_after(change(before), before, now=self._now(), new_id=new_id)
        self._endpoints[topic, name] = after
        self._audit.add(endpoint_entry(by, before, after))
        self.note_change()
        return after, before is None

    async def rotate_secret(
        self,
        topic: str,
        name: str,
        secret: bytes,
        *,
        overlap_seconds: float,
        by: Actor | None = None,
    ) -> StoredEndpoint | None:
        await trio.lowlevel.checkpoint()
        before = self._endpoints.get((topic, name))
        if before is None:
            return None
        former = before.definition.secret if overlap_seconds > 0 else None
        until = self._now() + dt.timedelta(seconds=overlap_seconds)
        after = msgspec.structs.replace(
            before,
            definition=msgspec.structs.replace(before.definition, secret=secret),
            updated_at=self._now(),
            former_secret=former,
            former_secret_until=None if former is None else until,
        )
        self._endpoints[topic, name] = after
        self._audit.add(entry_of(Action.ENDPOINT_ROTATE, by, f"{topic}/{name}"))
        self.note_change()
        return after

    async def endpoint(self, topic: str, name: str) -> StoredEndpoint | None:
        await trio.lowlevel.checkpoint()
        return self._endpoints.get((topic, name))

    async def endpoints(self, topic: str, *, limit: int, after: str | None = None) -> EndpointPage:
        await trio.lowlevel.checkpoint()
        found = [one for one in self._of(topic) if one.definition.name > (after or "")]
        some = found[:limit]
        return EndpointPage(some, some[-1].definition.name if len(found) > limit else None)

    async def delete_endpoint(self, topic: str, name: str, *, by: Actor | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        if self._endpoints.pop((topic, name), None) is None:
            return False
        self._audit.add(entry_of(Action.ENDPOINT_DELETE, by, f"{topic}/{name}"))
        self.note_change()
        return True

    async def publish(
        self,
        event: NewEvent,
        *,
        key: IdempotencyKey | None = None,
        deliver: Deliver = deliveries_of,
    ) -> AddedEvent | None:
        await trio.lowlevel.checkpoint()
        if event.topic not in self._topics:
            return None
        if key is not None and (known := self._known(key)) is not None:
            return known
        published = self._publish(event, deliver)
        if key is not None:
            self._keys[key.text] = (key, trio.current_time() + key.seconds, published.id)
        return AddedEvent(published)

    async def redeliver(
        self, deliveries: Mapping[uuid.UUID, NewTask], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        await trio.lowlevel.checkpoint()
        done = {one for one, task in deliveries.items() if self._tasks.redeliver(one, task)}
        if done and entry is not None:
            self._audit.add(entry.counted(len(done)))
        return done

    async def secrets(self, endpoint_id: uuid.UUID) -> EndpointSecrets | None:
        await trio.lowlevel.checkpoint()
        endpoint, now = self._by_id(endpoint_id), self._now()
        if endpoint is None:
            return None
        until, since = endpoint.former_secret_until, endpoint.failing_since
        former = endpoint.former_secret if until is not None and until > now else None
        secrets = (endpoint.definition.secret, former)
        return EndpointSecrets(
            endpoint.definition.full_name,
            endpoint.definition.is_enabled,
            tuple(one for one in secrets if one is not None),
            None if since is None else (now - since).total_seconds(),
        )

    async def note_success(self, endpoint_id: uuid.UUID) -> None:
        await trio.lowlevel.checkpoint()
        if (endpoint := self._by_id(endpoint_id)) is not None:
            self._replace(endpoint, failing_since=None)

    async def note_failure(
        self,
        endpoint_id: uuid.UUID,
        *,
        disable_after_seconds: float,
        reason: str,
        deliver: Deliver = deliveries_of,
    ) -> str | None:
        await trio.lowlevel.checkpoint()
        endpoint, now = self._by_id(endpoint_id), self._now()
        if endpoint is None or not endpoint.definition.is_enabled:
            return None
        since = endpoint.failing_since or now
        failing = self._replace(endpoint, failing_since=since)
        if (now - since).total_seconds() < disable_after_seconds:
            return None
        definition = msgspec.structs.replace(failing.definition, is_enabled=False)
        disabled = self._replace(failing, definition=definition, disabled_reason=reason)
        if OPERATIONS_TOPIC in self._topics:
            data = disabled_data(disabled)
            event = NewEvent(topic=OPERATIONS_TOPIC, type=DISABLED_TYPE, data=data)
            self._publish(event, deliver)
        return definition.full_name

    async def delete_old_events(self, *, age_seconds: float, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        oldest = self._now() - dt.timedelta(seconds=age_seconds)
        old = [one.id for one in self._events.values() if one.created_at < oldest][:limit]
        for event_id in old:
            del self._events[event_id]
        return len(old)

    def names_with_credential(self, name: str) -> list[str]:
        """Return the names of the endpoints that use a credential."""
        return [
            endpoint.definition.full_name
            for endpoint in self._endpoints.values()
            if endpoint.definition.template.options.credential == name
        ]

    def _publish(self, new: NewEvent, deliver: Deliver) -> PublishedEvent:
        topic = self._topics[new.topic]
        event = PublishedEvent(
            id=self._tasks.new_id(), topic=topic.name, type=new.type, created_at=self._now()
        )
        wanted = [one for one in self._of(topic.name) if is_wanted(new, one)]
        added = self._tasks.add(deliver(new, event, topic.queue, wanted))
        event = msgspec.structs.replace(event, tasks=tuple(task.id for task in added))
        self._events[event.id] = event
        return event

    def _known(self, key: IdempotencyKey) -> AddedEvent | None:
        known = self._keys.get(key.text)
        if known is None or known[1] <= trio.current_time():
            return None
        if known[0].fingerprint != key.fingerprint:
            return AddedEvent(None, is_replay=True, is_same=False)
        return AddedEvent(self._events.get(known[2]), is_replay=True)

    def _of(self, topic: str) -> list[StoredEndpoint]:
        """Return the endpoints of a topic by name."""
        return [one for (of, _), one in sorted(self._endpoints.items()) if of == topic]

    def _by_id(self, endpoint_id: uuid.UUID) -> StoredEndpoint | None:
        return next((one for one in self._endpoints.values() if one.id == endpoint_id), None)

    def _replace(self, endpoint: StoredEndpoint, **changes: object) -> StoredEndpoint:
        changed = msgspec.structs.replace(endpoint, **changes)
        definition = changed.definition
        self._endpoints[definition.topic, definition.name] = changed
        self.note_change()
        return changed

    def _shown(self, topic: Topic) -> Topic:
        return msgspec.structs.replace(topic, endpoints=len(self._of(topic.name)))
