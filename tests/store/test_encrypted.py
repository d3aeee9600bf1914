"""An encrypted store keeps the contract of all stores, and what it keeps cannot be read."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from taskflow.model.encryption import Encryption
from taskflow.model.errors import KeyMissing
from taskflow.model.groups import NewGroup
from taskflow.model.heartbeat_monitors import MonitorDefinition, NewPing, note_of
from taskflow.model.keyring import Keyring
from taskflow.model.schedule import Timing
from taskflow.model.topic_events import NewEvent, redelivery_of
from taskflow.model.topics import EndpointDefinition
from taskflow.settings import Settings
from taskflow.store.base.alerts import AlertStore
from taskflow.store.base.claims import IdleNode
from taskflow.store.base.groups import GroupStore
from taskflow.store.base.heartbeat_monitors import HeartbeatMonitorStore
from taskflow.store.base.parking import ParkingStore
from taskflow.store.base.schedules import ScheduleStore
from taskflow.store.base.store import TaskStore
from taskflow.store.base.topics import TopicStore
from taskflow.store.encrypted import (
    EncryptedAlerts,
    EncryptedGroups,
    EncryptedHeartbeatMonitors,
    EncryptedParking,
    EncryptedSchedules,
    EncryptedStore,
    EncryptedTopics,
    encrypted_store,
)
from taskflow.store.memory.store import MemoryStore
from taskflow.store.postgres.store import open_postgres
from tests.store.callbacks_contract import CallbacksContract
from tests.store.configuration_contract import ConfigurationContract, make_all
from tests.store.contract import failed, new_task
from tests.store.flow_contract import FlowContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.parking_contract import HOUR, URL, ParkingContract, parking, slow_task

KEY, OTHER_KEY = b"1" * 32, b"2" * 32
ALL = ("payloads", "results")
ENCRYPTION = Encryption(Keyring([KEY]), ALL)


class OpeningNode(IdleNode):
    """A node whose workers decrypt what they are handed."""

    def __init__(self, node):
        self.node = node

    @contextlib.contextmanager
    def reserve(self, limit):
        with self.node.reserve(limit) as room:
            yield msgspec.structs.replace(room, deliver=lambda some: room.deliver(opened(some)))


def opened(claims):
    return [ENCRYPTION.open_claim(claim) for claim in claims]


class OpeningStore(EncryptedStore):
    """An encrypted store whose claims are decrypted, as workers do it."""

    def __init__(self, store, encryption):
        super().__init__(store, encryption)
        self.parking = OpeningParking(store.parking, encryption)

    async def claim(self, *args, **options):
        return opened(await self._store.claim(*args, **options))

    async def wait_for_work(self, node=None):
        await self._store.wait_for_work(node and OpeningNode(node))


class OpeningParking(EncryptedParking):
    """Parked attempts whose claims are decrypted, as workers do it."""

    async def find(self, task_id):
        found = await self._parking.find(task_id)
        return found and msgspec.structs.replace(found, claim=ENCRYPTION.open_claim(found.claim))

    async def take_due(self, **options):
        return [
            msgspec.structs.replace(one, claim=ENCRYPTION.open_claim(one.claim))
            for one in await super().take_due(**options)
        ]


class Contract(FlowContract, CallbacksContract, MonitoringContract, ParkingContract):
    test_a_page_is_bounded_by_bytes = None  # what is encrypted is longer


class TestEncryptedMemoryStore(Contract):
    has_virtual_clock = True

    @pytest.fixture
    async def store(self):
        return OpeningStore(MemoryStore(encryption=ENCRYPTION), ENCRYPTION)


@pytest.mark.long  # the store inside is the one of the other tests; minutes of waits
class TestEncryptedPostgresStore(Contract):
    @pytest.fixture
    async def store(self, database_url):
        async with open_postgres(database_url, Settings(), ENCRYPTION) as store:
            yield OpeningStore(store, ENCRYPTION)


class TestEncryptedConfiguration(ConfigurationContract):
    has_virtual_clock = True

    @pytest.fixture
    async def store(self):
        return encrypted_store(MemoryStore(encryption=ENCRYPTION), ENCRYPTION)

    async def test_templates_are_encrypted(self, store):
        """Those of schedules and endpoints that are changed together, too."""
        await store.configure(make_all)
        inner = store._store
        [schedule], [endpoint] = (
            inner.schedules._schedules.values(),
            inner.topics._endpoints.values(),
        )
        for template in (schedule.definition.template, endpoint.definition.template):
            assert b"example" not in bytes(template.payload)


# They neither take nor return payloads, templates or results.
PASSED_ON = {
    "archive",
    *(
        "queues_of",
        "status_codes",
        "count_pending",
        "count",
        "fold_counts",
        "delete_expired_keys",
        "promote",
    ),
    *("release", "lost_claims", "wait_for_work", "wait_for_cancellations"),
    *("renew", "retire", "rescue", "reconcile"),
    *("delete", "cancel_many", "retry_many", "delete_many", "expire", "seconds_to_expiry"),
    *("delete_finished", "record_events", "events_after", "wait_for_events", "delete_old_events"),
    *("has_nodes", "parts_without_nodes"),
    *("shared_secret", "end_session", "is_session_ended", "check", "statistics"),
}
STAYS_ENCRYPTED = {"claim", "parent_result"}
PASSED_ON_BY_SCHEDULES = {
    *("delete", "fire_due", "seconds_to_next", "wait_for_change", "delete_old_firings"),
    "runs",  # without requests and results
    *("get_stored", "next_runs"),  # of which only the times are read
    *("failing", "overdue"),
}


PASSED_ON_BY_HEARTBEATS = {
    *("change", "get", "page", "delete", "rotate", "check_due", "seconds_to_next", "down"),
    *("transitions_since", "count_states"),
}
PASSED_ON_BY_TOPICS = {
    *("put", "get", "page", "delete", "delete_endpoint", "secrets", "note_success"),
    *("delete_old_events", "note_change", "reading", "is_fresh"),
}


@pytest.mark.parametrize(
    ("kind", "encrypted", "passed_on"),
    [
        (TaskStore, EncryptedStore, PASSED_ON | STAYS_ENCRYPTED),
        (ScheduleStore, EncryptedSchedules, PASSED_ON_BY_SCHEDULES),
        (TopicStore, EncryptedTopics, PASSED_ON_BY_TOPICS),
        (
            ParkingStore,
            EncryptedParking,
            # A claim that is found stays encrypted, as those that are claimed.
            {"find", "extend", "seconds_to_next", "end_unrecorded", "wait_for_parked"},
        ),
        (
            AlertStore,
            EncryptedAlerts,
            {"put", "get", "all", "delete", "silence", "notifications", "take_due"},
        ),
        (
            HeartbeatMonitorStore,
            EncryptedHeartbeatMonitors,
            PASSED_ON_BY_HEARTBEATS,
        ),
        (
            GroupStore,
            EncryptedGroups,
            {"queues_of", "cancel_rest", "fold_counts", "delete_finished"},
        ),
    ],
)
def test_every_verb_is_classified(kind, encrypted, passed_on):
    """A new verb fails this test until someone has decided what is encrypted in it."""
    verbs = {
        name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))
    }
    assert verbs - set(vars(encrypted)) == passed_on
    assert not passed_on & set(vars(encrypted))


async def test_the_task_of_a_completed_group():
    """The database adds the body to an encrypted template, and a worker gets the whole request."""
    store = encrypted_store(MemoryStore(encryption=ENCRYPTION), ENCRYPTION)
    template = new_task('{"url":"http://example.com/?token=secret","method":"POST"}')
    on_complete = msgspec.Raw(b'{"payload":"http://example.com/?token=secret"}')
    new = NewGroup(on_complete=on_complete, completion=template, is_open=False)
    added = await store.groups.add(new)
    assert bytes(added.group.on_complete) == b'{"payload":"http://example.com/?token=***"}'
    node = await store.register("here", lease_seconds=30)
    [claim] = await store.claim(node, limit=1)
    assert b"secret" not in bytes(claim.payload)
    payload = msgspec.json.decode(ENCRYPTION.open_claim(claim).payload)
    assert payload["url"] == "http://example.com/?token=secret"
    assert payload["body"]["group"]["id"] == str(added.group.id)
    shown = await store.get(claim.task_id)
    assert msgspec.json.decode(shown.payload) == {
        **payload,
        "url": "http://example.com/?token=***",
    }


async def test_deliveries_of_an_encrypted_endpoint():
    """The URL and the body are encrypted, and a worker gets the whole request."""
    kept = MemoryStore(encryption=ENCRYPTION)
    store = encrypted_store(kept, ENCRYPTION)
    await store.topics.put("orders", lambda _: "hooks")
    template = new_task('{"url":"http://example.com/?token=secret","method":"POST"}')
    definition = EndpointDefinition(topic="orders", name="a", template=template)
    endpoint, _ = await store.topics.change_endpoint("orders", "a", lambda _: definition)
    assert endpoint.definition == definition
    sealed = await kept.topics.endpoint("orders", "a")
    assert b"secret" not in bytes(sealed.definition.template.payload)
    event = NewEvent(topic="orders", type="x", data=msgspec.Raw(b'"secret"'))
    added = await store.topics.publish(event)
    node = await store.register("here", lease_seconds=30)
    [claim] = await store.claim(node, limit=1)
    assert claim.task_id == added.event.tasks[0]
    assert b"secret" not in bytes(claim.payload)
    payload = msgspec.json.decode(ENCRYPTION.open_claim(claim).payload)
    assert (payload["url"], payload["body"]["data"]) == (
        "http://example.com/?token=secret",
        "secret",
    )
    await store.settle([failed(claim)])
    [task] = (await store.page(limit=1)).tasks
    again = redelivery_of(task.payload, task.delivery, endpoint, task.queue)
    assert await store.topics.redeliver({task.id: again}) == {task.id}
    [claim] = await store.claim(node, limit=1)
    assert msgspec.json.decode(ENCRYPTION.open_claim(claim).payload) == payload
    for one in (kept, encrypted_store(kept, Encryption(Keyring([OTHER_KEY]), ALL))):
        with pytest.raises(KeyMissing):
            await one.topics.publish(event)
    assert await store.claim(node, limit=9) == []


async def test_notes_of_pings():
    """They are encrypted like results; a node without the key shows the ping without its note."""
    inner = MemoryStore()
    store = encrypted_store(inner, ENCRYPTION)
    definition = MonitorDefinition(name="backup", timing=Timing(every_seconds=60))
    made, _ = await store.heartbeat_monitors.change("backup", lambda _: definition)
    ping_id = made.monitor.ping_id
    for note in (b"secret \xff", note_of(ENCRYPTION.seal_note(b"from a client")), None):
        assert await store.heartbeat_monitors.ping(ping_id, NewPing(note=note))
        [shown, *_] = (await store.heartbeat_monitors.history("backup")).pings
        assert shown.ping.note == note
    kept = (await inner.heartbeat_monitors.history("backup")).pings
    assert kept[2].ping.note.startswith(b'{"$encrypted":"')
    other = encrypted_store(inner, Encryption(Keyring([OTHER_KEY]), ALL))
    assert [one.ping.note for one in (await other.heartbeat_monitors.history("backup")).pings] == (
        [None, None, None]
    )


async def test_urls_of_parked_attempts():
    """The URL that is polled is encrypted for its task; a node without the key leaves the poll."""
    inner = MemoryStore()
    store = encrypted_store(inner, ENCRYPTION)
    other = encrypted_store(inner, Encryption(Keyring([OTHER_KEY]), ALL))
    plain = encrypted_store(inner, Encryption(Keyring([OTHER_KEY, KEY])))
    node = await store.register("here", lease_seconds=30)
    await store.add([slow_task()])
    [claim] = await store.claim(node, limit=1)
    polled = {"poll_url": URL, "poll_delay_seconds": 0.0}
    await store.parking.park([parking(claim, HOUR, **polled)])
    [stored] = await inner.parking.take_due(limit=1, take_seconds=0.0)
    assert stored.poll_url.startswith('{"$encrypted":"')
    assert await other.parking.take_due(limit=1, take_seconds=0.0) == []
    for one in (store, plain):
        [due] = await one.parking.take_due(limit=1, take_seconds=0.0)
        assert due.poll_url == URL
    copied = ENCRYPTION.seal_poll_url(URL, node)
    await inner.parking.park([parking(claim, HOUR, poll_url=copied)])
    assert await store.parking.take_due(limit=1, take_seconds=0.0) == []
    await plain.parking.park([parking(claim, HOUR, **polled)])
    [stored] = await inner.parking.take_due(limit=1, take_seconds=0.0)
    assert stored.poll_url == URL


async def test_overdue_attempts_need_no_key():
    """A node without the key for its URL ends an attempt that is overdue."""
    inner = MemoryStore()
    store = encrypted_store(inner, ENCRYPTION)
    other = encrypted_store(inner, Encryption(Keyring([OTHER_KEY]), ALL))
    node = await store.register("here", lease_seconds=30)
    await store.add([slow_task()])
    [claim] = await store.claim(node, limit=1)
    await store.parking.park([parking(claim, 0.0, poll_url=URL)])
    [due] = await other.parking.take_due(limit=1, take_seconds=HOUR)
    assert (due.claim.task_id, due.is_overdue, due.poll_url) == (claim.task_id, True, None)
