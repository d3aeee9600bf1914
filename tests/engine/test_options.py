"""What tasks say of how they are to be run, kept by the engine: on the virtual clock."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
import trio

from taskflow.model.errors import StoreUnavailable
from taskflow.model.options import StoredBackoff, TaskOptions
from taskflow.model.outcome import ErrorType, Failed
from taskflow.model.task import IdempotencyKey, NewTask, TaskStatus
from tests.engine.test_retries import BUSY, Script, run_one

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
POST = b'{"url": "http://target/", "method": "POST"%s}'


def status(code: int) -> Failed:
    return Failed(ErrorType.HTTP_STATUS, f"it was {code}", code)


async def now_of(store) -> dt.datetime:
    """The time by the store's clock, which the virtual one drives."""
    [task] = await store.add([NewTask(msgspec.Raw(b"1"), delay_seconds=1e6)])
    await store.cancel(task.id)
    return task.created_at


class TestBackoff:
    async def test_waits_by_themselves(self, autojump_clock, new_bench, nursery):
        """Each is waited to the moment, without chance; the last one is for all further ones."""
        options = TaskOptions(backoff=(0.0, 3.25, 7.5))
        script = Script(*[BUSY] * 5)
        task, _ = await run_one(new_bench(), nursery, script, max_attempts=6, options=options)
        assert script.pauses == pytest.approx([0, 3.25, 7.5, 7.5, 7.5], abs=0.011)
        assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 6)

    async def test_a_factor(self, autojump_clock, new_bench, nursery):
        """Waits grow by it from the first one to the longest, each between half and all of it."""
        options = TaskOptions(
            backoff=StoredBackoff(initial_seconds=2.0, factor=10.0, max_seconds=150.0)
        )
        script = Script(*[BUSY] * 4)
        await run_one(new_bench(), nursery, script, max_attempts=5, options=options)
        for pause, most in zip(script.pauses, (2, 20, 150, 150), strict=True):
            assert most / 2 - 0.01 <= pause <= most + 0.01

    async def test_what_is_not_said_is_as_the_settings_say(
        self, autojump_clock, new_bench, nursery
    ):
        """A factor alone has their first and their longest wait."""
        options = TaskOptions(backoff=StoredBackoff(factor=100.0))
        bench = new_bench(backoff_seconds=4.0, max_backoff_seconds=50.0)
        script = Script(*[BUSY] * 2)
        await run_one(bench, nursery, script, max_attempts=3, options=options)
        for pause, most in zip(script.pauses, (4, 50), strict=True):
            assert most / 2 - 0.01 <= pause <= most + 0.01

    async def test_a_hundred_attempts(self, autojump_clock, new_bench, nursery):
        """The greatest factor over the most attempts is bounded, and no number overflows."""
        options = TaskOptions(
            backoff=StoredBackoff(initial_seconds=86_400.0, factor=100.0, max_seconds=1.0)
        )
        script = Script(*[BUSY] * 99)
        task, _ = await run_one(new_bench(), nursery, script, max_attempts=100, options=options)
        assert (task.status, len(script.pauses)) == (TaskStatus.COMPLETED, 99)
        assert max(script.pauses) <= 1.01

    async def test_a_target_that_asks_for_longer_gets_it(self, autojump_clock, new_bench, nursery):
        """Also from a task that says each wait by itself; who asks for less waits as it says."""
        options = TaskOptions(backoff=(5.0,))
        script = Script(
            msgspec.structs.replace(BUSY, retry_after_seconds=20.0),
            msgspec.structs.replace(BUSY, retry_after_seconds=1.0),
        )
        await run_one(new_bench(), nursery, script, max_attempts=3, options=options)
        assert script.pauses == pytest.approx([20, 5], abs=0.011)


class TestRetryOn:
    @pytest.mark.parametrize(
        ("retry_on", "codes", "attempts"),
        [
            ((404,), [404, 404], 3),
            ((404,), [404, 503], 2),
            (("4xx", 500), [404, 451, 500, 501], 4),
            ((), [503], 1),
            ((302,), [302], 2),
            ((404,), [410], 1),
        ],
    )
    async def test_statuses(self, autojump_clock, new_bench, nursery, retry_on, codes, attempts):
        """These are tried again and no others, whatever asks for it otherwise."""
        script = Script(*map(status, codes))
        options = TaskOptions(retry_on=retry_on, backoff=(1.0,))
        task, made = await run_one(new_bench(), nursery, script, max_attempts=9, options=options)
        assert len(made) == attempts
        is_done = attempts > len(codes)
        assert task.status is (TaskStatus.COMPLETED if is_done else TaskStatus.FAILED)

    async def test_what_has_no_status(self, autojump_clock, new_bench, nursery):
        """Passing faults of the network are tried again all the same; others are not."""
        options = TaskOptions(retry_on=(404,), backoff=(1.0,))
        script = Script(Failed(ErrorType.TIMEOUT, "slow"), Failed(ErrorType.TLS, "odd"))
        task, made = await run_one(new_bench(), nursery, script, max_attempts=9, options=options)
        assert (len(made), task.error) == (2, "odd")


