"""The engines of a node that works in some cells."""

from __future__ import annotations

from taskflow.engine.cell_engines import CellEngines
from taskflow.store.memory.store import MemoryStore


async def test_a_node_without_an_open_cell_is_ready_until_it_shuts_down(autojump_clock):
    """It serves the API for the other cells, so its workers are no reason to be not ready."""
    engines = CellEngines(["c"])
    await engines.work("a", MemoryStore())  # a cell that it does not name: nothing runs in it
    assert engines.statistics().is_running
    engines.shut_down(drain_seconds=0.0)
    assert not engines.statistics().is_running
    await engines.run()
