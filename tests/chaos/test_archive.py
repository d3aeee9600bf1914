"""Finished tasks move to the archive all the time, while nodes and PostgreSQL crash."""

from __future__ import annotations

import time

import pytest

from tests.service.processes import wait_until

AWAY_SECONDS = 0.5
ARCHIVED = "SELECT FROM taskflow_archive LIMIT 1"
IN_BOTH = "SELECT FROM taskflow_tasks JOIN taskflow_archive USING (id)"
# The others stay as long as they hold an order key or a unique key.
MOVABLE = """
    SELECT FROM taskflow_tasks
    WHERE unique_key IS NULL AND (status <> 'FAILED' OR on_failure IS NULL) LIMIT 1
"""


@pytest.fixture
def odd_settings():
    return {place: {"TASKFLOW_ARCHIVE_AFTER_SECONDS": 0.05} for place in range(3)}


def test_tasks_are_archived_while_everything_crashes(scene):
    """No task is lost, is in both tables, or runs again, whatever a crash interrupts."""
    with scene.under_load() as load:
        load.wait_for_share(0.2)
        with scene.look() as tasks:
            wait_until(lambda: tasks.execute(ARCHIVED).rowcount)
        place = scene.random.randrange(scene.fleet.size)
        scene.kill(place)
        scene.fleet.start(place)
        load.wait_for_share(0.6)
        scene.server.crash()
        back = time.monotonic() + AWAY_SECONDS
        wait_until(lambda: time.monotonic() >= back)
        scene.harm_ended(scene.server.start())
    scene.judge()
    with scene.look() as tasks:
        wait_until(lambda: not tasks.execute(MOVABLE).rowcount)
        assert not tasks.execute(IN_BOTH).rowcount
    scene.judge()  # once more, with all of them in the archive
