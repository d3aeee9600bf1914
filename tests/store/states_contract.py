"""What every store has to keep of states: filters by state, and counts of states."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Mapping

import msgspec
import pytest

from taskflow.model.errors import Unprocessable
from taskflow.model.filter import PageOrder, TaskFilter
from taskflow.model.options import TaskOptions
from taskflow.model.order_keys import OnFailure
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_limits import HostLimits, QueueSettings, Rate
from taskflow.model.queue_scope import QueueScope
from taskflow.model.task import Claim, NewTask, TaskStatus
from taskflow.model.task_states import StateCount, StateNumbers, TaskState
from taskflow.store.base.claims import Release, Retry
from taskflow.store.base.parking import Parking
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task
from tests.store.flow_contract import PAUSED, at

HOUR = 3600.0
DUE, HELD, SCHEDULED = TaskState.DUE, TaskState.HELD, TaskState.SCHEDULED
RETRYING, RUNNING, PARKED = TaskState.RETRYING, TaskState.RUNNING, TaskState.PARKED


def retry(claim: Claim) -> Retry:
    return Retry(claim.task_id, claim.token, HOUR, "it failed", ErrorType.TIMEOUT)


def child_of(parent: uuid.UUID, **fields) -> NewTask:
    return new_task(after=(str(parent),), options=TaskOptions(), **fields)


def present(numbers: StateNumbers) -> Mapping[TaskState, int]:
    """The states that have tasks, all of which are counted."""
    assert set(numbers) == set(TaskState)
    assert all(one.is_exact for one in numbers.values())
    return {state: one.count for state, one in numbers.items() if one.count}


class StatesContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def add_task(self, store: TaskStore, new: NewTask) -> uuid.UUID:
        [task] = await store.add([new])
        return task.id

    async def in_states(self, store: TaskStore, *states: TaskState, **fields) -> list[uuid.UUID]:
        """The tasks in these states, by as many pages as they take."""
        found: list[uuid.UUID] = []
        before: uuid.UUID | None = None
        while True:
            page = await store.page(
                limit=2, before=before, filter=TaskFilter(states=states, **fields)
            )
            found += [task.id for task in page.tasks]
            if (before := page.next_before) is None:
                return found

    async def states_of(
        self, store: TaskStore, ids: Iterable[uuid.UUID]
    ) -> dict[TaskState, list[uuid.UUID]]:
        """The tasks by state, as filters find them: each of them in one state only."""
        found = {state: await self.in_states(store, state) for state in TaskState}
        assert sorted(one for some in found.values() for one in some) == sorted(ids)
        return {state: some for state, some in found.items() if some}

    async def test_each_open_task_has_one_state(self, store, node):
        """Filters and counts agree on it, and finished tasks have none."""
        running, retried, postponed, parked = [
            await self.add_task(store, new_task(max_attempts=3)) for _ in range(4)
        ]
        claims = {one.task_id: one for one in await store.claim(node, limit=4)}
        await store.schedule_retries([retry(claims[retried])])
        one = claims[postponed]
        error = {"error": "no proxy", "error_type": ErrorType.CONNECT}
        await store.release([Release(one.task_id, one.token, delay_seconds=HOUR, **error)])
        one = claims[parked]
        await store.parking.park([Parking(one.task_id, one.token, HOUR)])
        scheduled = await self.add_task(store, new_task(delay_seconds=HOUR))
        first = await self.add_task(store, new_task(order_key="k", on_failure=OnFailure.CONTINUE))
        await store.promote()
        second = await self.add_task(store, new_task(order_key="k", on_failure=OnFailure.CONTINUE))
        child = await self.add_task(store, child_of(first))
        due = await self.add_task(store, new_task())
        canceled = await self.add_task(store, new_task())
        await store.cancel(canceled)
        found = await self.states_of(store, {*claims, scheduled, first, second, child, due})
        assert found == {
            RUNNING: [running],
            RETRYING: sorted((retried, postponed), reverse=True),
            PARKED: [parked],
            SCHEDULED: [scheduled],
            DUE: [due, first],
            TaskState.WAITING_FOR_ORDER: [second],
            TaskState.WAITING_FOR_PARENTS: [child],
        }
        counts = await store.monitoring.states()
        assert present(counts.total) == {state: len(some) for state, some in found.items()}
        assert counts.of("default") == counts.total
        assert present(counts.of("other")) == {}

    @pytest.mark.parametrize(
        ("settings", "starts"),
        [
            (PAUSED, 0),
            (QueueSettings(max_concurrency=1), 1),
            (QueueSettings(rate=Rate(per_second=0.001)), 1),
            (QueueSettings(per_host=HostLimits(max_concurrency=1)), 1),
            (QueueSettings(per_host=HostLimits(rate=Rate(per_second=0.001))), 1),
        ],
        ids=["paused", "concurrency", "rate", "host concurrency", "host rate"],
    )
    async def test_limits_hold_tasks(self, store, node, settings, starts):
        """Due tasks that a limit holds are held, and later tasks are scheduled."""
        await store.queues.put("mail", settings)
        mail = [await self.add_task(store, at("a.example", queue="mail")) for _ in range(3)]
        later = await self.add_task(store, at("a.example", queue="mail", delay_seconds=HOUR))
        started = {one.task_id for one in await store.claim(node, limit=1)}
        assert len(started) == starts
        other = await self.add_task(store, at("a.example", queue="other"))
        held = [one for one in reversed(mail) if one not in started]
        assert await self.in_states(store, HELD) == held
        assert await self.in_states(store, DUE) == [other]
        assert await self.in_states(store, DUE, HELD) == [other, *held]
        assert await self.in_states(store, HELD, queue="other") == []
        assert await self.in_states(store, SCHEDULED) == [later]
        for queue in (None, "mail"):
            counts = await store.monitoring.states(queue=queue)
            in_mail = {HELD: len(held), SCHEDULED: 1, RUNNING: starts}
            assert present(counts.of("mail")) == {
                state: count for state, count in in_mail.items() if count
            }
        assert present((await store.monitoring.states()).of("other")) == {DUE: 1}

    async def test_an_open_circuit_breaker_holds_its_host(self, store):
        """In all queues, and no other host."""
        await store.queues.open_circuit("a.example", reason="down", retry_after_seconds=HOUR)
        held = [await self.add_task(store, at("a.example", queue=name)) for name in ("mail", "b")]
        due = await self.add_task(store, at("b.example"))
        assert await self.in_states(store, HELD) == held[::-1]
        assert await self.in_states(store, DUE) == [due]

    async def test_status_codes(self, store, node):
        """Of the last response of finished tasks; open tasks and unknown ids have none."""
        ids = [await self.add_task(store, new_task(queue=name)) for name in ("mail", "a", "b")]
        claims = {one.task_id: one for one in await store.claim(node, limit=3)}
        done = [msgspec.structs.replace(completed(claims[ids[0]]), status_code=201)]
        done.append(msgspec.structs.replace(failed(claims[ids[1]]), status_code=503))
        await store.settle(done)
        pending = await self.add_task(store, new_task())
        asked = [*ids, pending, uuid.uuid4()]
        assert await store.status_codes(asked) == {ids[0]: 201, ids[1]: 503}

    async def test_states_and_other_filters(self, store, node):
        """All of them have to match, also a status that excludes the state."""
        await store.add([new_task(queue="mail"), new_task(delay_seconds=HOUR, tags={"a": 1})])
        await store.claim(node, limit=1)
        [tagged] = await self.in_states(store, SCHEDULED, tags=(("a", "1"),))
        assert await self.in_states(store, SCHEDULED, RUNNING, queue="default") == [tagged]
        assert len(await self.in_states(store, SCHEDULED, RUNNING)) == 2
        assert await self.in_states(store, SCHEDULED, statuses=(TaskStatus.RUNNING,)) == []
        scope = QueueScope(("mail",))
        assert len(await self.in_states(store, RUNNING, SCHEDULED, scope=scope)) == 1

    @pytest.mark.parametrize(
        "filters",
        [
            {},
            {"statuses": (TaskStatus.PENDING,)},
            {"statuses": (TaskStatus.PENDING, TaskStatus.RUNNING)},
            {"states": (DUE,)},
            {"queue": "mail"},
            {"tags": (("a", "1"),)},
            {"url_contains": "example"},
            {"scope": QueueScope(("mail",), ("b",))},
        ],
        ids=lambda filters: " ".join(filters) or "all",
    )
    async def test_the_oldest_first(self, store, filters):
        """Pages of any filter are the same tasks in reverse, each of them once."""
        if "url_contains" in filters and not await self.can_search(store):
            pytest.skip("payloads are encrypted")
        for number in range(9):
            queue = ("mail", "b1", "default", "b2")[number % 4]
            await store.add([new_task(queue=queue, tags={"a": number % 2})])
        newest = await self.walked(store, PageOrder.NEWEST, **filters)
        assert len(newest) >= 3
        assert newest == sorted(newest, reverse=True)
        assert await self.walked(store, PageOrder.OLDEST, **filters) == newest[::-1]

    async def walked(self, store: TaskStore, order: PageOrder, **filters) -> list[uuid.UUID]:
        """The tasks of all pages in an order."""
        found: list[uuid.UUID] = []
        before: uuid.UUID | None = None
        while True:
            page = await store.page(
                limit=2, before=before, filter=TaskFilter(**filters), order=order
            )
            found += [task.id for task in page.tasks]
            if (before := page.next_before) is None:
                return found

    async def can_search(self, store: TaskStore) -> bool:
        with contextlib.suppress(Unprocessable):
            await store.page(limit=1, filter=TaskFilter(url_contains="x"))
            return True
        return False

    async def test_counts_of_a_scope(self, store):
        """No other queue is counted, whether it is named or not."""
        await store.add([new_task(queue="mail"), new_task(queue="b"), new_task(queue="other")])
        counts = await store.monitoring.states(scope=QueueScope(("mail",), ("b",)))
        assert present(counts.total) == {DUE: 2}
        assert present(counts.of("other")) == {}
        counts = await store.monitoring.states(queue="other", scope=QueueScope(("mail",)))
        assert present(counts.total) == {}

    async def test_more_tasks_than_are_counted(self, store):
        """The count is a lower bound, and says so; counts of other states stay exact."""
        await store.add([new_task() for _ in range(5)])
        await store.add([new_task(delay_seconds=HOUR, queue="mail") for _ in range(2)])
        counts = await store.monitoring.states(limit=3)
        assert 3 <= counts.total[DUE].count <= 5
        assert not counts.total[DUE].is_exact
        assert counts.total[SCHEDULED] == StateCount(2)
        assert not counts.of("mail")[DUE].is_exact
        assert not counts.of("another")[DUE].is_exact
        assert counts.of("another")[SCHEDULED] == StateCount(0)