class TestExpiry:
    async def test_a_task_that_waits_too_long(self, autojump_clock, new_bench, nursery):
        """It fails on the moment and its target is never asked; what is in time runs."""
        bench = new_bench(workers=1, fetch_timeout_seconds=100.0)
        start = await now_of(bench.store)
        await bench.add(30)
        late, in_time = await bench.store.add(
            [
                NewTask(msgspec.Raw(b'"http://target/%d"' % n), expires_at=start + after)
                for n, after in ((1, dt.timedelta(seconds=29.5)), (2, dt.timedelta(seconds=31)))
            ]
        )
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        late, in_time = await bench.now(late), await bench.now(in_time)
        assert (late.status, late.error_type) == (TaskStatus.FAILED, ErrorType.EXPIRED)
        assert (late.finished_at - start).total_seconds() == pytest.approx(29.5, abs=0.1)
        assert in_time.status is TaskStatus.COMPLETED
        assert [path for _, path in bench.fetcher.started] == ["30", "2"]
        bench.engine.shut_down(drain_seconds=0)

    async def test_an_attempt_that_began_in_time_goes_on(self, autojump_clock, new_bench, nursery):
        """The moment is for beginnings."""
        bench = new_bench(fetch_timeout_seconds=100.0)
        expires_at = await now_of(bench.store) + dt.timedelta(seconds=5)
        payload = msgspec.Raw(b'"http://target/20"')
        [task] = await bench.store.add([NewTask(payload, expires_at=expires_at)])
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        assert (await bench.now(task)).status is TaskStatus.COMPLETED
        bench.engine.shut_down(drain_seconds=0)

    async def test_no_other_attempt_is_begun(self, autojump_clock, new_bench, nursery):
        """A task between attempts fails when its time is over, not when the next one is due."""
        bench = new_bench(backoff_seconds=100.0)
        start = await now_of(bench.store)
        script = Script(BUSY)
        task, attempts = await run_one(
            bench,
            nursery,
            script,
            max_attempts=2,
            expires_at=start + dt.timedelta(seconds=7),
        )
        assert (task.status, task.error_type) == (TaskStatus.FAILED, ErrorType.EXPIRED)
        assert 7 <= (task.finished_at - start).total_seconds() < 7.1
        assert (len(script.started), [one.error for one in attempts]) == (1, ["busy"])

    async def test_one_that_comes_later_is_seen_in_time(self, autojump_clock, new_bench, nursery):
        """A task that is new, or a store that was away, is looked at by the poll."""
        bench = new_bench(poll_seconds=2.0)
        await nursery.start(bench.engine.run)
        await trio.sleep(10.3)
        expires_at = await now_of(bench.store) + dt.timedelta(seconds=0.5)
        payload = msgspec.Raw(b"1")
        new = NewTask(payload, delay_seconds=100.0, expires_at=expires_at)
        [task] = await bench.store.add([new])
        await bench.all_ended()
        assert (await bench.now(task)).error_type is ErrorType.EXPIRED
        assert trio.current_time() < 10.3 + 2.6
        bench.engine.shut_down(drain_seconds=0)

    async def test_many_at_once(self, autojump_clock, new_bench, nursery):
        """All of them end, a portion after the other, and the engine goes on."""
        bench = new_bench()
        past = await now_of(bench.store) - dt.timedelta(seconds=1)
        await bench.store.add([NewTask(msgspec.Raw(b"1"), expires_at=past) for _ in range(1700)])
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        assert (await bench.statuses())["FAILED"] == 1700
        assert trio.current_time() < 1
        assert bench.fetcher.started == []
        [task] = await bench.add(0)
        await bench.all_ended()
        assert (await bench.now(task)).status is TaskStatus.COMPLETED
        bench.engine.shut_down(drain_seconds=0)

    async def test_an_outage_is_waited_for(self, autojump_clock, new_bench, nursery, monkeypatch):
        """What expired while the store was away ends when it is back; nothing else ends."""
        bench = new_bench()
        expires_at = await now_of(bench.store) + dt.timedelta(seconds=5)
        new = NewTask(msgspec.Raw(b"1"), delay_seconds=50.0, expires_at=expires_at)
        [task] = await bench.store.add([new])

        async def away(**_):
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable

        with monkeypatch.context() as patched:
            patched.setattr(bench.store, "expire", away)
            await nursery.start(bench.engine.run)
            await trio.sleep(20)
            assert (await bench.now(task)).status is TaskStatus.PENDING
        await bench.all_ended()
        assert (await bench.now(task)).error_type is ErrorType.EXPIRED
        assert trio.current_time() < 23
        bench.engine.shut_down(drain_seconds=0)


