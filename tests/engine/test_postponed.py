"""Attempts that failed through no fault of the task or its target, on the virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.metrics.exposition import expose
from taskflow.model.outcome import ErrorType, Fetched, Postponed
from taskflow.model.task import NewTask, TaskStatus
from tests.engine.conftest import response
from tests.metrics.scrape import Scrape

HOST = "target.example:81"


class Script:
    """A fetcher whose proxy fails a number of times, then works."""

    def __init__(self, failures: int, *, may_have_been_sent: bool = False) -> None:
        self.outcome = Postponed(ErrorType.PROXY, "proxy error: x", 10.0, may_have_been_sent)
        self.failures = failures
        self.started: list[float] = []

    async def fetch(self, request):
        self.started.append(trio.current_time())
        await trio.sleep(0.5)
        self.failures -= 1
        return self.outcome if self.failures >= 0 else Fetched(response())


@pytest.fixture
def run(new_bench, nursery):
    async def run(script):
        bench = new_bench(breaker_failures=2)
        bench.fetcher = script
        bench.engine = bench.new_engine()
        new_task = NewTask(msgspec.Raw(b'"http://target/"'), host="target", authority=HOST)
        [task] = await bench.store.add([new_task])
        await nursery.start(bench.engine.run)
        await bench.all_ended()
        bench.engine.shut_down(drain_seconds=0)
        return bench, await bench.now(task)

    return run


async def test_a_postponed_attempt_does_not_count(autojump_clock, run):
    """It is repeated after its delay, as often as needed, and opens no circuit breaker."""
    script = Script(5)
    bench, task = await run(script)
    assert (task.status, task.attempt, task.max_attempts) == (TaskStatus.COMPLETED, 1, 1)
    assert (task.error, task.error_type) == ("", None)
    assert [b - a for a, b in zip(script.started, script.started[1:], strict=False)] == [
        pytest.approx(10.5, abs=0.1)
    ] * 5
    assert [one.status for one in await bench.store.attempts(task.id)] == ["COMPLETED"]
    assert await bench.store.queues.open_circuits(10) == {}
    scrape = Scrape(expose(bench.metrics.registry, [], "").body.decode())
    attempts = "taskflow_attempts_total"
    assert scrape.nonzero(attempts, "outcome") == {"completed": 1, "postponed": 5}
    assert scrape.nonzero(attempts, "error_type") == {"": 1, "proxy": 5}


async def test_a_request_that_may_have_been_sent_is_recorded(autojump_clock, run):
    """If the target may have received the request, the attempt is in the history."""
    bench, task = await run(Script(1, may_have_been_sent=True))
    assert [(one.number, one.status) for one in await bench.store.attempts(task.id)] == [
        (1, "INTERRUPTED"),
        (1, "COMPLETED"),
    ]
