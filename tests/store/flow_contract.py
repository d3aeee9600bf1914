"""What every store has to keep of limits, failing hosts and fair shares."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
import trio
import trio.testing

from taskflow.model.claim_selection import HostShares
from taskflow.model.options import TaskOptions
from taskflow.model.queue_limits import HoldReason, HostLimits, QueueSettings, Rate
from taskflow.model.task import Claim, NewTask, Task
from taskflow.store.base.claims import Release
from taskflow.store.base.store import TaskStore
from tests.store.contract import NodeTaker, completed, new_task
from tests.store.options_contract import OptionsContract

PAUSED = QueueSettings(paused=True)
SLOW, OTHER = "slow.example:8080", "other.example"


def at(host: str, **fields) -> NewTask:
    return new_task(host=host.partition(":")[0], authority=host, **fields)


def ended(claim: Claim):
    return msgspec.structs.replace(completed(claim), makes_room=claim.is_limited)


class FlowContract(OptionsContract):
    """The conformance suite, this part of it included."""

    @pytest.mark.parametrize("settings", [QueueSettings(), QueueSettings(max_concurrency=9)])
    async def test_claims_know_whether_their_queue_signs(self, store, node, settings):
        """Each claim has what its queue says at that moment, unless its task says otherwise."""
        unsaid, own = new_task(queue="mail"), new_task(queue="mail", options=TaskOptions(sign=True))
        for sign in (True, False, None):
            await store.queues.put("mail", msgspec.structs.replace(settings, sign=sign))
            await store.add([unsaid, own, new_task(queue="other")])
            claims = await store.claim(node, limit=9, by_age=1)
            claimed = sorted(claims, key=lambda claim: claim.task_id)
            assert [claim.options.sign for claim in claimed] == [sign, True, None]
            await store.settle([completed(claim) for claim in claims])

    async def test_a_queue_that_only_signs_has_no_limits(self, store, node):
        """Its tasks start at once, and none waits for the end of another."""
        await store.queues.put("mail", QueueSettings(sign=True))
        async with self.taker(store, node, room=9) as taker:
            await store.add([new_task(queue="mail")])
            claims = taker.claims or await store.claim(node, limit=9)
        assert [(claim.options.sign, claim.is_limited) for claim in claims] == [(True, False)]

    @pytest.mark.parametrize("settings", [QueueSettings(), QueueSettings(max_concurrency=9)])
    async def test_claims_know_the_proxy_of_their_queue(self, store, node, settings):
        """As it is at that moment; the store shows it as it was put."""
        for proxy in ("http://worker:s3cret@proxy.example", "direct", None):
            await store.queues.put("mail", msgspec.structs.replace(settings, egress_proxy=proxy))
            assert (await store.queues.get("mail")).egress_proxy == proxy
            await store.add([new_task(queue="mail"), new_task(queue="other")])
            claims = await store.claim(node, limit=9, by_age=1)
            claimed = sorted(claims, key=lambda claim: claim.task_id)
            assert [claim.egress_proxy for claim in claimed] == [proxy, None]
            await store.settle([completed(claim) for claim in claims])

    @pytest.fixture
    async def other_node(self, store: TaskStore) -> uuid.UUID:
        return await store.register("there", lease_seconds=30)

    async def reason(self, store: TaskStore, task: Task) -> HoldReason | None:
        found = await store.get(task.id)
        assert found is not None
        return found.held.reason if found.held else None

    async def hosts(self, claims: Sequence[Claim]) -> Counter[str]:
        return Counter(claim.authority for claim in claims)

    # What is asked of queues

    async def test_settings_are_kept(self, store):
        """As they were put, in place of what was there before; and by name."""
        settings = QueueSettings(
            max_concurrency=3,
            rate=Rate(per_second=0.5, burst=2),
            per_host=HostLimits(max_concurrency=1, rate=Rate(per_second=10)),
        )
        assert await store.queues.get("mail") is None
        assert await store.queues.put("mail", settings) is True
        assert await store.queues.put("a", PAUSED) is True
        assert await store.queues.get("mail") == settings
        assert await store.queues.first(10) == {"a": PAUSED, "mail": settings}
        assert list(await store.queues.first(1)) == ["a"]
        assert await store.queues.put("mail", QueueSettings()) is False
        assert await store.queues.get("mail") == QueueSettings()

    async def test_a_pause_leaves_the_rest_alone(self, store):
        """Also of a queue of which nothing was asked before."""
        limited = QueueSettings(max_concurrency=3)
        await store.queues.put("mail", limited)
        paused = await store.queues.set_paused("mail", is_paused=True)
        assert paused == msgspec.structs.replace(limited, paused=True)
        assert await store.queues.get("mail") == paused
        assert await store.queues.set_paused("mail", is_paused=False) == limited
        assert await store.queues.set_paused("new", is_paused=True) == PAUSED

    async def test_concurrent_changes_are_all_kept(self, store):
        """Each is applied to what the one before left, also to a queue without settings."""

        def more(settings):
            return msgspec.structs.replace(
                settings, max_concurrency=(settings.max_concurrency or 0) + 1
            )

        made = []

        async def change():
            made.append((await store.queues.change("mail", more)).is_new)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(change)
        assert made.count(True) == 1
        assert await store.queues.get("mail") == QueueSettings(max_concurrency=10)

    async def test_a_change_that_fails_changes_nothing(self, store):
        """Neither a queue with settings nor one without."""
        limited = QueueSettings(max_concurrency=3)
        await store.queues.put("mail", limited)

        def fail(_):
            raise LookupError

        for name in ("mail", "other"):
            with pytest.raises(LookupError):
                await store.queues.change(name, fail)
        assert await store.queues.get("mail") == limited
        assert await store.queues.get("other") is None

    async def test_paused_queues_are_skipped(self, store, node):
        """Its tasks are held and say why; any number of them do not block other queues."""
        await store.queues.put("mail", PAUSED)
        waiting = await store.add([new_task(queue="mail") for _ in range(150)])
        [other] = await store.add([new_task(queue="others")])
        [claim] = await store.claim(node, limit=5)
        assert claim.task_id == other.id
        assert await self.reason(store, waiting[0]) is HoldReason.QUEUE_PAUSED
        page = await store.page(limit=1, before=other.id)
        assert page.tasks[0].held.reason is HoldReason.QUEUE_PAUSED
        assert await store.claim(node, limit=5) == []
        await store.queues.set_paused("mail", is_paused=False)
        assert await self.reason(store, waiting[0]) is None
        claims = await store.claim(node, limit=5)
        assert [claim.task_id for claim in claims] == [task.id for task in waiting[:5]]

    async def test_tasks_that_are_not_due_are_not_held(self, store):
        """The pause of their queue is not what delays them."""
        await store.queues.put("mail", PAUSED)
        [task] = await store.add([new_task(queue="mail", delay_seconds=60)])
        assert await self.reason(store, task) is None

    async def test_concurrency_holds_over_all_nodes(self, store, node, other_node):
        """The limit covers all nodes; the next task starts when one has finished."""
        await store.queues.put("mail", QueueSettings(max_concurrency=2))
        tasks = await store.add([new_task(queue="mail") for _ in range(4)])
        [first] = await store.claim(node, limit=1)
        [second] = await store.claim(other_node, limit=10)
        assert await store.claim(node, limit=10) == []
        assert await self.reason(store, tasks[2]) is HoldReason.QUEUE_CONCURRENCY
        assert first.is_limited
        await store.settle([ended(second)])
        [third] = await store.claim(node, limit=10)
        assert third.task_id == tasks[2].id
        await store.release([Release(first.task_id, first.token)])
        [again] = await store.claim(node, limit=10)
        assert again.task_id == first.task_id

    async def test_free_capacity_wakes_nodes(self, store, node):
        """A finished or canceled task, or a new limit, wakes nodes that wait for work."""
        await store.queues.put("mail", QueueSettings(max_concurrency=1))
        await store.add([new_task(queue="mail") for _ in range(4)])
        [claim] = await store.claim(node, limit=10)
        for make_room in (
            lambda claim: store.settle([ended(claim)]),
            lambda claim: store.cancel(claim.task_id),
            lambda _: store.queues.put("mail", QueueSettings(max_concurrency=2)),
        ):
            assert await store.claim(node, limit=10) == []
            with trio.fail_after(90):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(store.wait_for_work)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    await make_room(claim)
            [claim] = await store.claim(node, limit=10)

    async def test_hosts_are_limited_one_by_one(self, store, node):
        """A host at its limit does not hold up another one behind it."""
        limits = HostLimits(max_concurrency=2)
        await store.queues.put("mail", QueueSettings(per_host=limits))
        tasks = await store.add([at(SLOW, queue="mail") for _ in range(120)])
        await store.add([at(OTHER, queue="mail") for _ in range(3)])
        nowhere = await store.add([new_task(queue="mail") for _ in range(3)])
        claims = await store.claim(node, limit=10)
        assert await self.hosts(claims) == {SLOW: 2, OTHER: 2, "": 3}
        assert {task.id for task in nowhere} < {claim.task_id for claim in claims}
        assert await self.reason(store, tasks[-1]) is HoldReason.HOST_CONCURRENCY

    async def test_the_rate_limit(self, store, node):
        """A burst starts, then one at a time; nodes sleep until the next start is allowed."""
        await store.queues.put("mail", QueueSettings(rate=Rate(per_second=4, burst=2)))
        tasks = await store.add([new_task(queue="mail") for _ in range(4)])
        assert len(await store.claim(node, limit=10)) == 2
        began = trio.current_time()
        assert await self.reason(store, tasks[2]) is HoldReason.QUEUE_RATE
        for _ in range(2):
            claims: list[Claim] = []
            while not claims:
                with trio.fail_after(90):
                    await store.wait_for_work()
                claims = await store.claim(node, limit=10)
            assert len(claims) == 1
        assert trio.current_time() - began > 0.4

    async def test_removed_limits_wake_no_nodes(self, store, node):
        """Once the limit is removed, waiting nodes are not woken for it."""
        await store.queues.put("mail", QueueSettings(rate=Rate(per_second=8)))
        await store.add([new_task(queue="mail") for _ in range(2)])
        assert len(await store.claim(node, limit=10)) == 1
        await store.queues.put("mail", QueueSettings())
        assert len(await store.claim(node, limit=10)) == 1
        assert await store.claim(node, limit=10) == []
        await store.wait_for_work()  # the change
        await trio.sleep(0.2)
        with trio.move_on_after(0.3) as waiting:
            await store.wait_for_work()
        assert waiting.cancelled_caught

    async def test_due_tasks_that_may_not_start_wake_nodes_once(self, store, node):
        """Nodes do not look for them again and again."""
        await store.queues.put("default", QueueSettings(paused=True))
        await store.add([new_task(), new_task(delay_seconds=0.1)])
        looks = 0
        with trio.move_on_after(1):
            while True:
                assert await store.claim(node, limit=1) == []
                looks += 1
                await store.wait_for_work()
        assert looks < 10

    async def test_a_rate_holds_for_each_host(self, store, node):
        """By itself, and within a queue alone."""
        slow = QueueSettings(per_host=HostLimits(rate=Rate(per_second=0.01)))
        await store.queues.put("mail", slow)
        [_, second, _, _] = await store.add([at(one, queue="mail") for one in (SLOW, OTHER) * 2])
        await store.add([at(SLOW)])
        claims = await store.claim(node, limit=10)
        assert await self.hosts(claims) == {SLOW: 2, OTHER: 1}
        third = (await store.page(limit=10)).tasks[2]
        assert third.held.reason is HoldReason.HOST_RATE
        assert 90 < (third.held.until - second.created_at).total_seconds() < 110

    async def test_startable_tasks_keep_their_order(self, store, node):
        """By priority, then by time."""
        await store.queues.put("mail", QueueSettings(max_concurrency=3))
        await store.add([new_task(queue="mail", priority=place % 3) for place in range(6)])
        claims = await store.claim(node, limit=10)
        tasks = [await store.get(claim.task_id) for claim in claims]
        assert [task.priority for task in tasks] == [2, 2, 1]

    async def test_limited_tasks_are_not_claimed_directly(self, store, node):
        """A node that waits for work gets it by a claim; of the rest nothing changes."""
        await store.queues.put("mail", QueueSettings(max_concurrency=1))
        taker = NodeTaker(node, room=9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(taker.wait, store)
            await trio.testing.wait_all_tasks_blocked(0.05)
            added = await store.add([new_task(queue="mail"), new_task(), new_task(queue="mail")])
            nursery.cancel_scope.cancel()
        assert [claim.task_id for claim in taker.claims] == [added[1].id]
        [claim] = await store.claim(node, limit=10)
        assert claim.task_id == added[0].id

    async def test_a_dead_node_holds_no_place_for_ever(self, store, node):
        """When its tasks are rescued there is room again."""
        await store.queues.put("mail", QueueSettings(max_concurrency=1))
        await store.add([new_task(queue="mail") for _ in range(2)])
        [lost] = await self.claim_and_die(store)
        assert await store.claim(node, limit=10) == []
        await self.rescued(store)
        [claim] = await store.claim(node, limit=10)
        assert claim.task_id == lost.task_id

    # Hosts that fail

    async def test_a_failing_host_is_left_alone_and_then_tried(self, store, node, other_node):
        """Nothing goes there, then one task; when that was well, all may go."""
        [first, *_] = await store.add([at(SLOW) for _ in range(3)])
        [other] = await store.add([at(OTHER)])
        await store.queues.open_circuit(SLOW, reason="refused", retry_after_seconds=2.0)
        held = await store.queues.open_circuits(10)
        assert [(host, one.why) for host, one in held.items()] == [(SLOW, "refused")]
        [claim] = await store.claim(node, limit=10)
        assert (claim.task_id, claim.is_probe) == (other.id, False)
        assert await self.reason(store, first) is HoldReason.HOST_FAILING
        probes: list[Claim] = []
        with trio.fail_after(90):
            while not probes:
                await store.wait_for_work()
                probes = await store.claim(node, limit=10)
        assert [(one.task_id, one.is_probe) for one in probes] == [(first.id, True)]
        assert await store.claim(other_node, limit=10) == []
        await store.queues.close_circuit(SLOW)
        claims = await store.claim(other_node, limit=10)
        assert [claim.is_probe for claim in claims] == [False, False]
        assert await store.queues.open_circuits(10) == {}

    async def test_pauses_of_a_failing_host_grow(self, store):
        """Failures that several nodes report at the same time count once."""

        async def now() -> dt.datetime:
            [task] = await store.add([new_task()])
            return task.created_at

        async def check_held(before: dt.datetime, seconds: float) -> None:
            """It is held for this time since a moment after ``before`` and before now."""
            [hold] = (await store.queues.open_circuits(10)).values()
            held = dt.timedelta(seconds=seconds)
            assert hold.until - await now() <= held <= hold.until - before

        before = await now()
        for _ in range(3):
            await store.queues.open_circuit(SLOW, reason="refused", retry_after_seconds=None)
        await check_held(before, 1)
        await trio.sleep(1.01)
        before = await now()
        await store.queues.open_circuit(SLOW, reason="refused", retry_after_seconds=None)
        await check_held(before, 2)
        before = await now()
        await store.queues.open_circuit(SLOW, reason="busy", retry_after_seconds=600)
        await store.queues.open_circuit(SLOW, reason="busy", retry_after_seconds=1)
        await check_held(before, 600)

    # Fair shares

    async def test_tasks_beyond_a_share_come_last(self, store, node):
        """A host that has four of five workers gets none of the next, however long its line is."""
        await store.add([at(SLOW, priority=9) for _ in range(150)])
        added = await store.add([at(OTHER) for _ in range(2)])
        shares = HostShares({SLOW: 4}, capacity=5)
        [claim] = await store.claim(node, limit=1, shares=shares)
        assert claim.task_id == added[0].id

    async def test_tasks_beyond_a_share_run_last(self, store, node):
        """A claim of both is handed out so: else the workers would be taken all the same."""
        await store.add([at(SLOW) for _ in range(6)])
        await store.add([at(OTHER) for _ in range(2)])
        claims = await store.claim(node, limit=6, shares=HostShares({SLOW: 4}, capacity=5))
        assert [claim.authority for claim in claims] == [OTHER] * 2 + [SLOW] * 4

    async def test_alone_a_host_has_all(self, store, node):
        """And in order."""
        tasks = await store.add([at(SLOW) for _ in range(5)])
        claims = await store.claim(node, limit=4, shares=HostShares({SLOW: 4}, capacity=8))
        assert [claim.task_id for claim in claims] == [task.id for task in tasks[:4]]

    async def test_the_first_claim_is_fair_already(self, store, node):
        """Half of it goes to the host in front, half to those behind."""
        await store.add([at(SLOW) for _ in range(150)])
        await store.add([at(OTHER) for _ in range(10)])
        claims = await store.claim(node, limit=10, by_age=1, shares=HostShares({}, capacity=10))
        assert await self.hosts(claims) == {SLOW: 5, OTHER: 5}
        assert not any(claim.is_limited for claim in claims)

    async def test_no_task_is_skipped_for_ever(self, store, node):
        """Tasks that were held or beyond a share are claimed later."""
        await store.queues.put("mail", PAUSED)
        added = []
        for _ in range(30):
            added += await store.add([at(SLOW), at(OTHER), at(SLOW, queue="mail")])
        claimed: list[uuid.UUID] = []

        async def take_all():
            while claims := await store.claim(node, limit=7, shares=HostShares({SLOW: 3}, 10)):
                claimed.extend(claim.task_id for claim in claims)

        await take_all()
        assert len(claimed) == 60
        await store.queues.put("mail", QueueSettings())
        await take_all()
        assert sorted(claimed) == [task.id for task in added]
