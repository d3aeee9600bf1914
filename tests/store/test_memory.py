"""The memory store keeps the contract."""

import pytest
import trio

from taskflow.model.statistics import Ended
from taskflow.model.task import TaskStatus
from taskflow.store.memory import MemoryStore
from tests.store.callbacks_contract import CallbacksContract
from tests.store.contract import completed, new_task
from tests.store.flow_contract import FlowContract
from tests.store.monitoring_contract import MonitoringContract


class TestMemoryStore(FlowContract, CallbacksContract, MonitoringContract):
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
        assert await store.delete_ended(age_seconds=-1.0, limit=1) == 1

    async def ended():
        return [one.ended[TaskStatus.COMPLETED] for one in (await store.count(limit=1)).queues]

    await run_one()
    assert await ended() == [Ended(1, 1, 1)]
    await trio.sleep(130)
    assert await ended() == [Ended(0, 1, 1)]
    await trio.sleep(300)
    await run_one()
    assert await ended() == [Ended(1, 1, 2)]
    await trio.sleep(10_000)
    assert await ended() == []
    await run_one()
    assert await ended() == [Ended(1, 1, 1)]
    assert len(store._tally._endings) == 1
