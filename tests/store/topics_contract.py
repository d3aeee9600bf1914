"""What every store has to keep of topics, endpoints and deliveries."""

from __future__ import annotations

import math
import uuid

import msgspec
import pytest
import trio

from taskflow.model.audit import Actor
from taskflow.model.errors import BodyTooLarge, CredentialInUse, TooManyEndpoints
from taskflow.model.filter import TaskFilter
from taskflow.model.options import TaskOptions
from taskflow.model.queue_scope import QueueScope
from taskflow.model.sealed_credential import SealedCredential
from taskflow.model.task import IdempotencyKey, Task, TaskStatus
from taskflow.model.topic_events import OPERATIONS_TOPIC, NewEvent, PublishedEvent, redelivery_of
from taskflow.model.topics import BY_REQUEST, EndpointDefinition, StoredEndpoint
from taskflow.store.base.store import TaskStore
from taskflow.store.memory import topics as memory_topics
from taskflow.store.postgres import topics as postgres_topics
from tests.store.contract import StoreContract, completed, failed, new_task

TEMPLATE = '{"url":"http://%s.example/hook","method":"POST"}'
BY = Actor("boss")


def template_of(name: str, **fields):
    known = {"host": f"{name}.example", "authority": f"{name}.example", "max_attempts": 3}
    return new_task(TEMPLATE % name, **{**known, **fields})


def event(kind: str = "invoice.paid", data: str = '{"n": 1.50}', **fields) -> NewEvent:
    return NewEvent(topic="orders", type=kind, data=msgspec.Raw(data.encode()), **fields)


class TopicContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def topic(self, store: TaskStore, name: str = "orders", queue: str = "hooks") -> None:
        await store.topics.put(name, lambda _: queue, by=BY)

    async def endpoint(
        self, store: TaskStore, name: str, *types: str, topic: str = "orders", **fields
    ) -> StoredEndpoint:
        known = {"template": template_of(name), "event_types": types or ("*",)}
        definition = EndpointDefinition(topic=topic, name=name, **{**known, **fields})
        changed = await store.topics.change_endpoint(topic, name, lambda _: definition, by=BY)
        assert changed is not None
        return changed[0]

    async def publish(self, store: TaskStore, new: NewEvent) -> PublishedEvent:
        added = await store.topics.publish(new)
        assert added is not None
        assert added.event is not None
        return added.event

    async def deliveries(self, store: TaskStore, one: StoredEndpoint, *statuses) -> list[Task]:
        wanted = TaskFilter(endpoint=one.id, statuses=statuses)
        return (await store.page(limit=100, filter=wanted)).tasks

    async def test_topics(self, store):
        """They are created, changed, listed by name and deleted."""
        first, is_new = await store.topics.put("b", lambda before: "one" if not before else "two")
        assert (first.name, first.queue, first.endpoints, is_new) == ("b", "one", 0, True)
        second, is_new = await store.topics.put("b", lambda before: "one" if not before else "two")
        assert (second.queue, is_new, second.created_at) == ("two", False, first.created_at)
        for name in ("a", "c"):
            await store.topics.put(name, lambda _: "mine")
        page = await store.topics.page(limit=2)
        assert ([one.name for one in page.topics], page.next_after) == (["a", "b"], "b")
        page = await store.topics.page(limit=2, after="b")
        assert ([one.name for one in page.topics], page.next_after) == (["c"], None)
        scoped = await store.topics.page(limit=9, scope=QueueScope(("two",), ("min",)))
        assert [one.name for one in scoped.topics] == ["a", "b", "c"]
        scoped = await store.topics.page(limit=9, scope=QueueScope(("two",)))
        assert [one.name for one in scoped.topics] == ["b"]
        assert await store.topics.delete("b")
        assert not await store.topics.delete("b")
        assert await store.topics.get("b") is None
        with pytest.raises(BodyTooLarge):
            await store.topics.put("d", _refuse)
        assert await store.topics.get("d") is None

    async def test_endpoints(self, store):
        """They are kept as they were put; what is recorded about them stays when they change."""
        await self.topic(store)
        options = TaskOptions(backoff=(1.0, 2.0), retry_on=("5xx",), credential="c")
        given = {
            "template": template_of("a", options=options),
            "queue": "q",
            "secret": b"\x00\xff'",
        }
        first = await self.endpoint(store, "a", "invoice.*", "x", **given)
        assert await store.topics.endpoint("orders", "a") == first
        assert first.definition.template.options == options
        assert (first.definition.secret, first.disabled_reason) == (b"\x00\xff'", None)
        again = await self.endpoint(store, "a", is_enabled=False, secret=b"\x00\xff'")
        assert (again.id, again.created_at) == (first.id, first.created_at)
        assert (again.disabled_reason, again.definition.queue) == (BY_REQUEST, None)
        enabled = await self.endpoint(store, "a")
        assert (enabled.disabled_reason, enabled.definition.secret) == (None, None)
        await self.endpoint(store, "b")
        page = await store.topics.endpoints("orders", limit=1)
        assert ([one.id for one in page.endpoints], page.next_after) == ([first.id], "a")
        page = await store.topics.endpoints("orders", limit=1, after="a")
        assert ([one.definition.name for one in page.endpoints], page.next_after) == (["b"], None)
        assert (await store.topics.get("orders")).endpoints == 2
        assert await store.topics.change_endpoint("none", "a", _refuse) is None
        with pytest.raises(BodyTooLarge):
            await store.topics.change_endpoint("orders", "c", _refuse)
        assert await store.topics.delete_endpoint("orders", "b")
        assert not await store.topics.delete_endpoint("orders", "b")
        renewed = await self.endpoint(store, "b")
        assert await store.topics.secrets(renewed.id) is not None
        await store.topics.delete("orders")
        assert await store.topics.endpoint("orders", "a") is None
        assert await store.topics.secrets(first.id) is None

    async def test_a_credential_in_use(self, store):
        """It shows the endpoints that use it, and is not deleted while there are any."""
        await store.credentials.put(SealedCredential("c", "bearer", ("a.example",), b"x"))
        await self.topic(store)
        options = TaskOptions(credential="c")
        await self.endpoint(store, "a", template=template_of("a", options=options))
        assert (await store.credentials.get("c")).used_by.endpoints == ("orders/a",)
        with pytest.raises(CredentialInUse, match="endpoint orders/a"):
            await store.credentials.delete("c")
        await store.topics.delete("orders")
        assert await store.credentials.delete("c")

    async def test_too_many_endpoints(self, store, monkeypatch):
        """An existing one can still be changed."""
        for module in (memory_topics, postgres_topics):
            monkeypatch.setattr(module, "MAX_ENDPOINTS", 1)
        await self.topic(store)
        await self.endpoint(store, "a")
        await self.endpoint(store, "a")
        with pytest.raises(TooManyEndpoints):
            await self.endpoint(store, "b")

    async def test_an_event_makes_a_task_for_each_endpoint(self, store, node):
        """Which matches and is enabled; with the data byte for byte, and one id for all."""
        await self.topic(store)
        a = await self.endpoint(store, "a", "invoice.paid")
        b = await self.endpoint(store, "b", "x", "invoice.*", queue="own")
        c = await self.endpoint(store, "c")
        await self.endpoint(store, "d", "invoice", "invoice.paid.late", "customer.*")
        await self.endpoint(store, "e", is_enabled=False)
        trace = {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
        published = await self.publish(store, event(trace=trace))
        assert (published.topic, published.type) == ("orders", "invoice.paid")
        tasks = {task.id: task for task in await store.get_many(published.tasks)}
        assert len(tasks) == len(published.tasks) == 3
        for task_id, endpoint in zip(published.tasks, (a, b, c), strict=True):
            task, delivery = tasks[task_id], tasks[task_id].delivery
            name = endpoint.definition.name
            assert (delivery.topic, delivery.endpoint) == ("orders", name)
            assert (delivery.endpoint_id, delivery.event_id) == (endpoint.id, published.id)
            assert delivery.event_type == "invoice.paid"
            assert (task.queue, task.max_attempts) == ("own" if name == "b" else "hooks", 3)
            payload = bytes(task.payload)
            assert payload.startswith(b'{"url":"http://%b.example/hook"' % name.encode())
            assert payload.endswith(b',"data":{"n": 1.50}}}')
            body = msgspec.json.decode(payload)["body"]
            assert (list(body), body["type"]) == (["type", "timestamp", "data"], "invoice.paid")
            moment = msgspec.json.decode(msgspec.json.encode(published.created_at))
            assert body["timestamp"] == moment
            assert await self.deliveries(store, endpoint) == [task]
        claims = await store.claim(node, limit=9)
        assert {claim.options.traceparent for claim in claims} == set(trace.values())
        assert {claim.authority for claim in claims} == {f"{name}.example" for name in "abc"}
        assert {claim.options.delivery.event_id for claim in claims} == {published.id}

    async def test_events_without_endpoints(self, store):
        """They are published, and make no tasks; without a topic there is nothing."""
        assert await store.topics.publish(event()) is None
        await self.topic(store)
        assert (await self.publish(store, event())).tasks == ()
        a = await self.endpoint(store, "a", "other")
        published = await self.publish(store, event(endpoint="a"))
        [task] = await self.deliveries(store, a)
        assert published.tasks == (task.id,)
        assert (await self.publish(store, event(endpoint="b"))).tasks == ()

    async def test_an_event_that_is_too_large(self, store, monkeypatch):
        """For all of its endpoints together: nothing is stored."""
        monkeypatch.setattr("taskflow.model.topic_events.MAX_DELIVERY_BYTES", 1000)
        await self.topic(store)
        endpoints = [await self.endpoint(store, name) for name in "ab"]
        large = event(data='"' + "x" * 500 + '"')
        with pytest.raises(BodyTooLarge, match="2 endpoints"):
            await store.topics.publish(large)
        assert [await self.deliveries(store, one) for one in endpoints] == [[], []]

    async def test_the_same_event_twice(self, store):
        """A request that is repeated with its key returns the first event, of all at once."""
        await self.topic(store)
        a = await self.endpoint(store, "a")
        key = IdempotencyKey("k", b"f" * 32, 60.0)
        events = []

        async def publish() -> None:
            events.append(await store.topics.publish(event(), key=key))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(publish)
        assert sorted(one.is_replay for one in events) == [False, True, True, True]
        assert len({one.event for one in events}) == 1
        assert len(await self.deliveries(store, a)) == 1
        other = msgspec.structs.replace(key, fingerprint=b"g" * 32)
        assert not (await store.topics.publish(event(), key=other)).is_same
        assert await store.topics.delete_old_events(age_seconds=-1, limit=9) == 1
        gone = await store.topics.publish(event(), key=key)
        assert (gone.event, gone.is_replay, gone.is_same) == (None, True, True)

    async def test_failed_deliveries_are_sent_again(self, store, node):
        """With the request that their endpoint has now, the same body and the same event."""
        await self.topic(store)
        a = await self.endpoint(store, "a")
        for _ in range(3):
            await self.publish(store, event())
        claims = await store.claim(node, limit=9)
        await store.settle([failed(claims[0]), failed(claims[1]), completed(claims[2])])
        tasks = await self.deliveries(store, a, TaskStatus.FAILED)
        assert len(tasks) == 2
        options = TaskOptions(credential="c", backoff=(7.0,))
        template = template_of("new", options=options, max_attempts=9)
        moved = await self.endpoint(store, "a", template=template)
        again = {
            task.id: redelivery_of(task.payload, task.delivery, moved, task.queue) for task in tasks
        }
        again |= {claims[2].task_id: next(iter(again.values())), uuid.uuid4(): new_task()}
        assert await store.topics.redeliver(again) == {task.id for task in tasks}
        assert await store.topics.redeliver(again) == set()
        retried = await store.claim(node, limit=9)
        assert {claim.task_id for claim in retried} == {task.id for task in tasks}
        newest_first = sorted(retried, key=lambda one: one.task_id)[::-1]
        for task, claim in zip(tasks, newest_first, strict=True):
            assert (claim.authority, claim.attempt, claim.max_attempts) == ("new.example", 1, 9)
            assert (claim.options.credential, claim.options.backoff) == ("c", (7.0,))
            assert claim.options.delivery == task.delivery
            assert (
                bytes(claim.payload).partition(b'"body"')[2]
                == (bytes(task.payload).partition(b'"body"')[2])
            )
        shown = await store.get(tasks[0].id)
        assert (shown.credential, shown.max_attempts) == ("c", 9)
        assert len(await store.attempts(tasks[0].id)) == 2

    async def test_the_secrets_of_an_endpoint(self, store):
        """After a rotation, the former one of its own is there for a time, too."""
        await self.topic(store)
        a = await self.endpoint(store, "a")
        before = store.topics.reading()
        secrets = await store.topics.secrets(a.id)
        assert (secrets.full_name, secrets.is_enabled, secrets.sealed) == ("orders/a", True, ())
        first = await store.topics.rotate_secret("orders", "a", b"1", overlap_seconds=60)
        assert not store.topics.is_fresh(before, max_age_seconds=math.inf)
        assert (first.definition.secret, first.former_secret_until) == (b"1", None)
        second = await store.topics.rotate_secret("orders", "a", b"2", overlap_seconds=60)
        assert second.former_secret_until > second.updated_at
        assert (await store.topics.secrets(a.id)).sealed == (b"2", b"1")
        kept = await self.endpoint(store, "a", secret=b"2")
        assert kept.former_secret_until == second.former_secret_until
        await store.topics.rotate_secret("orders", "a", b"3", overlap_seconds=0)
        assert (await store.topics.secrets(a.id)).sealed == (b"3",)
        await store.topics.rotate_secret("orders", "a", b"4", overlap_seconds=0.001)
        while (await store.topics.secrets(a.id)).sealed != (b"4",):
            await trio.sleep(0.001)
        assert await store.topics.rotate_secret("orders", "x", b"5", overlap_seconds=0) is None

    async def test_an_endpoint_that_fails(self, store):
        """Its first failure counts, until a success; after a time it is disabled, once."""
        await self.topic(store)
        await self.topic(store, OPERATIONS_TOPIC, "ops")
        operator = await self.endpoint(store, "operator", topic=OPERATIONS_TOPIC)
        a = await self.endpoint(store, "a")

        async def fail(seconds: float) -> str | None:
            return await store.topics.note_failure(
                a.id, disable_after_seconds=seconds, reason="it failed"
            )

        assert await fail(60) is None
        failing = await store.topics.endpoint("orders", "a")
        assert failing.failing_since is not None
        assert (await store.topics.secrets(a.id)).failing_seconds >= 0
        assert await fail(60) is None
        await store.topics.note_success(a.id)
        assert (await store.topics.secrets(a.id)).failing_seconds is None
        assert await fail(60) is None
        while (disabled_now := await fail(0.001)) is None:
            await trio.sleep(0.001)
        assert disabled_now == "orders/a"
        assert await fail(0.001) is None
        disabled = await store.topics.endpoint("orders", "a")
        assert (disabled.definition.is_enabled, disabled.disabled_reason) == (False, "it failed")
        assert not (await store.topics.secrets(a.id)).is_enabled
        assert (await self.publish(store, event())).tasks == ()
        [told] = await self.deliveries(store, operator)
        body = msgspec.json.decode(told.payload)["body"]
        assert (body["type"], told.queue) == ("endpoint.disabled", "ops")
        assert body["data"]["endpoint_id"] == str(a.id)
        assert (body["data"]["topic"], body["data"]["endpoint"]) == ("orders", "a")
        assert body["data"]["reason"] == "it failed"
        enabled = await self.endpoint(store, "a")
        assert (enabled.failing_since, enabled.disabled_reason) == (None, None)
        assert await fail(0) == "orders/a"
        assert (
            await store.topics.note_failure(uuid.uuid4(), disable_after_seconds=0, reason="")
            is None
        )

    async def test_deliveries_are_found(self, store, node):
        """By endpoint, status and queue; those of an endpoint that was deleted are another's."""
        await self.topic(store)
        a = await self.endpoint(store, "a")
        b = await self.endpoint(store, "b", queue="other")
        for _ in range(3):
            await self.publish(store, event())
        [claim] = await store.claim(node, limit=1)
        await store.settle([failed(claim)])
        page = await store.page(limit=2, filter=TaskFilter(endpoint=b.id))
        rest = await store.page(limit=2, before=page.next_before, filter=TaskFilter(endpoint=b.id))
        found = [task.id for task in page.tasks + rest.tasks]
        assert found == sorted(found, reverse=True)
        assert len(found) == 3
        of_each = [len(await self.deliveries(store, one, TaskStatus.FAILED)) for one in (a, b)]
        assert sorted(of_each) == [0, 1]
        scope = QueueScope(("other",))
        for one, count in ((a, 0), (b, 3)):
            wanted = TaskFilter(endpoint=one.id, scope=scope)
            assert len((await store.page(limit=9, filter=wanted)).tasks) == count
        await store.topics.delete_endpoint("orders", "a")
        renewed = await self.endpoint(store, "a")
        assert await self.deliveries(store, renewed) == []
        await store.cancel_many(found)
        await store.delete_many(found)
        assert await self.deliveries(store, b) == []


def _refuse(_: object) -> str:
    raise BodyTooLarge
