"""Missed pings are noticed at their time, by nodes on the virtual clock."""

from __future__ import annotations

import trio

from taskflow.engine.context import Outage
from taskflow.engine.housekeeping import Job, run_job
from taskflow.engine.missed_heartbeats import HeartbeatChecks
from taskflow.metrics import Metrics
from taskflow.model.heartbeat_monitors import MonitorDefinition, NewPing, Reason
from taskflow.model.schedule import Timing
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.logs import capture_logs


async def pinged(store: MemoryStore, name: str = "backup", **fields) -> None:
    """A heartbeat that was pinged now, and is expected every minute."""
    known = {"timing": Timing(every_seconds=60), "grace_seconds": 30.0}
    definition = MonitorDefinition(name=name, **{**known, **fields})
    made, _ = await store.heartbeat_monitors.change(name, lambda _: definition)
    assert await store.heartbeat_monitors.ping(made.monitor.ping_id, NewPing())


async def state_changes(store: MemoryStore, name: str = "backup") -> list[Reason]:
    found = await store.heartbeat_monitors.history(name)
    return [one.reason for one in reversed(found.transitions)]


def job_of(store: MemoryStore) -> Job:
    return Job(HeartbeatChecks(store.heartbeat_monitors).step, 1.0)


async def test_a_missed_ping_is_noticed_at_its_deadline(autojump_clock, nursery):
    """By two nodes, once, with one event in the log."""
    store = MemoryStore()
    await pinged(store)
    with capture_logs() as logs:
        for _ in range(2):
            nursery.start_soon(run_job, job_of(store), Outage(Metrics()))
        await trio.sleep(89.9)
        assert await state_changes(store) == [Reason.CREATED, Reason.PINGED]
        await trio.sleep(0.2)
        assert await state_changes(store) == [Reason.CREATED, Reason.PINGED, Reason.MISSED]
        await trio.sleep(1000)
    assert [one["heartbeat"] for one in logs if one["event"] == Event.HEARTBEAT_DOWN.wording] == [
        "backup"
    ]


async def test_a_node_that_starts_after_an_outage(autojump_clock, nursery):
    """It waits for the next ping before it says that one was missed."""
    store = MemoryStore()
    await pinged(store)
    await trio.sleep(600)
    with capture_logs() as logs:
        nursery.start_soon(run_job, job_of(store), Outage(Metrics()))
        await trio.sleep(1)
        assert await state_changes(store) == [Reason.CREATED, Reason.PINGED, Reason.OUTAGE]
        await trio.sleep(88)
        assert len(await state_changes(store)) == 3
        await trio.sleep(2)
        assert (await state_changes(store))[-1] is Reason.MISSED
    [outage] = [one for one in logs if one["event"] == Event.HEARTBEAT_OUTAGE.wording]
    assert outage["seconds"] == 600


async def test_many_are_missed_at_once(autojump_clock):
    """All are noticed, in batches without pauses."""
    store = MemoryStore()
    for number in range(250):
        await pinged(store, f"job-{number}")
    checks = HeartbeatChecks(store.heartbeat_monitors)
    await checks.step()
    for _ in range(2):
        await trio.sleep(45)
        delay = await checks.step()
    assert (delay, await checks.step()) == (0.0, 0.0)
    assert await checks.step() == 15
    assert len(await store.heartbeat_monitors.down(limit=1000)) == 250


async def test_the_checks_of_an_idle_node(autojump_clock):
    """Without heartbeats they are rare; a deadline is waited for exactly."""
    store = MemoryStore()
    checks = HeartbeatChecks(store.heartbeat_monitors)
    assert await checks.step() == 15
    await pinged(store, timing=Timing(every_seconds=10), grace_seconds=1.0)
    assert 10.9 < await checks.step() < 11.1
