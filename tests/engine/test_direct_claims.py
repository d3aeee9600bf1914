"""Direct claims: new tasks run on idle workers of the node that stores them, without a claim."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import msgspec
import pytest
import trio

from taskflow.model.errors import StoreUnavailable
from taskflow.model.task import Claim, TaskStatus
from taskflow.store.base.claims import IdleNode, Reservation


async def started(nursery, bench) -> None:
    """The engine runs, and has found nothing to do."""
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.store.calls.clear()


async def test_an_idle_node_needs_no_claim(autojump_clock, new_bench, nursery):
    """A new task runs at once, without a claim."""
    bench = new_bench(poll_seconds=50.0)
    await started(nursery, bench)
    tasks = await bench.add(1, 1, 1)
    await bench.all_ended()
    assert [time for time, _ in bench.fetcher.started] == [1.0] * 3
    assert bench.store.calls["claim"] == 0
    assert [(await bench.now(task)).attempt for task in tasks] == [1, 1, 1]
    bench.engine.shut_down(drain_seconds=0)


async def test_at_most_as_many_tasks_as_idle_workers(autojump_clock, new_bench, nursery):
    """Tasks beyond the idle workers are left to other nodes."""
    bench = new_bench(workers=5)
    await started(nursery, bench)
    await bench.add(*[5] * 3)
    await bench.add(*[5] * 10)
    await trio.sleep(1)
    assert await bench.statuses() == {"RUNNING": 5, "PENDING": 8}
    assert bench.fetcher.most_running == 5
    bench.engine.shut_down(drain_seconds=0)


async def test_direct_claims_are_limited(autojump_clock, new_bench, nursery):
    """The node never holds more than its maximum, and all tasks run."""
    bench = new_bench(workers=5, queue_size=10)
    held = []

    async def look(*_):
        held.append(bench.engine.statistics().load.held)

    bench.store.faults["settle"] = look
    await started(nursery, bench)
    async with trio.open_nursery() as clients:
        for _ in range(50):
            clients.start_soon(bench.add, *[0.01] * 20)
    await bench.all_ended()
    assert max(held) <= 5 + 2 * 10
    assert await bench.statuses() == {"COMPLETED": 1000}
    bench.engine.shut_down(drain_seconds=0)


async def test_waiting_claims_go_first(autojump_clock, new_bench, nursery):
    """A new task does not overtake claims that wait for a worker."""
    bench = new_bench(workers=1)
    await started(nursery, bench)
    await bench.add("1.1", "1.2", "1.3")
    await trio.sleep(0.5)
    await bench.add("1.4")
    await bench.all_ended()
    assert [path for _, path in bench.fetcher.started] == ["1.1", "1.2", "1.3", "1.4"]
    bench.engine.shut_down(drain_seconds=0)


class Answering(IdleNode):
    """What is stored is held by the node; its answer goes elsewhere."""

    def __init__(self, reservation: Reservation, deliver) -> None:
        self.reservation = msgspec.structs.replace(reservation, deliver=deliver)

    @contextlib.contextmanager
    def reserve(self, most: int) -> Iterator[Reservation]:
        yield self.reservation


@contextlib.contextmanager
def answer_under_way(bench, deliver) -> Iterator[Reservation]:
    """Within the block the node waits for what was stored for it."""
    handover = bench.store._direct_claims
    with handover._node.reserve(2) as reservation, handover.to(Answering(reservation, deliver)):
        yield reservation


async def test_a_direct_claim_without_a_response_is_released_soon(
    autojump_clock, new_bench, nursery
):
    """The task runs without waiting for the end of a lease."""
    bench = new_bench()
    await started(nursery, bench)
    with pytest.raises(StoreUnavailable), answer_under_way(bench, lambda _: None):
        [task] = await bench.add(1)
        assert (await bench.now(task)).status is TaskStatus.RUNNING
        raise StoreUnavailable("the connection broke")
    await bench.all_ended()
    done = await bench.now(task)
    assert (done.status, done.attempt, done.rescues) == (TaskStatus.COMPLETED, 1, 0)
    assert trio.current_time() < 5
    bench.engine.shut_down(drain_seconds=0)


async def test_a_task_being_stored_when_the_shutdown_starts(autojump_clock, new_bench, nursery):
    """The node waits for the response of the store, and releases the task."""
    bench = new_bench(fetch_timeout_seconds=50.0)
    await started(nursery, bench)
    late: list[Claim] = []
    with answer_under_way(bench, late.extend) as reservation:
        short, long = await bench.add(1, 20)
        bench.engine.shut_down(drain_seconds=6)
        await trio.sleep(0.2)
        reservation.deliver(late)
    await trio.sleep(7)
    assert (await bench.now(short)).status is TaskStatus.COMPLETED
    put_back = await bench.now(long)
    assert (put_back.status, put_back.attempt, put_back.rescues) == (TaskStatus.PENDING, 0, 0)


async def test_the_shutdown_waits_for_a_limited_time(autojump_clock, new_bench):
    """If the store does not respond, the node retires, which releases its claims."""
    bench = new_bench()
    async with trio.open_nursery() as nursery:
        await started(nursery, bench)
        with answer_under_way(bench, lambda _: None):
            [task] = await bench.add(1)
            bench.engine.shut_down(drain_seconds=6)
            await trio.sleep(1)
            assert (await bench.now(task)).status is TaskStatus.PENDING


async def test_a_response_after_the_end_of_the_node(autojump_clock, new_bench):
    """It is ignored without an error, since the tasks are stored."""
    bench = new_bench()
    async with trio.open_nursery() as nursery:
        await started(nursery, bench)
        with bench.store._direct_claims._node.reserve(1) as reservation:
            bench.engine.shut_down(drain_seconds=0)
            await trio.sleep(3)
            claim = Claim(uuid.uuid4(), reservation.token, msgspec.Raw(b'""'), 1, 1)
            reservation.deliver([claim])
    assert bench.fetcher.started == []
