"""Topics and their endpoints in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.audit_entries import endpoint_entry, entry_of, topic_entry
from taskflow.model.errors import StoreUnavailable, TooManyEndpoints
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
    patterns_of,
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
from taskflow.store.postgres.archive import RETRYABLE, restore
from taskflow.store.postgres.audit import PostgresAudit
from taskflow.store.postgres.pool import Connection
from taskflow.store.postgres.rows import Execute, Row
from taskflow.store.postgres.statements import Statements
from taskflow.store.postgres.topic_rows import (
    columns_of,
    endpoint_of,
    published_event_of,
    requests_of,
    topic_of,
)

TOPICS_CHANNEL: Final = "taskflow_topics"

_NO_TASKS: Final[list[Task]] = []


class TopicTasks(Protocol):
    """The verbs for tasks, some of them in a transaction of the caller."""

    def insert(self, connection: Connection, tasks: Sequence[NewTask]) -> list[Task]:
        """Store tasks."""

    def announce_added(self, tasks: Sequence[Task]) -> None:
        """Announce them, once they are committed."""

    def retry_held(self, connection: Connection, task_ids: Sequence[uuid.UUID]) -> list[Row]:
        """Retry tasks."""

    def announce_retried(self, rows: list[Row]) -> None:
        """Announce them, once they are committed."""


class PostgresTopics(TopicStore):
    """Topics beside the tasks of a PostgreSQL store.

    Args:
        statements: The statements.
        tasks: The tasks.
        audit: The audit log.
    """

    def __init__(self, statements: Statements, tasks: TopicTasks, audit: PostgresAudit) -> None:
        super().__init__()
        self._statements = statements
        self._tasks = tasks
        self._audit = audit

    async def put(
        self, name: str, change: TopicChange, *, by: Actor | None = None
    ) -> tuple[Topic, bool]:
        def work(connection: Connection) -> tuple[Topic, bool]:
            put = None
            while put is None:  # again if another client created or deleted it at this moment
                put = self._put(connection, name, change, by)
            return put

        return await self._statements.database.run(work)

    async def get(self, name: str) -> Topic | None:
        rows = await self._statements.run("read_topic", name=name)
        return topic_of(rows[0]) if rows else None

    async def page(
        self, *, limit: int, after: str | None = None, scope: QueueScope | None = None
    ) -> TopicPage:
        statement, queues = "topics_after", {}
        if scope is not None:
            statement, queues = "scoped_topics_after", dict(scope.parameters())
        rows = await self._statements.run_slow_read(
            statement, limit=limit, after=after or "", **queues
        )
        topics = [topic_of(row) for row in rows[:limit]]
        return TopicPage(topics, topics[-1].name if len(rows) > limit else None)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        entry = entry_of(Action.TOPIC_DELETE, by, name)
        return await self._delete("delete_topic", {"name": name}, entry)

    async def change_endpoint(
        self, topic: str, name: str, change: EndpointChange, *, by: Actor | None = None
    ) -> tuple[StoredEndpoint, bool] | None:
        place = {"topic": topic, "name": name}

        def work(connection: Connection) -> tuple[StoredEndpoint, bool] | None:
            execute = self._statements.on(connection)
            with connection.transaction():
                if not execute("hold_topic", {"name": topic}):
                    return None
                [(count, now, new_id)] = execute("endpoint_to_change", place)
                rows = execute("read_endpoint", place)
                before = endpoint_of(rows[0]) if rows else None
                if before is None and count >= MAX_ENDPOINTS:
                    raise TooManyEndpoints
                after = endpoint_after(change(before), before, now=now, new_id=new_id)
                execute("put_endpoint", columns_of(after))
                self._audit.add(connection, endpoint_entry(by, before, after))
            return after, before is None

        changed = await self._statements.database.run(work)
        self.note_change()
        return changed

    async def rotate_secret(
        self,
        topic: str,
        name: str,
        secret: bytes,
        *,
        overlap_seconds: float,
        by: Actor | None = None,
    ) -> StoredEndpoint | None:
        parameters = {"topic": topic, "name": name, "secret": secret}
        entry = entry_of(Action.ENDPOINT_ROTATE, by, f"{topic}/{name}")

        def work(connection: Connection) -> StoredEndpoint | None:
            execute = self._statements.on(connection)
            with connection.transaction():
                rows = execute("rotate_endpoint_secret", parameters | {"overlap": overlap_seconds})
                if rows:
                    self._audit.add(connection, entry)
            return endpoint_of(rows[0]) if rows else None

        rotated = await self._statements.database.run(work)
        self.note_change()
        return rotated

    async def endpoint(self, topic: str, name: str) -> StoredEndpoint | None:
        rows = await self._statements.run("read_endpoint", topic=topic, name=name)
        return endpoint_of(rows[0]) if rows else None

    async def endpoints(self, topic: str, *, limit: int, after: str | None = None) -> EndpointPage:
        rows = await self._statements.run_slow_read(
            "endpoints_after", topic=topic, limit=limit, after=after or ""
        )
        found = [endpoint_of(row) for row in rows[:limit]]
        more = len(rows) > limit
        return EndpointPage(found, found[-1].definition.name if more else None)

    async def delete_endpoint(self, topic: str, name: str, *, by: Actor | None = None) -> bool:
        entry = entry_of(Action.ENDPOINT_DELETE, by, f"{topic}/{name}")
        return await self._delete("delete_endpoint", {"topic": topic, "name": name}, entry)

    async def publish(
        self,
        event: NewEvent,
        *,
        key: IdempotencyKey | None = None,
        deliver: Deliver = deliveries_of,
    ) -> AddedEvent | None:
        def work(connection: Connection) -> tuple[AddedEvent | None, list[Task]]:
            with connection.transaction():
                return self._publish(connection, event, key, deliver)

        published, added = await self._statements.database.run(work)
        self._tasks.announce_added(added)
        return published

    async def redeliver(
        self, deliveries: Mapping[uuid.UUID, NewTask], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        requests = requests_of(deliveries)

        def work(connection: Connection) -> list[Row]:
            execute = self._statements.on(connection)
            with connection.transaction():
                held = [task_id for (task_id,) in execute("replace_requests_if_failed", requests)]
                others = [task_id for task_id in deliveries if task_id not in held]
                if restore(execute, others, RETRYABLE):
                    held += [row[0] for row in execute("replace_requests_if_failed", requests)]
                rows = self._tasks.retry_held(connection, held) if held else []
                if rows and entry is not None:
                    self._audit.add(connection, entry.counted(len(rows)))
                return rows

        rows = await self._statements.database.run(work) if deliveries else []
        self._tasks.announce_retried(rows)
        return {row[0] for row in rows}

    async def secrets(self, endpoint_id: uuid.UUID) -> EndpointSecrets | None:
        rows = await self._statements.run("endpoint_secrets", id=endpoint_id)
        if not rows:
            return None
        [(full_name, is_enabled, secret, former, failing_seconds)] = rows
        sealed = tuple(bytes(one) for one in (secret, former) if one is not None)
        return EndpointSecrets(full_name, is_enabled, sealed, failing_seconds)

    async def note_success(self, endpoint_id: uuid.UUID) -> None:
        await self._statements.run("note_endpoint_success", id=endpoint_id)
        self.note_change()

    async def note_failure(
        self,
        endpoint_id: uuid.UUID,
        *,
        disable_after_seconds: float,
        reason: str,
        deliver: Deliver = deliveries_of,
    ) -> str | None:
        wanted = {"id": endpoint_id, "seconds": disable_after_seconds, "reason": reason}

        def work(connection: Connection) -> tuple[str | None, list[Task]]:
            execute = self._statements.on(connection)
            with connection.transaction():
                rows = execute("note_endpoint_failure_if_enabled", wanted)
                failing = endpoint_of(rows[0]) if rows else None
                if failing is None or failing.definition.is_enabled:
                    return None, _NO_TASKS
                event = _disabled_event(failing)
                _, added = self._publish(connection, event, None, deliver)
                return failing.definition.full_name, added

        disabled, added = await self._statements.database.run(work)
        self.note_change()
        self._tasks.announce_added(added)
        return disabled

    async def delete_old_events(self, *, age_seconds: float, limit: int) -> int:
        bounds = {"age_seconds": age_seconds, "limit": limit}
        return len(await self._statements.run("delete_old_topic_events", **bounds))

    def _put(
        self, connection: Connection, name: str, change: TopicChange, by: Actor | None
    ) -> tuple[Topic, bool] | None:
        execute = self._statements.on(connection)
        with connection.transaction():
            rows = execute("hold_topic", {"name": name})
            before = topic_of(rows[0]) if rows else None
            wanted = {"name": name, "queue": change(before)}
            if not execute("change_topic" if before else "add_topic_if_new", wanted):
                return None
            after = topic_of(execute("read_topic", {"name": name})[0])
            self._audit.add(connection, topic_entry(by, before, after))
            return after, before is None

    async def _delete(
        self, statement: str, place: Mapping[str, object], entry: NewEntry | None
    ) -> bool:
        def work(connection: Connection) -> bool:
            with connection.transaction():
                rows = self._statements.execute(connection, statement, place)
                if rows:
                    self._audit.add(connection, entry)
            return bool(rows)

        is_deleted = await self._statements.database.run(work)
        self.note_change()
        return is_deleted

    def _publish(
        self,
        connection: Connection,
        new: NewEvent,
        key: IdempotencyKey | None,
        deliver: Deliver,
    ) -> tuple[AddedEvent | None, list[Task]]:
        """Publish an event in the transaction that is open."""
        execute = self._statements.on(connection)
        rows = execute("new_event", {"topic": new.topic})
        if not rows:
            return None, _NO_TASKS
        [(queue, event_id, now)] = rows
        if key is not None and not execute("remember_event_if_new", _known(key, event_id)):
            return _replayed(execute, key), _NO_TASKS
        event = PublishedEvent(id=event_id, topic=new.topic, type=new.type, created_at=now)
        wanted = {
            "topic": new.topic,
            "endpoint": new.endpoint,
            "patterns": patterns_of(new.type),
        }
        rows = execute("endpoints_for_event", wanted)
        found = [one for one in map(endpoint_of, rows) if one.definition.is_enabled]
        tasks = deliver(new, event, queue, found)
        added = self._tasks.insert(connection, tasks) if tasks else []
        ids = [task.id for task in added]
        event = msgspec.structs.replace(event, tasks=tuple(ids))
        columns = {**msgspec.structs.asdict(event), "task_ids": ids}
        execute("add_event", columns | {"endpoint_ids": [one.id for one in found]})
        return AddedEvent(event), added


def _replayed(execute: Execute, key: IdempotencyKey) -> AddedEvent:
    for _, fingerprint, ids in execute("known_keys", {"keys": [key.text]}):
        if fingerprint != key.fingerprint:
            return AddedEvent(None, is_replay=True, is_same=False)
        rows = execute("read_event", {"id": ids[0]}) if ids else []
        return AddedEvent(published_event_of(rows[0]) if rows else None, is_replay=True)
    raise StoreUnavailable  # it was deleted at this moment


def _known(key: IdempotencyKey, event_id: uuid.UUID) -> dict[str, object]:
    return {
        "key": key.text,
        "fingerprint": key.fingerprint,
        "seconds": key.seconds,
        "id": event_id,
    }


def _disabled_event(endpoint: StoredEndpoint) -> NewEvent:
    return NewEvent(topic=OPERATIONS_TOPIC, type=DISABLED_TYPE, data=disabled_data(endpoint))
