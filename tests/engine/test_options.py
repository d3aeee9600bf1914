"""Options of tasks that the engine applies, on the virtual clock."""

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
    async def test_explicit_delays(self, autojump_clock, new_bench, nursery):
        """Each delay is exact; the last one is used for all further attempts."""
        options = TaskOptions(backoff=(0.0, 3.25, 7.5))
        script = Script(*[BUSY] * 5)
        task, _ = await run_one(new_bench(), nursery, script, max_attempts=6, options=options)
        assert script.pauses == pytest.approx([0, 3.25, 7.5, 7.5, 7.5], abs=0.011)
        assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 6)

    async def test_a_factor(self, autojump_clock, new_bench, nursery):
        """Delays grow by the factor up to the maximum, with jitter between half and all of it."""
        options = TaskOptions(
            backoff=StoredBackoff(initial_seconds=2.0, factor=10.0, max_seconds=150.0)
        )
        script = Script(*[BUSY] * 4)
        await run_one(new_bench(), nursery, script, max_attempts=5, options=options)
        for pause, maximum in zip(script.pauses, (2, 20, 150, 150), strict=True):
            assert maximum / 2 - 0.01 <= pause <= maximum + 0.01

    async def test_the_settings_are_the_default(self, autojump_clock, new_bench, nursery):
        """A factor alone has their first and their longest wait."""
        options = TaskOptions(backoff=StoredBackoff(factor=100.0))
        bench = new_bench(backoff_seconds=4.0, max_backoff_seconds=50.0)
        script = Script(*[BUSY] * 2)
        await run_one(bench, nursery, script, max_attempts=3, options=options)
        for pause, maximum in zip(script.pauses, (4, 50), strict=True):
            assert maximum / 2 - 0.01 <= pause <= maximum + 0.01

    async def test_a_hundred_attempts(self, autojump_clock, new_bench, nursery):
        """The largest factor with the most attempts is limited, and nothing overflows."""
        options = TaskOptions(
            backoff=StoredBackoff(initial_seconds=86_400.0, factor=100.0, max_seconds=1.0)
        )
        script = Script(*[BUSY] * 99)
        task, _ = await run_one(new_bench(), nursery, script, max_attempts=100, options=options)
        assert (task.status, len(script.pauses)) == (TaskStatus.COMPLETED, 99)
        assert max(script.pauses) <= 1.01

    async def test_retry_after_may_lengthen_a_delay(self, autojump_clock, new_bench, nursery):
        """Also an explicit delay; a shorter ``Retry-After`` has no effect."""
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
    async def test_retry_on_statuses(
        self, autojump_clock, new_bench, nursery, retry_on, codes, attempts
    ):
        """These statuses are retried and no others."""
        script = Script(*map(status, codes))
        options = TaskOptions(retry_on=retry_on, backoff=(1.0,))
        task, made = await run_one(new_bench(), nursery, script, max_attempts=9, options=options)
        assert len(made) == attempts
        is_done = attempts > len(codes)
        assert task.status is (TaskStatus.COMPLETED if is_done else TaskStatus.FAILED)

    async def test_errors_without_a_status(self, autojump_clock, new_bench, nursery):
        """Transient network errors are retried, other errors are not."""
        options = TaskOptions(retry_on=(404,), backoff=(1.0,))
        script = Script(Failed(ErrorType.TIMEOUT, "slow"), Failed(ErrorType.TLS, "odd"))
        task, made = await run_one(new_bench(), nursery, script, max_attempts=9, options=options)
        assert (len(made), task.error) == (2, "odd")


class TestExpiry:
    async def test_an_expired_task_fails(self, autojump_clock, new_bench, nursery):
        """It fails at ``expires_at`` and its target gets no request; a task in time runs."""
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

    async def test_a_running_attempt_does_not_expire(self, autojump_clock, new_bench, nursery):
        """Only the start of an attempt must be in time."""
        bench = new_bench(fetch_timeout_seconds=100.0)
        expires_at = await now_of(bench.store) + dt.timedelta(seconds=5)
        payload = msgspec.Raw(b'"http://target/20"')
        [task] = await bench.store.add([NewTask(payload, expires_at=expires_at)])
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        assert (await bench.now(task)).status is TaskStatus.COMPLETED
        bench.engine.shut_down(drain_seconds=0)

    async def test_a_task_between_attempts_expires(self, autojump_clock, new_bench, nursery):
        """It fails at ``expires_at``, not when its next attempt is due."""
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

    async def test_a_new_task_expires_in_time(self, autojump_clock, new_bench, nursery):
        """The poll finds tasks that were submitted later, or during an outage."""
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

    async def test_many_tasks_expire_at_once(self, autojump_clock, new_bench, nursery):
        """All of them fail, batch by batch."""
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

    async def test_tasks_that_expire_during_an_outage(
        self, autojump_clock, new_bench, nursery, monkeypatch
    ):
        """They fail after the outage; others do not."""
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
    async def test_run_at_is_exact(self, autojump_clock, new_bench, nursery):
        """An idle node does not start a task earlier, nor wait for its next poll."""
        bench = new_bench(poll_seconds=60.0)
        await nursery.start(bench.engine.run)
        await trio.sleep(1)
        run_at = await now_of(bench.store) + dt.timedelta(seconds=4.5)
        await bench.store.add([NewTask(msgspec.Raw(b'"http://target/0"'), run_at=run_at)])
        await bench.all_ended()
        assert [at for at, _ in bench.fetcher.started] == pytest.approx([5.5], abs=0.001)
        bench.engine.shut_down(drain_seconds=0)


class TestRetention:
    async def test_the_retention_of_a_task(self, autojump_clock, new_bench, nursery):
        """Tasks with a retention are deleted, others are kept."""
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

    async def test_keys_are_deleted_as_fast_as_they_arrive(
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

    async def test_the_trace_is_continued(self, autojump_clock, new_bench, nursery):
        """Requests have the Trace Context of the ``POST``, unless the task has its own."""
        trace = {"traceparent": PARENT, "tracestate": "a=1"}
        assert await self.headers_of(new_bench(), nursery, b'"http://target/"', **trace) == trace

    @pytest.mark.parametrize("name", ["TraceParent", "tracestate"])
    async def test_a_trace_of_its_own(self, autojump_clock, new_bench, nursery, name):
        """Headers of the trace of the ``POST`` are not mixed with those in the task."""
        payload = POST % (b', "headers": {"%s": "mine"}' % name.encode())
        headers = await self.headers_of(
            new_bench(), nursery, payload, traceparent=PARENT, tracestate="a=1"
        )
        assert headers == {name: "mine", "Idempotency-Key": "the id"}

    async def test_a_timeout_of_its_own(self, autojump_clock, new_bench, nursery):
        """It replaces the setting, and the error names it."""
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
        assert attempt.elapsed_seconds == pytest.approx(2.5, abs=0.001)
        bench.engine.shut_down(drain_seconds=0)

    async def test_a_shutdown_cancels_long_fetches(self, autojump_clock, new_bench, nursery):
        """The task is released and loses no attempt."""
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
