"""Encrypts payloads and results in front of another store.

The wrapped store keeps ciphertext and knows nothing of keys, except to compare conditional fetches.
Claims stay encrypted: the worker decrypts them, and releases those for which it lacks the key.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from taskflow.checkpoints import Checkpoints
from taskflow.model.alert_messages import Notify
from taskflow.model.alert_states import Observation
from taskflow.model.alerts import AlertNotification, StoredAlert
from taskflow.model.audit import Actor, NewEntry
from taskflow.model.encryption import Encryption
from taskflow.model.errors import FieldError, KeyMissing, Undecryptable, Unprocessable
from taskflow.model.filter import NO_FILTER, PageOrder, TaskFilter
from taskflow.model.groups import ALL_GROUPS, Group, GroupFilter, NewGroup
from taskflow.model.heartbeat_monitors import NewPing
from taskflow.model.schedule import Schedule, ScheduleChange, ScheduleDefinition
from taskflow.model.task import AttemptRecord, IdempotencyKey, NewTask, Task
from taskflow.model.topic_events import Deliver, NewEvent, PublishedEvent, deliveries_of
from taskflow.model.topics import EndpointChange, EndpointDefinition, StoredEndpoint
from taskflow.store.base.alerts import AlertStore, Evaluated
from taskflow.store.base.claims import Retry, Settlement
from taskflow.store.base.configuration import Configuration, ConfigurationWork, Result
from taskflow.store.base.groups import AddedGroup, GroupPage, GroupStore
from taskflow.store.base.heartbeat_monitors import HeartbeatMonitorStore, MonitorHistory
from taskflow.store.base.listing import Page
from taskflow.store.base.parking import DueAttempt, Parking, ParkingStore
from taskflow.store.base.schedules import SchedulePage, ScheduleStore
from taskflow.store.base.store import TaskStore
from taskflow.store.base.submission import AddedOnce, NotStored
from taskflow.store.base.topics import AddedEvent, EndpointPage, TopicStore

_NO_SEARCH: Final = (
    "url_contains cannot be used: payloads are encrypted (TASKFLOW_ENCRYPT); use host, or tags"
)


def encrypted_store(store: TaskStore, encryption: Encryption) -> TaskStore:
    """Return a store that encrypts what it keeps; the same store if there are no keys."""
    if not encryption.keyring:
        return store
    return cast("TaskStore", EncryptedStore(store, encryption))


class EncryptedStore:
    """The verbs of ``TaskStore`` that payloads or results pass through; all others are passed on.

    Attributes:
        schedules: The schedules, whose templates are encrypted like payloads.
        groups: The groups, whose completion tasks are.
        topics: The topics, whose endpoints and deliveries are.
        parking: Parked attempts, whose URLs are.
        alerts: The alerts, whose notifications are.
        heartbeat_monitors: Heartbeats, of whose pings the notes are encrypted like results.
    """

    def __init__(self, store: TaskStore, encryption: Encryption) -> None:
        self._store: Final = store
        self._encryption: Final = encryption
        self.schedules: Final = EncryptedSchedules(store.schedules, encryption)
        self.groups: Final = EncryptedGroups(store.groups, encryption)
        self.topics: Final = EncryptedTopics(store.topics, encryption)
        self.parking: Final = EncryptedParking(store.parking, encryption)
        self.alerts: Final = EncryptedAlerts(store.alerts, encryption)
        self.heartbeat_monitors: Final = EncryptedHeartbeatMonitors(
            store.heartbeat_monitors, encryption
        )

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def configure(self, work: ConfigurationWork[Result]) -> Result:
        def encrypted(found: Configuration) -> Awaitable[Result]:
            schedules = EncryptedSchedules(found.schedules, self._encryption)
            topics = EncryptedTopics(found.topics, self._encryption)
            return work(
                msgspec.structs.replace(
                    found,
                    schedules=cast("ScheduleStore", schedules),
                    topics=cast("TopicStore", topics),
                )
            )

        return await self._store.configure(encrypted)

    async def register(self, name: str, lease_seconds: float, **node: Any) -> uuid.UUID:
        has_payloads = self._encryption.has_payloads
        return await self._store.register(
            name, lease_seconds, **node, encrypts_payloads=has_payloads
        )

    async def add(self, tasks: Sequence[NewTask]) -> list[Task]:
        if not self._encryption.has_payloads:
            return await self._store.add(tasks)
        return await self._shown(await self._store.add(await self._sealed(tasks)))

    async def add_each(self, tasks: Sequence[NewTask]) -> list[Task | NotStored]:
        added = await self._store.add_each(await self._sealed(tasks))
        shown = iter(await self._shown(one for one in added if isinstance(one, Task)))
        return [next(shown) if isinstance(one, Task) else one for one in added]

    async def add_once(self, tasks: Sequence[NewTask], key: IdempotencyKey) -> AddedOnce:
        return await self._shown_added(await self._store.add_once(await self._sealed(tasks), key))

    async def find_added(self, key: IdempotencyKey) -> AddedOnce | None:
        added = await self._store.find_added(key)
        return None if added is None else await self._shown_added(added)

    async def get(self, task_id: uuid.UUID) -> Task | None:
        return self._shown_if_any(await self._store.get(task_id))

    async def get_unmasked(self, task_id: uuid.UUID) -> Task | None:
        task = await self._store.get_unmasked(task_id)
        return None if task is None else self._encryption.opened_task(task)

    async def get_many(self, task_ids: Collection[uuid.UUID]) -> list[Task]:
        return await self._shown(await self._store.get_many(task_ids))

    async def attempts(self, task_id: uuid.UUID) -> list[AttemptRecord] | None:
        attempts = await self._store.attempts(task_id)
        return attempts and [self._encryption.shown_attempt(one, task_id) for one in attempts]

    async def page(
        self,
        *,
        limit: int,
        before: uuid.UUID | None = None,
        filter: TaskFilter = NO_FILTER,
        without: Collection[str] = (),
        order: PageOrder = PageOrder.NEWEST,
    ) -> Page:
        if filter.url_contains is not None and self._encryption.has_payloads:
            raise Unprocessable(_NO_SEARCH, errors=[FieldError("#/url_contains", _NO_SEARCH)])
        page = await self._store.page(
            limit=limit, before=before, filter=filter, without=without, order=order
        )
        return msgspec.structs.replace(page, tasks=await self._shown(page.tasks))

    async def cancel(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return self._shown_if_any(await self._store.cancel(task_id, by=by))

    async def retry(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return self._shown_if_any(await self._store.retry(task_id, by=by))

    async def skip(self, task_id: uuid.UUID, *, by: Actor | None = None) -> Task | None:
        return self._shown_if_any(await self._store.skip(task_id, by=by))

    async def settle(self, settlements: Sequence[Settlement]) -> set[uuid.UUID]:
        if not self._encryption.has_results:
            return await self._store.settle(settlements)
        seal_result, seal_response = self._encryption.seal_result, self._encryption.seal_response
        sealed = [
            msgspec.structs.replace(
                one,
                result=seal_result(one.result, one.task_id),
                response=seal_response(one.response, one.task_id),
            )
            for one in settlements
        ]
        return await self._store.settle(sealed)

    async def schedule_retries(self, retries: Sequence[Retry]) -> set[uuid.UUID]:
        if not self._encryption.has_results:
            return await self._store.schedule_retries(retries)
        seal = self._encryption.seal_response
        sealed = [
            msgspec.structs.replace(one, response=seal(one.response, one.task_id))
            for one in retries
        ]
        return await self._store.schedule_retries(sealed)

    async def _sealed(self, tasks: Iterable[NewTask]) -> list[NewTask]:
        sealed, checkpoints = [], Checkpoints()
        for task in tasks:
            sealed.append(self._encryption.seal_task(task))
            await checkpoints.after(len(bytes(task.payload)))
        return sealed

    async def _shown(self, tasks: Iterable[Task]) -> list[Task]:
        shown, checkpoints = [], Checkpoints()
        for task in tasks:
            shown.append(self._encryption.shown_task(task))
            await checkpoints.after(task.size_bytes)
        return shown

    def _shown_if_any(self, task: Task | None) -> Task | None:
        return None if task is None else self._encryption.shown_task(task)

    async def _shown_added(self, added: AddedOnce) -> AddedOnce:
        return msgspec.structs.replace(added, tasks=await self._shown(added.tasks))


class EncryptedGroups:
    """The verbs of ``GroupStore`` that completion tasks pass through; all others are passed on."""

    def __init__(self, groups: GroupStore, encryption: Encryption) -> None:
        self._groups: Final = groups
        self._encryption: Final = encryption

    def __getattr__(self, name: str) -> object:
        return getattr(self._groups, name)

    async def add(
        self,
        new: NewGroup,
        tasks: Sequence[NewTask] = (),
        *,
        key: IdempotencyKey | None = None,
    ) -> AddedGroup:
        sealed, checkpoints = [], Checkpoints()
        for task in tasks:
            sealed.append(self._encryption.seal_task(task))
            await checkpoints.after(len(bytes(task.payload)))
        added = await self._groups.add(self._encryption.seal_group(new), sealed, key=key)
        return msgspec.structs.replace(added, group=self._shown(added.group))

    async def get(self, group_id: uuid.UUID) -> Group | None:
        return self._shown(await self._groups.get(group_id))

    async def page(
        self, *, limit: int, before: uuid.UUID | None = None, filter: GroupFilter = ALL_GROUPS
    ) -> GroupPage:
        page = await self._groups.page(limit=limit, before=before, filter=filter)
        shown = [self._encryption.shown_group(one) for one in page.groups]
        return msgspec.structs.replace(page, groups=shown)

    async def close(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return self._shown(await self._groups.close(group_id, by=by))

    async def cancel(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return self._shown(await self._groups.cancel(group_id, by=by))

    async def retry(self, group_id: uuid.UUID, *, by: Actor | None = None) -> Group | None:
        return self._shown(await self._groups.retry(group_id, by=by))

    def _shown(self, group: Group | None) -> Group | None:
        return None if group is None else self._encryption.shown_group(group)


class EncryptedTopics:
    """The verbs of ``TopicStore`` that templates and deliveries pass through.

    All others are passed on.
    """

    def __init__(self, topics: TopicStore, encryption: Encryption) -> None:
        self._topics: Final = topics
        self._encryption: Final = encryption

    def __getattr__(self, name: str) -> object:
        return getattr(self._topics, name)

    async def change_endpoint(
        self, topic: str, name: str, change: EndpointChange, *, by: Actor | None = None
    ) -> tuple[StoredEndpoint, bool] | None:
        def sealed(before: StoredEndpoint | None) -> EndpointDefinition:
            known = None if before is None else self._encryption.opened_endpoint(before)
            return self._encryption.seal_endpoint(change(known))

        changed = await self._topics.change_endpoint(topic, name, sealed, by=by)
        return None if changed is None else (self._opened(changed[0]), changed[1])

    async def rotate_secret(
        self,
        topic: str,
        name: str,
        secret: bytes,
        *,
        overlap_seconds: float,
        by: Actor | None = None,
    ) -> StoredEndpoint | None:
        rotated = await self._topics.rotate_secret(
            topic, name, secret, overlap_seconds=overlap_seconds, by=by
        )
        return None if rotated is None else self._opened(rotated)

    async def endpoint(self, topic: str, name: str) -> StoredEndpoint | None:
        found = await self._topics.endpoint(topic, name)
        return None if found is None else self._opened(found)

    async def endpoints(self, topic: str, *, limit: int, after: str | None = None) -> EndpointPage:
        page = await self._topics.endpoints(topic, limit=limit, after=after)
        return msgspec.structs.replace(
            page, endpoints=[self._opened(one) for one in page.endpoints]
        )

    async def publish(
        self,
        event: NewEvent,
        *,
        key: IdempotencyKey | None = None,
        deliver: Deliver = deliveries_of,
    ) -> AddedEvent | None:
        return await self._topics.publish(event, key=key, deliver=self._sealing(deliver))

    async def redeliver(
        self, deliveries: Mapping[uuid.UUID, NewTask], *, entry: NewEntry | None = None
    ) -> set[uuid.UUID]:
        sealed = {one: self._encryption.seal_task(task) for one, task in deliveries.items()}
        return await self._topics.redeliver(sealed, entry=entry)

    async def note_failure(
        self,
        endpoint_id: uuid.UUID,
        *,
        disable_after_seconds: float,
        reason: str,
        deliver: Deliver = deliveries_of,
    ) -> str | None:
        return await self._topics.note_failure(
            endpoint_id,
            disable_after_seconds=disable_after_seconds,
            reason=reason,
            deliver=self._sealing(deliver),
        )

    def _opened(self, endpoint: StoredEndpoint) -> StoredEndpoint:
        return self._encryption.opened_endpoint(endpoint)

    def _sealing(self, deliver: Deliver) -> Deliver:
        """Return a function that decrypts endpoints, and encrypts their deliveries."""

        def sealing(
            new: NewEvent, event: PublishedEvent, queue: str, endpoints: Sequence[StoredEndpoint]
        ) -> list[NewTask]:
            opened = [self._opened(one) for one in endpoints]
            return [self._encryption.seal_task(task) for task in deliver(new, event, queue, opened)]

        return sealing


class EncryptedAlerts:
    """The verbs of ``AlertStore`` that make notifications; all others are passed on."""

    def __init__(self, alerts: AlertStore, encryption: Encryption) -> None:
        self._alerts: Final = alerts
        self._encryption: Final = encryption

    def __getattr__(self, name: str) -> object:
        return getattr(self._alerts, name)

    async def evaluate(
        self, taken: StoredAlert, observation: Observation, notify: Notify
    ) -> Evaluated | None:
        return await self._alerts.evaluate(taken, observation, self._sealing(notify))

    async def test(
        self, name: str, notify: Notify, *, by: Actor | None = None
    ) -> AlertNotification | None:
        return await self._alerts.test(name, self._sealing(notify), by=by)

    def _sealing(self, notify: Notify) -> Notify:
        return lambda notice: [self._encryption.seal_task(task) for task in notify(notice)]


class EncryptedParking:
    """The verbs of ``ParkingStore`` that URLs pass through; all others are passed on."""

    def __init__(self, parking: ParkingStore, encryption: Encryption) -> None:
        self._parking: Final = parking
        self._encryption: Final = encryption

    def __getattr__(self, name: str) -> object:
        return getattr(self._parking, name)

    async def park(self, parkings: Sequence[Parking]) -> set[uuid.UUID]:
        seal = self._encryption.seal_poll_url
        return await self._parking.park(
            [
                msgspec.structs.replace(one, poll_url=seal(one.poll_url, one.task_id))
                for one in parkings
            ]
        )

    async def take_due(self, *, limit: int, take_seconds: float) -> list[DueAttempt]:
        """Return the due attempts; a node without the key for a URL leaves it to others."""
        found = []
        for one in await self._parking.take_due(limit=limit, take_seconds=take_seconds):
            try:
                url = self._encryption.open_poll_url(one.poll_url, one.claim.task_id)
            except (KeyMissing, Undecryptable):
                if not one.is_overdue:
                    continue
                url = None
            found.append(msgspec.structs.replace(one, poll_url=url))
        return found


class EncryptedHeartbeatMonitors:
    """The verbs of ``HeartbeatMonitorStore`` that notes of pings pass through.

    All others are passed on.
    """

    def __init__(self, monitors: HeartbeatMonitorStore, encryption: Encryption) -> None:
        self._monitors: Final = monitors
        self._encryption: Final = encryption

    def __getattr__(self, name: str) -> object:
        return getattr(self._monitors, name)

    async def ping(self, ping_id: uuid.UUID, ping: NewPing) -> bool:
        sealed = msgspec.structs.replace(ping, note=self._encryption.seal_note(ping.note))
        return await self._monitors.ping(ping_id, sealed)

    async def history(self, name: str) -> MonitorHistory | None:
        found = await self._monitors.history(name)
        if found is None:
            return None
        pings, checkpoints = [], Checkpoints()
        for one in found.pings:
            note = self._encryption.opened_note(one.ping.note)
            pings.append(
                msgspec.structs.replace(one, ping=msgspec.structs.replace(one.ping, note=note))
            )
            await checkpoints.after(len(note or b""))
        return msgspec.structs.replace(found, pings=pings)


class EncryptedSchedules:
    """The verbs of ``ScheduleStore`` that templates pass through; all others are passed on."""

    def __init__(self, schedules: ScheduleStore, encryption: Encryption) -> None:
        self._schedules: Final = schedules
        self._encryption: Final = encryption

    def __getattr__(self, name: str) -> object:
        return getattr(self._schedules, name)

    async def change(
        self, name: str, change: ScheduleChange, *, by: Actor | None = None
    ) -> tuple[Schedule, bool]:
        def sealed(before: ScheduleDefinition | None) -> ScheduleDefinition:
            after = change(None if before is None else self._encryption.open_schedule(before))
            return self._encryption.seal_schedule(after, before)

        changed, is_new = await self._schedules.change(name, sealed, by=by)
        return self._encryption.shown_schedule(changed), is_new

    async def put(self, definition: ScheduleDefinition) -> tuple[Schedule, bool]:
        return await self.change(definition.name, lambda _: definition)

    async def get(self, name: str) -> Schedule | None:
        schedule = await self._schedules.get(name)
        return None if schedule is None else self._encryption.shown_schedule(schedule)

    async def page(self, *, limit: int, after: str | None = None) -> SchedulePage:
        page = await self._schedules.page(limit=limit, after=after)
        shown = [self._encryption.shown_schedule(one) for one in page.schedules]
        return msgspec.structs.replace(page, schedules=shown)

    async def run_now(self, name: str, *, by: Actor | None = None) -> Task | None:
        task = await self._schedules.run_now(name, by=by)
        return None if task is None else self._encryption.shown_task(task)
