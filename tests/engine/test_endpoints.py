"""Deliveries as the engine runs them, on the virtual clock: signatures, and endpoints that fail."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from taskflow.engine.endpoints import Endpoints
from taskflow.metrics import Metrics
from taskflow.metrics.exposition import expose
from taskflow.model.delivery import Delivery
from taskflow.model.endpoint_secrets import seal_secret
from taskflow.model.errors import KeyMissing, StoreUnavailable
from taskflow.model.keyring import NO_KEYS, Keyring, key_of, new_encryption_key
from taskflow.model.options import WEBHOOK_ATTEMPTS, WEBHOOK_SECONDS, TaskOptions
from taskflow.model.outcome import ErrorType, Failed, Interrupted
from taskflow.model.signature import NO_SIGNER, Signer, new_secret, secret_of
from taskflow.model.task import NewTask, Task, TaskStatus
from taskflow.model.topic_events import NewEvent
from taskflow.model.topics import EndpointDefinition, StoredEndpoint
from taskflow.store.base.topics import KEPT_SECONDS
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.engine.conftest import Bench
from tests.engine.test_callbacks import DAY, DAYS, slow_housekeeping  # noqa: F401 - a fixture
from tests.engine.test_retries import BUSY
from tests.engine.test_signing import Target
from tests.loopback import SECRET

KEYRING = Keyring([key_of(new_encryption_key())])
GONE = Failed(ErrorType.HTTP_STATUS, "gone", 410)
UNLUCKY = Failed(ErrorType.INTERNAL, "internal", is_of_node=True)


class Topics:
    """An engine with an endpoint of a topic.

    Args:
        failures: What the target answers first.
    """

    def __init__(self, *failures: Failed, **settings: object) -> None:
        self.target = Target(*failures)
        self.bench = Bench(webhook_secrets=SECRET, **DAYS, **settings)
        self.bench.signer = Signer([secret_of(SECRET)])
        self.bench.keyring = KEYRING
        self.bench.fetcher = self.target

    @property
    def store(self) -> MemoryStore:
        return self.bench.store

    async def start(self, nursery: trio.Nursery, **fields) -> None:
        await self.store.topics.put("orders", lambda _: "hooks")
        await self.put(**fields)
        self.bench.engine = self.bench.new_engine()
        await nursery.start(self.bench.engine.run)

    async def put(self, **fields) -> StoredEndpoint:
        options = TaskOptions(backoff=WEBHOOK_SECONDS, retry_on=("3xx", "4xx", "5xx"))
        payload = msgspec.Raw(b'{"url":"http://target/","method":"POST"}')
        template = NewTask(payload, max_attempts=WEBHOOK_ATTEMPTS, options=options)
        definition = EndpointDefinition(topic="orders", name="a", template=template, **fields)
        changed = await self.store.topics.change_endpoint("orders", "a", lambda _: definition)
        assert changed is not None
        return changed[0]

    async def publish(self) -> Task:
        """Publish an event, and return its delivery when it is finished."""
        added = await self.store.topics.publish(
            NewEvent(topic="orders", type="x", data=msgspec.Raw(b"1"))
        )
        [task_id] = added.event.tasks
        while not (task := await self.store.get(task_id)).status.is_final:
            is_retried = task.status is TaskStatus.PENDING and task.attempt > 0
            await trio.sleep(1000 if is_retried else 0.01)
        await trio.sleep(1)  # until its outcome is noted
        return task

    async def endpoint(self) -> StoredEndpoint:
        found = await self.store.topics.endpoint("orders", "a")
        assert found is not None
        return found


async def test_deliveries_are_retried_for_days(autojump_clock, nursery):
    """Each attempt has the id of the event, and waits as the Standard Webhooks advise."""
    topics = Topics(*[BUSY] * (WEBHOOK_ATTEMPTS - 1))
    await topics.start(nursery)
    task = await topics.publish()
    assert (task.status, task.attempt) == (TaskStatus.COMPLETED, WEBHOOK_ATTEMPTS)
    assert topics.target.pauses == pytest.approx(WEBHOOK_SECONDS, abs=0.05)
    assert len(topics.target.signatures) == WEBHOOK_ATTEMPTS
    for headers in topics.target.signatures:
        assert headers["webhook-id"] == str(task.delivery.event_id)
        assert len(headers["webhook-signature"].split()) == 1
    assert (await topics.endpoint()).failing_since is None
    topics.bench.engine.shut_down(drain_seconds=0)


async def test_a_secret_of_its_own(autojump_clock, nursery):
    """It signs alone, but for the former one after a rotation; a change applies at once."""
    first, second = new_secret(), new_secret()
    topics = Topics()
    sealed = [seal_secret(secret_of(one), "orders/a", KEYRING) for one in (first, second)]
    await topics.start(nursery, secret=sealed[0])
    await topics.publish()
    await topics.store.topics.rotate_secret("orders", "a", sealed[1], overlap_seconds=DAY)
    await topics.publish()
    await trio.sleep(DAY + KEPT_SECONDS)
    await topics.publish()
    counts = [len(one["webhook-signature"].split()) for one in topics.target.signatures]
    assert counts == [1, 2, 1]
    topics.bench.engine.shut_down(drain_seconds=0)


async def test_an_endpoint_that_fails_for_five_days(autojump_clock, nursery):
    """It is disabled by the first failure after that time, which is logged and counted."""
    topics = Topics(*[BUSY] * 2 * WEBHOOK_ATTEMPTS)
    await topics.start(nursery)
    with capture_logs() as logs:
        assert (await topics.publish()).status is TaskStatus.FAILED
        since = (await topics.endpoint()).failing_since
        assert since is not None
        task = await topics.publish()
    assert (task.status, task.error_type) == (TaskStatus.FAILED, ErrorType.ENDPOINT_DISABLED)
    endpoint = await topics.endpoint()
    assert (endpoint.definition.is_enabled, endpoint.failing_since) == (False, since)
    assert endpoint.disabled_reason == "no attempt succeeded for 5 days: busy"
    [told] = [one for one in logs if one["event"] == Event.ENDPOINT_DISABLED.value[1]]
    assert told["endpoint"] == "orders/a"
    text = expose(topics.bench.metrics.registry, (), "").body.decode()
    assert "taskflow_endpoints_disabled_total 1.0" in text
    topics.bench.engine.shut_down(drain_seconds=0)


async def test_a_success_ends_the_time_of_failures(autojump_clock, nursery):
    """So does an attempt of another event; failures of the node do not count."""
    topics = Topics(BUSY, UNLUCKY)
    await topics.start(nursery)
    await topics.publish()
    assert (await topics.endpoint()).failing_since is None
    await trio.sleep(6 * DAY)
    topics.target.failures = [BUSY]
    await topics.publish()
    assert (await topics.endpoint()).definition.is_enabled
    topics.bench.engine.shut_down(drain_seconds=0)


async def test_410_disables_at_once(autojump_clock, nursery):
    """And the delivery is not retried."""
    topics = Topics(GONE)
    await topics.start(nursery)
    task = await topics.publish()
    assert (task.status, task.attempt) == (TaskStatus.FAILED, 1)
    assert (await topics.endpoint()).disabled_reason == "410 Gone"
    topics.bench.engine.shut_down(drain_seconds=0)


async def test_how_often_an_endpoint_is_read(autojump_clock, nursery, monkeypatch):
    """Once for seconds, and nothing is written for one that works."""
    topics, calls = Topics(), Counter()
    for name in ("secrets", "note_success", "note_failure"):
        monkeypatch.setattr(topics.store.topics, name, _counted(topics.store.topics, name, calls))
    await topics.start(nursery)
    for _ in range(3):
        await topics.publish()
    assert calls == {"secrets": 1}
    await trio.sleep(KEPT_SECONDS)
    await topics.publish()
    assert calls == {"secrets": 2}
    topics.bench.engine.shut_down(drain_seconds=0)


async def test_what_a_node_cannot_sign(autojump_clock):
    """A key that is missing releases the task; a store that is away interrupts the attempt."""
    store = MemoryStore()
    topics = Topics()
    await store.topics.put("orders", lambda _: "hooks")
    topics.bench.store = store
    sealed = seal_secret(secret_of(SECRET), "orders/a", KEYRING)
    endpoint = await topics.put(secret=sealed)
    delivery = Delivery("orders", "a", endpoint.id, endpoint.id, "x")

    def known(keyring: Keyring) -> Endpoints:
        return Endpoints(store.topics, keyring, NO_SIGNER, Metrics(), DAY)

    with pytest.raises(KeyMissing):
        await known(NO_KEYS).signer_of(delivery)
    moved = seal_secret(secret_of(SECRET), "orders/b", KEYRING)
    endpoints = known(KEYRING)
    assert len(await endpoints.signer_of(delivery)) == 1
    await topics.put(secret=moved)
    outcome = await endpoints.signer_of(delivery)
    assert (outcome.error_type, "rotate it" in outcome.error) == (ErrorType.INTERNAL, True)
    await topics.put(secret=sealed)
    assert len(await endpoints.signer_of(delivery)) == 1

    async def gone(_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable

    store.topics.secrets = gone
    await trio.sleep(2 * KEPT_SECONDS)
    assert len(await endpoints.signer_of(delivery)) == 1
    assert await known(KEYRING).signer_of(delivery) == Interrupted()


def _counted(store, name: str, calls: Counter):
    verb = getattr(store, name)

    async def counted(*arguments, **named):
        calls[name] += 1
        return await verb(*arguments, **named)

    return counted
