"""Conformance of stores: roll-ups of finished tasks and of the backlog."""

from __future__ import annotations

import msgspec
import pytest

from taskflow.model.queue_scope import QueueScope
from taskflow.model.rollups import RESOLUTIONS, Series, Span, series_of
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task

FIRST, SECOND = "first.example", "second.example:8080"


def at_host(host: str, **fields: object):
    return new_task(authority=host, host=host.partition(":")[0], **fields)


class RollupContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def run_to_end(
        self, store, node, host, elapsed_seconds, *, queue="default", ending=completed
    ):
        await store.add([at_host(host, queue=queue)])
        claim = await self.claim_one(store, node)
        outcome = msgspec.structs.replace(ending(claim), elapsed_seconds=elapsed_seconds)
        assert await store.settle([outcome]) == {claim.task_id}

    async def series(self, store: TaskStore, span: Span = Span.HOUR, **wanted) -> Series:
        await store.fold_counts(limit=5000)
        return series_of(await store.rollups.read(span, **wanted), span)

    async def rolled_up(self, store: TaskStore, span: Span = Span.HOUR, **wanted) -> list[int]:
        found = await self.series(store, span, **wanted)
        assert len(found.points) == RESOLUTIONS[span].points
        return [
            sum(point.finished[status] for point in found.points)
            for status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED)
        ]

    @pytest.mark.parametrize("span", Span)
    async def test_finished_tasks_are_rolled_up_once(self, store, node, span):
        """By queue, by host and in total; folding again changes nothing."""
        await self.run_to_end(store, node, FIRST, 1, queue="a")
        await self.run_to_end(store, node, FIRST, 1, queue="b", ending=failed)
        await self.run_to_end(store, node, SECOND, 1, queue="b", ending=failed)
        [task] = await store.add([at_host(FIRST, queue="b")])
        await store.cancel(task.id)
        for _ in range(2):
            assert await self.rolled_up(store, span) == [1, 2, 1]
            assert await self.rolled_up(store, span, queue="b") == [0, 2, 1]
            assert await self.rolled_up(store, span, host=FIRST) == [1, 1, 1]
            assert await self.rolled_up(store, span, host=SECOND) == [0, 1, 0]
            assert await self.rolled_up(store, span, queue="unknown") == [0, 0, 0]

    async def test_roll_ups_of_a_scope(self, store, node):
        """The queues of the scope are added up; other queues are not in it."""
        for queue in ("shop-1", "shop-2", "other"):
            await self.run_to_end(store, node, FIRST, 1, queue=queue)
        scope = QueueScope(prefixes=("shop-",))
        assert await self.rolled_up(store, scope=scope) == [2, 0, 0]
        assert await self.rolled_up(store, scope=scope, queue="shop-1") == [1, 0, 0]
        assert await self.rolled_up(store, scope=scope, queue="other") == [0, 0, 0]
        found = await self.series(store, scope=scope)
        assert found.run.p99 == pytest.approx(1, rel=0.101)

    async def test_times_are_percentiles(self, store, node):
        for elapsed_seconds in (0.01, 0.01, 0.01, 5):
            await self.run_to_end(store, node, FIRST, elapsed_seconds)
        for wanted in ({}, {"queue": "default"}, {"host": FIRST}):
            found = await self.series(store, **wanted)
            assert found.run.p50 == pytest.approx(0.01, rel=0.101)
            assert found.run.p95 == pytest.approx(5, rel=0.101)
            assert found.wait is not None
            [last] = [point for point in found.points if point.run is not None][-1:]
            assert last.run.p99 == pytest.approx(5, rel=0.101)

    async def test_tasks_without_an_attempt_have_no_times(self, store):
        [task] = await store.add([new_task()])
        await store.cancel(task.id)
        found = await self.series(store)
        assert (found.wait, found.run) == (None, None)

    async def test_the_backlog_is_sampled_once_a_minute(self, store):
        """It has the due tasks, not the scheduled ones."""
        await store.add([new_task(queue="a"), new_task(queue="b"), new_task(queue="b")])
        await store.add([new_task(queue="b", delay_seconds=3600)])
        assert await store.rollups.sample_backlog()

        async def backlog(**wanted: object) -> int | None:
            found = await self.series(store, **wanted)
            return max((p.backlog for p in found.points if p.backlog is not None), default=None)

        assert [await backlog(), await backlog(queue="b")] == [3, 2]
        assert await backlog(scope=QueueScope(names=("a", "b"))) == 3
        assert [await backlog(span=span) for span in Span] == [3] * len(Span)

    async def test_nothing_is_deleted_before_its_time(self, store, node):
        await self.run_to_end(store, node, FIRST, 1)
        await store.fold_counts(limit=5000)
        assert await store.rollups.delete_old(limit=1000) == 0
        assert await self.rolled_up(store) == [1, 0, 0]