class TestDueTimes:
    async def test_a_moment_is_kept(self, autojump_clock, new_bench, nursery):
        """A node that is idle neither begins before it nor waits for its next poll."""
        bench = new_bench(poll_seconds=60.0)
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        run_at = await now_of(bench.store) + dt.timedelta(seconds=4.5)
        await bench.store.add([NewTask(msgspec.Raw(b'"http://target/0"'), run_at=run_at)])
        await bench.all_ended()
        assert [at for at, _ in bench.fetcher.started] == pytest.approx([5.5], abs=0.001)
        bench.engine.shut_down(drain_seconds=0)


class TestRetention:
    async def test_of_their_own(self, autojump_clock, new_bench, nursery):
        """Tasks that say how long they are kept go then, where nothing else ever does."""
        bench = new_bench()
        payload = msgspec.Raw(b'"http://target/0"')
        brief, usual = await bench.store.add(
            [NewTask(payload, retention_seconds=100.0), NewTask(payload)]
        )
        await nursery.start(bench.engine.run)
        await trio.sleep(99)
        assert await bench.store.get(brief.id) is not None
        await trio.sleep(65)
        assert await bench.store.get(brief.id) is None
        assert await bench.store.get(usual.id) is not None
        bench.engine.shut_down(drain_seconds=0)

    async def test_keys_are_forgotten_as_fast_as_they_come(
        self, autojump_clock, new_bench, nursery
    ):
        """However many are over at once, and although no task is ever deleted."""
        bench = new_bench()
        for n in range(3000):
            key = IdempotencyKey(str(n), b"", seconds=10.0)
            await bench.store.add_once([NewTask(msgspec.Raw(b"1"), delay_seconds=1e6)], key)
        await trio.sleep(11)
        await nursery.start(bench.engine.run)
        await trio.sleep(2)
        assert await bench.store.delete_expired_keys(limit=9999) == 0
        bench.engine.shut_down(drain_seconds=0)


class TestTheRequest:
    async def headers_of(self, bench, nursery, payload, **options) -> dict[str, str]:
        bench.fetcher = script = Script()
        bench.engine = bench.new_engine()
        new = NewTask(msgspec.Raw(payload), options=TaskOptions(**options))
        [task] = await bench.store.add([new])
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        bench.engine.shut_down(drain_seconds=0)
        [headers] = script.headers
        assert headers.pop("X-TaskFlow-Id") == str(task.id)
        assert headers.pop("X-TaskFlow-Attempt") == "1"
        if headers.get("Idempotency-Key") == str(task.id):
            headers["Idempotency-Key"] = "the id"
        return headers

    async def test_the_trace_goes_on(self, autojump_clock, new_bench, nursery):
        """Parent and state of the POST, if the task has none of its own."""
        trace = {"traceparent": PARENT, "tracestate": "a=1"}
        assert await self.headers_of(new_bench(), nursery, b'"http://target/"', **trace) == trace

    @pytest.mark.parametrize("name", ["TraceParent", "tracestate"])
    async def test_a_trace_of_its_own(self, autojump_clock, new_bench, nursery, name):
        """A state belongs to its parent: nothing of the POST's trace is put beside it."""
        payload = POST % (b', "headers": {"%s": "mine"}' % name.encode())
        headers = await self.headers_of(
            new_bench(), nursery, payload, traceparent=PARENT, tracestate="a=1"
        )
        assert headers == {name: "mine", "Idempotency-Key": "the id"}

    async def test_a_timeout_of_its_own(self, autojump_clock, new_bench, nursery):
        """Shorter or longer than the setting, it bounds the attempt and is told."""
        bench = new_bench(fetch_timeout_seconds=10.0)
        payloads = [
            b'{"url": "http://target/%d", "timeout_seconds": %s}' % (seconds, timeout)
            for seconds, timeout in ((5, b"2.5"), (60, b"61"), (60, b"30"), (11, b"null"))
        ]
        tasks = await bench.store.add([NewTask(msgspec.Raw(one)) for one in payloads])
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        assert [(await bench.now(task)).error for task in tasks] == [
            "timeout: the fetch took longer than 2.5 s",
            "",
            "timeout: the fetch took longer than 30 s",
            "timeout: the fetch took longer than 10 s",
        ]
        [attempt] = await bench.store.attempts(tasks[0].id)
        assert attempt.elapsed_ms == pytest.approx(2500, abs=1)
        bench.engine.shut_down(drain_seconds=0)

    async def test_a_shutdown_cuts_it_off_all_the_same(self, autojump_clock, new_bench, nursery):
        """However long it may take by itself: it goes back, and has lost no attempt."""
        bench = new_bench()
        payload = msgspec.Raw(b'{"url": "http://target/3000", "timeout_seconds": 3600}')
        [task] = await bench.store.add([NewTask(payload)])
        async with trio.open_nursery() as running:
            await running.start(bench.engine.run)
            await trio.sleep(20)
            bench.engine.shut_down(drain_seconds=6)
        assert trio.current_time() == pytest.approx(26, abs=0.1)
        back = await bench.now(task)
        assert (back.status, back.attempt) == (TaskStatus.PENDING, 0)
