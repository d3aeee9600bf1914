"""A PostgreSQL that crashes, or throws its clients out."""

from __future__ import annotations

import time

import pytest

from tests.chaos.scene import PROGRESS_SECONDS
from tests.service.processes import wait_until

AWAY_SECONDS = 1.0
EVERY_SECONDS = 0.2
THROW_OUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
"""


def test_postgresql_crashes_and_restarts(scene):
    """Work goes on within two seconds of its return, and every 201 is kept."""
    with scene.under_load() as load:
        load.wait_for_share(0.3)
        scene.server.crash()
        back = time.monotonic() + AWAY_SECONDS
        wait_until(lambda: time.monotonic() >= back)
        scene.harm_ended(scene.server.start())
    scene.judge()
    assert not load.reasons["TimeoutError"], "clients were left without an answer"


@pytest.mark.long
def test_connections_are_cut_all_the_time(scene):
    """Whatever call a lost connection hits, it is made good."""
    with scene.under_load() as load, scene.look() as tasks:
        load.wait_for_share(0.2)
        cut, due = 0, time.monotonic()
        while load.is_before_share(0.8):
            wait_until(lambda at=due: time.monotonic() >= at)
            cut += tasks.execute(THROW_OUT).rowcount
            due += EVERY_SECONDS
        scene.harm_ended()
    print(f"\n{cut} connections were cut")
    assert scene.judge().longest_gap() < PROGRESS_SECONDS
