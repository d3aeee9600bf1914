"""How the engine runs tasks, on the virtual clock."""

from __future__ import annotations

import msgspec
import pytest
import trio

from taskflow.engine.load import claim_limit
from taskflow.model.outcome import ErrorType
from taskflow.model.task import NewTask, TaskStatus


async def test_tasks_finish(autojump_clock, new_bench, nursery):
    """A success is COMPLETED with its response, a failure FAILED with its error."""
    bench = new_bench()
    await nursery.start(bench.engine.run)
    good, bad = await bench.add(1, 404)
    await bench.all_ended()
    done = await bench.now(good)
    assert done.status is TaskStatus.COMPLETED
    assert msgspec.json.decode(done.result)["status"] == "200 OK"
    failed = await bench.now(bad)
    assert (failed.status, failed.error_type) == (TaskStatus.FAILED, ErrorType.HTTP_STATUS)
    assert failed.error == "http error: status: 404 Not Found"
    bench.engine.shut_down(drain_seconds=0)


async def test_a_fetch_has_a_timeout(autojump_clock, new_bench, nursery):
    """It is canceled at the timeout, and the task is FAILED."""
    bench = new_bench(fetch_timeout_seconds=5.0)
    await nursery.start(bench.engine.run)
    in_time, too_slow = await bench.add(4.9, 60)
    await bench.all_ended()
    assert trio.current_time() == pytest.approx(5.0, abs=0.02)
    assert (await bench.now(in_time)).status is TaskStatus.COMPLETED
    failed = await bench.now(too_slow)
    assert (failed.status, failed.error_type) == (TaskStatus.FAILED, ErrorType.TIMEOUT)
    assert failed.error == "timeout: the fetch took longer than 5 s"
    bench.engine.shut_down(drain_seconds=0)


async def test_a_timeout_keeps_the_partial_response(autojump_clock, new_bench, nursery):
    """The attempt shows the response as far as it was received."""
    bench = new_bench(fetch_timeout_seconds=5.0)
    bench.fetcher.response_bytes = 4
    await nursery.start(bench.engine.run)
    [task] = await bench.add(60)
    await bench.all_ended()
    [attempt] = await bench.store.attempts(task.id)
    assert attempt.error_type is ErrorType.TIMEOUT
    assert (attempt.response.text, attempt.response.truncated) == ("xxxx", True)
    bench.engine.shut_down(drain_seconds=0)


@pytest.mark.parametrize("payload", ["12345", "true", "{}", '["http://target/0"]'])
async def test_a_payload_without_a_url_fails_without_a_request(
    autojump_clock, new_bench, nursery, payload
):
    """It ends FAILED with invalid_url, and nothing is fetched."""
    bench = new_bench()
    await nursery.start(bench.engine.run)
    [task] = await bench.store.add([NewTask(msgspec.Raw(payload.encode()))])
    await bench.all_ended()
    failed = await bench.now(task)
    assert (failed.status, failed.error_type) == (TaskStatus.FAILED, ErrorType.INVALID_URL)
    assert failed.error.startswith("invalid url")
    assert bench.fetcher.started == []
    bench.engine.shut_down(drain_seconds=0)


async def test_concurrency_is_the_number_of_workers(autojump_clock, new_bench, nursery):
    """Twelve fetches of a second on five workers take three seconds."""
    bench = new_bench(workers=5)
    await bench.add(*[1] * 12)
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert trio.current_time() == pytest.approx(3.0, abs=0.02)
    assert bench.fetcher.most_running == 5
    bench.engine.shut_down(drain_seconds=0)


@pytest.mark.parametrize("is_handed_over", [True, False])
async def test_new_tasks_start_at_once(autojump_clock, new_bench, nursery, is_handed_over):
    """An idle engine does not wait for its poll when a task is submitted on any node."""
    bench = new_bench(poll_seconds=50.0)
    bench.store.hands_over = is_handed_over
    await nursery.start(bench.engine.run)
    await trio.sleep(10)
    await bench.add(1)
    await bench.all_ended()
    assert [time for time, _ in bench.fetcher.started] == [10.0]
    bench.engine.shut_down(drain_seconds=0)


async def test_polling_finds_tasks(autojump_clock, new_bench, nursery):
    """If a notification is lost, the poll finds the task."""
    bench = new_bench(poll_seconds=2.0)
    bench.store.hands_over = False
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.store._work.notify = lambda: None  # type: ignore[method-assign]
    await bench.add(0)
    await bench.all_ended()
    [(time, _)] = bench.fetcher.started
    assert 1.0 < time <= 3.0
    bench.engine.shut_down(drain_seconds=0)


async def test_an_idle_engine_claims_once_per_poll(autojump_clock, new_bench, nursery):
    """It makes no other claims."""
    bench = new_bench(poll_seconds=2.0)
    await nursery.start(bench.engine.run)
    await trio.sleep(100)
    assert bench.store.calls["claim"] <= 52
    bench.engine.shut_down(drain_seconds=0)


async def test_a_busy_engine_claims_in_batches(autojump_clock, new_bench, nursery):
    """The size of a claim grows with the rate of finished fetches."""
    bench = new_bench(workers=5, queue_size=100)
    await bench.add(*[0.001] * 5000)
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    assert trio.current_time() < 2.0
    assert bench.store.calls["claim"] < 250
    bench.engine.shut_down(drain_seconds=0)


async def test_slow_tasks_are_not_claimed_ahead(autojump_clock, new_bench, nursery):
    """While workers are busy for long, tasks are left to other nodes."""
    bench = new_bench(workers=5)
    await bench.add(*[4] * 50)
    await nursery.start(bench.engine.run)
    await trio.sleep(3)
    assert await bench.statuses() == {"RUNNING": 5, "PENDING": 45}
    bench.engine.shut_down(drain_seconds=0)


@pytest.mark.parametrize(
    ("idle", "waiting", "ahead", "room", "limit"),
    [
        (5, 0, 0, 100, 5),  # all idle: one for each
        (0, 0, 0, 100, 0),  # all busy for long: none
        (0, 0, 40, 100, 40),  # all busy but quick: what is ahead
        (0, 20, 40, 100, 0),  # half of it still waits: later, and more at once
        (0, 19, 40, 100, 21),  # less than half: fill up
        (2, 2, 0, 100, 0),  # as many waiting as idle: they are just being taken
        (5, 0, 40, 7, 7),  # never more than may be held
        (5, 0, 40, 0, 0),
    ],
)
def test_claim_limit(idle, waiting, ahead, room, limit):
    """The number of tasks to claim, as a table."""
    assert claim_limit(idle=idle, waiting=waiting, ahead=ahead, room=room) == limit


async def test_statistics_and_repr(autojump_clock, new_bench, nursery):
    """They show how many tasks run, and whether the engine runs."""
    bench = new_bench(workers=2)
    assert not bench.engine.statistics().is_running
    await bench.add(3, 3, 3)
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    statistics = bench.engine.statistics()
    assert statistics.is_running
    assert statistics.is_store_reachable
    assert (statistics.load.running, statistics.load.waiting, statistics.load.held) == (2, 0, 2)
    assert repr(bench.engine) == "<Engine: <Load: 2 running, 0 waiting, 2 held>>"
    bench.engine.shut_down(drain_seconds=0)
