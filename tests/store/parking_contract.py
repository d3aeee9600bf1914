"""What every store has to keep of parked attempts."""

from __future__ import annotations

import datetime as dt
import uuid

import msgspec
import pytest
import trio

from taskflow.model.claim_selection import HostShares
from taskflow.model.completion import FOR_COMPLETION, Completion, CompletionMode
from taskflow.model.errors import IllegalMove
from taskflow.model.filter import TaskFilter
from taskflow.model.groups import NewGroup
from taskflow.model.options import TaskOptions
from taskflow.model.outcome import ErrorType
from taskflow.model.queue_limits import HoldReason, HostLimits, QueueSettings
from taskflow.model.task import AttemptStatus, Claim, ClaimKey, NewTask, TaskStatus
from taskflow.store.base.claims import Retry
from taskflow.store.base.leases import Rescued
from taskflow.store.base.parking import Parking
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task, released

HOUR = 3600.0
URL = "https://target.example/jobs/7?key=secret"
CALLBACK = Completion(CompletionMode.CALLBACK, HOUR)
NOBODY = uuid.UUID(int=7)


def slow_task(**fields) -> NewTask:
    """A task whose target works on after a 202."""
    return new_task(options=TaskOptions(completion=CALLBACK), **fields)


def parking(claim: Claim, within_seconds: float = HOUR, **fields) -> Parking:
    return Parking(claim.task_id, claim.token, within_seconds, **fields)


def key_of(claim: Claim) -> ClaimKey:
    return ClaimKey(claim.task_id, claim.token)


def retry_of(claim: Claim) -> Retry:
    return Retry(claim.task_id, claim.token, 0.0, "no answer", ErrorType.TIMEOUT)


class ParkingContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def parked(self, store: TaskStore, node: uuid.UUID, **fields) -> Claim:
        """The claim of a task that was parked."""
        await store.add([slow_task()])
        claim = await self.claim_one(store, node)
        assert await store.parking.park([parking(claim, **fields)]) == {claim.task_id}
        return claim

    async def due_ids(self, store: TaskStore, *, limit: int = 100) -> list[uuid.UUID]:
        due = await store.parking.take_due(limit=limit, take_seconds=HOUR)
        return [one.claim.task_id for one in due]

    async def test_completion_is_shown(self, store):
        """As it was submitted, wherever a task is read."""
        [task] = await store.add([slow_task()])
        assert task.completion == CALLBACK
        assert await store.get(task.id) == task
        assert (await store.page(limit=1)).tasks == [task]

    async def test_a_parked_task_runs_without_a_node(self, store, node):
        """It is shown as RUNNING and waiting for its completion, with its attempt."""
        claim = await self.parked(store, node)
        for task in (
            await store.get(claim.task_id),
            await store.get_unmasked(claim.task_id),
            *(await store.page(limit=1)).tasks,
            *(await store.page(limit=1, filter=TaskFilter(statuses=(TaskStatus.RUNNING,)))).tasks,
            *(await store.page(limit=1, without=["payload", "result"])).tasks,
        ):
            assert (task.status, task.waiting_for) == (TaskStatus.RUNNING, FOR_COMPLETION)
            assert (task.attempt, task.held) == (1, None)
        [attempt] = await store.attempts(claim.task_id)
        assert (attempt.status, attempt.node) == (AttemptStatus.RUNNING, "here")
        [shown] = await store.monitoring.nodes(limit=10)
        assert (shown.name, shown.running, shown.longest_running) == ("here", 0, [])

    async def test_a_running_task_waits_for_nothing(self, store, node):
        """Until it is parked, and after it is no longer."""
        await store.add([slow_task()])
        claim = await self.claim_one(store, node)
        assert (await store.get(claim.task_id)).waiting_for is None
        await store.parking.park([parking(claim)])
        await store.schedule_retries([retry_of(claim)])
        assert (await store.get(claim.task_id)).waiting_for is None
        again = await self.claim_one(store, node)
        assert (await store.get(again.task_id)).waiting_for is None
        assert again.attempt == 2

    async def test_no_node_loses_it(self, store, node):
        """Neither its own, which retires or takes stock, nor any other one that rescues."""
        claim = await self.parked(store, node)
        assert await store.reconcile(node, [], before=await store.renew(node)) == 0
        await store.retire(node)
        assert await store.rescue(limit=10, max_rescues=5) == Rescued([], [])
        assert await store.lost_claims([key_of(claim)]) == set()
        assert await self.status_of(store, claim.task_id) is TaskStatus.RUNNING

    async def test_others_are_rescued_beside_it(self, store, node):
        """As before."""
        claim = await self.parked(store, node)
        [lost] = await store.add([new_task()])
        await self.claim_and_die(store)
        assert await self.rescued(store) == Rescued([lost.id], [])
        assert await self.status_of(store, claim.task_id) is TaskStatus.RUNNING

    @pytest.mark.parametrize("end", [completed, failed])
    async def test_a_settlement_ends_it(self, store, node, end):
        """With the token of its claim; then nothing of it is left."""
        claim = await self.parked(store, node, within_seconds=0.0)
        stranger = msgspec.structs.replace(end(claim), token=NOBODY)
        assert await store.settle([stranger]) == set()
        assert await store.settle([end(claim)]) == {claim.task_id}
        task = await store.get(claim.task_id)
        assert (task.status.is_final, task.waiting_for) == (True, None)
        [attempt] = await store.attempts(claim.task_id)
        assert (attempt.status.value, attempt.node) == (task.status.value, "here")
        await self.check_nothing_is_parked(store, claim)

    async def check_nothing_is_parked(self, store: TaskStore, claim: Claim) -> None:
        assert await store.parking.seconds_to_next() is None
        assert await self.due_ids(store) == []
        assert await store.parking.extend(key_of(claim), HOUR) is None
        assert await store.parking.park([parking(claim)]) == set()
        assert await store.lost_claims([key_of(claim)]) == {key_of(claim)}

    async def test_a_retry_ends_the_attempt(self, store, node):
        """The next one has another token, and the old one does nothing."""
        claim = await self.parked(store, node, within_seconds=0.0)
        assert await store.schedule_retries([retry_of(claim)]) == {claim.task_id}
        await self.check_nothing_is_parked(store, claim)
        again = await self.claim_one(store, node)
        assert (await store.parking.find(claim.task_id)).claim.token == again.token
        assert await store.settle([completed(claim)]) == set()
        assert await store.parking.park([parking(again, HOUR)]) == {claim.task_id}
        assert HOUR / 2 < await store.parking.seconds_to_next() <= HOUR
        assert await store.settle([completed(claim)]) == set()
        assert await store.parking.extend(key_of(claim), HOUR) is None

    @pytest.mark.parametrize("are_many", [False, True])
    async def test_a_cancel_ends_it(self, store, node, are_many):
        """Its attempt is recorded as canceled."""
        claim = await self.parked(store, node)
        if are_many:
            assert await store.cancel_many([claim.task_id]) == {claim.task_id}
        else:
            canceled = await store.cancel(claim.task_id)
            assert (canceled.status, canceled.waiting_for) == (TaskStatus.CANCELED, None)
        [attempt] = await store.attempts(claim.task_id)
        assert attempt.status is AttemptStatus.CANCELED
        await self.check_nothing_is_parked(store, claim)

    async def test_it_cannot_be_retried_or_deleted(self, store, node):
        """As any RUNNING task."""
        claim = await self.parked(store, node)
        for act in (store.retry, store.delete):
            with pytest.raises(IllegalMove):
                await act(claim.task_id)

    async def test_a_release_frees_it(self, store, node):
        """It is PENDING as if never claimed."""
        claim = await self.parked(store, node)
        assert await store.release([released(claim)]) == {claim.task_id}
        task = await store.get(claim.task_id)
        assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
        await self.check_nothing_is_parked(store, claim)

    async def test_only_claims_that_are_held_are_parked(self, store, node):
        """Not those of a canceled task, of another token or of no task."""
        await store.add([slow_task() for _ in range(3)])
        kept, canceled, other = await store.claim(node, limit=3)
        await store.cancel(canceled.task_id)
        parkings = [
            parking(kept),
            parking(canceled),
            msgspec.structs.replace(parking(other), token=NOBODY),
            msgspec.structs.replace(parking(other), task_id=NOBODY),
        ]
        assert await store.parking.park(parkings) == {kept.task_id}
        assert await store.parking.park([]) == set()
        assert (await store.get(other.task_id)).waiting_for is None

    # Looking after them

    async def test_the_next_one_is_known(self, store, node):
        """With the time until it is due; an overdue one is due now."""
        assert await store.parking.seconds_to_next() is None
        await self.parked(store, node, within_seconds=2 * HOUR)
        assert HOUR < await store.parking.seconds_to_next() <= 2 * HOUR
        await self.parked(store, node, within_seconds=HOUR)
        assert HOUR / 2 < await store.parking.seconds_to_next() <= HOUR
        await self.parked(store, node, within_seconds=0.0)
        assert await store.parking.seconds_to_next() == 0.0

    async def test_those_that_are_due_are_taken(self, store, node):
        """Overdue ones and those to be polled, the first one first, and each once."""
        late = await self.parked(store, node, within_seconds=0.0)
        polled = await self.parked(store, node, poll_url=URL, poll_delay_seconds=0.0)
        await self.parked(store, node)
        await self.parked(store, node, poll_url=URL, poll_delay_seconds=HOUR / 2)
        first, second = await store.parking.take_due(limit=9, take_seconds=HOUR / 3)
        assert (first.claim.task_id, first.is_overdue, first.poll_url) == (late.task_id, True, None)
        assert second.claim.task_id == polled.task_id
        assert (second.is_overdue, second.poll_url) == (False, URL)
        assert await self.due_ids(store) == []
        assert HOUR / 4 < await store.parking.seconds_to_next() <= HOUR / 3

    async def test_no_more_are_taken_than_asked_for(self, store, node):
        """The others are due still."""
        claims = [await self.parked(store, node, within_seconds=0.0) for _ in range(3)]
        ids = [claim.task_id for claim in claims]
        assert await self.due_ids(store, limit=2) == ids[:2]
        assert await store.parking.seconds_to_next() == 0.0
        assert await self.due_ids(store, limit=2) == ids[2:]

    async def test_one_that_was_taken_is_due_again(self, store, node):
        """If nothing became of it, because the node that took it died."""
        claim = await self.parked(store, node, within_seconds=0.0)
        [one] = await store.parking.take_due(limit=9, take_seconds=0.0)
        [again] = await store.parking.take_due(limit=9, take_seconds=HOUR)
        assert one.claim == again.claim
        assert one.claim.task_id == claim.task_id
        assert await store.settle([failed(again.claim)]) == {claim.task_id}

    async def test_those_taken_at_once_differ(self, store, node):
        """Of several nodes each gets others."""
        claims = [await self.parked(store, node, within_seconds=0.0) for _ in range(12)]
        taken: list[uuid.UUID] = []

        async def take() -> None:
            taken.extend(await self.due_ids(store, limit=4))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(take)
        taken += await self.due_ids(store)  # a taker may have passed over those of another
        assert sorted(taken) == sorted(claim.task_id for claim in claims)

    async def test_a_poll_is_due_by_its_delay(self, store, node):
        """And then by the delay of the next response, until it is overdue."""
        claim = await self.parked(store, node, poll_url=URL, poll_delay_seconds=HOUR / 2)
        assert HOUR / 4 < await store.parking.seconds_to_next() <= HOUR / 2
        again = parking(claim, 0.0, poll_url=URL + "2", poll_delay_seconds=0.0)
        assert await store.parking.park([again]) == {claim.task_id}
        [due] = await store.parking.take_due(limit=9, take_seconds=HOUR)
        assert (due.poll_url, due.is_overdue) == (URL + "2", False)
        later = parking(claim, HOUR, poll_url=URL, poll_delay_seconds=9 * HOUR)
        assert await store.parking.park([later]) == {claim.task_id}
        assert HOUR / 2 < await store.parking.seconds_to_next() <= HOUR

    async def test_parking_again_keeps_its_time(self, store, node):
        """An attempt is overdue at the time that its first 202 set."""
        claim = await self.parked(store, node, within_seconds=0.0)
        for parked in (parking(claim), parking(claim, poll_url=URL, poll_delay_seconds=HOUR)):
            assert await store.parking.park([parked]) == {claim.task_id}
            [due] = await store.parking.take_due(limit=9, take_seconds=HOUR)
            assert due.is_overdue
        assert due.poll_url == URL

    async def test_a_heartbeat_extends_it(self, store, node):
        """From now on, whatever it had before."""
        claim = await self.parked(store, node, within_seconds=0.0)
        before = dt.datetime.now(dt.UTC)
        overdue_at = await store.parking.extend(key_of(claim), HOUR)
        assert abs((overdue_at - before).total_seconds() - HOUR) < HOUR / 2
        assert await self.due_ids(store) == []
        assert HOUR / 2 < await store.parking.seconds_to_next() <= HOUR
        await store.parking.extend(key_of(claim), HOUR / 3)
        assert HOUR / 6 < await store.parking.seconds_to_next() <= HOUR / 3

    async def test_an_extension_leaves_the_next_poll_alone(self, store, node):
        """It is due when it was."""
        claim = await self.parked(store, node, poll_url=URL, poll_delay_seconds=0.0)
        await store.parking.extend(key_of(claim), 9 * HOUR)
        assert await self.due_ids(store) == [claim.task_id]

    async def test_a_request_in_flight_can_be_extended(self, store, node):
        """Its time begins when it is parked: nothing is kept."""
        await store.add([slow_task()])
        claim = await self.claim_one(store, node)
        assert await store.parking.extend(key_of(claim), HOUR) is not None
        assert await store.parking.seconds_to_next() is None
        assert await store.parking.extend(ClaimKey(claim.task_id, NOBODY), HOUR) is None
        assert await store.parking.extend(ClaimKey(NOBODY, claim.token), HOUR) is None

    # The claim

    @pytest.mark.parametrize("is_parked", [False, True])
    async def test_an_open_attempt_is_found(self, store, node, is_parked):
        """As it was claimed, parked or with its request in flight."""
        await store.queues.put("slow", QueueSettings(sign=True, credential="c", egress_proxy="d"))
        await store.add([slow_task(queue="slow", max_attempts=3, authority="target.example")])
        claim = await self.claim_one(store, node)
        if is_parked:
            await store.parking.park([parking(claim, 0.0)])
        found = await store.parking.find(claim.task_id)
        assert 0 <= found.running_seconds < HOUR
        assert 0 <= found.claim.waited_seconds < HOUR
        same = {"waited_seconds": claim.waited_seconds}
        assert msgspec.structs.replace(found.claim, **same) == claim
        assert (found.claim.options.sign, found.claim.options.completion) == (True, CALLBACK)
        if is_parked:
            [due] = await store.parking.take_due(limit=1, take_seconds=HOUR)
            assert msgspec.structs.replace(due.claim, **same) == claim
            assert 0 <= due.running_seconds < HOUR

    async def test_nothing_else_is_found(self, store, node):
        """No task that waits or is finished, and no unknown one."""
        [task] = await store.add([slow_task()])
        assert await store.parking.find(task.id) is None
        await store.settle([completed(await self.claim_one(store, node))])
        assert await store.parking.find(task.id) is None
        assert await store.parking.find(NOBODY) is None

    # Limits

    async def test_it_counts_in_its_queue(self, store, node):
        """The concurrency limit of a queue holds for the work of targets, too."""
        await store.queues.put("slow", QueueSettings(max_concurrency=2))
        tasks = await store.add([slow_task(queue="slow", authority="a.example") for _ in range(3)])
        claims = await store.claim(node, limit=9)
        assert [claim.task_id for claim in claims] == [task.id for task in tasks[:2]]
        assert await store.parking.park([parking(claim) for claim in claims])
        assert await store.claim(node, limit=9) == []
        assert (await store.get(tasks[2].id)).held.reason is HoldReason.QUEUE_CONCURRENCY
        found = (await store.parking.find(tasks[0].id)).claim
        assert found.is_limited
        await store.settle([completed(found)])
        assert [claim.task_id for claim in await store.claim(node, limit=9)] == [tasks[2].id]

    async def test_the_end_of_one_wakes_nodes(self, store, node):
        """If another task of its queue may start then."""
        await store.queues.put("slow", QueueSettings(max_concurrency=1))
        first, second = await store.add([slow_task(queue="slow") for _ in range(2)])
        claim = await self.claim_one(store, node)
        await store.parking.park([parking(claim, makes_room=True)])
        with trio.move_on_after(0.2):
            while True:
                await store.wait_for_work()
                assert await store.claim(node, limit=9) == []
        found = (await store.parking.find(first.id)).claim
        ended = msgspec.structs.replace(completed(found), makes_room=found.is_limited)
        await store.settle([ended])
        with trio.fail_after(90):
            while not (claims := await store.claim(node, limit=9)):
                await store.wait_for_work()
        assert [claim.task_id for claim in claims] == [second.id]

    async def test_it_does_not_count_for_its_host(self, store, node):
        """Its target has answered: the limit of a host is for requests."""
        await store.queues.put("slow", QueueSettings(per_host=HostLimits(max_concurrency=1)))
        host = {"queue": "slow", "host": "a.example", "authority": "a.example"}
        await store.add([slow_task(**host) for _ in range(3)])
        for _ in range(2):
            [claim] = await store.claim(node, limit=9)
            assert await store.claim(node, limit=9) == []
            await store.parking.park([parking(claim, makes_room=True)])
        assert await store.monitoring.hosts(limit=9) == []
        shares = HostShares(in_flight={}, capacity=1)
        assert len(await store.claim(node, limit=9, shares=shares)) == 1

    async def test_it_is_no_probe(self, store, node):
        """Beside one, the next task may probe its host."""
        tasks = [slow_task(host="a.example", authority="a.example") for _ in range(2)]
        await store.add(tasks)
        claim = await self.claim_one(store, node)
        await store.queues.open_circuit("a.example", reason="503", retry_after_seconds=0.0)
        assert await store.claim(node, limit=9) == []
        await store.parking.park([parking(claim, makes_room=True)])
        [probe] = await store.claim(node, limit=9)
        assert probe.is_probe
        assert not (await store.parking.find(claim.task_id)).claim.is_probe

    # Beside other features

    async def test_its_callback_waits_for_its_outcome(self, store, node):
        """A parked task has none yet, and the one of its outcome shows it as finished."""
        options = TaskOptions(completion=CALLBACK, callback_url="http://b.example/")
        await store.add([new_task(options=options)])
        claim = await self.claim_one(store, node)
        await store.parking.park([parking(claim)])
        assert await store.claim(node, limit=9) == []
        await store.settle([completed(claim)])
        callback = await self.claim_one(store, node)
        assert (callback.options.callback_of, callback.options.completion) == (claim.task_id, None)
        body = msgspec.json.decode(callback.payload)["body"]
        assert (body["status"], body["waiting_for"]) == ("COMPLETED", None)
        assert body["completion"] == {"mode": "callback", "within_seconds": HOUR}

    async def test_it_holds_its_order_key(self, store, node):
        """The next task of the key starts when it has finished."""
        first, second = await store.add([slow_task(order_key="k") for _ in range(2)])
        await store.promote()
        claim = await self.claim_one(store, node)
        await store.parking.park([parking(claim)])
        await store.promote()
        assert await store.claim(node, limit=9) == []
        assert (await store.get(first.id)).waiting_for == FOR_COMPLETION
        assert (await store.get(second.id)).waiting_for.task_id == first.id
        await store.settle([completed(claim)])
        await store.promote()
        assert [claim.task_id for claim in await store.claim(node, limit=9)] == [second.id]

    async def test_its_group_waits_for_it(self, store, node):
        """A parked member is open."""
        group = (await store.groups.add(NewGroup(), [slow_task()])).group
        claim = await self.claim_one(store, node)
        await store.parking.park([parking(claim)])
        await store.groups.close(group.id)
        assert (await store.groups.get(group.id)).status.value == "CLOSED"
        await store.settle([completed(claim)])
        assert (await store.groups.get(group.id)).status.value == "COMPLETED"

    async def test_the_store_says_when_one_was_parked(self, store, node):
        """In this process, and once for several."""
        with trio.move_on_after(0.05) as waiting:
            await store.parking.wait_for_parked()
        assert waiting.cancelled_caught
        for _ in range(2):
            await self.parked(store, node)
        with trio.fail_after(90):
            await store.parking.wait_for_parked()
        with trio.move_on_after(0.05) as waiting:
            await store.parking.wait_for_parked()
        assert waiting.cancelled_caught
