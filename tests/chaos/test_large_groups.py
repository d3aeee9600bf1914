"""Groups with many members, which finish while a node is killed and PostgreSQL crashes."""

from __future__ import annotations

import pytest

from tests.service.database import Tasks
from tests.service.processes import wait_until

GROUPS = 2
FINISHED = (
    "SELECT count(*) FROM taskflow_tasks WHERE group_id IS NOT NULL AND finished_at IS NOT NULL"
)


@pytest.mark.long
def test_large_groups(scene):
    """Each completes once, when the last of its members has finished."""
    members = scene.shape.members
    with scene.under_load() as load:
        for _ in range(GROUPS):
            assert load.post_group(scene.random, members)
        with scene.look() as tasks:
            wait_until(lambda: finished(tasks) > members // 4)
            place = scene.random.randrange(scene.fleet.size)
            scene.kill(place)
            scene.fleet.start(place)
            wait_until(lambda: finished(tasks) > members)
        scene.server.crash()
        scene.harm_ended(scene.server.start())
    scene.judge()


def finished(tasks: Tasks) -> int:
    """Return the number of members that have finished."""
    [(count,)] = tasks.execute(FINISHED)
    return count
