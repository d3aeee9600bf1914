"""Retries, priorities and due times, on the virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.engine.dispatcher import OLDEST_FIRST_INTERVAL, OldestFirstQuota
from taskflow.model.outcome import ErrorType, Failed, Fetched
from taskflow.model.task import NewTask, TaskStatus
from tests.engine.conftest import response


class Script:
    """A fetcher that fails a number of times, then succeeds."""

    def __init__(self, *failures: Failed) -> None:
        self.failures = list(failures)
        self.started: list[float] = []
        self.headers: list[dict[str, str]] = []

    async def fetch(self, request):
        self.headers.append(dict(request.headers))
        self.started.append(trio.current_time())
        await trio.sleep(0.25)
        return self.failures.pop(0) if self.failures else Fetched(response())

    @property
    def pauses(self) -> list[float]:
        return [b - a - 0.25 for a, b in zip(self.started, self.started[1:], strict=False)]


BUSY = Failed(ErrorType.HTTP_STATUS, "busy", 503)


async def run_one(bench, nursery, script, **fields):
    bench.fetcher = script
    bench.engine = bench.new_engine()
    [task] = await bench.store.add([NewTask(msgspec.Raw(b'"http://target/"'), **fields)])
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    bench.engine.shut_down(drain_seconds=0)
    return await bench.now(task), await bench.store.attempts(task.id)


async def test_a_failure_is_retried(autojump_clock, new_bench, nursery):
    """After exact, doubling delays, until an attempt succeeds."""
    script = Script(BUSY, BUSY, BUSY)
    task, attempts = await run_one(new_bench(), nursery, script, max_attempts=5)
    assert (task.status, task.attempt, task.error) == (TaskStatus.COMPLETED, 4, "")
    assert [(one.number, one.status, one.status_code) for one in attempts] == [
        (1, "FAILED", 503),
        (2, "FAILED", 503),
        (3, "FAILED", 503),
        (4, "COMPLETED", 200),
    ]
    assert {one.elapsed_seconds for one in attempts} == {0.25}
    for pause, maximum in zip(script.pauses, (1, 2, 4), strict=True):
        assert maximum / 2 - 0.01 <= pause <= maximum + 0.01


async def test_requests_identify_the_attempt(autojump_clock, new_bench, nursery):
    """Each request names its task and attempt."""
    script = Script(BUSY)
    task, _ = await run_one(new_bench(), nursery, script, max_attempts=2)
    assert script.headers == [
        {"X-TaskFlow-Id": str(task.id), "X-TaskFlow-Attempt": number} for number in ("1", "2")
    ]


async def test_a_task_between_attempts(autojump_clock, new_bench, nursery):
    """It is PENDING with a later ``run_at``, its last error and its attempts."""
    bench = new_bench(backoff_seconds=100.0)
    bench.fetcher = Script(BUSY)
    bench.engine = bench.new_engine()
    [task] = await bench.store.add([NewTask(msgspec.Raw(b'"http://target/"'), max_attempts=2)])
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    waiting = await bench.now(task)
    assert (waiting.status, waiting.attempt, waiting.max_attempts) == (TaskStatus.PENDING, 1, 2)
    assert (waiting.error, waiting.error_type) == ("busy", ErrorType.HTTP_STATUS)
    assert 49 <= (waiting.run_at - waiting.created_at).total_seconds() <= 102
    bench.engine.shut_down(drain_seconds=0)


async def test_attempts_run_out(autojump_clock, new_bench, nursery):
    """The last failure becomes the error of the task, after exactly ``max_attempts``."""
    script = Script(*[BUSY] * 9)
    task, attempts = await run_one(new_bench(), nursery, script, max_attempts=3)
    assert (task.status, task.attempt, task.error) == (TaskStatus.FAILED, 3, "busy")
    assert len(script.started) == len(attempts) == 3


async def test_permanent_failures_are_not_retried(autojump_clock, new_bench, nursery):
    """A 404 fails the task at the first attempt."""
    script = Script(Failed(ErrorType.HTTP_STATUS, "not there", 404))
    task, attempts = await run_one(new_bench(), nursery, script, max_attempts=9)
    assert (task.status, task.attempt, len(attempts)) == (TaskStatus.FAILED, 1, 1)


async def test_retry_after(autojump_clock, new_bench, nursery):
    """It takes precedence over a shorter backoff, up to its maximum."""
    bench = new_bench(max_retry_after_seconds=60.0)
    script = Script(
        msgspec.structs.replace(BUSY, retry_after_seconds=20.0),
        msgspec.structs.replace(BUSY, retry_after_seconds=86_400.0),
    )
    await run_one(bench, nursery, script, max_attempts=3)
    assert script.pauses == pytest.approx([20, 60], abs=0.01)


async def test_an_interrupted_attempt_does_not_count(autojump_clock, new_bench, nursery):
    """A task with one attempt runs again after a shutdown canceled its fetch."""
    bench = new_bench(fetch_timeout_seconds=100.0)
    [task] = await bench.add(30)
    async with trio.open_nursery() as first:
        await first.start(bench.engine.run)
        await trio.sleep(10)
        bench.engine.shut_down(drain_seconds=5)
    second = bench.new_engine()
    await nursery.start(second.run)
    await bench.all_ended()
    done = await bench.now(task)
    assert (done.status, done.attempt, done.rescues) == (TaskStatus.COMPLETED, 1, 0)
    attempts = await bench.store.attempts(task.id)
    assert [(one.status, one.elapsed_seconds) for one in attempts] == [
        ("INTERRUPTED", 15.0),
        ("COMPLETED", 30.0),
    ]
    second.shut_down(drain_seconds=0)


async def test_a_flood_of_high_priority_does_not_starve_others(autojump_clock, new_bench, nursery):
    """One task in ten is the one that has been due longest."""
    bench = new_bench(workers=1)
    await bench.add(*["1"] * 20)
    flood = [NewTask(msgspec.Raw(b'"http://target/1.0"'), priority=100) for _ in range(400)]
    await bench.store.add(flood)
    await nursery.start(bench.engine.run)
    await trio.sleep(220)
    paths = [path for _, path in bench.fetcher.started]
    assert 18 <= paths.count("1") <= 22
    bench.engine.shut_down(drain_seconds=0)


def test_one_claim_in_ten_goes_by_age():
    """One task in ten is claimed by age, whatever the sizes of the claims."""
    for limit in (1, 3, 10, 37, 100):
        quota, by_age = OldestFirstQuota(), 0
        for _ in range(1000 // limit):
            aged = quota.next(limit)
            by_age += aged
            quota.record(limit, by_age=aged)
        claimed = 1000 // limit * limit
        assert abs(by_age - claimed / OLDEST_FIRST_INTERVAL) <= max(1, limit / 10 + 1)


async def test_a_scheduled_task_starts_on_time(autojump_clock, new_bench, nursery):
    """It does not wait for the next poll."""
    bench = new_bench(poll_seconds=60.0)
    await nursery.start(bench.engine.run)
    payload = msgspec.Raw(b'"http://target/0"')
    await bench.store.add([NewTask(payload, delay_seconds=seconds) for seconds in (7.5, 3.25)])
    await bench.all_ended()
    assert [at for at, _ in bench.fetcher.started] == pytest.approx([3.25, 7.5], abs=0.001)
    bench.engine.shut_down(drain_seconds=0)


async def test_old_tasks_are_deleted(autojump_clock, new_bench, nursery):
    """With a retention, tasks are deleted after it; without one they are kept."""
    bench = new_bench(retention_seconds=100.0, workers=100)
    await nursery.start(bench.engine.run)
    await bench.add(*[1] * 1200)
    await bench.all_ended()
    ended = trio.current_time()
    while bench.store._tasks:
        await trio.sleep(0.1)
    assert 40 < trio.current_time() - ended < 170
    bench.engine.shut_down(drain_seconds=0)
