"""Conformance of stores: what operators read."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid

import msgspec
import pytest
import trio

from taskflow.model.monitoring import HISTORY_MINUTES, LISTED_TASKS, HostRecord
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import completed, failed
from tests.store.failures_contract import FailureContract
from tests.store.flow_contract import at
from tests.store.rollups_contract import RollupContract
from tests.store.states_contract import StatesContract
from tests.store.views_contract import ViewsContract

FAST, SLOW, LONG = "fast.example", "slow.example:8080", "long.example"


class MonitoringContract(RollupContract, FailureContract, StatesContract, ViewsContract):
    """The conformance suite, this part of it included."""

    async def run_one(
        self,
        store: TaskStore,
        node: uuid.UUID,
        host: str,
        elapsed_seconds: float,
        *,
        ending=completed,
    ) -> None:
        await store.add([at(host, queue=host)])
        claim = await self.claim_one(store, node)
        ending = msgspec.structs.replace(ending(claim), elapsed_seconds=elapsed_seconds)
        assert await store.settle([ending]) == {claim.task_id}

    # Nodes

    async def test_nodes_and_their_claims(self, store, node):
        """By name, with their heartbeats, and for how long they have had what they run."""
        await store.register("a", lease_seconds=60, version="1.2.3", workers=7, tz_version="2026f")
        await store.add([at(FAST), at(FAST), at(FAST)])
        claims = await store.claim(node, limit=2)
        busy_since = await store.renew(node)
        first, here = await store.monitoring.nodes(10)
        assert (first.name, first.version, first.workers, first.running) == ("a", "1.2.3", 7, 0)
        assert (first.tz_version, here.tz_version) == ("2026f", None)
        assert (first.longest_running_seconds, first.longest_running) == (None, [])
        assert first.expires_at - first.renewed_at == dt.timedelta(seconds=60)
        assert (here.id, here.name, here.version, here.running) == (node, "here", None, 2)
        assert abs(here.renewed_at - busy_since) < dt.timedelta(seconds=30)
        assert here.started_at <= here.renewed_at
        assert 0 <= here.longest_running_seconds < 300
        assert [(one.id, one.host) for one in here.longest_running] == [
            (claim.task_id, FAST) for claim in claims
        ]
        assert here.longest_running[0].running_seconds == here.longest_running_seconds
        assert first.alive
        assert here.alive

    async def test_nodes_report_settings(self, store):
        """None is reported by earlier versions; more tasks can be listed on request."""
        node = await store.register("a", lease_seconds=60, settings={"TASKFLOW_WORKERS": "7"})
        await store.register("b", lease_seconds=60)
        first, second = await store.monitoring.nodes(10)
        assert (first.settings, second.settings) == ({"TASKFLOW_WORKERS": "7"}, None)
        await store.add([at(FAST) for _ in range(LISTED_TASKS + 2)])
        await store.claim(node, limit=LISTED_TASKS + 2)
        [first] = await store.monitoring.nodes(1)
        assert len(first.longest_running) == LISTED_TASKS
        [first] = await store.monitoring.nodes(1, tasks=LISTED_TASKS + 1)
        assert len(first.longest_running) == LISTED_TASKS + 1

    async def test_dead_nodes_are_listed(self, store):
        """Their claims are listed, too, until they are rescued."""
        node = await store.register("dead", lease_seconds=2.0)
        await store.add([at(FAST)])
        await store.claim(node, limit=1)
        with trio.fail_after(90):
            while (found := (await store.monitoring.nodes(10))[0]).alive:
                await trio.sleep(0.05)
        assert found.running == 1
        await self.rescued(store)
        [found] = await store.monitoring.nodes(10)
        assert found.running == 0

    async def test_retired_nodes_are_not_listed(self, store, node):
        await store.retire(node)
        assert await store.monitoring.nodes(10) == []

    async def test_the_limit_of_nodes(self, store):
        for name in "cab":
            await store.register(name, lease_seconds=30)
        assert [one.name for one in await store.monitoring.nodes(2)] == ["a", "b"]

    async def test_secrets_are_shared(self, store):
        """By their names, and made once."""
        first, same, other = [await store.shared_secret(name) for name in ("a", "a", "b")]
        assert first == same
        assert first != other
        assert len(first) == len(other) == 32

    # Hosts

    async def test_slow_hosts_come_first(self, store, node):
        """Hosts are ordered by the median duration of fetches, or the age of a running one."""
        for elapsed_seconds in (0.01, 0.03, 0.02):
            await self.run_one(store, node, FAST, elapsed_seconds)
        await self.run_one(store, node, SLOW, 4, ending=failed)
        fast, slow = sorted(await store.monitoring.hosts(10), key=lambda one: one.host)
        assert [one.host for one in await store.monitoring.hosts(10)] == [SLOW, FAST]
        assert (fast.fetched, fast.failed, fast.median_seconds, fast.slowest_seconds) == (
            3,
            0,
            0.02,
            0.03,
        )
        assert (slow.fetched, slow.failed, slow.median_seconds, slow.slowest_seconds) == (
            1,
            1,
            4,
            4,
        )
        assert (slow.running, slow.longest_running_seconds, slow.held) == (0, None, None)
        assert [one.host for one in await store.monitoring.hosts(1)] == [SLOW]

    async def test_running_tasks_by_host(self, store, node):
        """This includes hosts that nothing was fetched from yet."""
        await store.add([at(LONG), at(LONG), at("")])
        await store.claim(node, limit=3)
        [found] = await store.monitoring.hosts(10)
        assert (found.host, found.fetched, found.median_seconds, found.running) == (
            LONG,
            0,
            None,
            2,
        )
        assert 0 <= found.longest_running_seconds < 300

    async def test_hosts_with_an_open_circuit_breaker_come_first(self, store, node):
        await self.run_one(store, node, SLOW, 4)
        await store.queues.open_circuit(FAST, reason="503", retry_after_seconds=60)
        first, second = await store.monitoring.hosts(10)
        assert (first.host, first.fetched, first.held.detail) == (FAST, 0, "503")
        assert (second.host, second.held) == (SLOW, None)

    async def test_one_host(self, store, node):
        """Its statistics, its errors by type, and its pending tasks by queue, of that port only."""
        nothing = await store.monitoring.host(SLOW)
        assert (nothing.record, nothing.errors, nothing.waiting) == (HostRecord(host=SLOW), {}, [])
        await self.run_one(store, node, FAST, 0.5)
        for _ in range(2):
            await self.run_one(store, node, SLOW, 4, ending=failed)
        await self.run_one(store, node, SLOW, 2)
        await store.add([at(SLOW, queue="b"), at(SLOW, queue="a"), at(SLOW, queue="b")])
        await store.add([at(FAST, queue="a"), at(SLOW.partition(":")[0], queue="a")])
        found = await store.monitoring.host(SLOW)
        assert (found.record.fetched, found.record.failed, found.record.median_seconds) == (3, 2, 4)
        assert found.errors == {"timeout": 2}
        assert [(one.queue, one.count) for one in found.waiting] == [("a", 1), ("b", 2)]
        assert all(one.is_complete and one.oldest_run_at is not None for one in found.waiting)
        assert (found.record.held, found.record.open_since) == (None, None)

    async def test_the_circuit_breaker_of_one_host(self, store):
        """It has been open since its first failure, however often its probes failed since."""
        await store.queues.open_circuit(FAST, reason="503", retry_after_seconds=0.001)
        before = (await store.monitoring.host(FAST)).record
        await trio.sleep(0.01)
        await store.queues.open_circuit(FAST, reason="refused", retry_after_seconds=60)
        record = (await store.monitoring.host(FAST)).record
        assert record.held.detail == "refused"
        assert record.open_since == before.open_since < record.held.until
        [listed] = await store.monitoring.hosts(10)
        assert listed == record
        await store.queues.close_circuit(FAST)
        assert (await store.monitoring.host(FAST)).record.open_since is None

    async def test_tasks_that_were_never_fetched_are_not_counted(self, store):
        [task] = await store.add([at(FAST)])
        await store.cancel(task.id)
        assert await store.monitoring.hosts(10) == []

    # Endings

    async def test_every_minute_is_listed(self, store):
        """This includes minutes without finished tasks; the last minute is the current one."""
        minutes = await store.monitoring.history()
        assert len(minutes) == HISTORY_MINUTES
        times = [minute.at for minute in minutes]
        assert {b - a for a, b in itertools.pairwise(times)} == {dt.timedelta(minutes=1)}
        assert abs(times[-1] - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=2)
        assert all(not any(minute.finished.values()) for minute in minutes)

    @pytest.mark.parametrize("is_folded", [False, True], ids=["as noted", "folded"])
    async def test_finished_tasks_by_minute(self, store, node, is_folded):
        """The counts are of all queues or of one, folded or not."""
        await self.run_one(store, node, FAST, 1)
        await self.run_one(store, node, FAST, 1, ending=failed)
        await self.run_one(store, node, SLOW, 1, ending=failed)
        [task] = await store.add([at(FAST, queue=FAST)])
        await store.cancel(task.id)
        if is_folded:
            await store.fold_counts(limit=1000)

        async def ended(queue: str | None = None) -> list[int]:
            last = (await store.monitoring.history(queue))[-2:]  # a minute may just have begun
            return [
                sum(minute.finished[status] for minute in last)
                for status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED)
            ]

        assert await ended() == [1, 2, 1]
        assert await ended(FAST) == [1, 1, 1]
        assert await ended(SLOW) == [0, 1, 0]
        assert await ended("unknown") == [0, 0, 0]
