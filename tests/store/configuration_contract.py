"""What every store has to keep of changes that are made together."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.model.alerts import NoticeKind
from taskflow.model.audit import Actor
from taskflow.model.configuration import ResourceKind
from taskflow.model.errors import CredentialInUse
from taskflow.model.heartbeat_monitors import HeartbeatState, NewPing, Signal
from taskflow.model.options import TaskOptions
from taskflow.model.queue_limits import NO_SETTINGS, QueueSettings
from taskflow.model.topics import EndpointDefinition
from tests.store.alerts_contract import FIRING
from tests.store.alerts_contract import definition as alert
from tests.store.contract import new_task
from tests.store.credentials_contract import sealed
from tests.store.heartbeats_contract import heartbeat
from tests.store.schedules_contract import definition
from tests.store.topics_contract import template_of

BY = Actor("boss")
USING = TaskOptions(credential="billing")


def limited_to(number: int):
    return lambda before: msgspec.structs.replace(before, max_concurrency=number)


async def make_all(stored) -> None:
    """One resource of each kind; queue, endpoint and schedule use the credential."""
    await stored.credentials.put(sealed(), by=BY)
    await stored.queues.change("mail", lambda _: QueueSettings(credential="billing"), by=BY)
    await stored.topics.put("orders", lambda _: "mail", by=BY)
    endpoint = EndpointDefinition(
        topic="orders", name="shop", template=template_of("shop", options=USING)
    )
    await stored.topics.change_endpoint("orders", "shop", lambda _: endpoint, by=BY)
    schedule = definition("report", template=new_task(options=USING))
    await stored.schedules.change("report", lambda _: schedule, by=BY)
    await stored.heartbeat_monitors.change("backup", lambda _: heartbeat(), by=BY)
    await stored.alerts.put("mail", lambda _: alert(), by=BY)


async def found(store) -> list[bool]:
    """Which of these there are."""
    topics = store.topics
    return [
        await store.credentials.get("billing") is not None,
        await store.queues.get("mail") not in (None, NO_SETTINGS),
        await topics.get("orders") is not None,
        await topics.endpoint("orders", "shop") is not None,
        await store.schedules.get("report") is not None,
        await store.heartbeat_monitors.get("backup") is not None,
        await store.alerts.get("mail") is not None,
    ]


class ConfigurationContract:
    """The conformance suite."""

    async def test_all_changes_are_made_together(self, store):
        """Others see none before the end, and all of them after it, with their entries."""

        async def work(stored):
            await make_all(stored)
            assert await found(stored) == [True] * 7
            assert await found(store) == [False] * 7
            return "done"

        assert await store.configure(work) == "done"
        assert await found(store) == [True] * 7
        entries = (await store.audit.page(limit=9)).entries
        assert sorted((one.actor, one.action, one.target) for one in entries) == [
            ("boss", "alert.put", "mail"),
            ("boss", "credential.put", "billing"),
            ("boss", "endpoint.put", "orders/shop"),
            ("boss", "heartbeat.put", "backup"),
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
            await stored.alerts.delete("mail", by=BY)
            await stored.heartbeat_monitors.delete("backup", by=BY)
            await stored.schedules.delete("report", by=BY)
            await stored.topics.delete("orders", by=BY)
            await stored.credentials.delete("billing", by=BY)

        with pytest.raises(CredentialInUse, match="queue mail, schedule report, endpoint orders/"):
            await store.configure(make)
        assert await found(store) == [False] * 7
        assert (await store.audit.page(limit=9)).entries == []
        await store.configure(make_all)
        with pytest.raises(CredentialInUse, match="used by queue mail;"):
            await store.configure(delete)
        assert await found(store) == [True] * 7

    async def test_deletions(self, store):
        """What used a credential is deleted in the same transaction, and then the credential."""
        await store.configure(make_all)

        async def delete(stored):
            assert await stored.alerts.delete("mail")
            assert await stored.heartbeat_monitors.delete("backup")
            assert await stored.schedules.delete("report")
            assert await stored.topics.delete_endpoint("orders", "shop")
            assert await stored.topics.delete("orders")
            await stored.queues.change("mail", lambda _: NO_SETTINGS)
            assert await stored.credentials.delete("billing")
            assert not await stored.credentials.delete("billing")

        await store.configure(delete)
        assert await found(store) == [False] * 7

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

    async def test_two_change_the_same_heartbeat_and_alert(self, store):
        """As above, for resources that are held by name."""
        await make_all(store)

        async def more(stored):
            await stored.hold(ResourceKind.HEARTBEAT, "backup")
            await stored.hold(ResourceKind.ALERT, "mail")
            found = await stored.heartbeat_monitors.get("backup")
            grace = found.monitor.definition.grace_seconds + 1
            after = heartbeat(grace_seconds=grace)
            await stored.heartbeat_monitors.change("backup", lambda _: after)
            every = (await stored.alerts.get("mail")).definition.every_seconds + 1
            await stored.alerts.put("mail", lambda _: alert(every_seconds=every))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(store.configure, more)
        found = await store.heartbeat_monitors.get("backup")
        assert found.monitor.definition.grace_seconds == heartbeat().grace_seconds + 3
        kept = (await store.alerts.get("mail")).definition.every_seconds
        assert kept == alert().every_seconds + 3

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

    async def test_what_happens_meanwhile_is_kept(self, store):
        """Pings and evaluations between the first change and the end are not overwritten."""
        await make_all(store)
        pinged = (await store.heartbeat_monitors.get("backup")).monitor.ping_id
        [taken] = (await store.alerts.take_due(every_seconds=0.0)).alerts
        is_first = True

        async def work(stored):
            nonlocal is_first
            await stored.heartbeat_monitors.change("other", lambda _: heartbeat("other"))
            await stored.alerts.put("other", lambda _: alert("other"))
            if is_first:
                is_first = False
                ping = NewPing(Signal.FAIL)
                assert await store.heartbeat_monitors.ping(pinged, ping)
                fired = await store.alerts.evaluate(taken, FIRING, lambda _: [new_task()])
                assert fired.notice is NoticeKind.FIRING

        await store.configure(work)
        assert (await store.heartbeat_monitors.get("backup")).state is HeartbeatState.DOWN
        assert (await store.alerts.get("mail")).state.is_firing
        assert len(await store.alerts.notifications("mail")) == 1
        for part in (store.heartbeat_monitors, store.alerts):
            assert await part.get("other") is not None

    async def test_pings_and_evaluations_do_not_hold_up_other_changes(self, store):
        """They come all the time; a change of queues is made once beside them."""
        await make_all(store)
        pinged = (await store.heartbeat_monitors.get("backup")).monitor.ping_id
        calls = 0

        async def work(stored):
            nonlocal calls
            calls += 1
            await stored.queues.change("other", limited_to(calls))
            assert await store.heartbeat_monitors.ping(pinged, NewPing())
            assert (await store.alerts.take_due(every_seconds=0.0)).alerts

        await store.configure(work)
        assert calls == 1
        assert len((await store.heartbeat_monitors.history("backup")).pings) == 1
        assert (await store.queues.get("other")).max_concurrency == 1

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
