"""What every store has to keep of what tasks say of themselves, and of idempotency keys."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
import trio

from taskflow.model.completion import Completion, CompletionMode
from taskflow.model.options import StoredBackoff, TaskOptions
from taskflow.model.outcome import ErrorType
from taskflow.model.task import IdempotencyKey, TaskStatus
from taskflow.store.base.claims import Retry
from taskflow.store.base.store import TaskStore
from tests.store.contract import StoreContract, completed, failed, new_task, released

LATER = dt.timedelta(hours=1)
OPTIONS = TaskOptions(
    backoff=StoredBackoff(initial_seconds=0.5, factor=3.0, max_seconds=9.0),
    retry_on=(404, "5xx"),
    success_on=("2xx", 304),
    callback_url="https://example.com/done",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate="a=1",
)


def key(text: str = "one", body: bytes = b"{}", seconds: float = 3600.0) -> IdempotencyKey:
    return IdempotencyKey(text, body.ljust(32), seconds)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class OptionsContract(StoreContract):
    """The conformance suite, this part of it included."""

    async def soon(self, store: TaskStore, seconds: float = 2.0) -> dt.datetime:
        """Return a time that is this far ahead, by the store's clock."""
        [task] = await store.add([new_task(delay_seconds=9999.0)])
        await store.cancel(task.id)
        return task.created_at + dt.timedelta(seconds=seconds)

    async def after(self, moment: dt.datetime) -> None:
        """Wait until this time is over."""
        await trio.sleep((moment - now()).total_seconds() + 0.02)

    # What a task says

    @pytest.mark.parametrize(
        "options",
        [
            OPTIONS,
            TaskOptions(backoff=StoredBackoff()),
            TaskOptions(backoff=(0.0, 1.5, 86_400.0)),
            TaskOptions(retry_on=()),
            TaskOptions(success_on=("4xx",)),
            TaskOptions(sign=True),
            TaskOptions(sign=False),
            TaskOptions(credential="billing"),
            TaskOptions(completion=Completion(CompletionMode.POLL, 0.5 + 2**20)),
        ],
    )
    async def test_options_are_stored(self, store, node, options):
        """``add`` returns what ``get`` and pages find, and claims have all options."""
        tags = {"team": "billing", "n": -(2**53) + 1, "b": True, "e": "", "u": "é\U0001f600"}
        [added] = await store.add(
            [
                new_task(
                    options=options,
                    tags=tags,
                    expires_at=now() + LATER,
                    retention_seconds=12.5,
                    host="example.com",
                )
            ]
        )
        assert (added.tags, added.retention_seconds) == (tags, 12.5)
        assert (added.backoff, added.callback_url) == (options.shown_backoff, options.callback_url)
        assert (added.retry_on, added.success_on) == (options.retry_on, options.success_on)
        assert (added.sign, added.credential) == (options.sign, options.credential)
        assert added.completion == options.completion
        assert await store.get(added.id) == added
        assert (await store.page(limit=1)).tasks == [added]
        assert (await self.claim_one(store, node)).options == options

    async def test_a_task_for_a_moment(self, store, node):
        """It runs from then on; a moment that is past, however long, is now."""
        later, past, ancient = await store.add(
            [
                new_task(run_at=now() + LATER),
                new_task(run_at=now() - LATER),
                new_task(run_at=dt.datetime.min.replace(tzinfo=dt.UTC)),
            ]
        )
        assert later.run_at - later.created_at > LATER * 0.9
        assert past.run_at == past.created_at
        claims = await store.claim(node, limit=5)
        assert [claim.task_id for claim in claims] == [past.id, ancient.id]
        for task in (later, past, ancient):
            assert (await store.get(task.id)).run_at == task.run_at

    async def test_the_end_of_time(self, store):
        """The last moment that can be written can be kept, as run_at and as expires_at."""
        last = dt.datetime.max.replace(tzinfo=dt.UTC)
        [added] = await store.add([new_task(run_at=last, expires_at=last)])
        assert await store.get(added.id) == added
        assert (added.run_at, added.expires_at) == (last, last)
        assert await store.seconds_to_expiry() > 10**11

    # Handing over

    async def test_delayed_or_expired_tasks_are_not_claimed_directly(self, store, node):
        """New tasks that are not due, or have expired, are not claimed directly."""
        async with self.taker(store, node, room=9) as taker:
            later, over = await store.add(
                [new_task(run_at=now() + LATER), new_task(expires_at=now() - LATER)]
            )
            assert taker.claims == []
        for task in (later, over):
            assert await self.status_of(store, task.id) is TaskStatus.PENDING
        assert await store.claim(node, limit=9) == []

    async def test_direct_claims_have_the_options(self, store, node):
        """A claim that is made as the task is stored has its options."""
        async with self.taker(store, node, room=9) as taker:
            await store.add([new_task(options=OPTIONS)])
            await store.add_once([new_task(options=OPTIONS)], key())
            assert [claim.options for claim in taker.claims] == [OPTIONS, OPTIONS]

    async def test_repeated_requests_are_not_claimed(self, store, node):
        """No task was created, so there is none to run."""
        async with self.taker(store, node, room=9) as taker:
            await store.add_once([new_task()], key())
            await store.add_once([new_task()], key())
            assert len(taker.claims) == 1

    # Expiry

    async def test_expired_tasks_are_never_claimed(self, store, node):
        """Expired tasks are not claimed, by priority or by age, even before they are FAILED."""
        over = [new_task(priority=priority, expires_at=now() - LATER) for priority in (9, 0)]
        _, _, good = await store.add([*over, new_task(expires_at=now() + LATER)])
        assert [claim.task_id for claim in await store.claim(node, limit=5)] == [good.id]
        [late] = await store.add([new_task()])
        claims = await store.claim(node, limit=5, by_age=5)
        assert [claim.task_id for claim in claims] == [late.id]

    async def test_it_is_over_at_the_moment_itself(self, store, node):
        """Until then it can be claimed, from then on it cannot."""
        moment = await self.soon(store, 0.5)
        await store.add([new_task(expires_at=moment) for _ in range(2)])
        assert len(await store.claim(node, limit=1)) == 1
        await self.after(moment)
        assert await store.claim(node, limit=1) == []

    async def test_expired_tasks_fail(self, store, node):
        """It ends FAILED, with a time and without an attempt; it can be retried, and then runs."""
        over, good = await store.add(
            [new_task(expires_at=now() - LATER), new_task(expires_at=now() + LATER)]
        )
        assert await store.expire(limit=10) == 1
        assert await store.expire(limit=10) == 0
        ended = await store.get(over.id)
        assert (ended.status, ended.error_type) == (TaskStatus.FAILED, ErrorType.EXPIRED)
        assert ended.error == "expired: it was still waiting at its expires_at"
        assert (ended.attempt, ended.started_at) == (0, None)
        assert ended.finished_at >= ended.created_at
        assert await store.attempts(over.id) == []
        assert await self.status_of(store, good.id) is TaskStatus.PENDING
        again = await store.retry(over.id)
        assert (again.status, again.expires_at) == (TaskStatus.PENDING, None)
        assert {claim.task_id for claim in await store.claim(node, limit=5)} == {over.id, good.id}

    async def test_only_pending_tasks_expire(self, store, node):
        """Running tasks finish normally, and canceled tasks stay canceled."""
        moment = await self.soon(store)
        running, canceled = await store.add(
            [new_task(priority=1, expires_at=moment), new_task(expires_at=moment)]
        )
        claim = await self.claim_one(store, node)
        await store.cancel(canceled.id)
        await self.after(moment)
        assert await store.expire(limit=10) == 0
        assert await store.settle([completed(claim)]) == {running.id}

    @pytest.mark.parametrize("how", ["retry", "release", "retire"])
    async def test_released_tasks_can_expire(self, store, node, how):
        """No other attempt is begun; the one that there was is shown, and its error is not."""
        moment = await self.soon(store)
        [task] = await store.add([new_task(max_attempts=3, expires_at=moment)])
        claim = await self.claim_one(store, node)
        await self.after(moment)
        if how == "retry":
            await store.schedule_retries(
                [Retry(task.id, claim.token, 0.0, "no luck", ErrorType.DNS)]
            )
        elif how == "release":
            await store.release([released(claim, elapsed_seconds=1.0)])
        else:
            await store.retire(node)
        assert await store.expire(limit=10) == 1
        ended = await store.get(task.id)
        assert (ended.status, ended.error_type) == (TaskStatus.FAILED, ErrorType.EXPIRED)
        assert ended.attempt == (1 if how == "retry" else 0)
        [attempt] = await store.attempts(task.id)
        assert attempt.status == ("FAILED" if how == "retry" else "INTERRUPTED")
        await store.retry(task.id)
        assert await store.attempts(task.id) == [attempt]

    async def test_expiring_is_bounded(self, store):
        """No more than was said end at once."""
        await store.add([new_task(expires_at=now() - LATER) for _ in range(5)])
        assert [await store.expire(limit=2) for _ in range(4)] == [2, 2, 1, 0]

    async def test_the_time_until_the_next_expiry(self, store, node):
        """Only pending tasks count; running, finished and unlimited ones do not."""
        assert await store.seconds_to_expiry() is None
        await store.add([new_task()])
        assert await store.seconds_to_expiry() is None
        first, _ = await store.add(
            [
                new_task(priority=1, expires_at=now() + LATER),
                new_task(expires_at=now() + 2 * LATER),
            ]
        )
        assert 3500 < await store.seconds_to_expiry() <= 3600
        claim = await self.claim_one(store, node)
        assert claim.task_id == first.id
        assert 7100 < await store.seconds_to_expiry() <= 7200
        await store.release([released(claim)])
        assert 3500 < await store.seconds_to_expiry() <= 3600
        await store.cancel(first.id)
        assert 7100 < await store.seconds_to_expiry() <= 7200
        await store.add([new_task(expires_at=now() - LATER)])
        assert await store.seconds_to_expiry() < 0

    # Retention of its own

    async def test_retention_of_a_task(self, store, node):
        """Retention is longer or shorter than the default, and begins when the task finishes."""
        brief, forever, usual = await store.add(
            [
                new_task(priority=2, retention_seconds=0.05),
                new_task(priority=1, retention_seconds=3600.0),
                new_task(tags={"a": 1}),
            ]
        )
        for _ in range(3):
            await store.settle([completed(await self.claim_one(store, node))])
        await trio.sleep(0.2)
        assert await store.delete_finished(age_seconds=None, limit=10) == 1
        assert await store.get(brief.id) is None
        assert await store.delete_finished(age_seconds=0.1, limit=10) == 1
        assert await store.get(usual.id) is None
        assert await store.delete_finished(age_seconds=0.0, limit=10) == 0
        assert await store.get(forever.id) is not None

    @pytest.mark.parametrize("end", ["fail", "cancel", "cancel running", "poison", "expire"])
    async def test_whatever_its_end(self, store, node, end):
        """Each move that ends a task starts the time that it is kept."""
        expires_at = now() - LATER if end == "expire" else None
        [task] = await store.add([new_task(retention_seconds=0.0, expires_at=expires_at)])
        if end == "fail":
            await store.settle([failed(await self.claim_one(store, node))])
        elif end == "poison":
            await self.claim_and_die(store)
            await self.rescued(store, max_rescues=1)
        elif end == "expire":
            await store.expire(limit=1)
        else:
            if end == "cancel running":
                await self.claim_one(store, node)
            await store.cancel(task.id)
        assert (await store.get(task.id)).status.is_final
        await trio.sleep(0.02)
        assert await store.delete_finished(age_seconds=None, limit=10) == 1
        assert await store.get(task.id) is None

    async def test_retried_tasks_are_kept(self, store, node):
        """Retention starts when the retried task finishes again."""
        [task] = await store.add([new_task(retention_seconds=0.0)])
        await store.settle([failed(await self.claim_one(store, node))])
        await store.retry(task.id)
        await trio.sleep(0.02)
        assert await store.delete_finished(age_seconds=0.0, limit=10) == 0
        claim = await self.claim_one(store, node)
        assert await store.delete_finished(age_seconds=0.0, limit=10) == 0
        await store.settle([completed(claim)])
        await trio.sleep(0.02)
        assert await store.delete_finished(age_seconds=None, limit=10) == 1

    async def test_deleting_these_is_bounded(self, store, node):
        """No more than was said go at once."""
        await store.add([new_task(retention_seconds=0.0) for _ in range(5)])
        claims = await store.claim(node, limit=5)
        await store.settle([completed(claim) for claim in claims])
        await trio.sleep(0.02)
        counts = [await store.delete_finished(age_seconds=None, limit=2) for _ in range(4)]
        assert counts == [2, 2, 1, 0]

    # Keys

    async def test_the_same_request_makes_its_tasks_once(self, store, node):
        """The repeated request returns the tasks in their current state."""
        first = await store.add_once([new_task(tags={"a": 1})], key())
        assert (first.is_replay, first.is_same) == (False, True)
        assert await store.get(first.tasks[0].id) == first.tasks[0]
        await store.settle([completed(await self.claim_one(store, node))])
        again = await store.add_once([new_task(tags={"a": 1})], key())
        assert (again.is_replay, again.is_same) == (True, True)
        assert again.tasks == [await store.get(first.tasks[0].id)]
        assert again.tasks[0].status is TaskStatus.COMPLETED
        assert len((await store.page(limit=9)).tasks) == 1

    async def test_another_request_with_the_key_makes_nothing(self, store):
        """And is not told what the first one made."""
        await store.add_once([new_task()], key())
        other = await store.add_once([new_task("2")], key(body=b"other"))
        assert (other.tasks, other.is_replay, other.is_same) == ([], True, False)
        assert len((await store.page(limit=9)).tasks) == 1

    @pytest.mark.parametrize("count", [3, 150])
    async def test_an_array_with_a_key(self, store, count):
        """All are created once, and returned in the order of submission."""
        tasks = [new_task(str(n)) for n in range(count)]
        first = await store.add_once(tasks, key())
        assert [int(bytes(task.payload)) for task in first.tasks] == list(range(count))
        again = await store.add_once(tasks, key())
        assert (again.tasks, again.is_replay) == (first.tasks, True)

    async def test_deleted_tasks_are_missing(self, store):
        """It is not created again; the other tasks of its request are returned."""
        tasks = [new_task("1", retention_seconds=0.0), new_task("2"), new_task("3")]
        made = (await store.add_once(tasks, key())).tasks
        await store.cancel(made[0].id)
        await trio.sleep(0.02)
        assert await store.delete_finished(age_seconds=None, limit=9) == 1
        again = await store.add_once(tasks, key())
        assert (again.tasks, again.is_replay, again.is_same) == (made[1:], True, True)

    async def test_a_key_is_forgotten(self, store):
        """After its time the request is a new one, whether it was swept up by then or not."""
        for is_swept in (False, True):
            text = f"key {is_swept}"
            [first] = (await store.add_once([new_task()], key(text, seconds=1.0))).tasks
            assert await store.delete_expired_keys(limit=9) == 0
            await trio.sleep(1.1)
            if is_swept:
                assert await store.delete_expired_keys(limit=9) == 1
            second = await store.add_once([new_task()], key(text, b"other", seconds=3600.0))
            assert not second.is_replay
            assert second.tasks[0].id != first.id
            third = await store.add_once([new_task()], key(text, b"other"))
            assert (third.tasks, third.is_replay) == (second.tasks, True)
            assert not (await store.add_once([new_task()], key(text))).is_same

    async def test_forgetting_is_bounded(self, store):
        """No more than was said go at once, and no task goes with them."""
        for n in range(5):
            await store.add_once([new_task()], key(str(n), seconds=0.01))
        await store.add_once([new_task()], key("kept"))
        await trio.sleep(0.05)
        assert [await store.delete_expired_keys(limit=2) for _ in range(4)] == [2, 2, 1, 0]
        assert len((await store.page(limit=9)).tasks) == 6
        assert (await store.add_once([new_task()], key("kept"))).is_replay

    async def test_of_concurrent_requests_one_creates_the_tasks(self, store):
        """Each of the others returns the same tasks, or an error if its request differs."""
        found = []

        async def add(n: int) -> None:
            body = b"other" if n % 10 == 9 else b"{}"
            tasks = [new_task(body.decode()) if body == b"{}" else new_task("9") for _ in range(2)]
            found.append((body, await store.add_once(tasks, key(body=body))))

        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(add, n)
        [(winner, made)] = [(body, one) for body, one in found if not one.is_replay]
        for body, one in found:
            assert one.is_same == (body == winner)
            assert one.tasks == (made.tasks if one.is_same else [])
        assert len((await store.page(limit=99)).tasks) == 2

    async def test_keys_share_statements(self, store):
        """Those with and those without, and of one key many, share statements and nothing else."""
        found: dict[str, list[uuid.UUID]] = {}

        async def add(name: str, number: int) -> None:
            added = await store.add_once([new_task(str(number))], key(name, b"%d" % number))
            assert added.is_same
            found.setdefault(name, []).extend(task.id for task in added.tasks)
            [alone] = await store.add([new_task(str(number))])
            assert int(bytes(alone.payload)) == number

        async with trio.open_nursery() as nursery:
            for n in range(60):
                nursery.start_soon(add, f"key {n % 20}", n % 20)
        for name, ids in found.items():
            assert (len(ids), len(set(ids))) == (3, 1)
            task = await store.get(ids[0])
            assert bytes(task.payload) == name.removeprefix("key ").encode()
        assert len((await store.page(limit=999)).tasks) == 80

    async def test_a_key_covers_the_whole_request(self, store):
        """A key is for the whole request: nothing of one that differs is made."""
        await store.add_once([new_task("1")], key())
        more = await store.add_once([new_task("1"), new_task("2")], key(body=b"more"))
        assert not more.is_same
        assert len((await store.page(limit=9)).tasks) == 1
