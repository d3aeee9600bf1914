"""A node that lacks the key of tasks, on the virtual clock: it waits, and works on others."""

from __future__ import annotations

import msgspec
import trio

from taskflow.engine.context import MAX_KEY_DELAY_SECONDS
from taskflow.metrics.exposition import expose
from taskflow.model.encryption import Encryption
from taskflow.model.keyring import Keyring
from taskflow.model.outcome import ErrorType
from taskflow.model.task import NewTask, TaskStatus
from taskflow.telemetry import Event
from tests.logs import capture_logs
from tests.metrics.scrape import Scrape

ENCRYPTION = Encryption(Keyring([b"1" * 32]), ("payloads",))
PLAIN = NewTask(msgspec.Raw(b'"http://target/0"'))
SEALED = ENCRYPTION.seal_task(PLAIN)
LONG_SECONDS = 1_800


async def test_it_does_not_spin(autojump_clock, new_bench):
    """Its claims are bounded, its log has one line, and plain tasks run meanwhile."""
    bench = new_bench(workers=2)
    sealed = await bench.store.add([SEALED] * 20)
    with capture_logs() as logs:  # until the engine has released its tasks
        async with trio.open_nursery() as running:
            await running.start(bench.engine.run)
            await trio.sleep(LONG_SECONDS)
            [plain] = await bench.store.add([PLAIN])
            await trio.sleep(2 * MAX_KEY_DELAY_SECONDS)
            bench.engine.shut_down(drain_seconds=0)
    assert (await bench.now(plain)).status is TaskStatus.COMPLETED
    for task in [await bench.now(task) for task in sealed]:
        assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
        assert task.error_type is ErrorType.KEY_MISSING
    assert [line["event"] for line in logs].count(Event.ENCRYPTION_KEY_MISSING.wording) == 1
    scrape = Scrape(expose(bench.metrics.registry, [], "").body.decode())
    postponed = {"outcome": "postponed", "error_type": "key_missing"}
    # The delay grows within a minute, and is at least half of the maximum from then on.
    times = scrape.value("taskflow_attempts_total", **postponed) / len(sealed)
    fewest = LONG_SECONDS / MAX_KEY_DELAY_SECONDS
    assert fewest / 2 < times < 3 * fewest


async def test_another_node_runs_it(autojump_clock, new_bench, nursery):
    """A node with the key completes the task in its first attempt, soon after."""
    bench = new_bench()
    [task] = await bench.store.add([SEALED])
    await nursery.start(bench.engine.run)
    await trio.sleep(1)
    bench.encryption = ENCRYPTION
    await nursery.start(bench.new_engine().run)
    with trio.fail_after(20 * MAX_KEY_DELAY_SECONDS):
        await bench.all_ended()
    found = await bench.now(task)
    assert (found.status, found.attempt, found.error_type) == (TaskStatus.COMPLETED, 1, None)


async def test_a_payload_that_was_changed(autojump_clock, new_bench, nursery):
    """It fails: no key can decrypt it, and nothing is sent."""
    bench = new_bench(max_attempts=1)
    bench.encryption = ENCRYPTION
    bench.engine = bench.new_engine()
    [task] = await bench.store.add([msgspec.structs.replace(SEALED, queue="moved")])
    await nursery.start(bench.engine.run)
    await bench.all_ended()
    found = await bench.now(task)
    assert (found.status, found.error_type) == (TaskStatus.FAILED, ErrorType.INTERNAL)
    assert bench.fetcher.started == []
