"""A node whose clock is an hour ahead: the database's decides, never a node's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest

from tests import debian
from tests.service.processes import Running

# Of its two libraries the one for threads: the other has held a node up for seconds.
FAKETIME = debian.find("usr/lib/*/faketime/libfaketimeMT.so.1")
ODD = 1

pytestmark = pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")


@pytest.fixture
def odd_settings() -> Mapping[int, Mapping[str, object]]:
    settings = {
        "LD_PRELOAD": FAKETIME[0],
        "FAKETIME": "+1h",
        "DONT_FAKE_MONOTONIC": 1,
        "FAKETIME_DONT_FAKE_MONOTONIC": 1,
    }
    return {ODD: settings}


def clock_of(node: Running) -> float:
    """What time it was for a node when it began."""
    return dt.datetime.fromisoformat(node.log.split(maxsplit=1)[0]).timestamp()


def test_a_clock_is_an_hour_off(scene):
    """The node runs its share, and neither loses its lease nor rescues tasks of others."""
    assert 3000 < clock_of(scene.fleet[ODD]) - clock_of(scene.fleet[0]) < 4200
    with scene.under_load() as load, scene.look() as tasks:
        load.wait_for_share(0.5)
        [[name, is_alive]] = tasks.execute(
            "SELECT name, expires_at BETWEEN now() AND now() + make_interval(secs => lease_seconds)"
            " FROM taskflow_nodes WHERE name LIKE %s",
            f"%:{scene.fleet[ODD].process.pid}",
        ).fetchall()
        assert is_alive, name
    scene.judge()
    # A node that judged leases by its own clock would lose its own, or rescue all others' tasks.
    # One may go where the machine is held up for the two seconds of a short lease.
    lost = [node.log.count("lease lost") for node in scene.fleet.everyone]
    print(f"\nleases lost by each node: {lost}")
    assert max(lost) <= 1
    assert scene.fleet.end(ODD) == 0
