"""The periodic jobs of a node, on the virtual clock."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
import trio

from taskflow.engine.context import EngineContext
from taskflow.engine.housekeeping import Job, fold_counts, run_housekeeping, run_job
from taskflow.model.audit import Action, Actor, NewEntry
from taskflow.model.errors import StoreUnavailable
from taskflow.model.schedule import ScheduleDefinition, Timing
from taskflow.model.task import NewTask
from taskflow.settings import Settings
from taskflow.store.base.archive import ArchiveStep
from taskflow.store.memory.store import MemoryStore
from taskflow.telemetry import Event
from tests.engine.conftest import ScriptedFetcher
from tests.logs import capture_logs

URL = msgspec.Raw(b'"http://target/0"')
SCHEDULE = ScheduleDefinition(
    name="one", timing=Timing(every_seconds=10.0), task=URL, template=NewTask(URL)
)


class BacklogStore(MemoryStore):
    """A store with a number of changes that are not folded yet."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.changes = changes
        self.folded_at: list[float] = []

    async def fold_counts(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        self.folded_at.append(trio.current_time())
        folded = min(limit, self.changes)
        self.changes -= folded
        return folded


class ArchivingStore(MemoryStore):
    """A store whose calls of ``archive`` return these steps, the last one again and again."""

    def __init__(self, *steps: ArchiveStep) -> None:
        super().__init__()
        self.steps = list(steps)
        self.archived_at: list[float] = []

    async def archive(self, *, age_seconds: float, limit: int) -> ArchiveStep:
        await trio.sleep(2.0)
        self.archived_at.append(trio.current_time())
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


def context_of(store: MemoryStore, **settings: float | None) -> EngineContext:
    return EngineContext(store=store, fetcher=ScriptedFetcher(), settings=Settings(**settings))


async def test_counts_are_folded_at_every_heartbeat(autojump_clock, new_bench, nursery):
    """A node folds once per heartbeat, with or without tasks, also while the store is away."""
    bench = new_bench(heartbeat_seconds=5.0, lease_seconds=20.0)
    await nursery.start(bench.engine.run)
    await trio.sleep(51)
    assert bench.store.calls["fold_counts"] == 11
    bench.store.go_away("fold_counts")
    await trio.sleep(50)
    assert bench.store.calls["fold_counts"] == 21
    assert bench.engine.statistics().is_running
    bench.store.come_back()
    await trio.sleep(50)
    assert bench.store.calls["fold_counts"] == 31
    bench.engine.shut_down(drain_seconds=0)


async def test_a_backlog_of_counts_is_folded_without_pauses(autojump_clock, nursery):
    """Changes that gathered while no node was running are folded at once."""
    store = BacklogStore(changes=20_001)
    context = context_of(store, heartbeat_seconds=10.0)
    nursery.start_soon(run_job, Job(partial(fold_counts, context), 10.0), context.outage)
    await trio.sleep(25)
    assert store.changes == 0
    assert store.folded_at[:5] == [0.0] * 5
    assert store.folded_at[5:] == [10.0, 20.0]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("verb", ["rescue", "expire", "fold_counts", "delete_finished"])
async def test_a_slow_job_delays_no_other(autojump_clock, nursery, monkeypatch, verb):
    """While one job waits for the store, schedules fire on time."""
    store = MemoryStore()

    async def never(**_: object) -> int:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(store, verb, never)
    await store.schedules.put(SCHEDULE)
    nursery.start_soon(run_housekeeping, context_of(store))
    for number in range(1, 4):
        await trio.sleep(10.02)
        assert len((await store.page(limit=9)).tasks) == number
    nursery.cancel_scope.cancel()


async def test_an_outage_is_logged_once(autojump_clock, nursery, monkeypatch):
    """All jobs fail, at intervals, and one event is logged; then all of them go on."""
    store, calls = MemoryStore(), []

    async def fail(**_: object) -> int:
        calls.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable

    with capture_logs() as logs, monkeypatch.context() as patch:
        for verb in ("rescue", "expire", "fold_counts", "delete_finished"):
            patch.setattr(store, verb, fail)
        patch.setattr(store.schedules, "fire_due", fail)
        await store.schedules.put(SCHEDULE)
        nursery.start_soon(run_housekeeping, context_of(store))
        await trio.sleep(60)
    assert [one["event"] for one in logs] == [Event.STORE_LOST.wording]
    assert 5 < len(calls) < 100
    await trio.sleep(5)
    assert (await store.page(limit=9)).tasks
    nursery.cancel_scope.cancel()


async def test_archiving_takes_half_of_the_time(autojump_clock, nursery):
    """A node pauses for as long as a portion took; when all tasks were checked, for a minute."""
    store = ArchivingStore(ArchiveStep(500, has_more=True), ArchiveStep(9, has_more=False))
    nursery.start_soon(run_housekeeping, context_of(store, archive_after_seconds=3600.0))
    await trio.sleep(131)
    assert store.archived_at == [2.0, 6.0, 68.0, 130.0]
    nursery.cancel_scope.cancel()


async def test_why_nothing_is_archived_is_logged_once(autojump_clock, nursery):
    """An obstacle is reported when it begins, and nothing is archived without the setting."""
    store = ArchivingStore(ArchiveStep(0, has_more=False, obstacle="an old node"))
    with capture_logs() as logs:
        nursery.start_soon(run_housekeeping, context_of(store, archive_after_seconds=1.0))
        await trio.sleep(60)
    [blocked] = [one for one in logs if one["event"] == Event.ARCHIVE_BLOCKED.wording]
    assert blocked["reason"] == "an old node"
    assert len(store.archived_at) > 9
    nursery.cancel_scope.cancel()
    other = ArchivingStore(ArchiveStep(0, has_more=False))
    with trio.move_on_after(60):
        await run_housekeeping(context_of(other))
    assert other.archived_at == []


@pytest.mark.parametrize(("days", "kept"), [(2, 1), (None, 3)])
async def test_old_audit_entries_are_deleted(autojump_clock, nursery, days, kept):
    """Entries are kept for their own time, whatever the retention of tasks."""
    store = MemoryStore()
    context = context_of(store, audit_retention_days=days, retention_seconds=60.0)
    for _ in range(3):
        await store.audit.record([NewEntry(action=Action.QUEUE_PAUSE, actor=Actor("ada"))])
        await trio.sleep(1.5 * 86_400)
    nursery.start_soon(run_housekeeping, context)
    await trio.sleep(120)
    assert len((await store.audit.page(limit=10)).entries) == kept
    nursery.cancel_scope.cancel()
