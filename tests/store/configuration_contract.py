"""What every store has to keep of changes that are made together."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.model.audit import Actor
from taskflow.model.configuration import ResourceKind
from taskflow.model.errors import CredentialInUse
from taskflow.model.options import TaskOptions
from taskflow.model.queue_limits import NO_SETTINGS, QueueSettings
from taskflow.model.topics import EndpointDefinition
from tests.store.contract import new_task
from tests.store.credentials_contract import sealed
from tests.store.schedules_contract import definition
from tests.store.topics_contract import template_of

BY = Actor("boss")
USING = TaskOptions(credential="billing")


def limited_to(number: int):
    return lambda before: msgspec.structs.replace(before, max_concurrency=number)


async def make_all(stored) -> None:
    """One resource of each kind, each of which uses the credential."""
    await stored.credentials.put(sealed(), by=BY)
    await stored.queues.change("mail", lambda _: QueueSettings(credential="billing"), by=BY)
    await stored.topics.put("orders", lambda _: "mail", by=BY)
    endpoint = EndpointDefinition(
        topic="orders", name="shop", template=template_of("shop", options=USING)
    )
    await stored.topics.change_endpoint("orders", "shop", lambda _: endpoint, by=BY)
    schedule = definition("report", template=new_task(options=USING))
    await stored.schedules.change("report", lambda _: schedule, by=BY)


async def found(store) -> list[bool]:
    """Which of these there are."""
    topics = store.topics
    return [
        await store.credentials.get("billing") is not None,
        await store.queues.get("mail") not in (None, NO_SETTINGS),
        await topics.get("orders") is not None,
        await topics.endpoint("orders", "shop") is not None,
        await store.schedules.get("report") is not None,
    ]


class ConfigurationContract:
    """The conformance suite."""

    async def test_all_changes_are_made_together(self, store):
        """Others see none before the end, and all of them after it, with their entries."""

        async def work(stored):
            await make_all(stored)
            assert await found(stored) == [True] * 5
            assert await found(store) == [False] * 5
            return "done"

        assert await store.configure(work) == "done"
        assert await found(store) == [True] * 5
        entries = (await store.audit.page(limit=9)).entries
        assert sorted((one.actor, one.action, one.target) for one in entries) == [
            ("boss", "credential.put", "billing"),
            ("boss", "endpoint.put", "orders/shop"),
            ("boss", "queue.change", "mail"),
            ("boss", "schedule.put", "report"),
            ("boss", "topic.put", "orders"),
        ]

    async def test_an_error_leaves_nothing(self, store):
        """The last change is rejected: none is made, nothing is recorded, and its error is raised.

        So it is with deletions, and what was made before stays usable.
        """

        async def make(stored):
            await make_all(stored)
            await stored.credentials.delete("billing", by=BY)

        async def delete(stored):
            await stored.schedules.delete("report", by=BY)
            await stored.topics.delete("orders", by=BY)
            await stored.credentials.delete("billing", by=BY)

        with pytest.raises(CredentialInUse, match="queue mail, schedule report, endpoint orders/"):
            await store.configure(make)
        assert await found(store) == [False] * 5
        assert (await store.audit.page(limit=9)).entries == []
        await store.configure(make_all)
        with pytest.raises(CredentialInUse, match="used by queue mail;"):
            await store.configure(delete)
        assert await found(store) == [True] * 5

    async def test_deletions(self, store):
        """What used a credential is deleted in the same transaction, and then the credential."""
        await store.configure(make_all)

        async def delete(stored):
            assert await stored.schedules.delete("report")
            assert await stored.topics.delete_endpoint("orders", "shop")
            assert await stored.topics.delete("orders")
            await stored.queues.change("mail", lambda _: NO_SETTINGS)
            assert await stored.credentials.delete("billing")
            assert not await stored.credentials.delete("billing")

        await store.configure(delete)
        assert await found(store) == [False] * 5

    async def test_two_at_once(self, store):
        """One is made after the other, whichever is first: none overwrites what it has not seen."""

        async def more(stored):
            await stored.hold(ResourceKind.QUEUE, "mail")
            before = await stored.queues.get("mail") or NO_SETTINGS
            number = (before.max_concurrency or 0) + 1
            await stored.queues.change("mail", limited_to(number))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(store.configure, more)
        assert (await store.queues.get("mail")).max_concurrency == 3

    async def test_what_is_held_stays(self, store):
        """A change by others waits for the end of the transaction, or the work is done again."""
        await store.queues.put("mail", QueueSettings(max_concurrency=1))
        changed = trio.Event()

        async def change():
            await store.queues.change(
                "mail",
                lambda before: msgspec.structs.replace(
                    before, max_concurrency=before.max_concurrency + 10
                ),
            )
            changed.set()

        async def more(stored):
            await stored.hold(ResourceKind.QUEUE, "mail")
            number = (await stored.queues.get("mail")).max_concurrency + 1
            if not changed.is_set():
                nursery.start_soon(change)
                with trio.move_on_after(0.2):
                    await changed.wait()
            await stored.queues.change("mail", limited_to(number))

        async with trio.open_nursery() as nursery:
            await store.configure(more)
        assert (await store.queues.get("mail")).max_concurrency == 12

    async def test_caches_and_waits_learn_of_it(self, store):
        """Copies in memory are stale afterwards, and a wait for due schedules ends."""
        readings = [store.topics.reading(), store.credentials.reading()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.schedules.wait_for_change)
            await store.configure(make_all)
        for part, reading in zip((store.topics, store.credentials), readings, strict=True):
            assert not part.is_fresh(reading, max_age_seconds=1e9)

    async def test_each_kind_can_be_held(self, store):
        """Whether or not it exists."""

        async def hold(stored):
            for kind in ResourceKind:
                name = "orders/shop" if kind is ResourceKind.ENDPOINT else "mail"
                await stored.hold(kind, name)

        await store.configure(hold)
        await store.configure(make_all)
        await store.configure(hold)
