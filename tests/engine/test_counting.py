"""Changes are folded into the counts: on the virtual clock."""

from __future__ import annotations

import trio

from taskflow.engine.count_folding import fold_counts
from taskflow.engine.outage import Outage
from taskflow.store.memory.tasks import MemoryStore


class BacklogStore(MemoryStore):
    """One with so many changes that are not folded."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.changes = changes
        self.asked_at: list[float] = []

    async def fold_counts(self, *, limit: int) -> int:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        folded = min(limit, self.changes)
        self.changes -= folded
        return folded


async def test_every_heartbeat(autojump_clock, new_bench, nursery):
    """A node folds once a heartbeat, whether it has tasks or not; an outage is no busy loop."""
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


async def test_a_backlog_is_folded_at_once(autojump_clock, nursery):
    """What gathered while no node lived is folded without pauses, and then it is quiet again."""
    store = BacklogStore(changes=20_001)
    nursery.start_soon(_fold, store)
    await trio.sleep(25)
    assert store.changes == 0
    assert store.asked_at[:5] == [0.0] * 5
    assert store.asked_at[5:] == [10.0, 20.0]
    nursery.cancel_scope.cancel()


async def _fold(store) -> None:
    await fold_counts(store=store, outage=Outage(), heartbeat_seconds=10.0)
