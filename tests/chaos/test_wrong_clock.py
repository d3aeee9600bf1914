"""A node whose clock is an hour ahead: the database's decides, never a node's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest

from tests import debian
from tests.chaos.shape import LONG_LEASE
from tests.service.processes import Running, wait_until

# Of its two libraries the one for threads: the other has held a node up for seconds.
FAKETIME = debian.find("usr/lib/*/faketime/libfaketimeMT.so.1")
ODD = 1
ALIVE = """
    SELECT FROM taskflow_nodes WHERE name LIKE %s
    AND expires_at BETWEEN now() AND now() + make_interval(secs => lease_seconds)
"""

pytestmark = pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")


@pytest.fixture
def odd_settings() -> Mapping[int, Mapping[str, object]]:
    clock = {
        "LD_PRELOAD": FAKETIME[0],
        "FAKETIME": "+1h",
        "DONT_FAKE_MONOTONIC": 1,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
    }
    return {place: LONG_LEASE | (clock if place == ODD else {}) for place in range(3)}


def clock_of(node: Running) -> float:
    """What time it was for a node when it began."""
    return dt.datetime.fromisoformat(node.log.split(maxsplit=1)[0]).timestamp()


@pytest.mark.long
def test_a_clock_is_an_hour_off(scene):
    """The node runs its share, and neither loses its lease nor rescues tasks of others."""
    assert 3000 < clock_of(scene.fleet[ODD]) - clock_of(scene.fleet[0]) < 4200
    with scene.under_load() as load, scene.look() as tasks:
        load.wait_for_share(0.5)
        name = f"%:{scene.fleet[ODD].process.pid}"
        wait_until(lambda: tasks.execute(ALIVE, name).rowcount)
    scene.judge()
    # A node that judged leases by its own clock would lose its own, or rescue all others' tasks.
    assert [node.log.count("lease lost") for node in scene.fleet.everyone] == [0, 0, 0]
    assert scene.fleet.end(ODD) == 0
