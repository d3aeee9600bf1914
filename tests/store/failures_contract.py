"""Conformance of stores: failures, which group FAILED tasks by their cause."""

from __future__ import annotations

import uuid

import msgspec

from taskflow.model.filter import TaskFilter
from taskflow.model.grouped_failures import Failure, FailureFilter, FailureState
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import TaskStatus
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed
from tests.store.rollups_contract import FIRST, SECOND, at_host

RESOLVED = FailureFilter(FailureState.RESOLVED)


class FailureContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def fail(
        self,
        store: TaskStore,
        node: uuid.UUID,
        error: str,
        *,
        host: str = FIRST,
        queue: str = "default",
        status_code: int | None = None,
    ) -> uuid.UUID:
        [task] = await store.add([at_host(host, queue=queue)])
        await self.fail_again(store, node, error, status_code)
        return task.id

    async def fail_again(self, store, node, error, status_code=None):
        claim = await self.claim_one(store, node)
        outcome = msgspec.structs.replace(
            failed(claim), error=error, status_code=status_code, elapsed_seconds=0.1
        )
        assert await store.settle([outcome]) == {claim.task_id}

    async def only(self, store: TaskStore, **wanted) -> Failure:
        [found] = await store.failures.first(10, FailureFilter(**wanted))
        return found

    async def test_tasks_with_one_cause_are_one_failure(self, store, node):
        """The message is without what differs from task to task."""
        ids = [
            await self.fail(store, node, f"no row {n} of 'x{n}' at 10.0.0.{n}:80") for n in range(5)
        ]
        found = await self.only(store)
        assert found.message == 'no row <n> of "..." at <address>'
        assert (found.queue, found.host, found.error_type) == ("default", FIRST, ErrorType.TIMEOUT)
        assert (found.failed, found.occurrences, found.status_code) == (5, 5, None)
        assert found.example_ids == ids[:1:-1]
        assert sum(found.trend) == 5
        assert len(found.trend) == 24
        assert found.first_at <= found.last_at
        assert await store.failures.get(found.id) == found
        assert await store.failures.get(uuid.UUID(int=1)) is None

    async def test_causes_are_told_apart(self, store, node):
        """By queue, host, status and message; the last one comes first."""
        await self.fail(store, node, "a")
        await self.fail(store, node, "a", queue="other")
        await self.fail(store, node, "a", host=SECOND)
        await self.fail(store, node, "status 503", status_code=503)
        await self.fail(store, node, "status 500", status_code=500)
        found = await store.failures.first(10)
        assert len(found) == len({one.id for one in found}) == 5
        assert [one.message for one in found[:2]] == ["status 500", "status 503"]
        assert [one.last_at for one in found] == sorted(
            (one.last_at for one in found), reverse=True
        )
        assert await store.failures.first(2) == found[:2]
        assert (await self.only(store, queue="other")).queue == "other"
        assert (await self.only(store, host=SECOND)).host == SECOND
        assert await store.failures.first(10, FailureFilter(error_type=ErrorType.DNS)) == []
        assert len(await store.failures.first(10, FailureFilter(since=found[0].last_at))) == 1
        scope = QueueScope(prefixes=("oth",))
        assert (await self.only(store, scope=scope)).queue == "other"

    async def test_a_failure_is_resolved_once_nothing_is_failed(self, store, node):
        """Its tasks were retried, or deleted; it stays available, and opens again."""
        retried, deleted = [await self.fail(store, node, "a") for _ in range(2)]
        failure = await self.only(store)
        assert await store.retry(retried) is not None
        assert (await self.only(store)).failed == 1
        assert await store.delete(deleted)
        assert await store.failures.first(10) == []
        [resolved] = await store.failures.first(10, RESOLVED)
        assert (resolved.id, resolved.failed, resolved.occurrences) == (failure.id, 0, 2)
        assert resolved.example_ids == []
        assert await store.failures.get(failure.id) == resolved
        await self.fail_again(store, node, "a")
        again = await self.only(store)
        assert (again.id, again.failed, again.occurrences) == (failure.id, 1, 3)
        assert await store.failures.first(10, RESOLVED) == []
        assert len(await store.failures.first(10, FailureFilter(FailureState.ALL))) == 1

    async def test_a_retried_task_fails_for_another_cause(self, store, node):
        task_id = await self.fail(store, node, "a")
        assert (await self.only(store)).message == "a"
        await store.retry(task_id)
        await self.fail_again(store, node, "b")
        assert (await self.only(store)).message == "b"
        assert len(await store.failures.first(10, RESOLVED)) == 1

    async def test_a_retried_task_that_completes_leaves_nothing(self, store, node):
        """Folded between the steps or not."""
        for is_folded in (False, True):
            task_id = await self.fail(store, node, "a")
            if is_folded:
                await store.fold_counts(limit=1000)
            await store.retry(task_id)
            await store.settle([completed(await self.claim_one(store, node))])
            assert await store.failures.first(10) == []

    async def test_tasks_are_found_by_their_failure(self, store, node):
        """The filter has the FAILED tasks of a cause, also beside other filters."""
        first = [await self.fail(store, node, f"a {n}") for n in range(3)]
        other = await self.fail(store, node, "b", queue="other")
        failures = {one.message: one.id for one in await store.failures.first(10)}

        async def ids(**wanted) -> list[uuid.UUID]:
            page = await store.page(limit=10, filter=TaskFilter(**wanted))
            return [task.id for task in page.tasks]

        cause = failures["a <n>"]
        assert await ids(failure=cause) == first[::-1]
        assert await ids(failure=cause, statuses=(TaskStatus.FAILED,)) == first[::-1]
        assert await ids(failure=cause, queue="other") == []
        assert await ids(failure=cause, host="first.example") == first[::-1]
        assert await ids(failure=failures["b"], scope=QueueScope(("other",))) == [other]
        assert await ids(failure=cause, scope=QueueScope(("other",))) == []
        page = await store.page(limit=2, filter=TaskFilter(failure=cause))
        assert [task.id for task in page.tasks] == first[:0:-1]
        await store.retry(first[0])
        assert await ids(failure=cause) == first[:0:-1]
        assert await store.retry_many(first[1:]) == set(first[1:])
        assert await ids(failure=cause) == []

    async def test_credentials_in_errors_are_masked(self, store, node):
        await self.fail(store, node, "no answer of http://user:pw@a.example/x?token=s3cret&b=c")
        assert "pw" not in (await self.only(store)).message
        assert "s3cret" not in (await self.only(store)).message

    async def test_mail_addresses_are_no_credentials(self, store, node):
        await self.fail(store, node, "no mail to a@b.example")
        assert (await self.only(store)).message == "no mail to <address>"

    async def test_nothing_recent_is_deleted(self, store, node):
        task_id = await self.fail(store, node, "a")
        assert (await self.only(store)).failed == 1
        await store.retry(task_id)
        assert await store.failures.first(10) == []
        assert await store.failures.delete_resolved(limit=10) == 0
        assert await store.failures.check_tasks(limit=10) == 0
        assert len(await store.failures.first(10, RESOLVED)) == 1
