"""Topics in cells: each is in the cell of its name, with its endpoints and deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from taskflow.model.audit import Actor, NewEntry
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import IdempotencyKey, NewTask
from taskflow.model.topic_events import OPERATIONS_TOPIC, Deliver, NewEvent, deliveries_of
from taskflow.model.topics import (
    EndpointChange,
    EndpointSecrets,
    StoredEndpoint,
    Topic,
    TopicChange,
)
from taskflow.store.base.topics import AddedEvent, EndpointPage, TopicPage, TopicStore
from taskflow.store.cells.cell import Cells
from taskflow.store.cells.cell_changes import CellChanges
from taskflow.store.cells.names import merged_names
from taskflow.store.cells.submission import check_foreign_queue

Result = TypeVar("Result")


class CellTopics(CellChanges, TopicStore):
    """Stores topics, each in its cell; the topic of operational events is in all cells.

    An endpoint that is disabled publishes an event to that topic in the same transaction, so the
    topic is in the cell of every endpoint. Each cell has endpoints of its own there.
    """

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells, lambda store: store.topics)
        self._cells: Final = cells

    async def _in(self, name: str, call: Callable[[TopicStore], Awaitable[Result]]) -> Result:
        """Call a verb in the cell of a topic."""
        return await self._cells.of_name("topic", name).run(lambda store: call(store.topics))

    async def _copy(self, name: str, call: Callable[[TopicStore], Awaitable[object]]) -> None:
        """Call a verb in all other cells, too, if it is the topic of operational events."""
        if name == OPERATIONS_TOPIC:
            for cell in self._cells:
                if cell is not self._cells.of_name("topic", name):
                    await cell.run(lambda store: call(store.topics))

    async def put(
        self, name: str, change: TopicChange, *, by: Actor | None = None
    ) -> tuple[Topic, bool]:
        self._cells.check_map(name)
        queue = change(await self.get(name))
        await check_foreign_queue(self._cells, self._cells.of_name("topic", name), queue)
        put = await self._in(name, lambda topics: topics.put(name, change, by=by))
        await self._copy(name, lambda topics: topics.put(name, change))
        return put

    async def get(self, name: str) -> Topic | None:
        return await self._in(name, lambda topics: topics.get(name))

    async def page(
        self, *, limit: int, after: str | None = None, scope: QueueScope | None = None
    ) -> TopicPage:
        found = await self._cells.read(
            lambda store: store.topics.page(limit=limit, after=after, scope=scope)
        )
        topics, next_after = merged_names(
            [(one.result.topics, one.result.next_after) for one in found],
            limit,
            lambda topic: topic.name,
        )
        return TopicPage(topics, next_after)

    async def delete(self, name: str, *, by: Actor | None = None) -> bool:
        await self._copy(name, lambda topics: topics.delete(name))
        return await self._in(name, lambda topics: topics.delete(name, by=by))

    async def change_endpoint(
        self, topic: str, name: str, change: EndpointChange, *, by: Actor | None = None
    ) -> tuple[StoredEndpoint, bool] | None:
        changed = await self._in(
            topic, lambda topics: topics.change_endpoint(topic, name, change, by=by)
        )
        await self._copy(topic, lambda topics: topics.change_endpoint(topic, name, change))
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
        def rotate(topics: TopicStore, by: Actor | None) -> Awaitable[StoredEndpoint | None]:
            return topics.rotate_secret(topic, name, secret, overlap_seconds=overlap_seconds, by=by)

        rotated = await self._in(topic, lambda topics: rotate(topics, by))
        await self._copy(topic, lambda topics: rotate(topics, None))
        return rotated

    async def endpoint(self, topic: str, name: str) -> StoredEndpoint | None:
        return await self._in(topic, lambda topics: topics.endpoint(topic, name))

    async def endpoints(self, topic: str, *, limit: int, after: str | None = None) -> EndpointPage:
        return await self._in(
            topic, lambda topics: topics.endpoints(topic, limit=limit, after=after)
        )

    async def delete_endpoint(self, topic: str, name: str, *, by: Actor | None = None) -> bool:
        await self._copy(topic, lambda topics: topics.delete_endpoint(topic, name))
        return await self._in(topic, lambda topics: topics.delete_endpoint(topic, name, by=by))

    async def publish(
        self,
        event: NewEvent,
        *,
        key: IdempotencyKey | None = None,
        deliver: Deliver = deliveries_of,
    ) -> AddedEvent | None:
        return await self._in(
            event.topic, lambda topics: topics.publish(event, key=key, deliver=deliver)
        )

    async def redeliver(
        self, deliveries: Mapping[uuid.UUID, NewTask], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        return await self._cells.change(
            deliveries,
            lambda store, ids: store.topics.redeliver(
                {one: deliveries[one] for one in ids}, entry=entry
            ),
        )

    async def secrets(self, endpoint_id: uuid.UUID) -> EndpointSecrets | None:
        return await self._cells.find(endpoint_id, lambda store: store.topics.secrets(endpoint_id))

    async def note_success(self, endpoint_id: uuid.UUID) -> None:
        await self._cells.find(endpoint_id, lambda store: store.topics.note_success(endpoint_id))

    async def note_failure(
        self,
        endpoint_id: uuid.UUID,
        *,
        disable_after_seconds: float,
        reason: str,
        deliver: Deliver = deliveries_of,
    ) -> str | None:
        return await self._cells.find(
            endpoint_id,
            lambda store: store.topics.note_failure(
                endpoint_id,
                disable_after_seconds=disable_after_seconds,
                reason=reason,
                deliver=deliver,
            ),
        )

    async def delete_old_events(self, *, age_seconds: float, limit: int) -> int:
        return await self._cells.total(
            lambda store: store.topics.delete_old_events(age_seconds=age_seconds, limit=limit)
        )
