"""Group commit, on the virtual clock."""

from __future__ import annotations

import pytest
import trio

from taskflow.model.errors import StoreUnavailable
from taskflow.store.postgres.group_commit import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, GroupCommit


class Writer:
    """A writer that takes a second for each write, and rejects some items."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.refused: dict[int, Exception] = {}

    async def write(self, items):
        self.batches.append(list(items))
        await trio.sleep(1)
        for item in items:
            if item in self.refused:
                raise self.refused[item]
        return [item * 10 for item in items]


@pytest.fixture
def writer():
    return Writer()


@pytest.fixture
async def commits(writer, nursery):
    commits = GroupCommit(writer.write, size_of=abs)
    nursery.start_soon(commits.run)
    return commits


async def test_a_single_caller_does_not_wait(autojump_clock, writer, commits):
    """A single caller does not wait for others."""
    assert await commits.submit([1, 2]) == [10, 20]
    assert trio.current_time() == 1.0
    assert writer.batches == [[1, 2]]


async def test_callers_during_a_write_share_the_next_batch(autojump_clock, writer, commits):
    """Ten callers during a write are one batch after it, and each gets its own results."""
    results = {}

    async def submit(n):
        results[n] = await commits.submit([n, -n])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 0)
        await trio.sleep(0.5)
        for n in range(1, 11):
            nursery.start_soon(submit, n)
    assert trio.current_time() == 2.0
    assert [len(batch) for batch in writer.batches] == [2, 20]
    assert results == {n: [10 * n, -10 * n] for n in range(11)}


async def test_batches_are_bounded(autojump_clock, writer, commits):
    """Groups that do not fit go into the next batch; one that is larger goes alone."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.submit, [0])
        await trio.sleep(0.5)
        for _ in range(3):
            nursery.start_soon(commits.submit, [1] * (MAX_BATCH_ITEMS // 2))
        nursery.start_soon(commits.submit, [2] * (MAX_BATCH_ITEMS * 2))
    assert sorted(len(batch) for batch in writer.batches[1:]) == [
        MAX_BATCH_ITEMS // 2,
        MAX_BATCH_ITEMS,
        MAX_BATCH_ITEMS * 2,
    ]


async def test_batches_are_bounded_in_bytes(autojump_clock, writer, commits):
    """Large items are spread over batches; one over the bound goes alone."""
    half, whole = MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.submit, [0])
        await trio.sleep(0.5)
        for size in (half, half, half, 2 * whole):
            nursery.start_soon(commits.submit, [size])
    assert sorted(sum(batch) for batch in writer.batches[1:]) == [half, whole, 2 * whole]


async def test_each_caller_gets_the_error(autojump_clock, writer, commits):
    """Each caller of a failed batch gets an exception of its own; the next batch goes on."""
    writer.refused[1] = StoreUnavailable("gone")
    caught = []

    async def submit(n):
        try:
            await commits.submit([n])
        except StoreUnavailable as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 0)
        await trio.sleep(0.5)
        nursery.start_soon(submit, 1)
        nursery.start_soon(submit, 2)
    assert [str(error) for error in caught] == ["gone", "gone"]
    assert caught[0] is not caught[1]
    assert await commits.submit([3]) == [30]


async def test_a_rejected_item_affects_only_its_caller(autojump_clock, writer, commits):
    """The other items of the batch are written apart from it."""
    writer.refused[2] = ValueError("two is refused")
    results = {}

    async def submit(n):
        try:
            results[n] = await commits.submit([n])
        except ValueError as error:
            results[n] = str(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 0)
        await trio.sleep(0.5)
        for n in (1, 2, 3):
            nursery.start_soon(submit, n)
    assert results == {0: [0], 1: [10], 2: "two is refused", 3: [30]}


async def test_items_of_canceled_callers_are_not_written(autojump_clock, writer, commits):
    """Cancelled while waiting for a batch to be written, its items are not written later."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.submit, [1])
        await trio.sleep(0.5)
        with trio.move_on_after(0.1):
            await commits.submit([2])
    await commits.submit([3])
    assert writer.batches == [[1], [3]]


async def test_closing_fails_waiting_callers(autojump_clock, writer):
    """When the group commit closes, waiting callers get an error."""
    commits = GroupCommit(writer.write, size_of=abs)
    caught = []

    async def submit(n):
        try:
            await commits.submit([n])
        except StoreUnavailable as error:
            caught.append(str(error))

    async with trio.open_nursery() as callers, trio.open_nursery() as writing:
        writing.start_soon(commits.run)
        callers.start_soon(submit, 1)
        await trio.sleep(0.5)
        callers.start_soon(submit, 2)
        await trio.sleep(0.1)
        writing.cancel_scope.cancel()
    assert caught == ["the task store is closing"] * 2
