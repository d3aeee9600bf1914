"""The memory store keeps the contract."""

import pytest
import trio

from taskflow.model.filter import TaskFilter
from taskflow.model.queues import RecentCounts
from taskflow.model.task import TaskStatus
from taskflow.store.memory.store import MemoryStore
from tests.store.alerts_contract import AlertContract
from tests.store.callbacks_contract import CallbacksContract
from tests.store.configuration_contract import ConfigurationContract
from tests.store.contract import completed, new_task
from tests.store.credentials_contract import CredentialsContract
from tests.store.flow_contract import FlowContract
from tests.store.graphs_contract import GraphContract
from tests.store.groups_contract import GroupContract
from tests.store.heartbeats_contract import HeartbeatsContract
from tests.store.monitoring_contract import MonitoringContract
from tests.store.order_keys_contract import OrderContract
from tests.store.parking_contract import ParkingContract
from tests.store.signing_keys_contract import SigningKeysContract
from tests.store.topics_contract import TopicContract
from tests.store.uniqueness_contract import UniquenessContract


class TestMemoryStore(
    FlowContract,
    OrderContract,
    GroupContract,
    GraphContract,
    CallbacksContract,
    MonitoringContract,
    CredentialsContract,
    HeartbeatsContract,
    SigningKeysContract,
    TopicContract,
    AlertContract,
    UniquenessContract,
    ParkingContract,
    ConfigurationContract,
):
    has_virtual_clock = True

    @pytest.fixture
    async def store(self):
        return MemoryStore()


async def test_endings_grow_old(autojump_clock):
    """They leave one window after the other, and their queue's line when they leave the last."""
    store = MemoryStore()
    node = await store.register("here", lease_seconds=1e6)

    async def run_one():
        await store.add([new_task()])
        [claim] = await store.claim(node, limit=1)
        await store.settle([completed(claim)])
        assert await store.delete_finished(age_seconds=-1.0, limit=1) == 1

    async def ended():
        return [one.finished[TaskStatus.COMPLETED] for one in (await store.count(limit=1)).queues]

    await run_one()
    assert await ended() == [RecentCounts(1, 1, 1)]
    await trio.sleep(130)
    assert await ended() == [RecentCounts(0, 1, 1)]
    await trio.sleep(300)
    await run_one()
    assert await ended() == [RecentCounts(1, 1, 2)]
    await trio.sleep(10_000)
    assert await ended() == []
    await run_one()
    assert await ended() == [RecentCounts(1, 1, 1)]
    await store.fold_counts(limit=1)
    assert len(store._finished._counts) == 1


async def test_tasks_change_during_a_search():
    """A search that lets others go on finds what is there all the time, and breaks on nothing."""
    store = MemoryStore()
    kept = {task.id for task in await store.add([new_task(queue="kept")] * 1_500)}
    gone = [task.id for task in await store.add([new_task(queue="gone")] * 1_500)]
    await store.cancel_many(gone)
    found = set()

    async def search() -> None:
        page = await store.page(limit=10_000, filter=TaskFilter(url_contains="example"))
        found.update(task.id for task in page.tasks)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(search)
        for begin in range(0, len(gone), 100):
            await store.delete_many(gone[begin : begin + 100])
            await store.add([new_task(queue="new")] * 3)
    assert found >= kept
    await store.cancel_many(kept)
    assert await store.delete_finished(age_seconds=-1.0, limit=1_000) == 1_000
    assert await store.delete_finished(age_seconds=-1.0, limit=1_000) == 500


async def test_the_oldest_that_waits_is_known_whatever_was_canceled(autojump_clock):
    """The count reads the tasks that wait, and no others."""
    store = MemoryStore()
    added = [task.id for task in await store.add([new_task()] * 1_000)]
    await trio.sleep(10)
    [last] = await store.add([new_task()])
    await trio.sleep(5)
    await store.cancel_many(reversed(added))
    node = await store.register("here", lease_seconds=1e6)
    assert (await store.count(limit=1)).total.oldest_waiting_seconds == pytest.approx(5)
    assert [claim.task_id for claim in await store.claim(node, limit=5, by_age=1)] == [last.id]
    assert (await store.count(limit=1)).total.oldest_waiting_seconds is None
